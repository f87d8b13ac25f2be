"""``dpaudit replay``: the accountant without a mechanism. What it shares with ``dpaudit calibrate`` is here, too."""

import argparse
import json
import math
import sys
from pathlib import Path

from dpaudit.accounting import benchmark_epsilon, epsilon_bracket, rdp_epsilon
from dpaudit.contract import (
    Cell,
    DataError,
    EventTrace,
    ExitCode,
    Relation,
    Rows,
    Sampler,
    UsageError,
    plain_number,
)


def run_replay(arguments: argparse.Namespace) -> ExitCode:
    """Print the epsilon bracket of a schedule."""
    trace = _trace(arguments, _schedule(arguments))
    lower, upper, method = _account(trace, arguments.accountant, arguments.delta)
    print_record(
        arguments.format,
        {
            "epsilon": [plain(lower), plain(upper)],
            "delta": arguments.delta,
            "relation": str(trace.cell.relation),
            "sampler": str(trace.cell.sampler),
            "rows": str(trace.cell.rows),
            "accountant": arguments.accountant,
            "steps": len(trace.sigmas),
            "valid": arguments.accountant != "benchmark",
            "method": method,
        },
    )
    return ExitCode.ALL_ACCEPTED


def read_schedule(path: Path) -> tuple[float, ...]:
    """A text file with one sigma a line; blank lines and lines that begin with ``#`` are skipped.

    Raises:
        UsageError: the file cannot be read.
        DataError: a line is not a number >= 0, or there is none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"--schedule: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: expected a text file with one sigma a line, got bytes that are not UTF-8") from None
    sigmas = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            sigma = float(text)
        except ValueError:
            sigma = math.nan
        if not sigma >= 0:
            raise DataError(f"{path}, line {number}: expected a sigma >= 0, got {text[:40]!r}")
        sigmas.append(sigma)
    if not sigmas:
        raise DataError(f"{path}: expected one sigma a line, got none")
    return tuple(sigmas)


def _schedule(arguments: argparse.Namespace) -> tuple[float, ...]:
    sigma: float | None = arguments.sigma
    steps: int | None = arguments.steps
    if arguments.schedule is not None:
        if sigma is not None or steps is not None:
            raise UsageError("replay: give either --schedule FILE or --sigma S --steps T, not both")
        return read_schedule(Path(arguments.schedule))
    if sigma is None or steps is None:
        raise UsageError("replay: expected --sigma S with --steps T, or --schedule FILE")
    return (sigma,) * steps


def _trace(arguments: argparse.Namespace, sigmas: tuple[float, ...]) -> EventTrace:
    cell = cell_of(arguments)
    return EventTrace(
        cell=cell,
        sampling_probability=arguments.q,
        sigmas=sigmas,
        steps_per_epoch=steps_per_epoch(cell, arguments),
        batch_size=arguments.batch_rows,
        dataset_size=arguments.dataset_size,
        preparation=tuple(arguments.preparation or ()),
    )


def cell_of(arguments: argparse.Namespace) -> Cell:
    """The sampler's own relation and rows unless a relation is named."""
    sampler = Sampler(arguments.sampler or Sampler.POISSON)
    natural = {
        Sampler.POISSON: Relation.ADD_REMOVE,
        Sampler.TRUNCATED_POISSON: Relation.ZERO_OUT,
        Sampler.FIXED_SIZE: Relation.REPLACE_ONE,
        Sampler.SHUFFLE: Relation.ZERO_OUT,
    }[sampler]
    relation = natural if arguments.relation is None else Relation(arguments.relation)
    return Cell(
        sampler=sampler,
        relation=relation,
        rows=Rows.SAMPLED if sampler is Sampler.POISSON else Rows.CONSTANT,
    )


def steps_per_epoch(cell: Cell, arguments: argparse.Namespace) -> int | None:
    """A shuffled epoch has floor(1/q) batches; the last, partial one is dropped."""
    q: float = arguments.q
    return math.floor(1 / q + 1e-9) if cell.sampler is Sampler.SHUFFLE else None


def _account(trace: EventTrace, accountant: str, delta: float) -> tuple[float | None, float | None, str]:
    match accountant:
        case "pld":
            bracket = epsilon_bracket(trace, delta)
            return bracket.lower, bracket.upper, f"lower: {bracket.lower_method}; upper: {bracket.upper_method}"
        case "rdp":
            return None, rdp_epsilon(trace, delta), "Renyi accountant, upper end only"
        case "benchmark":
            if len(set(trace.sigmas)) > 1 or trace.cell.sampler is not Sampler.POISSON or trace.preparation:
                raise UsageError(
                    "--accountant benchmark: the formula takes one constant sigma, no other sampler and no --preparation"
                )
            epsilon = benchmark_epsilon(
                sampling_probability=trace.sampling_probability,
                sigma=trace.sigmas[0],
                steps=len(trace.sigmas),
                delta=delta,
            )
            return epsilon, epsilon, "the benchmark's formula: INVALID, printed for comparison; it bounds nothing"
        case _:
            raise UsageError(f"--accountant: expected pld, rdp or benchmark, got {accountant!r}")


def plain(value: float | None) -> float | str | None:
    """A number as JSON can hold it."""
    return None if value is None else plain_number(value)


def print_record(form: str, record: dict[str, object]) -> None:
    """Print named values as text or as one line of JSON."""
    if form == "json":
        json.dump(record, sys.stdout, allow_nan=False)
        sys.stdout.write("\n")
        return
    for key, value in record.items():
        shown = ", ".join("-" if part is None else str(part) for part in value) if isinstance(value, list) else value
        print(f"{key:>16}: {shown}")
