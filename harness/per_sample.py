"""Per-sample gradients of the summed cross-entropy, with bounded memory.

Notation: c rows of a chunk, O output and I input channels, K entries of a kernel, L positions of the output.

Two methods give the same numbers up to rounding. ``LayerGradients`` runs one forward and one backward pass of a chunk,
keeps each layer's input and the gradient of its output, and forms every row's parameter gradient from them with one
batched product a layer; weight gradients of the whole batch are never computed. ``FunctionalGradients`` differentiates a
one-row loss under ``torch.func.vmap`` and needs no knowledge of layers. The first is faster on the networks here
(``benchmarks/per_sample_gradients.py``) and refuses what it does not know; the second is the fallback.
Both are tested against one backward pass a row.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from dpaudit.contract import UsageError

from .layer_rules import LAYER_RULES

CPU_CHUNK = 64
"""Rows at a time on a CPU, where a chunk's patches should stay in the cache."""
DEVICE_CHUNK = 512
"""Rows at a time elsewhere, where few large kernels are better; bounds the memory for activations and patches."""


class PerSampleGradients(Protocol):
    """Computes per-sample gradients of one model."""

    def __call__(self, images: Tensor, labels: Tensor, *, rows: int) -> list[Tensor]:
        """Gradients ``[rows, *shape]`` of every parameter; rows beyond ``len(images)`` are zero.

        The tensors are valid until the next call, which reuses their memory.
        """
        ...


def per_sample_gradients(model: nn.Module, *, chunk: int | None = None) -> PerSampleGradients:
    """The fastest method that is exact for ``model``, ``chunk`` rows at a time.

    Raises:
        UsageError: the model mixes the rows of a batch (batch norm), so that per-sample gradients do not exist.
    """
    _refuse_cross_row_modules(model)
    if chunk is None:
        chunk = CPU_CHUNK if next(model.parameters()).device.type == "cpu" else DEVICE_CHUNK
    if LayerGradients.supports(model):
        return LayerGradients(model, chunk=chunk)
    return FunctionalGradients(model, chunk=chunk)


class _RowBuffers:
    """One growing buffer a parameter. A step's gradients are views of their first rows."""

    def __init__(self, model: nn.Module) -> None:
        self._parameters = list(model.parameters())
        self._buffers = [parameter.new_empty((0, *parameter.shape)) for parameter in self._parameters]

    def rows(self, count: int) -> list[Tensor]:
        if len(self._buffers[0]) < count:
            # A little room, because Poisson batches vary in size.
            room = count + count // 8
            self._buffers = [parameter.new_empty((room, *parameter.shape)) for parameter in self._parameters]
        return [buffer[:count] for buffer in self._buffers]


