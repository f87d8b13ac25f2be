"""Interpolation over noise levels: weights as those of Lagrange, and the bound as the formula that is proved."""

import itertools
import math

import mpmath
import numpy as np
import pytest

from dpaudit.accounting.interpolation import Piece, pieces

PIECE = Piece(low=0.6, high=1.4)


def scaled(piece, mu):
    """log mu, with the piece on [-1, 1]."""
    return (2 * np.log(mu) - math.log(piece.high * piece.low)) / math.log(piece.high / piece.low)


def test_nodes_are_chebyshev_points_in_the_logarithm():
    """The 32 roots of T_32, downwards."""
    roots = np.polynomial.chebyshev.chebroots([0.0] * 32 + [1.0])
    np.testing.assert_allclose(np.sort(PIECE.points), np.sort(roots), atol=1e-12)
    np.testing.assert_allclose(scaled(PIECE, PIECE.nodes), PIECE.points, atol=1e-13)
    assert ((PIECE.low < PIECE.nodes) & (PIECE.nodes < PIECE.high)).all()


def test_weights_reproduce_polynomials_of_degree_31():
    mus = np.linspace(0.6, 1.4, 57)
    weights = PIECE.weights(mus)
    assert weights.shape == (57, 32)
    for degree in range(32):
        basis = np.polynomial.chebyshev.Chebyshev.basis(degree)
        np.testing.assert_allclose(weights @ basis(PIECE.points), basis(scaled(PIECE, mus)), atol=1e-11)
    thirty_two = np.polynomial.chebyshev.Chebyshev.basis(32)
    np.testing.assert_allclose(weights @ thirty_two(PIECE.points), 0.0, atol=1e-11)


def test_at_a_node_the_node_alone_counts():
    weights = PIECE.weights(np.append(PIECE.nodes, 1.0))
    np.testing.assert_allclose(weights[:-1], np.eye(32), atol=1e-9)
    assert np.count_nonzero(weights[-1]) == 32
    hit = Piece(low=1.0, high=1.0).weights(np.ones(1))  # the centre of a piece is no node
    assert hit.sum() == pytest.approx(1.0)
    exactly = PIECE.weights(np.exp(PIECE._centre + PIECE._half * PIECE.points[7:8]))
    assert exactly[0, 7] == 1.0
    assert np.count_nonzero(exactly) == 1


def claimed(piece, inner):
    """4 M rho^-(n-1) / (rho-1), least over the same thirty rho; the maximum over r by trial instead of in closed form."""
    best = mpmath.inf
    centre, half = (
        mpmath.log(mpmath.mpf(piece.low) * piece.high) / 2,
        mpmath.log(mpmath.mpf(piece.high) / piece.low) / 2,
    )
    for number in range(30):
        rho = mpmath.exp(mpmath.mpf("0.3") + mpmath.mpf("8.7") * number / 29)
        a, b = half * (rho + 1 / rho) / 2, half * (rho - 1 / rho) / 2
        if b >= 0.75:
            continue
        least, most = mpmath.exp(centre - a), mpmath.exp(centre + a)
        trials = [least * (most / least) ** (mpmath.mpf(k) / 20) for k in range(21)]
        if least**2 <= 2 * abs(inner) <= most**2:
            trials.append(mpmath.sqrt(2 * abs(mpmath.mpf(inner))))
        top = max(-(mpmath.cos(2 * b) * (mpmath.mpf(inner) ** 2 / r**2 + r**2 / 4) - inner) / 2 for r in trials)
        m = a * most / mpmath.sqrt(2 * mpmath.pi) * mpmath.exp(top)
        best = min(best, 4 * m * rho**-31 / (rho - 1))
    return float(best)


@pytest.mark.parametrize(("low", "high"), [(0.6, 1.4), (1.0, 1.02), (0.02, 0.5), (2.0, 9.0)])
def test_the_bound_is_the_one_that_is_proved(low, high):
    inner = np.array([-4.0, 0.0, 0.3, 8.0])
    found = Piece(low=low, high=high).errors(inner)
    with mpmath.workdps(30):
        truth = [claimed(Piece(low=low, high=high), float(value)) for value in inner]
    np.testing.assert_allclose(found, truth, rtol=1e-8)


def test_nothing_is_lost_where_the_curve_is_trivial_and_no_bound_overflows():
    found = PIECE.errors(np.array([-math.inf, 0.2]))
    assert found[0] == 0.0
    assert found[1] > 0.0
    wide = Piece(low=1e-30, high=1e30).errors(np.array([1.0]))
    assert wide[0] >= 1e300  # no rho is allowed: no bound


def test_a_single_level_is_a_piece_too():
    narrow = Piece(low=0.9, high=0.9)
    assert scaled(Piece(low=0.9 * math.exp(-1e-6), high=0.9 * math.exp(1e-6)), narrow.nodes) == pytest.approx(
        narrow.points
    )
    assert narrow.weights(np.array([0.9])).sum() == pytest.approx(1.0)


def test_pieces_are_halved_in_the_logarithm_until_affordable():
    mus = np.exp(np.linspace(math.log(0.25), math.log(4.0), 65))
    parts = pieces(mus, lambda piece: piece.high / piece.low < 2.1)
    assert [part.low for part in parts] == sorted(part.low for part in parts)
    members = [int(((part.low <= mus) & (mus <= part.high)).sum()) for part in parts]
    assert sum(members) == 65  # every level in one piece
    for left, right in itertools.pairwise(parts):
        assert left.high < right.low
    assert [round(math.log2(part.high), 6) for part in parts] == pytest.approx([-1.0, 0.0, 1.0, 2.0])
    assert len(pieces(mus, lambda piece: True)) == 1
    assert (pieces(mus, lambda piece: True)[0].low, pieces(mus, lambda piece: True)[0].high) == (mus[0], mus[-1])


def test_halving_ends_at_a_relative_width_of_1e_6():
    mus = 0.7 * (1 + np.array([0.0, 4e-7, 9e-7, 1.8e-6]))
    parts = pieces(mus, lambda piece: False)
    assert all(part.high / part.low < 1 + 1e-6 for part in parts)
    assert [part.low for part in parts] == [mus[0], mus[3]] or len(parts) == 2
    assert len(pieces(mus[:3], lambda piece: False)) == 1
    assert len(pieces(0.7 * (1 + np.array([0.0, 1.1e-6])), lambda piece: False)) == 2
