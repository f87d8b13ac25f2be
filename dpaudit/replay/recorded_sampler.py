"""Does a record show the sampler that it declares, and the sampler that its accountant assumed?

Under Poisson sampling the sizes of batches are independent binomial numbers. Three tests at :data:`LEVEL` in all: the sum of
the sizes (exact binomial law); their distribution (Dvoretzky, Kiefer and Wolfowitz's inequality with Massart's constant 1990,
which holds for discrete laws too); and, where examples are named, that no example is drawn twice in an epoch.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dpaudit.accounting import epsilon_bracket
from dpaudit.contract import (
    Bracket,
    Cell,
    EventTrace,
    Finding,
    RecordedRun,
    Relation,
    Rows,
    RunConfig,
    Sampler,
    Severity,
    Strength,
    plain_number,
)

from .recorded_noise import ran_schedule, recorded_bracket

LEVEL = 1e-6
"""Probability with which an honest Poisson record fails, over all tests together."""

_TESTS = 3
_FEWEST = 2


def sampler_findings(config: RunConfig, record: RecordedRun, *, file: str) -> Iterator[Finding]:
    """What a record says against its sampler."""
    yield from _assumed(config, record, file)
    if config.cell.sampler is not Sampler.POISSON:
        return
    yield from _refuted(config, record, file)


def _assumed(config: RunConfig, record: RecordedRun, file: str) -> Iterator[Finding]:
    """What the accountant was told of sampler, q and steps, against what the record declares."""
    told: list[str] = []
    if record.accounted_sampler is not None and record.accounted_sampler is not config.cell.sampler:
        told.append(f"sampler {record.accounted_sampler} (it is {config.cell.sampler})")
    q = record.accounted_probability
    if q is not None and not math.isclose(q, config.sampling_probability, rel_tol=1e-6):
        told.append(f"sampling probability {q:.6g} (it is {config.sampling_probability:.6g})")
    if record.accounted_steps is not None and record.accounted_steps != len(record.steps):
        told.append(f"{record.accounted_steps} steps (there are {len(record.steps)})")
    if not told:
        return
    own = recorded_bracket(config, ran_schedule(config, record))
    yield _finding(config, f"the accountant was told of {'; '.join(told)}", own, Strength.PROOF, file)


def _refuted(config: RunConfig, record: RecordedRun, file: str) -> Iterator[Finding]:
    sizes = [step.rows for step in record.steps]
    if len(sizes) >= _FEWEST and all(size is not None for size in sizes):
        counts = np.array([size for size in sizes if size is not None])
        yield from _sizes(config, record, counts, file)
    epochs = _epochs(config, record)
    if epochs is not None:
        yield from _no_repeats(config, record, epochs, file)


def _sizes(config: RunConfig, record: RecordedRun, counts: NDArray[np.int64], file: str) -> Iterator[Finding]:
    q, size, steps = config.sampling_probability, config.dataset_size, len(counts)
    total = int(counts.sum())
    law = stats.binom(size * steps, q)
    p_total = min(1.0, 2 * min(float(law.cdf(total)), float(law.sf(total - 1))))
    if p_total <= LEVEL / _TESTS:
        low = float(stats.beta.ppf(LEVEL / _TESTS, total, size * steps - total + 1)) if total else 0.0
        own = None
        if low > q:
            own = recorded_bracket(replace(config, expected_batch=min(low, 1.0) * size), ran_schedule(config, record))
        yield _finding(
            config,
            f"{total} examples were drawn in {steps} steps; Poisson sampling at q = {q:.6g} draws {q * size * steps:.6g} on "
            f"average (p = {p_total:.2g}), and q is at least {low:.6g} at level {LEVEL / _TESTS:.2g}",
            own,
            Strength.STATISTICAL,
            file,
        )
    values = np.unique(counts)
    empirical = np.searchsorted(np.sort(counts), values, side="right") / steps
    below = np.searchsorted(np.sort(counts), values, side="left") / steps
    one = stats.binom(size, q)
    gap = float(max(np.abs(empirical - one.cdf(values)).max(), np.abs(below - one.cdf(values - 1)).max()))
    p_sizes = min(1.0, 2 * math.exp(-2 * steps * gap**2))
    if p_sizes <= LEVEL / _TESTS:
        yield _finding(
            config,
            f"the sizes of the {steps} batches ({int(values[0])} to {int(values[-1])}) are not binomial as under Poisson "
            f"sampling (largest gap of the distributions {gap:.3g}, p <= {p_sizes:.2g})",
            None,
            Strength.STATISTICAL,
            file,
        )


def _epochs(config: RunConfig, record: RecordedRun) -> list[list[int]] | None:
    """The examples of each epoch, if all are named."""
    drawn = [step.examples for step in record.steps]
    if any(examples is None for examples in drawn):
        return None
    length = config.steps_per_epoch
    return [
        [example for examples in drawn[start : start + length] for example in examples or ()]
        for start in range(0, len(drawn), length)
    ]


def _no_repeats(config: RunConfig, record: RecordedRun, epochs: list[list[int]], file: str) -> Iterator[Finding]:
    """No example twice in any epoch: a shuffle, whose own lower end then counts. Never so by chance under Poisson sampling."""
    if any(len(set(drawn)) != len(drawn) for drawn in epochs):
        return
    q, steps = config.sampling_probability, config.steps_per_epoch
    at_most_once = steps * math.log1p(-q) if q < 1 else -math.inf
    if q < 1 and steps * q > 0:
        at_most_once += math.log1p(steps * q / (1 - q))
    log_p = config.dataset_size * len(epochs) * at_most_once
    if not log_p <= math.log(LEVEL / _TESTS):
        return
    own, words = _as_shuffled(config, record)
    yield _finding(
        config,
        f"no example is drawn twice in any of {len(epochs)} epochs: probability e^{log_p:.4g} under Poisson sampling{words}",
        own,
        Strength.STATISTICAL,
        file,
    )


def _as_shuffled(config: RunConfig, record: RecordedRun) -> tuple[Bracket | None, str]:
    """The bracket of the record's batches as a shuffle, zero_out; in words which.

    Where every epoch has the same batches in the same order, a row's slot is the same in all of them: the mean of a slot's
    releases over the epochs, weighted by 1/sigma^2, is post-processing, and is a release of one epoch at
    sigma = (sum over epochs of sigma^-2)^(-1/2).
    """
    sizes, schedule = {step.rows for step in record.steps}, ran_schedule(config, record)
    size, length = next(iter(sizes)), config.steps_per_epoch
    if len(sizes) != 1 or not size or schedule is None or size * length > config.dataset_size:
        return None, ""
    batches = [frozenset(step.examples or ()) for step in record.steps]
    repeated = config.epochs > 1 and all(batches[at] == batches[at % length] for at in range(len(batches)))
    if repeated:
        joint = [
            math.fsum(sigma**-2 if sigma else math.inf for sigma in schedule[slot::length]) for slot in range(length)
        ]
        schedule = tuple(total**-0.5 if total else math.inf for total in joint)
    trace = EventTrace(
        cell=Cell(sampler=Sampler.SHUFFLE, relation=Relation.ZERO_OUT, rows=Rows.CONSTANT),
        sampling_probability=size / config.dataset_size,
        sigmas=schedule,
        steps_per_epoch=length,
        batch_size=size,
        dataset_size=config.dataset_size,
    )
    how = "the same batches in the same order every epoch" if repeated else "shuffled batches"
    return epsilon_bracket(trace, config.target_delta), f" (accounted as {how}, zero_out)"


def _finding(config: RunConfig, what: str, own: Bracket | None, strength: Strength, file: str) -> Finding:
    """DPA402; a witness where what ran, as the record shows it, costs more than the target."""
    lower = None if own is None else own.lower
    over = lower is not None and lower > config.target_epsilon
    spent = f"; what ran costs epsilon >= {lower:.4g}, the target is {config.target_epsilon:g}" if over else ""
    return Finding(
        rule="DPA402",
        severity=Severity.CRITICAL if over else Severity.MAJOR,
        strength=strength,
        message=f"{what}{spent}",
        file=file,
        evidence={
            "level": LEVEL,
            "target": config.target_epsilon,
            "epsilon_lower": None if lower is None else plain_number(lower),
        },
    )
