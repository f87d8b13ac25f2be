"""Learning rates: one number a step, computed before the run, so that a resumed run needs no state for them."""

import warnings

import torch
from torch.optim import lr_scheduler

from dpaudit.contract import RunConfig

from .recipe import RateSchedule, Recipe


def learning_rates(recipe: Recipe, config: RunConfig) -> tuple[float, ...]:
    """The rate of every step of the run.

    torch's own schedulers are run through once, without a model. The warm-up replaces the first ``warmup_steps`` rates
    of the schedule by a linear rise to the value that the schedule has then.
    """
    rates = list(_scheduled(recipe, config))
    warm = min(recipe.warmup_steps, len(rates))
    return tuple(rate * (step + 1) / warm if step < warm else rate for step, rate in enumerate(rates))


def _scheduled(recipe: Recipe, config: RunConfig) -> tuple[float, ...]:
    match recipe.schedule:
        case RateSchedule.CONSTANT:
            return (recipe.learning_rate,) * config.total_steps
        case RateSchedule.COSINE:
            by_epoch = _cosine(recipe, config.epochs)
            return tuple(rate for rate in by_epoch for _ in range(config.steps_per_epoch))
        case RateSchedule.COSINE_STEPS:
            return _cosine(recipe, config.total_steps)


def _cosine(recipe: Recipe, count: int) -> tuple[float, ...]:
    optimiser = torch.optim.SGD([torch.zeros(())], lr=recipe.learning_rate)
    schedule = lr_scheduler.CosineAnnealingLR(optimiser, T_max=count, eta_min=recipe.final_rate)
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no optimiser step comes between: nothing is trained here
        for _ in range(count):
            rates.append(float(optimiser.param_groups[0]["lr"]))
            schedule.step()
    return tuple(rates)
