"""Mode ``train`` of ``dpaudit attack``: one real training with canaries, scored from what it released and from its losses.

The training runs in a confined process that observes nothing. Scores are computed afterwards in this process, which runs
no candidate code; stored steps are run again in a third process.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import harness
from dpaudit.contract import Finding, ReplayedStepRecord, RunConfig, RunRecord, Severity, Strength, UsageError
from dpaudit.empirical import EmpiricalResult, Scores
from dpaudit.empirical.bound import Design
from dpaudit.empirical.canary_scores import join_scores, likelihood_scores
from dpaudit.empirical.score_audit import Claim, plan_places
from dpaudit.probe import MechanismSource, load_source
from harness.atomic_files import write_arrays
from harness.audited_training import replay_run, run_in
from harness.canaries import CanaryKind, CanaryPlan, kinds_from_text
from harness.canary_products import CanaryEvidence, canary_evidence
from harness.candidate import Candidate, read_candidate
from harness.confined import TrainingFailure
from harness.recipe import Engine
from harness.recorded_run import require_recordable
from harness.step_replay import ReplayedStep

from . import attack_places as places
from .attack_command import command_of
from .progress import Bar

WHITE, BLACK = "white box", "black box"
_LOSS_OF_NOISE = 0.9
"""Measured over reported noise multiplier below which a replayed step is a finding; the measurement is good to about 3 %."""
_DEFAULT_CANARIES = 1_000


def play(arguments: argparse.Namespace, config: RunConfig, bar: Bar) -> EmpiricalResult:
    """Train with canaries (or take the finished run of ``--run-dir``), replay, score, bound.

    Raises:
        SourceError: the mechanism cannot be loaded. DataError: data or a run directory is unusable.
    """
    source, candidate = load_source(arguments.path), read_candidate(arguments.path)
    places.require_source(source, candidate)
    plan = canary_plan(arguments, config)
    recipe = harness.preset(config.name).recipe
    require_recordable(plan, config, recipe, Engine(), processes=1, hold_out=0)
    session = _session(arguments, source, config, plan)
    scratch = nullcontext(arguments.run_dir) if arguments.run_dir else tempfile.TemporaryDirectory(prefix="dpaudit-")
    with scratch as folder:
        trainings = _Trainings(arguments, candidate, config, plan, Path(folder), bar)
        first = trainings.run("canaries", arguments.seed, plan)
        if isinstance(first, TrainingFailure):
            return places.failed(session, first)
        bar.begin("replaying stored steps")
        replayed = replay_run(first, candidate, time_limit=places.TIME_LIMIT_SECONDS, data_root=arguments.data_root)
        bar.begin("scoring canaries")
        claim = claim_of(first)
        evidence = canary_evidence(first, data_root=arguments.data_root)
        scores = scores_of(evidence, first)
        _keep(evidence, first)
        heard = tuple(
            places.listen(scores[place.name], claim, place, words=_WORDS[place.name], seed=arguments.seed)
            for place in session.places
        )

        def again() -> dict[str, Scores]:
            second = trainings.run("confirmation", arguments.seed + 1, plan)
            if isinstance(second, TrainingFailure):
                raise UsageError(f"attack: the confirming run failed where the first did not: {second.message}")
            return scores_of(canary_evidence(second, data_root=arguments.data_root), second)

        heard = places.confirmed(heard, again, claim)
        accuracy = _accuracy(trainings, first, plain=not arguments.no_plain)
    if isinstance(replayed, TrainingFailure):
        steps: tuple[ReplayedStepRecord, ...] = ()
        findings = tuple(_failed_replay(source, replayed))
        notes = (*_notes(plan, config, steps, accuracy), _not_replayed(replayed))
    else:
        steps = tuple(_step_record(step, first) for step in replayed)
        findings = tuple(_replay_findings(source, steps))
        notes = _notes(plan, config, steps, accuracy)
    result = places.conclude(session, heard, findings=findings, notes=notes)
    places.write_report(
        arguments, session, result, heard, command=command_of(arguments), accuracy=accuracy, replayed=steps
    )
    return result


def canary_plan(arguments: argparse.Namespace, config: RunConfig) -> CanaryPlan:
    """What the options ask for; by default 1,000 canaries, or a third of a small data set."""
    count = arguments.canaries or min(_DEFAULT_CANARIES, config.dataset_size // 3)
    kinds = kinds_from_text(arguments.canary_kinds) if arguments.canary_kinds else CanaryPlan(count=1).kinds
    return CanaryPlan(count=count, kinds=kinds, per_coordinate=arguments.per_coordinate or 1)


def claim_of(record: RunRecord) -> Claim:
    """The claim with the schedule that the run reported, where every step reported a usable number."""
    said = [row.reported_sigma for row in record.ledger]
    usable = tuple(sigma for sigma in said if sigma is not None)
    return Claim.of(record.config, usable if len(usable) == len(said) else None)


def scores_of(evidence: CanaryEvidence, record: RunRecord) -> dict[str, Scores]:
    """Scores of every place, joined to the coins by identifier.

    Raises:
        DataError: a score is missing, repeated or not finite.
    """
    white = white_scores(evidence, record)
    found = {WHITE: _joined(evidence, np.arange(len(evidence.canaries)), white, record)}
    if len(evidence.data_canaries):
        found[BLACK] = _joined(evidence, evidence.data_canaries, -evidence.losses, record)
    return found


def white_scores(evidence: CanaryEvidence, record: RunRecord) -> NDArray[np.float64]:
    """``[m]``, from the releases; canaries of one kind are one group."""
    order = list(CanaryKind)
    return likelihood_scores(
        evidence.products,
        evidence.norms,
        sampling_probability=record.config.sampling_probability,
        groups=np.array([order.index(canary.kind) for canary in evidence.canaries]),
    )


def _joined(
    evidence: CanaryEvidence, which: NDArray[np.int64], values: NDArray[np.float64], record: RunRecord
) -> Scores:
    canaries = [evidence.canaries[place] for place in which]
    names = [canary.identifier for canary in canaries]
    return join_scores(
        names, [canary.included for canary in canaries], names, values, where=f"{record.directory}: scores"
    )


def _keep(evidence: CanaryEvidence, record: RunRecord) -> None:
    """``scores.npz`` of the run directory, readable by ``dpaudit bound``: the white-box scores, and black-box ones beside."""
    black = np.full(len(evidence.canaries), np.nan)
    black[evidence.data_canaries] = -evidence.losses
    write_arrays(
        Path(record.directory) / "scores.npz",
        id=np.array([canary.identifier for canary in evidence.canaries]),
        member=np.array([canary.included for canary in evidence.canaries]),
        score=white_scores(evidence, record),
        black_box=black,
    )


def _session(
    arguments: argparse.Namespace, source: MechanismSource, config: RunConfig, plan: CanaryPlan
) -> places.Session:
    examples = sum(plan.kinds[index % len(plan.kinds)] is not CanaryKind.DIRAC for index in range(plan.count))
    counts = {WHITE: plan.count, **({BLACK: examples} if examples else {})}
    claim = Claim.of(config)
    trainings = 1 if arguments.no_plain else 2
    return places.Session(
        mode="train",
        source=source,
        config=config,
        claim=claim,
        places=plan_places(claim, counts, design=Design.ONE_RUN),
        started=time.monotonic(),
        seconds_planned=trainings * places.training_seconds(config, rows=config.batch_size),
    )


class _Trainings:
    """The trainings of one attack, each in a folder of its own; a finished one is taken as it is."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        candidate: Candidate,
        config: RunConfig,
        plan: CanaryPlan,
        folder: Path,
        bar: Bar,
    ) -> None:
        self._arguments, self._candidate, self._config = arguments, candidate, config
        self._plan, self._folder, self._bar = plan, folder, bar

    def run(self, name: str, seed: int, plan: CanaryPlan | None) -> RunRecord | TrainingFailure:
        place = self._folder / name
        self._bar.begin(f"training ({name}), seed {seed}")
        finished = run_in(place)
        resumable = finished is not None or (place / "checkpoint.pt").exists() or (place / "run.json").exists()
        return harness.train_in_subprocess(
            f"{self._candidate.path}::{self._candidate.class_name}",
            self._config.name,
            seed=seed,
            out=place,
            config=self._config,
            time_limit=places.TIME_LIMIT_SECONDS,
            device="cpu",
            data_root=self._arguments.data_root,
            resume=resumable,
            canaries=plan,
        )

    def plain(self) -> RunRecord | TrainingFailure:
        return self.run("plain", self._arguments.seed, None)


