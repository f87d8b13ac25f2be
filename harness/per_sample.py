"""Per-sample gradients of the cross-entropy, with bounded memory.

Two methods give the same numbers up to rounding. ``LayerGradients`` runs one forward and one backward pass of a chunk,
keeps each layer's input and the gradient of its output, and forms every row's parameter gradient from them with one
batched product a layer; weight gradients of the whole batch are never computed. ``FunctionalGradients`` differentiates a
one-row loss under ``torch.func.vmap`` and needs no knowledge of layers. The first is faster on the networks here
(``benchmarks/per_sample_gradients.py``) and refuses what it does not know; the second is the fallback, and what
``torch.compile`` compiles. Both are tested against one backward pass a row, and :mod:`harness.independence` repeats that
test on the network that is about to train.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from dpaudit.contract import UsageError

from .gradient_chunk import Captured, GradientChunk, LayerChunk, RowChunk, Scratch
from .layer_rules import LAYER_RULES
from .precision import forward_precision
from .recipe import Engine
from .whole_batch import FullPrecisionChunk, PerSampleGradients, WholeBatch, padded, row_losses

CPU_CHUNK = 64
"""Rows at a time on a CPU, where a chunk's patches should stay in the cache."""
DEVICE_CHUNK = 512
"""Rows at a time elsewhere, where few large kernels are better; bounds the memory for activations and patches."""


def per_sample_gradients(
    model: nn.Module, *, chunk: int | None = None, engine: Engine | None = None
) -> PerSampleGradients:
    """The fastest method that is exact for ``model``, ``chunk`` images at a time.

    Raises:
        UsageError: the model mixes the rows of a batch (batch norm), so that per-sample gradients do not exist.
    """
    _refuse_cross_row_modules(model)
    if chunk is None:
        chunk = CPU_CHUNK if next(model.parameters()).device.type == "cpu" else DEVICE_CHUNK
    engine = engine or Engine()
    if LayerGradients.supports(model) and not engine.compile:
        return LayerGradients(model, chunk=chunk, engine=engine)
    return FunctionalGradients(model, chunk=chunk, engine=engine)


class LayerGradients(WholeBatch):
    """Per-sample gradients from each layer's input and the gradient of its output.

    Guarantee: row i of the result is the gradient of the loss of row i alone, as float rounding allows.
    Assumptions: every parameter belongs to one layer of a known kind (``LAYER_RULES``), no parameter is shared, every
    such layer runs once in a forward pass, and no row influences another row's output.
    """

    def __init__(self, model: nn.Module, *, chunk: int = CPU_CHUNK, engine: Engine | None = None) -> None:
        if not self.supports(model):
            raise UsageError("per-sample gradients: the model has a layer without a rule; use FunctionalGradients")
        super().__init__(model, chunk)
        self._model = model
        self._engine = engine or Engine()
        self._parameters = list(model.parameters())
        self._scratch = Scratch(self._parameters)
        self._layers = [module for module in model.modules() if type(module) in LAYER_RULES]
        positions = {id(parameter): index for index, parameter in enumerate(self._parameters)}
        self._positions = [[positions[id(p)] for p in layer.parameters(recurse=False)] for layer in self._layers]

    @staticmethod
    def supports(model: nn.Module) -> bool:
        """Whether every parameter is trained and sits unshared in a layer of a known kind."""
        owners = [module for module in model.modules() if any(True for _ in module.parameters(recurse=False))]
        known = all(type(o) in LAYER_RULES and LAYER_RULES[type(o)].applies_to(o) for o in owners)
        owned = [id(parameter) for owner in owners for parameter in owner.parameters(recurse=False)]
        # A layer that overwrites its input would overwrite the output whose gradient is asked for.
        in_place = any(getattr(module, "inplace", False) for module in model.modules())
        return known and not in_place and len(owned) == len(set(owned)) and len(owned) > 0

    def chunk(self, images: Tensor, labels: Tensor, *, views: int = 1) -> GradientChunk:
        """See :class:`PerSampleGradients`."""
        count = len(labels)
        images, labels, mask = padded(images, labels, views, self.physical_batch, self._engine)
        images = _channels_together(images)
        inputs, outputs, loss = self._forward(images, labels, views, mask)
        ran = sorted(outputs)
        # Only the gradients of the outputs are asked for, so autograd skips the batch's weight gradients.
        with forward_precision(self._engine):
            output_gradients = torch.autograd.grad(loss, [outputs[index] for index in ran])
        dtype = self._parameters[0].dtype
        captured = [
            Captured(
                layer=self._layers[index],
                layer_input=inputs[index].to(dtype),
                output_gradient=gradient.to(dtype),
                positions=self._positions[index],
            )
            for index, gradient in zip(ran, output_gradients, strict=True)
        ]
        return FullPrecisionChunk(
            LayerChunk(captured, count=count, views=views, scratch=self._scratch, parameters=self._parameters)
        )

    def _forward(
        self, images: Tensor, labels: Tensor, views: int, mask: Tensor | None
    ) -> tuple[dict[int, Tensor], dict[int, Tensor], Tensor]:
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
            with torch.enable_grad(), forward_precision(self._engine, device=images.device):
                loss = row_losses(self._model(images), labels, views=views, mask=mask)
        finally:
            for handle in handles:
                handle.remove()
        if any(versions[index] != (inputs[index]._version, outputs[index]._version) for index in outputs):
            raise UsageError(
                "per-sample gradients: the model changes a layer's input or output in place; use FunctionalGradients"
            )
        return inputs, outputs, loss


