"""A release that is one exact value again and again with a row, and never without it, or the other way round.

Gaussian noise gives no value twice. Where a mechanism withholds an update, sends zeros in its place or repeats one, by a look at
private data, that value is an event which data alone decide. No noise has to be read for that: releases are counted.

Notation: E the event "the release is v, bit for bit" (or "is not v"), of one tensor or of all; q the probability that the row is
in the batch of that step; l a lower bound of the probability of E on D' if the row is in the batch, u an upper bound of it on D,
both Clopper-Pearson at half the level. D is rows of zeros alone; their number in a batch is drawn as the sampler draws it, in
every trial. Since P(E on D') >= q l, a mechanism with (epsilon, delta) has q l <= exp(epsilon) u + delta. Derived here.

E and the row are chosen on some trials, and counted on others with fresh generators, so that the level needs no
correction for the choice.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scipy.stats import beta

from dpaudit.contract import (
    AuditBrokenError,
    Finding,
    PlainData,
    Relation,
    RunConfig,
    Sampler,
    Severity,
    Strength,
    plain_number,
)
from dpaudit.probe import MechanismSource
from dpaudit.probe.problem import Problem
from dpaudit.probe.sandbox import ask

from .request import request_of
from .support_event import inclusion_probability

LEVEL = 1e-6
"""That of every refutation by counting: the chance that one is wrong."""

TIME_LIMIT = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactValueCounts:
    """What the worker counted; ``failed`` says why there is nothing.

    Attributes:
        step: at whose release was looked.
        tensor: which released tensor, -1 for all of them together.
        present: whether E is "the release is v"; otherwise it is "the release is not v".
        zeros: whether v is zero in every coordinate.
        row: of D', in words.
        line: executed on D' where E happened, and never on D.
        without, with_row: (trials, trials with E) on D, and on D' with the row in the batch of that step.
    """

    failed: str = ""
    step: int = 0
    tensor: int = -1
    present: bool = True
    zeros: bool = False
    row: str = ""
    line: int | None = None
    without: tuple[int, int] = (0, 0)
    with_row: tuple[int, int] = (0, 0)


def exact_value_findings(source: MechanismSource, config: RunConfig, time_limit: float) -> tuple[Finding, ...]:
    """One finding DPA220 if counted releases refute the target, else none.

    Guarantee: a mechanism that keeps (target_epsilon, target_delta) under the run's sampler, at the shapes tried, is refuted with
    probability at most :data:`LEVEL`.

    Assumptions: the mechanism's draws in different trials are independent (its generators are reseeded for each).

    Raises:
        AuditBrokenError: the counting itself failed, or its answer is malformed.
    """
    counts = count_exact_values(source, config, time_limit)
    if counts.failed:
        return ()
    evidence = evidence_of(counts, config)
    if tuple(faults_in(evidence, config)):
        return ()
    return (
        Finding(
            rule="DPA220",
            severity=Severity.CRITICAL,
            strength=Strength.STATISTICAL,
            message=_words(counts, evidence, config),
            file=source.path,
            line=counts.line,
            evidence=evidence,
        ),
    )


def asked_of(config: RunConfig) -> bool:
    """Whether the cell is one that the derivation covers: independent rows, neighbours with and without a row."""
    sampled = config.cell.sampler in {Sampler.POISSON, Sampler.TRUNCATED_POISSON}
    return sampled and config.cell.relation is not Relation.REPLACE_ONE and not config.preparation


def count_exact_values(source: MechanismSource, config: RunConfig, time_limit: float = TIME_LIMIT) -> ExactValueCounts:
    """Count in a process of its own.

    Raises:
        AuditBrokenError: the counting itself failed, or its answer is malformed.
    """
    if not asked_of(config):
        return ExactValueCounts(failed=f"not asked under {config.cell}")
    request = request_of(source, config, time_limit=min(time_limit, TIME_LIMIT))
    answer = ask("dpaudit.properties.exact_value_worker", request)
    if isinstance(answer, Problem):
        return ExactValueCounts(failed=answer.message)
    try:
        return _decoded(answer, config)
    except (KeyError, TypeError, ValueError) as error:
        raise AuditBrokenError(f"properties: invalid counts of releases for {request.path}: {error}") from error


def trials_needed(config: RunConfig, share: float) -> int:
    """Trials on D, all without E, with which a share of E on D' refutes the target with a fifth to spare.

    Raises:
        ValueError: no number of trials can.
    """
    room = inclusion_probability(config) * share - config.target_delta
    if not room > 0:
        raise ValueError(f"a share of {share:g} in batches that hold the row is within delta")
    return math.ceil(1.2 * math.exp(min(config.target_epsilon, 500.0)) * -math.log(LEVEL / 2) / room)


def evidence_of(counts: ExactValueCounts, config: RunConfig) -> dict[str, PlainData]:
    """The counts, and what follows from them."""
    upper, lower = _upper(*counts.without), _lower(*counts.with_row)
    return {
        "step": counts.step,
        "tensor": counts.tensor,
        "present": counts.present,
        "zeros": counts.zeros,
        "row": counts.row,
        "level": LEVEL,
        "method": "Clopper-Pearson on releases counted afresh",
        "cell": str(config.cell),
        "inclusion": inclusion_probability(config),
        "trials_without": counts.without[0],
        "hits_without": counts.without[1],
        "trials_with": counts.with_row[0],
        "hits_with": counts.with_row[1],
        "chance_without_at_most": upper,
        "chance_with_at_least": lower,
        "epsilon_lower": plain_number(_epsilon(upper, lower, config)),
        "target": config.target_epsilon,
    }


def faults_in(evidence: Mapping[str, Any], config: RunConfig) -> list[str]:
    """Why an evidence of this kind does not refute the target; empty if it does. Works from the counts alone."""
    trials, hits = int(evidence["trials_without"]), int(evidence["hits_without"])
    trials_with, hits_with = int(evidence["trials_with"]), int(evidence["hits_with"])
    faults = []
    if not (0 <= hits <= trials and 0 <= hits_with <= trials_with and trials > 0 and trials_with > 0):
        return [f"{hits} of {trials} and {hits_with} of {trials_with} are no counts"]
    if not asked_of(config):
        faults.append(f"the derivation does not cover {config.cell}")
    if evidence["cell"] != str(config.cell) or not 0 < float(evidence["level"]) <= LEVEL:
        faults.append(f"it is of {evidence['cell']} at level {evidence['level']!r}")
    epsilon = _epsilon(_upper(trials, hits), _lower(trials_with, hits_with), config)
    if not math.isclose(float(evidence["epsilon_lower"]), epsilon, rel_tol=1e-6):
        faults.append(f"its counts give epsilon {epsilon!r}, not {evidence['epsilon_lower']!r}")
    if not epsilon > config.target_epsilon:
        faults.append(f"epsilon {epsilon:.4g} is not above the target {config.target_epsilon:g}")
    return faults


def _epsilon(upper: float, lower: float, config: RunConfig) -> float:
    """The largest epsilon that is refuted at the target's delta; 0 if none is."""
    room = inclusion_probability(config) * lower - config.target_delta
    return max(0.0, math.log(room / upper)) if room > 0 else 0.0