def _accuracy(trainings: _Trainings, first: RunRecord, *, plain: bool) -> tuple[tuple[str, float, str], ...]:
    rows = []
    if first.accuracy is not None:
        rows.append((f"with {first.canaries} canaries", first.accuracy, first.dataset))
    if plain:
        second = trainings.plain()
        if isinstance(second, RunRecord) and second.accuracy is not None:
            rows.append(("without canaries", second.accuracy, second.dataset))
    return tuple(rows)


def _step_record(step: ReplayedStep, record: RunRecord) -> ReplayedStepRecord:
    return ReplayedStepRecord(
        step=step.step,
        reproduced=step.reproduced,
        reported_sigma=record.ledger[step.step].reported_sigma,
        measured_noise=step.measured_noise,
        largest_contribution=step.largest_contribution,
    )


def _not_replayed(failure: TrainingFailure) -> str:
    return f"no stored step was run again, so the ledger has no measured noise: {failure.message}"


def _failed_replay(source: MechanismSource, failure: TrainingFailure) -> Iterator[Finding]:
    """A state that could not be stored is no fault; a mechanism that trained and fails when it is run again is one."""
    if failure.kind not in ("failed", "no_data"):
        yield Finding(
            rule="DPA407",
            severity=Severity.MAJOR,
            strength=Strength.PROOF,
            message=f"the mechanism trained, but failed when stored steps were run again: {failure.message}",
            file=source.display,
            line=failure.line,
        )