class FunctionalGradients(WholeBatch):
    """Per-sample gradients by ``vmap(grad(...))`` of a one-row loss: exact for any model that treats rows apart."""

    def __init__(self, model: nn.Module, *, chunk: int = CPU_CHUNK, engine: Engine | None = None) -> None:
        _refuse_cross_row_modules(model)
        super().__init__(model, chunk)
        self._engine = engine = engine or Engine()
        self._parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

        def loss(parameters: dict[str, Tensor], images: Tensor, label: Tensor) -> Tensor:
            with forward_precision(engine, device=images.device):
                logits = functional_call(model, parameters, (images,))
                return row_losses(logits, label[None], views=len(images), mask=None)

        function = vmap(grad(loss), in_dims=(None, 0, 0), randomness="different")
        mode = "reduce-overhead" if engine.cuda_graphs else "default"
        compiled = torch.compile(function, mode=mode, dynamic=False) if engine.compile else function
        self._gradient = cast(Callable[..., dict[str, Tensor]], compiled)

    def chunk(self, images: Tensor, labels: Tensor, *, views: int = 1) -> GradientChunk:
        """See :class:`PerSampleGradients`."""
        count = len(labels)
        images, labels, _ = padded(images, labels, views, self.physical_batch, self._engine)
        values = self._gradient(self._parameters, images.view(-1, views, *images.shape[1:]), labels)
        if self._engine.cuda_graphs:  # a replayed graph overwrites its outputs
            values = {name: value.clone() for name, value in values.items()}
        return FullPrecisionChunk(RowChunk([values[name] for name in self._parameters], count=count))


def _channels_together(images: Tensor) -> Tensor:
    """On a CPU, images with their channels next to each other in memory: convolutions, pooling and patches are faster so.

    Through ``[B, height, width, channels]``, because with one channel ``memory_format`` would change nothing and the
    layers behind would not know.
    """
    if images.dim() != 4 or images.device.type != "cpu":
        return images
    batch, channels, height, width = images.shape
    moved = images.contiguous() if channels == 1 else images.permute(0, 2, 3, 1).contiguous()
    return moved.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _refuse_cross_row_modules(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise UsageError(
                f"per-sample gradients: layer {name!r} is a {type(module).__name__}, which mixes the rows of a batch; "
                "use group norm or layer norm"
            )
