"""Epsilon over the steps: every prefix costs what a run of that length costs, and the last one is the whole run."""

from dataclasses import replace
from itertools import pairwise

import pytest

import harness
from dpaudit.accounting import epsilon_bracket
from dpaudit.contract import EventTrace, RunConfig, Sampler
from dpaudit.replay.spend import spend_rows


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return harness.run_config("digits", noise_multiplier=1.1)


def test_the_last_row_is_the_whole_run_and_spend_never_falls(config: RunConfig) -> None:
    sigmas = (1.1,) * config.total_steps
    rows = spend_rows(config, sigmas, sigmas, sigmas)
    whole = epsilon_bracket(EventTrace.of_run(config, sigmas), config.target_delta)
    assert (rows[0].steps, rows[-1].steps) == (1, config.total_steps)
    assert (rows[-1].lower, rows[-1].upper, rows[-1].reported) == (whole.lower, whole.upper, whole.upper)
    assert len(rows) == 13
    for before, after in pairwise(rows):
        assert before.steps < after.steps
        assert before.lower is not None
        assert after.upper is not None
        assert before.lower <= after.upper


def test_a_prefix_costs_what_a_shorter_run_costs(config: RunConfig) -> None:
    sigmas = tuple(1.1 + 0.001 * step for step in range(config.total_steps))  # many distinct: fewer points
    rows = spend_rows(config, None, sigmas, None)
    assert len(rows) == 5
    row = rows[2]
    shorter = replace(config, epochs=1, steps_per_epoch=row.steps)
    alone = epsilon_bracket(EventTrace.of_run(shorter, sigmas[: row.steps]), config.target_delta)
    assert row.lower == alone.lower
    assert row.upper is None
    assert row.reported is None


def test_shuffled_batches_are_accounted_at_the_ends_of_epochs() -> None:
    config = harness.run_config("benchmark-mnist")
    assert config.cell.sampler is Sampler.SHUFFLE
    rows = spend_rows(config, (config.noise_multiplier,) * config.total_steps, None, None)
    assert [row.steps for row in rows] == [config.steps_per_epoch * epoch for epoch in range(1, config.epochs + 1)]


def test_without_a_schedule_there_is_nothing(config: RunConfig) -> None:
    assert spend_rows(config, None, None, None) == ()
