"""Shuffled epochs: the lower end's law by simulation, known special cases, and what it says of the published runs."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from dpaudit.accounting import epsilon_bracket, shuffled
from dpaudit.accounting.gaussian_curve import gaussian_epsilon
from dpaudit.accounting.shuffled import largest_coordinate_curve
from dpaudit.contract import Cell, EventTrace, Relation, Rows, Sampler, UsageError

DELTA = 1e-5


def trace(sigmas, steps_per_epoch, q, relation=Relation.ZERO_OUT):
    cell = Cell(sampler=Sampler.SHUFFLE, relation=relation, rows=Rows.CONSTANT)
    return EventTrace(
        cell=cell, sampling_probability=q, sigmas=tuple(sigmas), steps_per_epoch=steps_per_epoch, batch_size=1
    )


def test_law_of_the_largest_coordinate_matches_a_simulation():
    rng = np.random.default_rng(23)
    epoch, q, trials = (0.5, 0.5, 1.0, 0.8), 0.2, 200_000
    noise = rng.standard_normal((trials, 4))
    slot = rng.integers(0, 4, trials)
    takes_part = rng.random(trials) < 4 * q
    present = noise.copy()
    present[np.arange(trials), slot] += np.where(takes_part, 1 / np.array(epoch)[slot], 0.0)
    curve = largest_coordinate_curve(epoch, q)
    for threshold in (1.0, 2.0, 3.0):
        p, a = (present.max(axis=1) > threshold).mean(), (noise.max(axis=1) > threshold).mean()
        # any event bounds the curve from below: P(A) - gamma Q(A) <= H(gamma)
        for epsilon in (0.0, 0.5, 1.5):
            stick = float(curve.excess(np.array([epsilon]))[0])
            assert p - math.exp(epsilon) * a <= stick + 4 * math.sqrt((1 + math.exp(2 * epsilon)) / trials)
    best = max(p_value(present, t) - math.exp(0.5) * p_value(noise, t) for t in np.linspace(0, 4, 40))
    assert best == pytest.approx(float(curve.excess(np.array([0.5]))[0]), abs=6e-3)


def p_value(sample, threshold):
    return float((sample.max(axis=1) > threshold).mean())


def test_one_step_an_epoch_is_the_exact_gaussian():
    bracket = epsilon_bracket(trace((2.0,) * 9, 1, 1.0), DELTA)
    exact = gaussian_epsilon(1.5, DELTA)[0]
    assert bracket.lower <= exact * (1 + 1e-9)
    assert bracket.lower == pytest.approx(exact, rel=5e-3)
    assert bracket.upper == pytest.approx(exact, rel=1e-8)


def test_published_runs_are_refuted_as_they_really_ran():
    """MNIST at 0.2385 and CIFAR-10 at 0.6405, both claimed at 3: the lower end alone is above the claim."""
    mnist = epsilon_bracket(trace((0.2385,) * 1170, 234, 256 / 60000), DELTA)
    cifar = epsilon_bracket(trace((0.6405,) * 5850, 195, 256 / 50000), DELTA)
    assert mnist.lower > 50
    assert 5 < cifar.lower < 7


def test_lower_end_is_between_nothing_and_the_unshuffled_order():
    for sigma in (0.3, 0.6508, 2.0):
        bracket = epsilon_bracket(trace((sigma,) * 60, 20, 0.05), DELTA)
        assert 0 <= bracket.lower < bracket.upper


def test_schedule_counts_the_smallest_sigma_of_each_epoch():
    bracket = epsilon_bracket(trace((1.0, 2.0, 3.0, 1.5, 4.0, 4.0), 3, 1 / 3), DELTA)
    assert bracket.upper == pytest.approx(gaussian_epsilon(math.hypot(1, 1 / 1.5), DELTA)[1], rel=1e-12)


def test_replacing_reaches_twice_as_far():
    zero = epsilon_bracket(trace((2.0,) * 10, 5, 0.2), DELTA)
    replace = epsilon_bracket(trace((2.0,) * 10, 5, 0.2, Relation.REPLACE_ONE), DELTA)
    mu = math.sqrt(2) / 2
    assert zero.upper == pytest.approx(gaussian_epsilon(mu, DELTA)[1])
    assert replace.upper == pytest.approx(gaussian_epsilon(2 * mu, DELTA)[1])
    assert replace.lower == zero.lower


def test_steps_without_noise():
    bracket = epsilon_bracket(trace((1.0, 0.0, 1.0, 1.0), 2, 0.5), DELTA)
    assert bracket.lower == bracket.upper == math.inf
    quiet = epsilon_bracket(trace((math.inf,) * 4, 2, 0.5), DELTA)
    assert (quiet.lower, quiet.upper) == (0.0, 0.0)
    assert epsilon_bracket(trace((1.0, 1.0), 2, 0.5), 0.0).lower == math.inf


@pytest.mark.parametrize("size", [None, 0])
def test_epochs_must_be_told(size):
    with pytest.raises(UsageError, match="shuffle needs steps_per_epoch"):
        shuffled.shuffled_bracket(trace((1.0,) * 4, size, 0.5), DELTA)


def test_the_lower_end_is_the_larger_of_both_directions_rounded_down(monkeypatch):
    seen = []

    def composed(steps, log_delta):
        seen.append(steps.masses)
        return SimpleNamespace(epsilon=lambda delta, pessimistic: float(len(seen)))

    monkeypatch.setattr(shuffled, "compose", composed)
    assert shuffled.shuffled_bracket(trace((1.0,) * 4, 2, 0.25), DELTA).lower == 2.0 * (1 - 1e-8)
    assert not np.array_equal(seen[0], seen[1])


def test_steps_without_end_of_noise_beside_others_spend_what_the_others_do():
    quiet = epsilon_bracket(trace((math.inf,) * 2 + (1.0,) * 2, 2, 0.5), DELTA)
    assert quiet.lower > 1
    nothing = epsilon_bracket(trace((math.inf,) * 4, 2, 0.5), DELTA)
    assert (nothing.lower, nothing.upper, nothing.lower_method) == (0.0, 0.0, "nothing is spent")
    trivial = shuffled.shuffled_bracket(trace((1.0,) * 4, 2, 0.5), 1.0)
    assert (trivial.lower, trivial.upper, trivial.lower_method) == (0.0, 0.0, "nothing is spent")


def test_epochs_without_noise_spend_everything():
    assert epsilon_bracket(trace((0.0,) * 4, 2, 0.5), DELTA).lower == math.inf


def test_the_lower_end_is_composed_from_below(monkeypatch):
    composed = SimpleNamespace(epsilon=lambda delta, *, pessimistic: 99.0 if pessimistic else 1.0)
    monkeypatch.setattr(shuffled, "compose", lambda steps, log_delta: composed)
    assert epsilon_bracket(trace((1.0,) * 4, 2, 0.5), DELTA).lower == pytest.approx(1.0, rel=1e-6)


def test_a_row_is_at_most_surely_present():
    """Batches that do not divide the data set have more slots than rows."""
    epsilons = np.linspace(0, 3, 13)
    surely, beyond = (largest_coordinate_curve((1.0,) * 3, q).excess(epsilons) for q in (1 / 3, 0.4))
    np.testing.assert_allclose(beyond, surely, rtol=1e-12)
