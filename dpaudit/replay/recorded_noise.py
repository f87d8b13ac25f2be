"""What a record says of the noise itself: less than the accountant was told, none at all, or the same twice."""

import math
from collections.abc import Iterator
from dataclasses import replace

from dpaudit.accounting import epsilon_bracket
from dpaudit.contract import (
    Bracket,
    EventTrace,
    Finding,
    RecordedRun,
    RecordedStep,
    RunConfig,
    Sampler,
    Severity,
    Strength,
    UnsupportedCellError,
    plain_number,
)

from .schedules import SIGMA_TOLERANCE


def ran_sigma(step: RecordedStep, bound: float) -> float | None:
    """Noise multiplier with which a step ran, as far as it is on record.

    Equal noise vectors of several processes add up as one (their standard deviations do), different ones as independent ones
    (their variances do).
    """
    if step.ranks:
        groups: dict[str, float] = {}
        for place, rank in enumerate(step.ranks):
            key = f"own {place}" if rank.noise_id is None else f"id {rank.noise_id}"
            groups[key] = groups.get(key, 0.0) + rank.noise_std
        return math.sqrt(math.fsum(std**2 for std in groups.values())) / bound
    return step.told if step.ran is None else step.ran


def ran_schedule(config: RunConfig, record: RecordedRun) -> tuple[float, ...] | None:
    """Noise multipliers of the updates that left the run; ``inf`` for one that did not, ``None`` if one is not on record."""
    schedule = []
    for step in record.steps:
        sigma = ran_sigma(step, config.max_grad_norm) if step.released else math.inf
        if sigma is None:
            return None
        schedule.append(sigma)
    return tuple(schedule)


def recorded_bracket(
    config: RunConfig, sigmas: tuple[float, ...] | None, *, preparation: tuple[float, ...] = ()
) -> Bracket | None:
    """Bracket of a schedule in the run's cell, with releases of the whole data set beside it; ``None`` where none is known.

    The schedule may have more steps than the run (further releases on batches drawn alike), or fewer (it was interrupted).
    """
    shuffled = config.cell.sampler is Sampler.SHUFFLE
    if not sigmas or (shuffled and (preparation or len(sigmas) != config.total_steps)):
        return None
    whole = (*sigmas[: config.total_steps], *(math.inf,) * (config.total_steps - len(sigmas)))
    trace = replace(
        EventTrace.of_run(config, whole),
        sigmas=sigmas,
        preparation=(*config.preparation, *preparation),
    )
    try:
        return epsilon_bracket(trace, config.target_delta)
    except UnsupportedCellError:
        return None


def noise_findings(config: RunConfig, record: RecordedRun, *, file: str) -> Iterator[Finding]:
    """What the record says of the noise of its steps.

    Assumptions: every number is the recorder's word. A record that convicts itself is a witness; another proves nothing.
    """
    yield from _reused(record, file)
    schedule = ran_schedule(config, record)
    bracket = recorded_bracket(config, schedule)
    over = bracket is not None and bracket.lower is not None and bracket.lower > config.target_epsilon
    severity = Severity.CRITICAL if over else Severity.MAJOR
    spent = (
        ""
        if not over or bracket is None or bracket.lower is None
        else f"; what ran costs epsilon >= {bracket.lower:.4g}"
    )
    evidence = {"target": config.target_epsilon, **({"epsilon_lower": _plain(bracket)} if over else {})}
    uncharged = [number for number, step in enumerate(record.steps) if step.told is None and step.released]
    if uncharged:
        yield Finding(
            rule="DPA408",
            severity=severity,
            strength=Strength.PROOF,
            message=(
                f"{len(uncharged)} of {len(record.steps)} steps released an update of which the accountant was told nothing, "
                f"first step {uncharged[0]}{spent}; the target is {config.target_epsilon:g}"
            ),
            file=file,
            evidence={**evidence, "steps": len(uncharged), "first": uncharged[0]},
        )
    hidden = [number for number, step in enumerate(record.steps) if not step.released]
    if hidden and any(record.steps[number].told is None for number in hidden):
        yield Finding(
            rule="DPA408",
            severity=Severity.MAJOR,
            strength=Strength.PROOF,
            message=(
                f"{len(hidden)} of {len(record.steps)} steps looked at private data and were then thrown away, first step "
                f"{hidden[0]}, without a charge: that a step was thrown away is itself a release"
            ),
            file=file,
            evidence={"steps": len(hidden), "first": hidden[0]},
        )
    yield from _less_than_told(config, record, severity, spent, file)


def _less_than_told(
    config: RunConfig, record: RecordedRun, severity: Severity, spent: str, file: str
) -> Iterator[Finding]:
    less = []
    for number, step in enumerate(record.steps):
        ran = ran_sigma(step, config.max_grad_norm)
        if step.told is not None and ran is not None and not step.told <= ran * (1 + SIGMA_TOLERANCE):
            less.append((number, step.told, ran))
    if not less:
        return
    number, told, ran = max(less, key=lambda item: item[1] / item[2] if item[2] else math.inf)
    yield Finding(
        rule="DPA403",
        severity=severity,
        strength=Strength.PROOF,
        message=(
            f"the accountant was told of more noise than ran at {len(less)} of {len(record.steps)} steps; widest at step "
            f"{number}: told {told:.6g}, ran with {ran:.6g}{spent}"
        ),
        file=file,
        evidence={"step": number, "reported": told, "applied": ran, "steps": len(less)},
    )


def _reused(record: RecordedRun, file: str) -> Iterator[Finding]:
    """The same noise at two steps, or at two processes whose updates are seen one by one."""
    seen: dict[str, str] = {}
    for number, step in enumerate(record.steps):
        if not step.released:
            continue
        own = [] if step.noise_id is None else [(step.noise_id, f"step {number}")]
        several = {
            rank.noise_id: f"step {number}, process {rank.rank}" for rank in step.ranks if rank.noise_id is not None
        }
        if record.releases_per_rank:
            own += [(r.noise_id, f"step {number}, process {r.rank}") for r in step.ranks if r.noise_id is not None]
        else:
            own += list(several.items())
        for noise_id, place in own:
            if noise_id in seen:
                yield Finding(
                    rule="DPA205",
                    severity=Severity.CRITICAL,
                    strength=Strength.PROOF,
                    message=(
                        f"the noise of {place} is that of {seen[noise_id]}: the difference of the two releases holds no noise"
                    ),
                    file=file,
                    evidence={"first": seen[noise_id], "again": place, "noise_id": noise_id[:80]},
                )
                return
            seen[noise_id] = place


def _plain(bracket: Bracket | None) -> float | str | None:
    return None if bracket is None or bracket.lower is None else plain_number(bracket.lower)
