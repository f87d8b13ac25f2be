"""Rows with a NaN or an Inf, and gradients in half precision.

The harness runs in float32 and, under ``nonfinite=guarded``, sets rows with a NaN or an Inf to zero. So what is found here
weighs by the cell: under ``raw`` the mechanism is judged alone.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from dpaudit.contract import NonFinite, PlainData, RunConfig, Severity, Strength
from dpaudit.probe.loading import CandidateError
from dpaudit.probe.problem import Problem

from .batches import Beside
from .gradients import RowPattern
from .moments import Moment
from .readings import Unreadable

HALF_TOLERANCE = {torch.float16: 0.03, torch.bfloat16: 0.12}
"""Relative excess that rounding alone explains: some dozen units in the last place of norm, factor, product and noise."""

_HALF_NORMS = (1.0, 3.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e38)
_VALUES = (("NaN", math.nan), ("+Inf", math.inf), ("-Inf", -math.inf))


def nonfinite_rows(moments: list[Moment], beside: Beside) -> Iterator[tuple[Problem, Moment, Tensor]]:
    """What one row with a NaN or an Inf does, in every tensor, at every moment. An exception is no release, and is fine.

    Yields at most one finding of each kind, with its moment and row.
    """
    leaked = escaped = False
    for moment in moments:
        for row, words in _nonfinite(moment):
            try:
                effect = moment.effect(beside, row)
                reading = moment.reading(beside)
            except (CandidateError, Unreadable):
                continue
            if not effect.finite and not leaked:
                leaked = True
                message = f"step {moment.step}: one row with {words} makes the released update non-finite"
                evidence: dict[str, PlainData] = {"row": words}
                yield Problem("DPA209", Severity.CRITICAL, Strength.PROOF, message, reading.line, evidence), moment, row
            reported = reading.reported
            if effect.finite and reported is not None and not escaped and not effect.sigma >= 0.99 * reported:
                escaped = True
                message = (
                    f"step {moment.step}: one row with {words} passes the clip: noise multiplier {effect.sigma:.4g} for this "
                    f"row, reported {reported:.4g}"
                )
                yield (
                    Problem("DPA209", Severity.MAJOR, Strength.PROOF, message, reading.line, {"sigma": effect.sigma}),
                    moment,
                    row,
                )


def _nonfinite(moment: Moment) -> Iterator[tuple[Tensor, str]]:
    sizes = moment.geometry.sizes
    singled = sorted({0, len(sizes) // 2, len(sizes) - 1})
    for name, value in _VALUES:
        for layer in singled:
            row = moment.row(RowPattern(kind="equal", norm=10.0)).clone()
            row[sum(sizes[:layer])] = value
            yield row, f"{name} in tensor {layer}"
        yield torch.full_like(moment.row(RowPattern()), value), f"{name} everywhere"


def half_precision(
    open_moment: Callable[[torch.dtype], Moment], beside: Beside, config: RunConfig
) -> Iterator[Problem]:
    """Large finite rows in float16 and bfloat16: a norm that overflows must not let a contribution through the clip.

    Rounding alone (:data:`HALF_TOLERANCE`) is no finding: this run is in float32. A mechanism that cannot run in half
    precision at all is none either.
    """
    raw = config.cell.nonfinite is NonFinite.RAW
    for dtype, tolerance in HALF_TOLERANCE.items():
        try:
            moment = open_moment(dtype)
            reading = moment.reading(beside)
        except (CandidateError, Unreadable):
            continue
        worst = math.inf
        pattern, broken = RowPattern(), False
        for kind in ("equal", "spread", "one_hot"):
            for norm in _HALF_NORMS:
                tried = RowPattern(kind=kind, norm=norm)
                try:
                    effect = moment.effect(beside, moment.row(tried))
                except (CandidateError, Unreadable):
                    continue
                if not effect.finite:
                    broken, pattern = True, tried if not broken else pattern
                elif effect.sigma < worst and effect.noise_ratio is None:
                    worst = effect.sigma
                    pattern = pattern if broken else tried
        name = str(dtype).removeprefix("torch.")
        reported = reading.reported
        excess = reported is not None and not worst >= reported * (1 - tolerance)
        if not excess and not (broken and raw):
            continue
        shown = (
            "the release is not finite" if broken and raw else f"noise multiplier {worst:.4g}, reported {reported:.4g}"
        )
        yield Problem(
            "DPA213",
            Severity.MAJOR if raw else Severity.MINOR,
            Strength.PROOF,
            f"step {moment.step}: with gradients in {name} a finite row passes the clip ({pattern}): {shown}; this run is in "
            "float32",
            reading.line,
            {"dtype": name, "sigma": None if math.isinf(worst) else worst},
        )