def _upper(trials: int, hits: int) -> float:
    return 1.0 if hits >= trials else float(beta.isf(LEVEL / 2, hits + 1, trials - hits))


def _lower(trials: int, hits: int) -> float:
    return 0.0 if hits <= 0 else float(beta.ppf(LEVEL / 2, hits, trials - hits + 1))


def _words(counts: ExactValueCounts, evidence: Mapping[str, PlainData], config: RunConfig) -> str:
    what = "the whole release" if counts.tensor < 0 else f"released tensor {counts.tensor}"
    value = "zero in every coordinate" if counts.zeros else "one and the same value, bit for bit"
    event = f"{what} is {'' if counts.present else 'NOT '}{value}"
    epsilon = evidence["epsilon_lower"]
    assert isinstance(epsilon, float)
    return (
        f"step {counts.step}: {event} in {counts.with_row[1]} of {counts.with_row[0]} releases of batches that hold one row "
        f"({counts.row}) beside rows of zeros, and in {counts.without[1]} of {counts.without[0]} without it: whether an update "
        f"is released depends on the row. A row is in {evidence['inclusion']:.4g} of batches, which costs "
        f"epsilon >= {epsilon:.4g} at delta {config.target_delta:g} (level {LEVEL:g}); the target is {config.target_epsilon:g}"
    )


def _decoded(answer: Any, config: RunConfig) -> ExactValueCounts:
    if answer["failed"]:
        return ExactValueCounts(failed=str(answer["failed"])[:2000])
    step, tensor, line = answer["step"], answer["tensor"], answer["line"]
    if type(step) is not int or not 0 <= step < config.total_steps:
        raise ValueError(f"step: expected one of the run, got {step!r:.40}")
    if type(tensor) is not int or not -1 <= tensor < len(config.parameter_shapes):
        raise ValueError(f"tensor: expected the number of a parameter or -1, got {tensor!r:.40}")
    if line is not None and type(line) is not int:
        raise ValueError(f"line: expected a number or nothing, got {line!r:.40}")
    pairs = [(answer[name][0], answer[name][1]) for name in ("without", "with_row")]
    if not all(type(n) is int and type(k) is int and 0 <= k <= n and n > 0 for n, k in pairs):
        raise ValueError(f"expected counts of trials, got {pairs!r:.80}")
    if type(answer["present"]) is not bool or type(answer["zeros"]) is not bool:
        raise ValueError("present, zeros: expected true or false")
    return ExactValueCounts(
        step=step,
        tensor=tensor,
        present=answer["present"],
        zeros=answer["zeros"],
        row=str(answer["row"])[:200],
        line=line,
        without=pairs[0],
        with_row=pairs[1],
    )
