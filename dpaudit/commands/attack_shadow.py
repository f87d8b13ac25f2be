"""Mode ``shadow`` of ``dpaudit attack``: membership inference against one model, with shadow models of the same recipe.

The target's canaries are in by independent coins, of which the shadows know nothing, so the design is ``one_run`` and the
bounds for it are valid. Curves over all models as targets in turn are described in the notes only: their scores depend on
each other.
"""

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
from dpaudit.empirical.canary_scores import join_scores
from dpaudit.empirical.membership import ATTACKS, ShadowModels, scores_of
from dpaudit.empirical.roc import roc, true_positives_at
from dpaudit.empirical.score_audit import Claim, plan_places
from dpaudit.empirical.scores import checked
from dpaudit.probe import load_source
from harness.audited_training import train_shadow_models
from harness.canaries import CanaryKind, CanaryPlan, kinds_from_text, require_insertable
from harness.candidate import Candidate, read_candidate
from harness.confined import TrainingFailure
from harness.presets import preset
from harness.shadow_training import collection_identity, read_shadows

from . import attack_places as places
from .attack_command import command_of
from .progress import Bar

_DEFAULT_MODELS = 48
_DEFAULT_CANARIES = 400
_KINDS = (CanaryKind.MISLABELLED, CanaryKind.NATURAL)
_WORDS = {
    "loss": "loss of the target on each canary",
    "lira_online": "ratio of normals fitted to the shadows' margins with and without the canary (Carlini et al. 2022)",
    "lira_offline": "how far the target's margin lies above the shadows' without the canary",
    "rmia": "share of the population whose likelihood ratio the canary's exceeds (Zarifzadeh et al. 2024)",
}


def play(arguments: argparse.Namespace, config: RunConfig, bar: Bar) -> EmpiricalResult:
    """Train the models (or what is missing of them in ``--run-dir``), attack the first, bound.

    Raises:
        SourceError: the mechanism cannot be loaded. UsageError, DataError: options, data or a folder are unusable.
    """
    source, candidate = load_source(arguments.path), read_candidate(arguments.path)
    places.require_source(source, candidate)
    models = arguments.models or _DEFAULT_MODELS
    if models < 4:
        raise UsageError(f"--models: expected at least 4, got {models}")
    kinds = kinds_from_text(arguments.canary_kinds) if arguments.canary_kinds else _KINDS
    if CanaryKind.DIRAC in kinds:
        raise UsageError("--canary-kinds: shadow models score examples; expected no dirac")
    plan = CanaryPlan(count=arguments.canaries or min(_DEFAULT_CANARIES, config.dataset_size // 4), kinds=kinds)
    require_insertable(plan, config)
    claim = Claim.of(config)
    session = places.Session(
        mode="shadow",
        source=source,
        config=config,
        claim=claim,
        places=plan_places(claim, dict.fromkeys(ATTACKS, plan.count), design=Design.ONE_RUN),
        started=time.monotonic(),
        seconds_planned=models * places.training_seconds(config, rows=config.batch_size),
    )
    scratch = nullcontext(arguments.run_dir) if arguments.run_dir else tempfile.TemporaryDirectory(prefix="dpaudit-")
    with scratch as folder:
        collection = _Collection(arguments, candidate, config, plan, Path(folder), bar)
        failure = collection.train(models)
        if failure is not None:
            return places.failed(session, failure)
        shadows, accuracy = collection.read(models)
        scores = _against(shadows, target=0)
        heard = tuple(
            places.listen(scores[place.name], claim, place, words=_WORDS[place.name], seed=arguments.seed)
            for place in session.places
        )

        def again() -> dict[str, Scores]:
            late = collection.train(models + 1)
            if late is not None:
                raise DataError(f"attack: the confirming model failed where the others did not: {late.message}")
            return _against(collection.read(models + 1)[0], target=models)

        heard = places.confirmed(heard, again, claim)
    result = places.conclude(session, heard, notes=(*_notes(plan, models), *_described(shadows)))
    title = (f"mean of {models} models with canaries", float(accuracy.mean()), preset(config.name).dataset)
    places.write_report(arguments, session, result, heard, command=command_of(arguments), accuracy=(title,))
    return result


class _Collection:
    """The models of one attack, in one folder."""

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
        self._plan, self._folder, self._bar = plan, folder / "shadows", bar

    def train(self, models: int) -> TrainingFailure | None:
        self._bar.begin(f"training {models} models")
        return train_shadow_models(
            self._candidate,
            self._config,
            self._plan,
            models=models,
            seed=self._arguments.seed,
            out=self._folder,
            time_limit=places.TIME_LIMIT_SECONDS,
            data_root=self._arguments.data_root,
        )

    def read(self, models: int) -> tuple[ShadowModels, NDArray[np.float64]]:
        identity = collection_identity(self._candidate, self._config, self._plan, self._arguments.seed)
        arrays = read_shadows(self._folder, models=models, identity=identity)
        shadows = ShadowModels(member=arrays["member"], margins=arrays["margins"], population=arrays["population"])
        return shadows, arrays["accuracy"]


def _against(models: ShadowModels, *, target: int) -> dict[str, Scores]:
    names = [f"canary-{number:05d}" for number in range(models.member.shape[1])]
    coins = models.member[target].tolist()
    return {
        attack: join_scores(names, coins, names, scores_of(attack, models, target), where=f"{attack}: scores")
        for attack in ATTACKS
    }


def _described(models: ShadowModels) -> tuple[str, ...]:
    """Every model as the target in turn, pooled: a description without a claim."""
    lines = []
    for attack in ATTACKS:
        values = np.concatenate([scores_of(attack, models, target) for target in range(len(models.member))])
        member = models.member.ravel()
        pooled = checked(values[member], values[~member], where=attack)
        rates = ", ".join(f"{true_positives_at(pooled, rate):.3g} at {rate:g}" for rate in (0.001, 0.01, 0.1))
        lines.append(
            f"{attack}, every model as target in turn (advisory, scores depend on each other): area "
            f"{roc(pooled).auc:.3f}, true positive rate {rates}"
        )
    return tuple(lines)


def _notes(plan: CanaryPlan, models: int) -> tuple[str, ...]:
    return (
        f"{plan.count} canaries ({', '.join(plan.kinds)}) in by fair coins of every model's own; one target, "
        f"{models - 1} shadows that share the canaries and nothing else; bounds for independent trials are marked invalid",
        "the level is divided among the attacks in advance",
    )
