"""What a recorded Opacus run shows before anything of it is examined: sampler, accountant history, normaliser, settings."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from dpaudit.contract import Finding, Relation, RunConfig, Sampler, Severity, Strength


def findings_of(
    facts: Mapping[str, Any], engine: Mapping[str, Any], optimizer: Mapping[str, Any], config: RunConfig, file: str
) -> tuple[Finding, ...]:
    """Findings with their line: the call of ``make_private``."""

    def finding(
        rule: str, severity: Severity, message: str, strength: Strength = Strength.PROOF, **evidence: Any
    ) -> Finding:
        return Finding(
            rule=rule,
            severity=severity,
            strength=strength,
            message=message,
            file=file,
            line=engine["line"],
            evidence=evidence,
        )

    return tuple(
        finding(rule, severity, message, strength, **evidence)
        for rule, severity, strength, message, evidence in (
            *_sampler(config, engine),
            *_history(facts, config),
            *_normaliser(engine, optimizer, config),
            *_moved(facts, optimizer),
            *_virtual(facts),
            *_generator(engine),
            *_gradients(facts),
            *_applied(facts),
        )
    )


_Found = tuple[str, Severity, Strength, str, dict[str, Any]]


def _sampler(config: RunConfig, engine: Mapping[str, Any]) -> Iterator[_Found]:
    if config.cell.sampler is not Sampler.SHUFFLE:
        return
    yield (
        "DPA402",
        Severity.MAJOR,
        Strength.PROOF,
        f"poisson_sampling is off: batches are shuffled, and the accountant {engine['accountant']} is told of Poisson "
        "sampling, whose amplification they do not have",
        {"accountant": engine["accountant"]},
    )


def _history(facts: Mapping[str, Any], config: RunConfig) -> Iterator[_Found]:
    """The accountant's own record against what the optimiser did."""
    if not facts["steps"]:
        return
    done, told = len(facts["steps"]), sum(int(count) for _, _, count in facts["history"])
    if told != done:
        yield (
            "DPA402",
            Severity.MAJOR,
            Strength.PROOF,
            f"the optimiser made {done} steps, and the accountant was told of {told}",
            {"steps": done, "told": told},
        )
    rate = config.sampling_probability
    wrong = sorted({q for _, q, _ in facts["history"] if not math.isclose(q, rate, rel_tol=1e-9)})
    if wrong and config.cell.sampler is not Sampler.SHUFFLE:
        yield (
            "DPA402",
            Severity.MAJOR,
            Strength.PROOF,
            f"rows are drawn with probability {rate:.6g}, and the accountant was told {wrong[0]:.6g}",
            {"sampled": rate, "told": wrong[0]},
        )


def _normaliser(engine: Mapping[str, Any], optimizer: Mapping[str, Any], config: RunConfig) -> Iterator[_Found]:
    """``expected_batch_size`` is int(N / len(loader)): a function of the data set's exact size."""
    if optimizer["arguments"].get("loss_reduction") != "mean" or optimizer["expected_batch_size"] is None:
        return
    size, batch = int(engine["dataset_size"]), engine["given_batch_size"]
    here = _expected(size, batch, engine["given_drop_last"])
    if here is None or here[0] != int(optimizer["expected_batch_size"]):
        return  # the script set it itself
    beside = {other: _expected(other, batch, engine["given_drop_last"]) for other in (size - 1, size + 1)}
    moved = {other: value for other, value in beside.items() if value is not None and value != here}
    hidden = config.cell.relation is Relation.ADD_REMOVE
    known = "under add_remove the size of the data set is what neighbours differ in; fix it as a public number"
    if moved and hidden:
        other, value = next(iter(moved.items()))
        yield (
            "DPA208",
            Severity.MAJOR,
            Strength.PROOF,
            f"the update is divided by expected_batch_size = int(N / len(loader)) = {here[0]} at N = {size}, and rows are "
            f"drawn with probability 1/{here[1]}; at N = {other} they are {value[0]} and 1/{value[1]}: {known}",
            {"here": list(here), "neighbour": list(value), "neighbour_size": other},
        )
    else:
        yield (
            "DPA208",
            Severity.MINOR,
            Strength.PROOF,
            f"the update is divided by expected_batch_size = int(N / len(loader)) = {here[0]}, computed from the exact size of "
            f"the data set; data sets with one row more or less give the same here, others do not: {known}",
            {"here": list(here)},
        )