def _replay_findings(source: MechanismSource, steps: Sequence[ReplayedStepRecord]) -> Iterator[Finding]:
    changed = [step.step for step in steps if not step.reproduced]
    if changed:
        yield _finding(
            source,
            f"{len(changed)} of {len(steps)} stored steps release another update when they are run again from the same "
            f"state, first step {changed[0]}: the mechanism behaves differently when it is watched, or depends on what is "
            "not in its state",
            changed[0],
        )
    for step in steps:
        said, seen = step.reported_sigma, step.measured_noise
        if step.reproduced and said is not None and seen is not None and not seen >= _LOSS_OF_NOISE * said:
            yield _finding(
                source,
                f"step {step.step} of the real run: the noise multiplier measured on its own batch is {seen:.4g}, reported "
                f"was {said:.4g}",
                step.step,
            )
            break


def _finding(source: MechanismSource, message: str, step: int) -> Finding:
    return Finding(
        rule="DPA407",
        severity=Severity.MAJOR,
        strength=Strength.STATISTICAL,
        message=message,
        file=source.display,
        evidence={"step": step},
    )


_WORDS = {
    WHITE: "log-likelihood ratio of all released updates along each canary's clipped gradient",
    BLACK: "loss of the final model on each canary that is an example",
}


def _notes(
    plan: CanaryPlan,
    config: RunConfig,
    steps: Sequence[ReplayedStepRecord],
    accuracy: Sequence[tuple[str, float, str]],
) -> tuple[str, ...]:
    kinds = ", ".join(plan.kinds)
    notes = [
        f"{plan.count} canaries ({kinds}; {plan.per_coordinate} a coordinate) take the places of training examples; each "
        "is in by a fair coin of its own, so bounds for independent trials are marked invalid",
        f"one run of {config.total_steps} steps with {torch.get_num_threads()} thread(s); the training process observed "
        "nothing, scores were computed afterwards by a process that ran no candidate code",
    ]
    unknown = sum(step.measured_noise is None for step in steps)
    if unknown:
        notes.append(f"at {unknown} of {len(steps)} replayed steps the noise could not be measured")
    if len(accuracy) < 2:
        notes.append("the accuracy without canaries was not measured")
    return tuple(notes)
