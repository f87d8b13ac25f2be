"""The author's claim against what was measured: rule DPA218, and joint figures for correlated noise."""

import math

import numpy as np
import numpy.typing as npt

from dpaudit.accounting import epsilon_bracket
from dpaudit.contract import Cell, EventTrace, NoiseClass, RunConfig, Severity, Strength

from .coupling import DrawsDiffer, Reader
from .joint_model import JointDistance, JointModel, joint_distance, read_joint_model
from .loading import describe, line_of
from .privacy_events import Claim, CorrelatedClaim, InvalidClaim, parse_claim
from .problem import Problem
from .survey import Survey

TOLERANCE = 1e-5
"""Relative gap between a claimed and a measured multiplier that is rounding."""
_UNDER = 1e-2
_WINDOW = 8
_Matrix = npt.NDArray[np.float64]


def check_claim(config: RunConfig, reader: Reader, survey: Survey) -> None:
    """Load ``privacy_events()`` if the class has it and hold it against the survey; account correlated noise jointly."""
    claim, line = _load(config, reader, survey)
    correlated = NoiseClass.CORRELATED in survey.classes
    if correlated or (claim is not None and claim.correlated is not None):
        _jointly(config, reader, survey, None if claim is None else claim.correlated, line)
    if claim is None or claim.multipliers is None:
        return
    if correlated:
        _disagree(survey, "claims noise of each step on its own; what was measured is correlated over steps", line)
        return
    _step_by_step(survey, claim.multipliers, line)


def _load(config: RunConfig, reader: Reader, survey: Survey) -> tuple[Claim | None, int | None]:
    method = getattr(reader.session.instance, "privacy_events", None)
    if method is None:
        return None, None
    line = getattr(getattr(method, "__code__", None), "co_firstlineno", None)
    try:
        return parse_claim(method(), config.total_steps), line
    except InvalidClaim as error:
        _disagree(survey, f"cannot be read: {error}", line)
    except Exception as error:
        _disagree(survey, f"raised {describe(error)}", line_of(error, reader.session.candidate.path) or line)
    return None, line


def _step_by_step(survey: Survey, claimed: tuple[float, ...], line: int | None) -> None:
    unread = [step for step, sigma in enumerate(survey.measured) if sigma is None]
    if unread:
        _disagree(
            survey, f"cannot be confirmed: no multiplier was read at {len(unread)} steps, first {unread[0]}", line
        )
        return
    measured = [math.nan if sigma is None else sigma for sigma in survey.measured]
    over = [step for step, told in enumerate(claimed) if not told <= measured[step] * (1 + TOLERANCE)]
    if over:
        step = over[0]
        _disagree(
            survey,
            f"claims noise multiplier {claimed[step]:.6g} at step {step}, measured was {measured[step]:.6g}; it claims more "
            f"than was measured at {len(over)} of {len(claimed)} steps",
            line,
            strength=Strength.PROOF if survey.demonstrated else Strength.HEURISTIC,
        )
        return
    under = [step for step, told in enumerate(claimed) if told < measured[step] * (1 - _UNDER)]
    if under:
        step = under[0]
        message = f"claims noise multiplier {claimed[step]:.6g} at step {step}, measured was {measured[step]:.6g}"
        _disagree(survey, f"{message}: less than there is", line, severity=Severity.MINOR)
    else:
        survey.checks.append("privacy_events() agrees with what was measured at every step")


def _jointly(
    config: RunConfig, reader: Reader, survey: Survey, claim: CorrelatedClaim | None, line: int | None
) -> None:
    steps = list(range(min(_WINDOW, config.total_steps)))
    epochs = [config.epoch_of(step) for step in steps]
    try:
        model = read_joint_model(reader, steps, epochs, survey.canary)
    except DrawsDiffer:
        model = None
    if model is None:
        if claim is not None:
            _disagree(
                survey, "claims correlated noise, but no joint linear model of the first steps could be read", line
            )
        return
    patterns = {(0,), tuple(steps)} | ({claim.pattern(len(steps))} if claim is not None else set())
    for pattern in sorted(patterns):
        distance = joint_distance(reader, model, pattern)
        if distance is None:
            continue
        survey.notes.append(_in_words(config, reader, distance))
        if claim is not None and pattern == claim.pattern(len(steps)):
            _compare(survey, reader, distance, claim, line)
    if claim is not None:
        _compare_matrix(survey, reader, model, claim, line)


def _in_words(config: RunConfig, reader: Reader, distance: JointDistance) -> str:
    mu = distance.mu / reader.neighbours.reach
    if math.isfinite(mu) and mu > 0 and config.target_delta > 0:
        trace = EventTrace(cell=Cell(), sampling_probability=1.0, sigmas=(1 / distance.mu,))
        upper = epsilon_bracket(trace, config.target_delta).upper
        cost = "" if upper is None else f", epsilon {upper:.4g} at delta {config.target_delta:g}"
    else:
        cost = ""
    return (
        f"joint account of the first {distance.steps} steps, for a row that takes part at steps {list(distance.pattern)}, not "
        f"amplified by sampling: mu {mu:.6g} (noise multiplier {1 / mu if mu else math.inf:.6g}{cost})"
    )


def _compare(survey: Survey, reader: Reader, distance: JointDistance, claim: CorrelatedClaim, line: int | None) -> None:
    mu = distance.mu / reader.neighbours.reach
    told = claimed_mu(claim, distance.steps, distance.pattern)
    if not mu <= told * (1 + 1e-3):
        _disagree(
            survey,
            f"claims mu {told:.6g} for a row that takes part at steps {list(distance.pattern)}; measured was {mu:.6g}",
            line,
            strength=Strength.PROOF,
        )


def _compare_matrix(
    survey: Survey, reader: Reader, model: JointModel, claim: CorrelatedClaim, line: int | None
) -> None:
    """The claimed correlation of the noise of two steps against the one that was read, for one coordinate."""
    steps = len(model.states)
    covariance = (model.matrix @ model.matrix.T).numpy()
    size = model.states[0].release.numel()
    seen = covariance[::size, ::size]
    told = claim.matrix[:steps, :steps] @ claim.matrix[:steps, :steps].T
    apart = np.abs(_correlation(seen) - _correlation(told)).max()
    if not apart <= 1e-4:
        _disagree(
            survey, f"claims another correlation of the noise over steps than was read (largest gap {apart:.3g})", line
        )


def claimed_mu(claim: CorrelatedClaim, steps: int, pattern: tuple[int, ...]) -> float:
    """mu of the claimed noise for a row whose contributions at ``pattern`` all point one way and have norm 1."""
    change = np.zeros(steps)
    change[list(pattern)] = 1.0
    return float(np.linalg.norm(np.linalg.solve(claim.matrix[:steps, :steps], change)))


def _correlation(covariance: _Matrix) -> _Matrix:
    deviations = np.sqrt(np.diag(covariance))
    correlation: _Matrix = covariance / np.outer(deviations, deviations)
    return correlation


def _disagree(
    survey: Survey,
    message: str,
    line: int | None,
    *,
    severity: Severity = Severity.MAJOR,
    strength: Strength = Strength.HEURISTIC,
) -> None:
    survey.add(Problem("DPA218", severity, strength, f"privacy_events() {message}", line))
