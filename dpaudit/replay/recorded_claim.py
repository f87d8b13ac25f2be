"""What a record says of its accountant, of other releases beside its updates, and of a choice among several runs."""

import math
from collections.abc import Iterator

from dpaudit.contract import Bracket, Finding, OtherRelease, RecordedRun, RunConfig, Severity, Strength, plain_number

from .recorded_noise import noise_findings, ran_schedule, recorded_bracket
from .recorded_sampler import sampler_findings

_TOLERANCE = 1e-3
"""Relative gap between a stated epsilon and a proved lower end that rounding of a printed number explains."""


def recorded_findings(config: RunConfig, record: RecordedRun, *, file: str) -> Iterator[Finding]:
    """Everything in which a recorded run contradicts its own claim.

    Guarantee: a CRITICAL finding carries the numbers of a schedule that is on record and whose proved lower end exceeds the
    target, noise that is on record twice, or a private value that is on record as released exactly.
    Assumptions: the record is true; nothing in it acquits.
    """
    yield from noise_findings(config, record, file=file)
    yield from sampler_findings(config, record, file=file)
    yield from _accountant(config, record, file)
    yield from _others(config, record, file)
    yield from _selection(config, record, file)


def _accountant(config: RunConfig, record: RecordedRun, file: str) -> Iterator[Finding]:
    """The stated epsilon against what the very schedule costs of which the accountant was told."""
    told = tuple(step.told for step in record.steps if step.told is not None)
    if record.claimed_epsilon is None or len(told) != len(record.steps):
        return
    bracket = recorded_bracket(config, told)
    if bracket is None or bracket.lower is None or not bracket.lower > record.claimed_epsilon * (1 + _TOLERANCE):
        return
    over = bracket.lower > config.target_epsilon
    name = record.accountant or "the run's accountant"
    yield Finding(
        rule="DPA401",
        severity=Severity.CRITICAL if over else Severity.MAJOR,
        strength=Strength.PROOF,
        message=(
            f"{name} states epsilon {record.claimed_epsilon:.4g} for the schedule that it was told, which costs epsilon >= "
            f"{bracket.lower:.4g} ({config.cell}, delta {config.target_delta:g}; the target is {config.target_epsilon:g})"
        ),
        file=file,
        evidence={
            "claimed": record.claimed_epsilon,
            "epsilon_lower": plain_number(bracket.lower),
            "method": bracket.lower_method,
            "accountant": record.accountant,
        },
    )


def _others(config: RunConfig, record: RecordedRun, file: str) -> Iterator[Finding]:
    """Releases beside the updates: what was charged must fit into the target with them, and the rest had to be charged."""
    charged = [other for other in record.other_releases if other.charged and other.noise_multiplier > 0]
    together = _with_others(config, record, charged)
    if charged and together is not None and together.lower is not None and together.lower > config.target_epsilon:
        yield Finding(
            rule="DPA405",
            severity=Severity.CRITICAL,
            strength=Strength.PROOF,
            message=(
                f"the updates and {'; '.join(o.what for o in charged)} cost epsilon >= {together.lower:.4g} together; the target "
                f"is {config.target_epsilon:g}"
            ),
            file=file,
            evidence={"epsilon_lower": plain_number(together.lower), "target": config.target_epsilon},
        )
    uncharged = [other for other in record.other_releases if not other.charged]
    if not uncharged:
        return
    exact = next((other for other in uncharged if other.noise_multiplier == 0), None)
    if exact is not None:
        yield Finding(
            rule="DPA408",
            severity=Severity.CRITICAL,
            strength=Strength.PROOF,
            message=f"{exact.what} left the run exactly, without noise: whatever is released exactly can be read back",
            file=file,
            evidence={"what": exact.what, "noise_multiplier": 0.0},
        )
        return
    everything = _with_others(config, record, [*charged, *uncharged])
    yield _uncharged(config, everything, f"{'; '.join(o.what for o in uncharged)}: released and not charged", file)


def _with_others(config: RunConfig, record: RecordedRun, others: list[OtherRelease]) -> Bracket | None:
    schedule = ran_schedule(config, record)
    if schedule is None:
        return None
    further = tuple(o.noise_multiplier for o in others for _ in range(o.steps or 0))
    whole = tuple(o.noise_multiplier for o in others if o.steps is None)
    return recorded_bracket(config, (*schedule, *further), preparation=whole)


def _selection(config: RunConfig, record: RecordedRun, file: str) -> Iterator[Finding]:
    """Several runs of which one was charged. A lower end follows only where the results of all of them left."""
    selection = record.selection
    if selection is None or selection.charged or selection.candidates < 2:
        return
    what = f"{selection.candidates} candidates were trained on the private data, and one was charged"
    if not selection.all_released:
        yield _uncharged(config, None, f"{what}; which one was chosen is a release of all of them", file)
        return
    schedule = ran_schedule(config, record)
    bracket = None if schedule is None else recorded_bracket(config, schedule * selection.candidates)
    yield _uncharged(config, bracket, f"{what}; results of all of them left the run", file)


def _uncharged(config: RunConfig, bracket: Bracket | None, what: str, file: str) -> Finding:
    lower = None if bracket is None else bracket.lower
    over = lower is not None and lower > config.target_epsilon and not math.isnan(lower)
    cost_words = "" if lower is None else f"; together epsilon >= {lower:.4g}, the target is {config.target_epsilon:g}"
    return Finding(
        rule="DPA408",
        severity=Severity.CRITICAL if over else Severity.MAJOR,
        strength=Strength.PROOF,
        message=what + cost_words,
        file=file,
        evidence={"target": config.target_epsilon, "epsilon_lower": None if lower is None else plain_number(lower)},
    )
