"""Opacus set-ups as they are: what a script asked of Opacus, and the real optimiser step, as a mechanism.

The script (or a factory) runs once in a process of its own, unchanged, while ``make_private`` and the optimiser are
recorded. The step that is audited is the optimiser's own code, read from the installed package, with the script's
settings. Not audited: how the per-sample gradients are computed, and the sampler's own code.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpaudit.contract import (
    Calibration,
    Cell,
    NonFinite,
    Relation,
    Rows,
    RunConfig,
    Sampler,
    UsageError,
)

from .inlined_source import InlinedSource
from .opacus_bridge import bridge_text
from .opacus_findings import findings_of
from .subject import Subject

SCRIPT_LIMIT_SECONDS = 3600.0
"""Time that the script or factory gets to run."""

_DISTRIBUTED = ("Distributed", "FSDP")


def opacus_subject(
    spec: str,
    folder: Path,
    *,
    epsilon: float | None = None,
    delta: float | None = None,
    epochs: int | None = None,
    relation: Relation | None = None,
    nonfinite: NonFinite | None = None,
    time_limit: float = SCRIPT_LIMIT_SECONDS,
) -> Subject:
    """Run ``script.py``, ``file.py:factory`` or ``module:factory`` and describe what it set up.

    The claim is, in this order: ``epsilon`` and ``delta``; the target that the script gave to
    ``make_private_with_epsilon``; the last epsilon that its accountant stated. The length of the run is what the script's
    optimiser did, else ``epochs`` times the loader's length.

    Raises:
        UsageError: Opacus is not installed, the script fails, makes no (or more than one) private optimiser, claims no
            budget, or uses what the adapter does not cover (ghost clipping, several processes).
    """
    facts = _run(spec, time_limit)
    engine, optimizer = _one_engine(spec, facts)
    steps, per_epoch = _length(spec, facts, engine, epochs)
    target_epsilon, target_delta = _claim(spec, facts, epsilon, delta)
    config = _config(
        spec,
        engine,
        optimizer,
        steps,
        per_epoch,
        target_epsilon,
        target_delta,
        relation,
        nonfinite or NonFinite.GUARDED,
    )
    reported = _reported(facts, optimizer, config)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{Path(spec.partition(':')[0]).stem}-opacus.py"
    text = bridge_text(optimizer, reported)
    file.write_text(text, encoding="utf-8")
    shift = text.index(optimizer["text"]) and text[: text.index(optimizer["text"])].count("\n")
    inlined = InlinedSource(
        text=optimizer["text"], origins=tuple((int(line) + shift, name) for line, name in optimizer["origins"])
    )
    user_file, line = os.path.relpath(facts["file"]), engine["line"]

    def place(at: int | None) -> tuple[str, int | None, str]:
        return user_file, line, "" if at is None else (inlined.origin(at) or "")

    return Subject(
        name=spec,
        spec=str(file),
        config=config,
        findings=findings_of(facts, engine, optimizer, config, user_file),
        assumptions=_assumptions(facts, config),
        blind_spots=(
            _unseen_gradients(facts),
            "What the script itself does with data, losses, metrics or model selection was not audited.",
        ),
        replaced_assumptions=("The harness sets rows", "Gradients are finite: the harness"),
        rewordings=(
            (
                "the harness's guard removes such rows first",
                "nothing in Opacus removes such rows, and no harness either",
            ),
        ),
        place=place,
    )


def _run(spec: str, time_limit: float) -> dict[str, Any]:
    place, _, factory = spec.partition(":")
    if place.endswith(".py") and not Path(place).is_file():
        raise UsageError(f"--opacus: no such file: {place!r}; give script.py, file.py:factory or module:factory")
    if not place.endswith(".py") and not factory:
        raise UsageError(f"--opacus: expected script.py, file.py:factory or module:factory, got {spec!r}")
    try:
        import opacus  # noqa: F401
    except ImportError:
        raise UsageError("--opacus: Opacus is not installed here; pip install 'dpaudit[opacus]'") from None
    with tempfile.TemporaryDirectory(prefix="dpaudit-") as scratch:
        answer = Path(scratch) / "answer.json"
        try:
            process = subprocess.run(
                [sys.executable, "-m", "dpaudit.adapters.opacus_child", spec, str(answer)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=time_limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UsageError(
                f"--opacus: {spec} ran for more than {time_limit:g} s; give a factory that stops after make_private"
            ) from None
        if process.returncode != 0 or not answer.is_file():
            said = process.stderr.decode("utf-8", "replace").strip().splitlines()
            raise UsageError(f"--opacus: {spec} failed: {said[-1] if said else f'exit status {process.returncode}'}")
        facts: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return facts


def _one_engine(spec: str, facts: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    engines = facts["engines"]
    if len(engines) != 1:
        lines = ", ".join(str(engine["line"]) for engine in engines) or "none"
        raise UsageError(
            f"--opacus: expected {spec} to call make_private once, got {len(engines)} calls (lines: {lines})"
        )
    engine, optimizer = engines[0], facts["optimizer"]
    if "ghost" in engine["mode"]:
        raise UsageError(
            f"--opacus: line {engine['line']}: grad_sample_mode {engine['mode']!r} clips inside the model, which this adapter "
            "does not reach; audit the same set-up with grad_sample_mode='hooks'"
        )
    if any(word in optimizer["class"] for word in _DISTRIBUTED):
        raise UsageError(f"--opacus: {optimizer['class']} runs in several processes; audit the set-up in one process")
    return engine, optimizer


def _length(spec: str, facts: Mapping[str, Any], engine: Mapping[str, Any], epochs: int | None) -> tuple[int, int]:
    per_epoch = int(engine["loader_length"])
    if facts["steps"]:
        return len(facts["steps"]), per_epoch
    planned = epochs if epochs is not None else facts["target"].get("epochs")
    if planned is None:
        raise UsageError(f"--opacus: {spec} made no optimiser step; say with --epochs how long the run is")
    return int(planned) * per_epoch, per_epoch


def _claim(spec: str, facts: Mapping[str, Any], epsilon: float | None, delta: float | None) -> tuple[float, float]:
    target, claimed = facts["target"], facts["claimed"]
    if epsilon is None:
        epsilon = target.get("epsilon") if target else (claimed[-1][1] if claimed else None)
    if delta is None:
        delta = target.get("delta") if target else (claimed[-1][0] if claimed else None)
    if epsilon is None or delta is None:
        raise UsageError(
            f"--opacus: {spec} states no budget (no make_private_with_epsilon, no get_epsilon); give --epsilon and --delta"
        )
    return float(epsilon), float(delta)


def _config(
    spec: str,
    engine: Mapping[str, Any],
    optimizer: Mapping[str, Any],
    steps: int,
    per_epoch: int,
    epsilon: float,
    delta: float,
    relation: Relation | None,
    nonfinite: NonFinite,
) -> RunConfig:
    size = int(engine["dataset_size"])
    if not engine["poisson"] and not engine["shuffled"]:
        raise UsageError(
            f"--opacus: line {engine['line']}: batches are neither Poisson nor shuffled (another sampler); no accounting here "
            "covers them"
        )
    whole = steps % per_epoch == 0
    if not engine["poisson"] and not whole:
        raise UsageError(
            f"--opacus: {steps} steps of shuffled batches are not whole epochs of {per_epoch}; train whole epochs"
        )
    cell = (
        Cell(relation=relation or Relation.ADD_REMOVE, nonfinite=nonfinite)
        if engine["poisson"]
        else Cell(
            sampler=Sampler.SHUFFLE, relation=relation or Relation.ZERO_OUT, rows=Rows.CONSTANT, nonfinite=nonfinite
        )
    )
    batch = int(optimizer["expected_batch_size"] or round(size / per_epoch))
    return RunConfig(
        name="opacus",
        dataset_size=size,
        batch_size=batch if engine["poisson"] else min(batch, size // per_epoch),
        expected_batch=size / per_epoch if engine["poisson"] else float(min(batch, size // per_epoch)),
        epochs=steps // per_epoch if whole else 1,
        steps_per_epoch=per_epoch if whole else steps,
        max_grad_norm=float(optimizer["max_grad_norm"]),
        target_epsilon=epsilon,
        target_delta=delta,
        noise_multiplier=float(optimizer["noise_multiplier"]),
        cell=cell,
        calibration=Calibration.PLD,
        parameter_shapes=tuple(tuple(shape) for shape in engine["shapes"]),
    )


def _reported(facts: Mapping[str, Any], optimizer: Mapping[str, Any], config: RunConfig) -> tuple[float, ...]:
    """What the accountant was told for every step; where it was told nothing, what the optimiser is set to."""
    told = [float(sigma) for sigma, _, count in facts["history"] for _ in range(int(count))]
    rest = config.total_steps - len(told)
    return tuple((told + [float(optimizer["noise_multiplier"])] * max(rest, 0))[: config.total_steps])


def _unseen_gradients(facts: Mapping[str, Any]) -> str:
    found = facts.get("watched", {}).get("gradients", {})
    if "rows" in found:
        return (
            f"Per-sample gradients were compared with one backward pass a row on {found['rows']} rows only; a layer that mixes "
            "samples for some inputs alone would not be seen."
        )
    why = found.get("unreadable", "the script trained no step")
    return f"That per-sample gradients are right, and that no layer mixes samples, was not audited: {why}."


def _assumptions(facts: Mapping[str, Any], config: RunConfig) -> tuple[str, ...]:
    finite = (
        (
            "No per-sample gradient is NaN or Inf: Opacus does not remove such rows, and neither does the audit's harness, "
            "which did not train here (--nonfinite raw judges the set-up without this assumption).",
        )
        if config.cell.nonfinite is NonFinite.GUARDED
        else ()
    )
    return (
        f"Opacus {facts['version']} as installed here; its optimiser's code was read from the package.",
        f"The size of the data set, {config.dataset_size}, is public.",
        *finite,
    )
