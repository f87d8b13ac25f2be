"""Schedules with many distinct sigmas: known costs, width, and the twin that builds every level."""

import math

import numpy as np
import pytest

from dpaudit.accounting import epsilon_bracket, honest_noise_factor
from dpaudit.accounting.epsilon import upper_end
from dpaudit.contract import Cell, EventTrace, Relation

Q, STEPS, BASE, DELTA = 256 / 60000, 1170, 0.6508, 1e-5


def trace(sigmas, relation=Relation.ADD_REMOVE, q=Q):
    return EventTrace(cell=Cell(relation=relation), sampling_probability=q, sigmas=tuple(map(float, sigmas)))


def matched(shape, base=BASE):
    """sigma_0 such that the mean of 1/sigma^2 is that of the constant base: what the audited mechanisms do."""
    shape = np.asarray(shape)
    return base * math.sqrt(np.mean(shape**-2.0)) * shape


def cosine(steps=STEPS):
    return (1 + np.cos(np.pi * np.arange(steps) / (steps - 1))) / 2


SHAPES = {
    "cosine": 0.65 + 0.35 * cosine(),
    "learning rate": np.minimum(np.maximum(cosine(), 0.05) ** -0.5, 4.0),
    "noise decay": 0.8 ** (np.arange(STEPS) // 234),
}


@pytest.mark.parametrize(
    ("shape", "base", "golden", "tolerance"),
    [
        ("cosine", BASE, 4.31, 1.5e-3),
        ("cosine", 0.2385, 98, 5e-3),
        ("learning rate", BASE, 6.52, 2e-3),
        ("learning rate", 0.2385, 129, 4e-3),
        ("noise decay", BASE, 6.75, 1e-3),
        ("noise decay", 0.2385, 125, 4e-3),
    ],
)
def test_published_schedules_cost_what_the_benchmark_facts_say(shape, base, golden, tolerance):
    """Benchmark facts 4, 6 and 7, printed to two or three digits."""
    bracket = epsilon_bracket(trace(matched(SHAPES[shape], base)), DELTA)
    assert bracket.upper == pytest.approx(golden, rel=tolerance)
    assert bracket.relative_width < 3e-3


def test_a_gentle_schedule_at_a_large_batch():
    """Formulas: the cosine costs 3.018 against 2.999 at q = .082, sigma = 2.93, T = 600, which are rounded: the ratio is what is
    compared. Composing 60 groups of ten in dp-accounting, rounded down and up, gives [3.0136, 3.0378]."""
    shape = 0.65 + 0.35 * cosine(600)
    varied = epsilon_bracket(trace(matched(shape, 2.93), q=0.082), DELTA)
    constant = epsilon_bracket(trace((2.93,) * 600, q=0.082), DELTA)
    assert varied.upper / constant.upper == pytest.approx(3.018 / 2.999, rel=5e-4)
    assert 3.0136 < varied.lower < varied.upper < 3.0378


@pytest.mark.parametrize("relation", [Relation.ADD_REMOVE, Relation.REPLACE_ONE])
def test_ten_thousand_distinct_sigmas_within_one_percent(relation):
    sigmas = matched(0.65 + 0.35 * cosine(10_000), 0.9)
    assert len(set(sigmas)) == 10_000
    bracket = epsilon_bracket(trace(sigmas, relation), DELTA)
    assert bracket.relative_width < 0.01


@pytest.mark.parametrize("relation", [Relation.ADD_REMOVE, Relation.REPLACE_ONE])
def test_many_levels_agree_with_few(relation):
    """25 levels take the path for many, their 24 neighbours the path for few; the cost is between."""
    sigmas = np.linspace(0.9, 1.1, 25)
    many = epsilon_bracket(trace(np.repeat(sigmas, 8), relation, q=0.01), DELTA)
    above = epsilon_bracket(trace(np.repeat(sigmas[:-1], 8).tolist() + [sigmas[0]] * 8, relation, q=0.01), DELTA)
    below = epsilon_bracket(trace(np.repeat(sigmas[1:], 8).tolist() + [sigmas[-1]] * 8, relation, q=0.01), DELTA)
    assert below.lower <= many.upper
    assert many.lower <= above.upper
    assert many.relative_width < 2e-3


def test_order_of_steps_does_not_matter():
    sigmas = matched(SHAPES["cosine"])
    shuffled = np.random.default_rng(5).permutation(sigmas)
    assert upper_end(trace(sigmas), DELTA) == upper_end(trace(shuffled), DELTA)


def test_honest_factor_is_solved_through_the_whole_schedule():
    asked = trace(matched(SHAPES["cosine"]))
    factor = honest_noise_factor(asked, 3.0, DELTA)
    assert factor > 1.05
    assert 3 * (1 - 1e-3) <= upper_end(asked.scaled(factor), DELTA) <= 3 * (1 - 2e-4)
