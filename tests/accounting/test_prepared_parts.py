"""Releases before the steps: against a Gaussian that is known, and the search by what it is told."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from dpaudit.accounting.discretise import LOSS_LIMIT, Grid, LossMasses
from dpaudit.accounting.gaussian_curve import gaussian_epsilon, hockey_stick
from dpaudit.accounting.prepared import _epsilon, prepared_epsilon

NOW = LossMasses(
    grid=Grid(start=-1.0, step=1.0, size=3), masses=np.array([0.25, 0.5, 0.25]), at_infinity=0.0, at_minus_infinity=0.0,
    rounding=0.0,
)  # fmt: skip


class Gaussian:
    """The steps of one exact Gaussian, in the place of a composed curve."""

    def __init__(self, mu):
        self.mu = mu

    def deltas(self, epsilons, *, pessimistic):
        right = hockey_stick(np.abs(epsilons), self.mu)
        return np.where(epsilons >= 0, right, 1 - np.exp(epsilons) * (1 - right))  # the mirror rule


@pytest.mark.parametrize(("before", "mu"), [(0.2, 0.5), (1.0, 0.3), (0.05, 2.0), (0.05, 0.1)])
@pytest.mark.parametrize("delta", [1e-3, 1e-7])
def test_two_gaussians_are_one(before, mu, delta):
    exact = gaussian_epsilon(math.hypot(before, mu), delta)[0]
    above, below = (prepared_epsilon((Gaussian(mu),), before, delta, from_above=side) for side in (True, False))
    assert below <= exact * (1 + 1e-8)
    assert exact <= above * (1 + 1e-8)
    assert above == pytest.approx(exact, rel=2e-5)
    assert below == pytest.approx(exact, rel=2e-5)


def test_the_worse_direction_counts():
    both = prepared_epsilon((Gaussian(0.3), Gaussian(0.6)), 0.2, 1e-5, from_above=True)
    assert both == prepared_epsilon((Gaussian(0.6),), 0.2, 1e-5, from_above=True)


def steps(delta_of):
    return SimpleNamespace(deltas=lambda epsilons, pessimistic: np.array([delta_of(e) for e in epsilons]))


def told(delta_of, delta, from_above, **changes):
    pair = LossMasses(**{**{name: getattr(NOW, name) for name in LossMasses.__slots__}, **changes})
    return _epsilon(steps(delta_of), pair, delta, from_above=from_above)


def fading(epsilon):
    """delta(eps) of the steps: e^-eps, at most 1."""
    return min(1.0, math.exp(-epsilon))


MEAN = 0.25 * math.exp(-1.0) + 0.5 + 0.25 * math.exp(1.0)
"""What the weights make of e^-eps: e^-(eps - loss) averaged over the losses -1, 0 and 1."""


def test_the_search_finds_where_the_average_meets_delta():
    for from_above in (True, False):
        assert told(fading, 1e-3, from_above) == pytest.approx(math.log(MEAN / 1e-3), rel=1e-12)
    assert told(fading, MEAN * math.exp(-300), True) == pytest.approx(300, rel=1e-12)


def test_infinite_mass_and_rounding_are_added_above_and_taken_off_below():
    shifted = {"at_infinity": 1e-4, "rounding": 2e-4}
    assert told(fading, 1e-3, True, **shifted) == pytest.approx(math.log(MEAN / 7e-4), rel=1e-12)
    assert told(fading, 1e-3, False, **shifted) == pytest.approx(math.log(MEAN / 1.2e-3), rel=1e-12)
    negative = {"masses": np.array([0.25, 0.5, -3e-4])}
    mean = 0.25 * math.exp(-1.0) + 0.5
    assert told(fading, 1e-3, True, **negative) == pytest.approx(math.log(mean / 1e-3), rel=1e-12)
    assert told(fading, 1e-3, False, **negative) == pytest.approx(math.log(mean / 1.3e-3), rel=1e-12)


def test_the_ends_of_the_search():
    for from_above in (True, False):
        assert told(lambda epsilon: 1e-9, 1e-3, from_above) == 0.0
    for from_above in (True, False):
        assert told(lambda epsilon: 1e-3, 1e-3, from_above) == 0.0  # exactly met
    assert told(lambda epsilon: 0.5, 1e-3, True) == math.inf
    beyond = told(lambda epsilon: 0.5, 1e-3, False)
    assert beyond == 512.0
    assert 2 * beyond > LOSS_LIMIT
    assert told(lambda epsilon: math.nan, 1e-3, True) == math.inf
    assert told(lambda epsilon: math.nan, 1e-3, False) == 0.0


def test_the_side_that_proves_the_end_is_given():
    """A jump at 1.3: from above the epsilon that meets delta, from below the last that exceeds it."""
    jump = {"masses": np.array([0.0, 1.0, 0.0])}

    def steep(epsilon):
        return 0.5 if epsilon < 1.3 else 0.0

    above, below = (told(steep, 1e-3, side, **jump) for side in (True, False))
    assert steep(above) == 0.0
    assert steep(below) == 0.5
    assert 0 < above - below < 1e-14


def test_the_releases_are_cut_as_finely_as_ever():
    """As recorded: any cutting is sound; its width is seen in the last digits."""
    found = [prepared_epsilon((Gaussian(0.5),), 0.4, 1e-5, from_above=side) for side in (True, False)]
    assert found == pytest.approx(RECORDED, rel=1e-10)


RECORDED = [2.6307718367888735, 2.6307652212374317]