def _expected(size: int, batch: int | None, drop_last: bool) -> tuple[int, int] | None:
    """``(expected batch size, loader length)`` that make_private computes for a data set of this size."""
    if not batch or size < 1:
        return None
    length = size // batch if drop_last else math.ceil(size / batch)
    length = int(1 / (1 / length)) if length else 0
    return (int(size * (1 / length)), length) if length else None


def _moved(facts: Mapping[str, Any], optimizer: Mapping[str, Any]) -> Iterator[_Found]:
    """Settings that changed while the script ran: nothing says that public facts alone decided it."""
    adaptive = "clipbound_learning_rate" in optimizer["arguments"]
    for place, name in enumerate(("noise_multiplier", "max_grad_norm", "expected_batch_size")):
        values = list(dict.fromkeys(step[place] for step in facts["steps"]))
        if len(values) > 1 and not (adaptive and name == "max_grad_norm"):
            yield (
                "DPA104",
                Severity.MAJOR,
                Strength.HEURISTIC,
                f"{name} took {len(values)} values while the script ran ({values[0]!r} to {values[-1]!r}); the audit examines "
                "the last one, and cannot see what decided the change",
                {"values": values[:20]},
            )


def _virtual(facts: Mapping[str, Any]) -> Iterator[_Found]:
    if facts["skipped"]:
        yield (
            "DPA407",
            Severity.MAJOR,
            Strength.HEURISTIC,
            f"{facts['skipped']} virtual steps were accumulated (BatchMemoryManager or signal_skip_step); the audited step takes "
            "a logical batch at once",
            {"skipped": facts["skipped"]},
        )


def _generator(engine: Mapping[str, Any]) -> Iterator[_Found]:
    if engine["generator"]:
        yield (
            "DPA205",
            Severity.MINOR,
            Strength.HEURISTIC,
            "noise is drawn from a generator that the script gave to make_private; whoever knows its seed knows the noise. The "
            "audit draws from torch's own generator",
            {},
        )


def _gradients(facts: Mapping[str, Any]) -> Iterator[_Found]:
    """Per-sample gradients against one backward pass a row, and against a batch in which another row was replaced."""
    found = facts.get("watched", {}).get("gradients", {})
    if "rows" not in found:
        return
    for key, what in (
        ("mixing", "replacing one row moves the gradients of other rows"),
        ("wrong", "per-sample gradients are not those of one backward pass a row"),
    ):
        gap, name = found[key]
        if not float(gap) <= found["tolerance"]:
            yield (
                "DPA503",
                Severity.MAJOR,
                Strength.PROOF,
                f"{what}: parameter {name!r} by {float(gap):.3g} of its largest gradient ({found['rows']} rows of the first "
                "batch, a fixed linear function of the outputs as loss)",
                {"parameter": name, "relative_gap": gap, "rows": found["rows"]},
            )
            return


def _applied(facts: Mapping[str, Any]) -> Iterator[_Found]:
    """The gradient that the inner optimiser applied against the released one."""
    applied = facts.get("watched", {}).get("applied", {})
    if not applied or not applied["other"]:
        return
    steps, other, raw = applied["steps"], applied["other"], applied["raw"]
    if raw:
        yield (
            "DPA504",
            Severity.CRITICAL,
            Strength.PROOF,
            f"at {raw} of {steps} steps the optimiser applied the plain mean of the per-sample gradients, neither clipped nor "
            "noised: they were computed again after the release",
            {"steps": steps, "raw": raw},
        )
    else:
        yield (
            "DPA504",
            Severity.MAJOR,
            Strength.PROOF,
            f"at {other} of {steps} steps the gradient that the optimiser applied is not the released one; what was done to it "
            "in between was not examined",
            {"steps": steps, "other": other},
        )
