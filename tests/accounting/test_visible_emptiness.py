"""Empty batches that show: the pair of a step by quadrature, its composition by another library, and the borders."""

import itertools
import math
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest

from dpaudit.accounting import epsilon_bracket, visible_emptiness
from dpaudit.accounting.visible_emptiness import _cells, _step, epsilon_with_visible_emptiness
from dpaudit.contract import Cell, EventTrace, UsageError

GOOD = {"sigma": 0.8, "sampling_probability": 0.05, "dataset_size": 20, "steps": 4, "visible": 2, "delta": 1e-3}


def epsilon(**changes):
    return epsilon_with_visible_emptiness(**{**GOOD, **changes})


def outcomes(curve):
    """[2, k] P-mass and Q-mass of every outcome of a discrete curve."""
    return np.diff(curve.left, axis=1)


def by_quadrature(sigma, q, size, at, *, visible):
    """The hockey-stick divergence of the observed pair, by trapezoids of 1e-4, over the trivial one."""
    x = np.arange(-14, 1 / sigma + 14, 1e-4)
    zero, one = (np.exp(-((x - shift) ** 2) / 2) / math.sqrt(2 * math.pi) for shift in (0.0, 1 / sigma))
    without, beside = ((1 - q) ** (size - 1), (1 - q) ** size) if visible else (0.0, 0.0)
    base, other = (1 - without) * zero, (1 - q - beside) * zero + q * one
    gap = np.maximum(other - math.exp(at) * base, 0).sum() * 1e-4 + max(beside - math.exp(at) * without, 0.0)
    return gap - max(0.0, -math.expm1(at))


@pytest.mark.parametrize(("sigma", "q", "size"), [(0.8, 0.05, 20), (1.5, 0.3, 2), (0.3, 0.01, 1)])
def test_the_pair_of_a_step_is_that_of_the_module(sigma, q, size):
    """Cells of 0.007 lose little, and never add."""
    for visible in (True, False):
        if size == 1 and visible:
            continue  # without the row no batch holds any other: every batch is empty
        curve = _step(sigma, q, size, visible=visible)
        for at in (-0.2, -0.01, 0.0, 0.04, 0.5, 1.5):
            exact, found = by_quadrature(sigma, q, size, at, visible=visible), curve.excess(np.array([at]))[0]
            assert found <= exact + 2e-9
            assert found >= exact * (1 - 1e-3) - 2e-9
        masses = outcomes(curve)
        np.testing.assert_allclose(masses.sum(axis=1), 1.0, rtol=1e-13)
        if visible:
            empty = np.array([(1 - q) ** size, (1 - q) ** (size - 1)])
            assert np.abs(masses - empty[:, None]).max(axis=0).min() < 1e-14


def test_cells_hold_the_normal_mass_between_their_edges_far_into_both_tails():
    edges = np.array([-30.0, -12.0, -3.0, -0.4, 0.0, 0.3, 5.0, 6.0, 7.5, 13.0, 31.0])
    with mpmath.workdps(400):
        below = [mpmath.mpf(0), *(mpmath.ncdf(mpmath.mpf(edge)) for edge in edges), mpmath.mpf(1)]
        truth = [float(high - low) for low, high in itertools.pairwise(below)]
    np.testing.assert_allclose(_cells(edges), truth, rtol=1e-11)


def test_cells_that_underflow_keep_a_mass():
    found = _cells(np.array([-60.0, -50.0, 0.0, 50.0, 60.0]))
    assert (found[[0, 1, 4, 5]] == 1e-300).all()
    np.testing.assert_allclose(found[2:4], 0.5, rtol=1e-15)


@pytest.mark.parametrize(("steps", "visible"), [(1, 1), (2, 2), (2, 1), (2, 0)])
def test_composition_agrees_with_the_product_of_all_outcomes(steps, visible):
    """The slow twin: every pair of outcomes of two steps, nothing rounded to a grid."""
    pairs = [outcomes(_step(0.8, 0.05, 20, visible=step < visible)) for step in range(steps)]
    p, q = (np.multiply.outer(*rows).ravel() if steps == 2 else rows[0] for rows in zip(*pairs, strict=True))

    def delta(at):
        return float(np.maximum(p - math.exp(at) * q, 0.0).sum())

    found = epsilon(steps=steps, visible=visible)
    assert delta(found) >= 1e-3 > delta(found * 1.0005)


