"""Does one example influence another in this very network? Run before training, on a copy of the network.

Clipping bounds what ONE example contributes only if an example's gradient depends on that example alone. Here a batch is
run in training mode at double precision; one row is replaced by other values, by huge values and by NaN; and every
module's output is watched for all other rows. A NaN cannot hide: whatever arithmetic touches it becomes NaN. The innermost
module that changed for an untouched row is named. Each row is also run alone, which finds what depends on the number of
rows. Buffers must not change (running statistics carry examples from step to step). Last, the harness's own per-sample
gradients are compared with one backward pass a row, which finds wrong gradient formulas and parameters that are shared.

A network without a finding has been shown to treat these rows apart on these inputs. Code that looks at its values and
mixes rows only for some of them can escape: it would have to be written for that.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpaudit.contract import UsageError

from .network_layers import SeededDropout, attach_dropout_generator
from .per_sample import per_sample_gradients
from .recipe import Engine

_ROWS = 4
_TOLERANCE = 1e-8
_SEED = 20_240_703


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixing:
    """One way in which the network does not treat examples apart.

    Attributes:
        layer: qualified name of the module, buffer or parameter; ``""`` is the network itself.
        kind: its class.
        what: what was seen.
    """

    layer: str
    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.layer or 'the network itself'!s} ({self.kind}) {self.what}"


def require_independence(model: nn.Module, shape: tuple[int, ...], *, engine: Engine | None = None) -> None:
    """Return if no example influences another in ``model`` for images of ``shape``.

    Raises:
        UsageError: one does; the message names the layer.
    """
    found = find_mixing(model, shape, engine=engine)
    if found:
        raise UsageError(
            "model: per-sample gradients do not exist or are wrong, so no clipping bound holds: "
            f"{'; '.join(map(str, found))}; replace the layer (batch norm: group norm), or untie what is shared"
        )


def find_mixing(model: nn.Module, shape: tuple[int, ...], *, engine: Engine | None = None) -> tuple[Mixing, ...]:
    """Everything that was found, the first kind of finding only; empty for a network that treats examples apart."""
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    if frozen:
        return (Mixing(layer=frozen[0], kind="parameter", what="is frozen, so it has no per-sample gradient"),)
    copied = _double_copy(model)
    generator = torch.Generator().manual_seed(_SEED)
    images = torch.randn((_ROWS, *shape), generator=generator, dtype=torch.float64)
    for search in (_by_perturbation, _by_buffers, _by_rows_alone, _by_gradients):
        found = search(copied, images, engine or Engine())
        if found:
            return found
    return ()


def _double_copy(model: nn.Module) -> nn.Module:
    generators = [(m, m.generator) for m in model.modules() if isinstance(m, SeededDropout)]
    for module, _ in generators:
        module.generator = None  # a generator cannot be copied
    try:
        copied = copy.deepcopy(model).cpu().double()
    finally:
        for module, generator in generators:
            module.generator = generator
    return copied.train()


def _by_perturbation(model: nn.Module, images: Tensor, _engine: Engine) -> tuple[Mixing, ...]:
    before = _outputs(model, images)
    out = before[""][1]
    if out.dim() == 0 or len(out) != _ROWS:
        return (Mixing(layer="", kind=type(model).__name__, what=f"turns {_ROWS} rows into {tuple(out.shape)}"),)
    changes: dict[str, Callable[[Tensor], Tensor]] = {
        "other values": lambda row: row * -2.0 + 0.5,
        "huge values": lambda row: row * 1e4,
        "NaN": lambda row: torch.full_like(row, torch.nan),
    }
    for words, change in changes.items():
        for touched in (1, _ROWS - 1):
            changed = images.clone()
            changed[touched] = change(images[touched])
            kept = [row for row in range(_ROWS) if row != touched]
            after = _outputs(model, changed)
            for name, (module, value) in before.items():
                other = after[name][1] if name in after else value.new_empty(0)
                if _rows_of(value) and not _same(value, other, kept):
                    what = f"mixes examples: with {words} in row {touched}, its output changes for other rows"
                    return (Mixing(layer=name, kind=type(module).__name__, what=what),)
    return ()


def _by_buffers(model: nn.Module, images: Tensor, _engine: Engine) -> tuple[Mixing, ...]:
    before = {name: value.clone() for name, value in model.named_buffers()}
    _outputs(model, images)
    return tuple(
        Mixing(layer=name, kind="buffer", what="changes in a forward pass: it carries examples from step to step")
        for name, value in model.named_buffers()
        if not torch.equal(before[name], value)
    )


def _by_rows_alone(model: nn.Module, images: Tensor, _engine: Engine) -> tuple[Mixing, ...]:
    with _without_dropout(model):
        together = _outputs(model, images)
        for row in (0, _ROWS - 1):
            alone = _outputs(model, images[row : row + 1])
            for name, (module, value) in together.items():
                if not _rows_of(value):
                    continue
                other = alone[name][1] if name in alone else value.new_empty(0)
                if len(other) != 1 or not torch.allclose(value[row], other[0], rtol=_TOLERANCE, atol=_TOLERANCE):
                    what = f"mixes examples: row {row} gives another output alone than among {_ROWS}"
                    return (Mixing(layer=name, kind=type(module).__name__, what=what),)
    return ()


def _by_gradients(model: nn.Module, images: Tensor, engine: Engine) -> tuple[Mixing, ...]:
    labels = torch.arange(_ROWS)
    names = [name for name, _ in model.named_parameters()]
    with _without_dropout(model):
        method = per_sample_gradients(model, chunk=_ROWS - 1, engine=Engine(constant_shapes=engine.constant_shapes))
        found = method(images, labels, rows=_ROWS)
        for row in range(_ROWS):
            logits = model(images[row : row + 1])
            loss = functional.cross_entropy(logits, labels[row : row + 1] % logits.shape[1])
            gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
            for name, value, expected in zip(names, found, gradients, strict=True):
                target = torch.zeros_like(value[row]) if expected is None else expected
                scale = float(target.abs().max()) + _TOLERANCE
                if not torch.allclose(value[row], target, rtol=1e-6, atol=1e-6 * scale):
                    what = f"gets another gradient for row {row} from the harness than from a backward pass of that row"
                    return (Mixing(layer=name, kind="parameter", what=what),)
    return ()


def _outputs(model: nn.Module, images: Tensor) -> dict[str, tuple[nn.Module, Tensor]]:
    """Every module's output by name, in the order in which they finished: a layer before whatever contains it."""
    generator = torch.Generator().manual_seed(_SEED)  # the same masks every time
    attach_dropout_generator(model, generator)
    outputs: dict[str, tuple[nn.Module, Tensor]] = {}

    def keep(name: str, calls: list[int]) -> Any:
        def hook(module: nn.Module, _arguments: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, Tensor):
                calls[0] += 1
                key = name if calls[0] == 1 or not name else f"{name}, call {calls[0]}"
                outputs[key] = (module, output.detach().clone())

        return hook

    handles = [module.register_forward_hook(keep(name, [0])) for name, module in model.named_modules()]
    try:
        with torch.no_grad():
            result = model(images)
    finally:
        for handle in handles:
            handle.remove()
    outputs.setdefault("", (model, torch.as_tensor(result)))
    return outputs


def _rows_of(value: Tensor) -> bool:
    return value.dim() > 0 and len(value) == _ROWS


def _same(value: Tensor, other: Tensor, kept: list[int]) -> bool:
    if value.shape != other.shape:
        return False
    return torch.allclose(value[kept], other[kept], rtol=_TOLERANCE, atol=_TOLERANCE)


@contextmanager
def _without_dropout(model: nn.Module) -> Iterator[None]:
    """Dropout draws one mask for all rows, so a row alone would get another mask than among others."""
    layers = [module for module in model.modules() if isinstance(module, SeededDropout)]
    for layer in layers:
        layer.eval()
    try:
        yield
    finally:
        for layer in layers:
            layer.train()
