"""``dpaudit bound``: lower bounds on epsilon from attack scores, wherever they come from."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dpaudit.contract import Cell, EventTrace, ExitCode, Relation, Rows, Sampler, UsageError, plain_number
from dpaudit.empirical import (
    METHODS,
    NEEDS_TRACE,
    Bonferroni,
    Design,
    Fixed,
    LowerBound,
    MultiSplit,
    Scores,
    Split,
    bounds_on,
    read_csv,
    read_csv_pair,
    read_npz,
)
from dpaudit.empirical.thresholds import Strategy

_STRATEGIES: dict[str, Strategy] = {"split": Split(), "multi-split": MultiSplit(), "bonferroni": Bonferroni()}


def run(arguments: argparse.Namespace) -> ExitCode:
    """Read scores, bound epsilon, print.

    Reads from ``arguments``: ``scores`` or ``inside`` and ``outside`` (paths), ``delta``, ``design``, ``confidence``,
    ``method`` (names with commas, or ``all``), ``q``, ``sigma``, ``steps`` (all three or none), ``format``, and, if there,
    ``relation``, ``threshold`` (a number, ``split``, ``multi-split`` or ``bonferroni``), ``per_step`` and ``seed``.

    Raises:
        UsageError, DataError: arguments or scores are unusable.
    """
    scores = _scores(arguments)
    trace = _trace(arguments)
    design = Design(arguments.design or Design.INDEPENDENT)
    confidence = 0.95 if arguments.confidence is None else float(arguments.confidence)
    if not 0.5 <= confidence < 1:
        raise UsageError(f"--confidence: expected a number in [0.5, 1), got {confidence!r}")
    bounds = bounds_on(
        scores,
        delta=arguments.delta,
        level=1 - confidence,
        design=design,
        methods=_methods(arguments, trace),
        trace=trace,
        strategy=_strategy(getattr(arguments, "threshold", None)),
        seed=int(getattr(arguments, "seed", None) or 0),
    )
    if arguments.format == "json":
        record = {"delta": arguments.delta, "confidence": confidence, "bounds": [as_plain(bound) for bound in bounds]}
        json.dump(record, sys.stdout, allow_nan=False)
        sys.stdout.write("\n")
    else:
        print(table(bounds))
        print(f"each at {confidence:.6g} confidence by itself; only bounds marked valid are lower bounds")
    return ExitCode.ALL_ACCEPTED


def as_plain(bound: LowerBound) -> dict[str, object]:
    """One bound as JSON."""
    return {
        "method": bound.method,
        "epsilon": plain_number(bound.epsilon),
        "ceiling": plain_number(bound.ceiling),
        "design": str(bound.design),
        "family": str(bound.family),
        "valid": bound.valid,
        "noise_deficit": bound.noise_deficit,
        "level": bound.level,
        "counts": dict(bound.counts),
        "note": bound.note,
    }


def _scores(arguments: argparse.Namespace) -> Scores:
    one, inside, outside = arguments.scores, arguments.inside, arguments.outside
    if (one is None) == (inside is None and outside is None):
        raise UsageError("bound: expected either --scores FILE or --in FILE with --out FILE")
    if one is not None:
        path = Path(one)
        return read_csv(path) if path.suffix.lower() == ".csv" else read_npz(path)
    if inside is None or outside is None:
        raise UsageError("bound: --in and --out go together; one of them is missing")
    return read_csv_pair(Path(inside), Path(outside))


def _trace(arguments: argparse.Namespace) -> EventTrace | None:
    given = [arguments.q is not None, arguments.sigma is not None, arguments.steps is not None]
    if not any(given):
        return None
    if not all(given):
        raise UsageError("bound: the declared event needs all of --q, --sigma and --steps")
    if not arguments.sigma > 0:
        raise UsageError(f"bound: expected --sigma above 0, got {arguments.sigma!r}")
    relation = Relation(getattr(arguments, "relation", None) or Relation.ADD_REMOVE)
    cell = Cell(sampler=Sampler.POISSON, relation=relation, rows=Rows.SAMPLED)
    return EventTrace(cell=cell, sampling_probability=arguments.q, sigmas=(arguments.sigma,) * arguments.steps)


def _methods(arguments: argparse.Namespace, trace: EventTrace | None) -> tuple[str, ...]:
    """``all``: everything that the arguments allow. Scores of whole runs and of single steps are never read as both."""
    per_step = bool(getattr(arguments, "per_step", False))
    if per_step and trace is None:
        raise UsageError("--per-step: needs the declared event: give --q, --sigma and --steps")
    text = arguments.method or "all"
    if text != "all":
        return tuple(dict.fromkeys(name.strip().replace("-", "_") for name in text.split(",")))
    if per_step:
        return ("per_step",)
    return tuple(name for name in METHODS if name != "per_step" and (trace is not None or name not in NEEDS_TRACE))


def _strategy(text: str | None) -> Strategy | None:
    if text is None or text in _STRATEGIES:
        return None if text is None else _STRATEGIES[text]
    try:
        threshold = float(text)
    except ValueError:
        threshold = float("nan")
    if threshold != threshold:
        raise UsageError(f"--threshold: expected a number, {', '.join(_STRATEGIES)}, got {text!r}")
    return Fixed(threshold=threshold)


def table(bounds: Sequence[LowerBound]) -> str:
    """Bounds as a table for a person."""
    lines = [
        f"{'method':<24}{'epsilon >=':>11}{'ceiling':>10}{'level':>10}  {'design':<12}{'family':<12}{'valid':<8}counts"
    ]
    for bound in bounds:
        counts = " ".join(f"{name}={count}" for name, count in bound.counts.items())
        why = "" if bound.valid else f" ({bound.note or 'the design does not support it'})"
        lines.append(
            f"{bound.method:<24}{bound.epsilon:>11.4g}{bound.ceiling:>10.4g}{bound.level:>10.3g}  "
            f"{bound.design:<12}{bound.family:<12}{'yes' if bound.valid else 'no':<8}{counts}{why}"
        )
    return "\n".join(lines)
