"""The tests of an attack as points beside the trade-off curve that the claim allows."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dpaudit.accounting import tradeoff_curve
from dpaudit.accounting.tradeoff import gaussian_tradeoff
from dpaudit.contract import AttackCurve, AttackPoint, Measurement, RunConfig

from .accountant_family import reach_of
from .planning import Case
from .rectangle import Tally
from .result import EmpiricalResult, Heard

_ALPHAS: NDArray[np.float64] = np.unique(
    np.concatenate([np.linspace(0, 1, 51), np.geomspace(1e-6, 0.1, 31), 1 - np.geomspace(1e-6, 0.1, 31)])
)


def attack_curves(config: RunConfig, measurement: Measurement, result: EmpiricalResult) -> tuple[AttackCurve, ...]:
    """A curve for every mode that was played to a test.

    The curve is a lower bound on the false negative rate of every test against a mechanism that costs the target and whose
    schedule is a multiple of the reported one; where the cell has no such curve, of every mechanism that keeps the target
    (epsilon, delta). Points under it that are explained by chance are no refutation: the limits must be under it, too.
    """
    case = Case.of(config, measurement)
    return tuple(curve for heard in result.heard if heard.tallies for curve in _curve(case, heard))


def _curve(case: Case, heard: Heard) -> Iterator[AttackCurve]:
    words, beta = _claimed(case, heard)
    if beta is None:
        return
    # Where the runs were ended by what they showed, the only bound left is the pair test's own.
    step = heard.mode.mode == "step"
    whole = step or any(bound.method == "clopper_pearson" for bound in heard.bounds)
    level = heard.mode.gate_level if step else heard.mode.gate_level / 2  # of runs the pair tests have the other half
    yield AttackCurve(
        place=heard.mode.mode,
        words=words,
        claimed=tuple((float(alpha), float(value)) for alpha, value in zip(_ALPHAS, beta, strict=True)),
        points=tuple(_point(tally, level, whole) for tally in heard.tallies),
    )


def _point(tally: Tally, level: float, whole: bool) -> AttackPoint:
    rectangle = tally.rectangle(level)
    return AttackPoint(
        false_positive=tally.false_positives / tally.outside,
        false_negative=tally.false_negatives / tally.inside,
        limits=(rectangle.fpr, rectangle.fnr) if whole else None,
        level=level,
    )


def _claimed(case: Case, heard: Heard) -> tuple[str, NDArray[np.float64] | None]:
    config = case.config
    if not case.candidates:
        if heard.mode.mode == "step":
            return "", None
        return f"any mechanism that keeps epsilon {config.target_epsilon:g} at delta {config.target_delta:g}", _free(
            config
        )
    first = case.candidates[0]
    budget = first.budget.without_preparation()
    if heard.mode.mode == "step":
        mu = reach_of(budget) / budget.sigmas[heard.step]
        return (
            f"step {heard.step} of the {first.name} schedule at the noise that costs the target",
            gaussian_tradeoff(_ALPHAS, mu),
        )
    return (
        f"the {first.name} schedule at the noise that costs the target",
        tradeoff_curve(budget, _ALPHAS, pessimistic=True),
    )


def _free(config: RunConfig) -> NDArray[np.float64]:
    """The trade-off curve of (epsilon, delta) itself."""
    epsilon, delta = min(config.target_epsilon, 700.0), config.target_delta
    growth = math.exp(epsilon)
    one, other = 1 - delta - growth * _ALPHAS, (1 - delta - _ALPHAS) / growth
    return np.asarray(np.maximum(0.0, np.maximum(one, other)))
