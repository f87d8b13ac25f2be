"""Mode ``repeat`` of ``dpaudit attack``: many small trainings, with and without one worst-case sample. Independent trials."""

import argparse
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpaudit.contract import DataError, RunConfig, UsageError
from dpaudit.empirical import EmpiricalResult, Scores
from dpaudit.empirical.bound import Design
from dpaudit.empirical.canary_scores import known_noise_scores
from dpaudit.empirical.score_audit import Claim, plan_places
from dpaudit.empirical.scores import checked
from dpaudit.probe import load_source
from harness.audited_training import train_worst_case
from harness.canaries import CanaryKind
from harness.candidate import read_candidate
from harness.confined import TrainingFailure
from harness.repeated_training import OTHERS, WorstCase, read_repeated, repeat_identity, require_playable

from . import attack_places as places
from .attack_command import command_of
from .progress import Bar

RELEASES, LOSS = "released updates", "final loss"
_DEFAULT_RUNS = 384
_WORDS = {
    RELEASES: "log-likelihood ratio of every released update along the sample's clipped gradient, whole runs",
    LOSS: "loss of the final model on the sample, whole runs",
}


def play(arguments: argparse.Namespace, config: RunConfig, bar: Bar) -> EmpiricalResult:
    """Play the runs (or what is missing of them in ``--run-dir``) and bound.

    Raises:
        SourceError: the mechanism cannot be loaded. UsageError, DataError: options, data or a folder are unusable.
    """
    source, candidate = load_source(arguments.path), read_candidate(arguments.path)
    places.require_source(source, candidate)
    require_playable(config)
    runs = arguments.trainings or _DEFAULT_RUNS
    if runs < 4:
        raise UsageError(f"--trainings: expected at least 4, got {runs}")
    case = WorstCase(kind=CanaryKind(arguments.sample or CanaryKind.MISLABELLED))
    claim = Claim.of(config)
    rows = 1 + OTHERS * config.sampling_probability
    session = places.Session(
        mode="repeat",
        source=source,
        config=config,
        claim=claim,
        places=plan_places(claim, dict.fromkeys((RELEASES, LOSS), runs), design=Design.INDEPENDENT),
        started=time.monotonic(),
        seconds_planned=runs * (places.training_seconds(config, rows=rows) + 3e-4 * config.total_steps),
    )
    scratch = nullcontext(arguments.run_dir) if arguments.run_dir else tempfile.TemporaryDirectory(prefix="dpaudit-")
    with scratch as folder:

        def scores(name: str, seed: int) -> dict[str, Scores] | TrainingFailure:
            bar.begin(f"playing {runs} runs ({name})")
            out = Path(folder) / name
            failure = train_worst_case(
                candidate,
                config,
                case,
                runs=runs,
                seed=seed,
                out=out,
                time_limit=places.TIME_LIMIT_SECONDS,
                data_root=arguments.data_root,
            )
            if failure is not None:
                return failure
            arrays = read_repeated(out, runs=runs, identity=repeat_identity(candidate, config, case, seed))
            return _scores(arrays, config)

        first = scores("runs", arguments.seed)
        if isinstance(first, TrainingFailure):
            return places.failed(session, first)
        heard = tuple(
            places.listen(first[place.name], claim, place, words=_WORDS[place.name], seed=arguments.seed)
            for place in session.places
        )

        def again() -> dict[str, Scores]:
            fresh = scores("confirmation", arguments.seed + 1)
            if isinstance(fresh, TrainingFailure):
                raise DataError(f"attack: the confirming runs failed where the first did not: {fresh.message}")
            return fresh

        heard = places.confirmed(heard, again, claim)
    result = places.conclude(session, heard, notes=_notes(case, runs, config))
    places.write_report(arguments, session, result, heard, command=command_of(arguments))
    return result


def _scores(arrays: dict[str, NDArray[np.float64]], config: RunConfig) -> dict[str, Scores]:
    """Runs 0, 2, 4, ... have the sample."""
    declared = config.noise_multiplier * config.max_grad_norm
    sigmas = np.where(np.isfinite(arrays["sigmas"][0]), arrays["sigmas"][0], declared)
    released = known_noise_scores(
        arrays["products"], arrays["norms"], sampling_probability=config.sampling_probability, sigmas=sigmas
    )
    found = {RELEASES: released, LOSS: -arrays["losses"]}
    return {name: checked(values[0::2], values[1::2], where=name) for name, values in found.items()}


def _notes(case: WorstCase, runs: int, config: RunConfig) -> tuple[str, ...]:
    return (
        f"{runs} independent runs of {config.total_steps} steps, every second one with the sample ({case.kind}); the data set "
        f"has {OTHERS} other rows, each drawn with the claim's own sampling probability, and the network begins at weights that "
        "fit them: the worst case for the sample, which the claim must cover",
        "every run has a mechanism, coins and noise of its own, and the runs of a block go in lockstep",
        "the level is divided among both places in advance",
    )
