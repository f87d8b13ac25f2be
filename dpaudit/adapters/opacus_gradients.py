"""Are the per-sample gradients of a running Opacus set-up each their own row's, and is the released gradient what is applied?

Runs in the process of the user's script. Nothing of the training is changed: the first inputs and, at every step, the
released and the applied gradients are looked at; the gradients are compared after the script has ended.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_ROWS = 6
_SEED = 97
_TOLERANCE = 1e-3
"""Relative to the largest per-sample gradient of a parameter: float32 sums in another order stay well below."""

_SAME = 1e-6


@dataclass(slots=True)
class _Worst:
    """The largest relative gap so far, and its parameter."""

    gap: float = 0.0
    name: str = ""


class GradientWatch:
    """The private model's first inputs, and what the inner optimiser applied."""

    def __init__(self) -> None:
        self.model: Any = None
        self.optimizer: Any = None
        self.inputs: Tensor | None = None
        self.unreadable = ""
        self.released: list[Tensor] | None = None
        self.steps = 0
        self.other = 0
        self.raw = 0

    def attach(self, model: nn.Module, optimizer: Any) -> None:
        """Watch one model and its private optimiser."""
        self.model, self.optimizer = model, optimizer
        model.register_forward_pre_hook(self._keep_inputs)
        inner = optimizer.original_optimizer
        inner.step = self._stepping(inner.step)

    def after_release(self) -> None:
        """Called when the private optimiser has written the released gradients."""
        if self.optimizer is None:
            return
        self.released = [
            torch.zeros_like(p) if p.grad is None else p.grad.detach().clone() for p in self.optimizer.params
        ]

    def facts(self) -> dict[str, Any]:
        """Plain data for the parent."""
        applied = {"steps": self.steps, "other": self.other, "raw": self.raw}
        return {"applied": applied, "gradients": self._compared()}

    def _keep_inputs(self, module: nn.Module, given: tuple[Any, ...]) -> None:
        if self.inputs is not None or self.unreadable or not module.training:
            return
        if len(given) != 1 or not isinstance(given[0], Tensor) or given[0].dim() < 1:
            self.unreadable = f"the model takes {len(given)} positional inputs, expected one tensor of rows"
        elif len(given[0]) >= 2:
            self.inputs = given[0][:_ROWS].detach().clone()

    def _stepping(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **words: Any) -> Any:
            result = original(*arguments, **words)
            if self.released is not None:
                self.steps += 1
                applied = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.optimizer.params]
                if not _equal(applied, self.released):
                    self.other += 1
                    self.raw += _equal(applied, self._raw())
                self.released = None
            return result

        return step

    def _raw(self) -> list[Tensor]:
        """The plain mean (or sum) of the per-sample gradients that the parameters now hold."""
        mean = self.optimizer.loss_reduction == "mean"
        found = []
        for p in self.optimizer.params:
            sample = getattr(p, "grad_sample", None)
            sample = sample[-1] if isinstance(sample, list) and sample else sample
            if not isinstance(sample, Tensor):
                return []
            found.append(sample.mean(0) if mean else sample.sum(0))
        return found

    def _compared(self) -> dict[str, Any]:
        """How far per-sample gradients are from one backward pass a row, and how far other rows' move with one row."""
        if self.inputs is None:
            return {"unreadable": self.unreadable or "the model was never called in training mode with two rows"}
        quiet = [m for m in self.model.modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.training]
        for module in quiet:
            module.eval()
        try:
            return self._compare(self.inputs)
        except Exception as error:
            # What cannot be compared is named in the report as not seen; it must not end the user's audit.
            return {"unreadable": f"{type(error).__name__}: {error}"[:300]}
        finally:
            for module in quiet:
                module.train()

    def _compare(self, inputs: Tensor) -> dict[str, Any]:
        together = self._samples(inputs)
        alone = [self._alone(inputs, row) for row in range(len(inputs))]
        changed = inputs.clone()
        changed[0] = inputs[-1] if not inputs.is_floating_point() else -3.0 * inputs[0] + 1.0
        moved = self._samples(changed)
        names = [name for name, p in self.model.named_parameters() if p.requires_grad]
        wrong, mixing = _Worst(), _Worst()
        for place, name in enumerate(names):
            truth = torch.stack([row[place] for row in alone])
            scale = torch.cat([truth.flatten(), together[place].flatten()]).abs().max()
            for worst, there, here in (
                (wrong, together[place], truth),
                (mixing, moved[place][1:], together[place][1:]),
            ):
                gap = _relative(there, here, scale)
                if gap > worst.gap:
                    worst.gap, worst.name = gap, name
        return {
            "rows": len(inputs),
            "tolerance": _TOLERANCE,
            "wrong": [_plain(wrong.gap), wrong.name],
            "mixing": [_plain(mixing.gap), mixing.name],
        }

    def _loss(self, out: Any, rows: slice) -> Tensor:
        """A fixed linear function of the outputs, one term a row."""
        generator = torch.Generator().manual_seed(_SEED)
        weights = torch.randn((_ROWS, *out.shape[1:]), generator=generator).to(out)
        terms: Tensor = (out * weights[rows]).flatten(1).sum(1)
        return terms

    def _samples(self, inputs: Tensor) -> list[Tensor]:
        """Per-sample gradients as Opacus forms them."""
        self._clear()
        terms = self._loss(self.model(inputs), slice(0, len(inputs)))
        loss: Any = terms.mean() if self.optimizer.loss_reduction == "mean" else terms.sum()
        loss.backward()
        found = []
        for p in self._parameters():
            sample = p.grad_sample
            sample = sample[-1] if isinstance(sample, list) else sample
            found.append(sample.detach().clone())
        self._clear()
        return found

    def _alone(self, inputs: Tensor, row: int) -> list[Tensor]:
        """The same gradient of one row by one backward pass of that row alone."""
        self.model.disable_hooks()
        try:
            term = self._loss(self.model(inputs[row : row + 1]), slice(row, row + 1)).sum()
            gradients = torch.autograd.grad(term, self._parameters(), allow_unused=True)
        finally:
            self.model.enable_hooks()
        return [torch.zeros_like(p) if g is None else g for p, g in zip(self._parameters(), gradients, strict=True)]

    def _parameters(self) -> list[Any]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def _clear(self) -> None:
        for p in self._parameters():
            p.grad, p.grad_sample = None, None


def _equal(first: list[Tensor], second: list[Tensor]) -> bool:
    if len(first) != len(second):
        return False
    return all(
        a.shape == b.shape and bool(((a - b).abs() <= _SAME * max(float(b.abs().max()), 1e-30)).all())
        for a, b in zip(first, second, strict=True)
    )


def _relative(there: Tensor, here: Tensor, scale: Tensor) -> float:
    """Largest gap over the scale; infinite where anything is not a number."""
    gap = float((there - here).abs().max() / scale.clamp(min=1e-30))
    return gap if math.isfinite(gap) else math.inf


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else "inf"
