"""A training whose releases are recorded for an audit with canaries: what it may be, and how the canaries get in."""

from pathlib import Path

from dpaudit.contract import Form, RunConfig, UsageError

from .canaries import (
    CanaryPlan,
    CanaryRows,
    draw_canaries,
    read_canaries,
    require_insertable,
    with_canaries,
    write_canaries,
)
from .datasets import Dataset
from .recipe import Engine, Recipe
from .run import Run


def form_with_canaries(asked: Form | None) -> Form:
    """The plain form: a Dirac canary is a row of gradients, and stored steps are run again by ``clip_and_noise``.

    Raises:
        UsageError: another form was asked for.
    """
    if asked not in (None, Form.PLAIN):
        raise UsageError(f"canaries: expected the form plain, in which every row's gradient exists, got {asked}")
    return Form.PLAIN


def require_recordable(
    plan: CanaryPlan, config: RunConfig, recipe: Recipe, engine: Engine, *, processes: int, hold_out: int
) -> None:
    """Refuse runs whose stored steps could not be run again from the seed and the data alone.

    Raises:
        UsageError: a plan that the run cannot hold; augmentation, dropout, public weights, lower precision, a validation
            split, releases before the first step or several processes.
    """
    require_insertable(plan, config)
    problems = {
        "augmentation": bool(recipe.augmentations),
        "dropout": recipe.dropout > 0,
        "public weights": recipe.public_weights,
        "bfloat16, TF32 or compilation": engine.bf16 or engine.tf32 or engine.compile,
        "a validation split": hold_out > 0,
        "releases before the first step": bool(config.preparation),
        f"{processes} processes": processes > 1,
    }
    found = [words for words, holds in problems.items() if holds]
    if found:
        raise UsageError(
            f"canaries: a run with {', '.join(found)} cannot be scored and run again step by step from its record; train "
            "with canaries in one process, in float32, without augmentation, dropout, public weights, split or private mean"
        )


def insert_canaries(plan: CanaryPlan, run: Run, data: Dataset, out: Path, *, steps_done: int) -> Dataset:
    """Draw the canaries, write them down, give the run what it does about them, and open its recording.

    Raises:
        UsageError: the folder holds a run with other canaries. DataError: the folder cannot be written.
    """
    drawn = draw_canaries(plan, run.config, data.train_labels.cpu(), seed=run.seed)
    if steps_done and read_canaries(out) != (plan, drawn):
        raise UsageError(f"resume: {out} holds a run with other canaries; resume with the same, or start a new run")
    write_canaries(out, plan, drawn)
    run.canaries = CanaryRows(drawn, run.config)
    if run.recorder is not None:
        run.recorder.begin(steps_done)
    return with_canaries(data, drawn, seed=run.seed)