def test_what_never_shows_is_plain_poisson_sampling():
    exact = epsilon_bracket(EventTrace(cell=Cell(), sampling_probability=0.05, sigmas=(0.8,) * 60), 1e-4)
    found = epsilon(steps=60, visible=0, delta=1e-4)
    assert found <= exact.upper
    assert found == pytest.approx(exact.lower, rel=2e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling_probability": 0.0}, {"sampling_probability": 1.0}, {"sigma": 0.0499}, {"sigma": math.inf},
        {"sigma": math.nan}, {"visible": -1}, {"visible": 5}, {"steps": 0, "visible": 0}, {"dataset_size": 0},
        {"delta": 0.0}, {"delta": 1.0}, {"delta": math.nan},
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(changes):
    with pytest.raises(UsageError, match="visible emptiness: expected 0 < q < 1"):
        epsilon(**changes)


def test_numbers_at_the_border_are_answered():
    assert epsilon(sigma=0.05, steps=1, visible=1) >= 0
    assert epsilon(sigma=0.06, steps=1, visible=1) > 150
    assert epsilon(dataset_size=1, steps=1, visible=1) >= 0
    assert epsilon(dataset_size=2, steps=1, visible=1) > 0
    assert epsilon(steps=1, visible=0) > 0
    assert epsilon(steps=4, visible=4) > epsilon(steps=4, visible=0) > 0
    assert epsilon(delta=0.999) == 0.0


def test_more_noise_and_a_larger_delta_cost_less():
    assert epsilon() > epsilon(sigma=0.9) > epsilon(sigma=0.9, delta=2e-3)


def test_the_end_is_rounded_down_and_a_window_beyond_the_largest_proves_nothing(monkeypatch):
    def to_large(steps, log_delta):
        raise OverflowError

    answer = SimpleNamespace(epsilon=lambda delta, pessimistic: math.nan if pessimistic else 2.0)
    monkeypatch.setattr(visible_emptiness, "compose", lambda steps, log_delta: answer)
    assert epsilon() == 2.0 * (1 - 1e-8)
    answer.epsilon = lambda delta, pessimistic: -2.0
    assert epsilon() == 0.0
    monkeypatch.setattr(visible_emptiness, "compose", to_large)
    assert epsilon() == 0.0


def test_every_step_is_composed_with_its_rounding(monkeypatch):
    seen = []

    def composed(steps, log_delta):
        seen.append((steps, log_delta))
        return SimpleNamespace(epsilon=lambda delta, pessimistic: 1.0)

    monkeypatch.setattr(visible_emptiness, "compose", composed)
    epsilon(steps=7, visible=3)
    ((steps, log_delta),) = seen
    assert steps.counts.tolist() == [3, 4]
    assert (steps.infinity, steps.minus_infinity) == (0.0, 0.0)
    assert log_delta == math.log(1e-3)
    size = steps.grid.size
    assert steps.rounding == pytest.approx(7 * (3e-14 + 3e-16 * size), rel=1e-12, abs=0.0)
    np.testing.assert_allclose(np.abs(steps.masses).sum(axis=1), 1.0, atol=1e-9)
    assert not np.allclose(steps.masses[0], steps.masses[1], atol=1e-6)


def test_cells_and_grid_are_as_ever(monkeypatch):
    """As recorded: any cutting into cells, and any grid, is sound; another one moves the end a little."""
    grids, real = [], visible_emptiness.compose
    monkeypatch.setattr(
        visible_emptiness, "compose", lambda steps, log_delta: grids.append(steps.grid) or real(steps, log_delta)
    )
    found = [epsilon(), epsilon(sigma=0.4, steps=30, visible=1, delta=1e-6), epsilon(steps=9, visible=9)]
    recorded = [(grid.start, grid.step, float(grid.size), end) for grid, end in zip(grids, found, strict=True)]
    for row, expected in zip(recorded, RECORDED, strict=True):
        assert row == pytest.approx(expected, rel=1e-8, abs=0.0)
    curve = _step(0.8, 0.05, 20, visible=False)
    assert len(curve.losses) == 3001
    assert curve.losses[[0, -1]] == pytest.approx(ENDS, rel=1e-8, abs=0.0)


RECORDED = [
    (-0.05250944004118246, 0.000860810492478401, 6003.0, 1.1936883032024652),
    (-0.05376025780406438, 0.002986680989114688, 6003.0, 23.425978059556556),
    (-0.052493685932881416, 0.0008897234903878207, 6003.0, 1.7749150852183089),
]
"""First loss, step and size of the grid, and the end."""
ENDS = [-0.051293145784576666, 9.781870018323666]