class LayerGradients:
    """Per-sample gradients from each layer's input and the gradient of its output.

    Guarantee: row i of the result is the gradient of the loss of row i alone, as float rounding allows.
    Assumptions: every parameter belongs to one layer of a known kind (``LAYER_RULES``), no parameter is shared, every
    such layer runs once in a forward pass, and no row influences another row's output.
    """

    def __init__(self, model: nn.Module, *, chunk: int = CPU_CHUNK) -> None:
        if not self.supports(model):
            raise UsageError("per-sample gradients: the model has a layer without a rule; use FunctionalGradients")
        self._model = model
        self._chunk = chunk
        self._buffers = _RowBuffers(model)
        self._layers = [module for module in model.modules() if type(module) in LAYER_RULES]
        positions = {id(parameter): index for index, parameter in enumerate(model.parameters())}
        self._positions = [[positions[id(p)] for p in layer.parameters(recurse=False)] for layer in self._layers]

    @staticmethod
    def supports(model: nn.Module) -> bool:
        """Whether every parameter sits unshared in a layer of a known kind with both weight and bias."""
        owners = [module for module in model.modules() if any(True for _ in module.parameters(recurse=False))]
        known = all(type(o) in LAYER_RULES and LAYER_RULES[type(o)].applies_to(o) for o in owners)
        owned = [id(parameter) for owner in owners for parameter in owner.parameters(recurse=False)]
        # A layer that overwrites its input would overwrite the output whose gradient is asked for.
        in_place = any(getattr(module, "inplace", False) for module in model.modules())
        return known and not in_place and len(owned) == len(set(owned)) and len(owned) > 0

    def __call__(self, images: Tensor, labels: Tensor, *, rows: int) -> list[Tensor]:
        """Gradients ``[rows, *shape]`` of every parameter; see :class:`PerSampleGradients`."""
        count = len(images)
        gradients = self._buffers.rows(rows)
        for start in range(0, count, self._chunk):
            part = slice(start, min(start + self._chunk, count))
            self._fill(images[part], labels[part], [gradient[part] for gradient in gradients])
        for gradient in gradients:
            gradient[count:].zero_()
        return gradients

    def _fill(self, images: Tensor, labels: Tensor, out: list[Tensor]) -> None:
        inputs: dict[int, Tensor] = {}
        outputs: dict[int, Tensor] = {}
        versions: dict[int, tuple[int, int]] = {}

        def keep(index: int) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
            def hook(_module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
                if index in inputs:
                    raise UsageError(
                        "per-sample gradients: a layer ran twice in one forward pass; use FunctionalGradients"
                    )
                inputs[index], outputs[index] = arguments[0].detach(), output
                versions[index] = (inputs[index]._version, outputs[index]._version)

            return hook

        handles = [layer.register_forward_hook(keep(index)) for index, layer in enumerate(self._layers)]
        try:
            with torch.enable_grad():
                loss = functional.cross_entropy(self._model(images), labels, reduction="sum")
        finally:
            for handle in handles:
                handle.remove()
        ran = sorted(outputs)
        if any(versions[index] != (inputs[index]._version, outputs[index]._version) for index in ran):
            raise UsageError(
                "per-sample gradients: the model changes a layer's input or output in place; use FunctionalGradients"
            )
        # Only the gradients of the outputs are asked for, so autograd skips the batch's weight gradients.
        output_gradients = torch.autograd.grad(loss, [outputs[index] for index in ran])
        with torch.no_grad():
            for index, output_gradient in zip(ran, output_gradients, strict=True):
                layer = self._layers[index]
                targets = [out[position] for position in self._positions[index]]
                LAYER_RULES[type(layer)].fill(layer, inputs[index], output_gradient, targets)
            for index in set(range(len(self._layers))) - set(ran):
                for position in self._positions[index]:
                    out[position].zero_()


class FunctionalGradients:
    """Per-sample gradients by ``vmap(grad(...))`` of a one-row loss: exact for any model that treats rows apart."""

    def __init__(self, model: nn.Module, *, chunk: int = CPU_CHUNK) -> None:
        _refuse_cross_row_modules(model)
        self._chunk = chunk
        self._buffers = _RowBuffers(model)
        self._parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

        def loss(parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
            logits = functional_call(model, parameters, (image[None],))
            return functional.cross_entropy(logits, label[None], reduction="sum")

        self._gradient = vmap(grad(loss), in_dims=(None, 0, 0))

    def __call__(self, images: Tensor, labels: Tensor, *, rows: int) -> list[Tensor]:
        """Gradients ``[rows, *shape]`` of every parameter; see :class:`PerSampleGradients`."""
        count = len(images)
        gradients = self._buffers.rows(rows)
        for start in range(0, count, self._chunk):
            part = slice(start, min(start + self._chunk, count))
            values = self._gradient(self._parameters, images[part], labels[part])
            for target, value in zip(gradients, values.values(), strict=True):
                target[part].copy_(value)
        for gradient in gradients:
            gradient[count:].zero_()
        return gradients


def _refuse_cross_row_modules(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise UsageError(
                f"per-sample gradients: layer {name!r} is a {type(module).__name__}, which mixes the rows of a batch; "
                "use group norm or layer norm"
            )
