"""The pair of a step by its sigma: which curve, which of its properties, and the error of interpolating it."""

import math

import mpmath
import numpy as np
import pytest

from dpaudit.accounting.interpolation import Piece
from dpaudit.accounting.privacy_curves import RemoveCurve, ReplaceCurve, SwapCurve
from dpaudit.accounting.step_family import PairKind, StepFamily
from dpaudit.accounting.truncation import MixtureCurve, Truncation

CUTS = Truncation(probability=0.25, conditional=0.5, inclusion=0.2)
CUTS_NOTHING = Truncation(probability=0.0, conditional=0.0, inclusion=0.3)


def test_mu_is_the_reach_over_sigma_and_back():
    family = StepFamily(q=0.3, kind=PairKind.SWAP, reach=2.0)
    assert family.mu(4.0) == 0.5
    assert family.sigma(0.5) == 4.0
    assert StepFamily(q=0.3, kind=PairKind.REMOVE).mu(4.0) == 0.25


def test_each_kind_has_its_curve():
    assert StepFamily(q=0.3, kind=PairKind.REMOVE).curve(4.0) == RemoveCurve(q=0.3, mu=0.25)
    assert StepFamily(q=0.3, kind=PairKind.REMOVE, reach=2.0).curve(4.0) == RemoveCurve(q=0.3, mu=0.5)
    assert StepFamily(q=0.3, kind=PairKind.REPLACE).curve(4.0) == ReplaceCurve(q=0.3, mu=0.25)
    assert StepFamily(q=0.3, kind=PairKind.SWAP, reach=2.0).curve(4.0) == SwapCurve(q=0.3, mu=0.5)


def test_truncation_mixes_a_swap_in():
    for kind, first in ((PairKind.REMOVE, RemoveCurve), (PairKind.REPLACE, ReplaceCurve)):
        found = StepFamily(q=0.3, kind=kind, truncation=CUTS).curve(4.0)
        assert found == MixtureCurve(first=first(q=0.3, mu=0.25), second=SwapCurve(q=0.5, mu=0.5), weight=0.25)
        assert StepFamily(q=0.3, kind=kind, truncation=CUTS_NOTHING).curve(4.0) == first(q=0.3, mu=0.25)


@pytest.mark.parametrize("truncation", [None, CUTS_NOTHING, CUTS])
@pytest.mark.parametrize("kind", list(PairKind))
def test_properties_are_those_of_the_curve(kind, truncation):
    """Against the curve itself: mirrored it is the same; it vanishes from some loss down; sigma stands in H_G alone."""
    family = StepFamily(q=0.3, kind=kind, truncation=truncation)
    curve, epsilons = family.curve(1.25), np.linspace(0.05, 3.0, 40)
    mirror = np.exp(epsilons) * curve.excess(-epsilons)
    assert family.symmetric == np.allclose(curve.excess(epsilons), mirror, rtol=1e-9, atol=1e-14)
    if family.least_loss is not None:
        assert family.least_loss == pytest.approx(math.log(0.7), rel=1e-15)
        assert curve.excess(np.array([family.least_loss - 1e-9]))[0] == 0.0
        assert curve.excess(np.array([family.least_loss + 1e-2]))[0] > 0.0
    else:
        assert curve.excess(np.array([-3.0]))[0] > 0.0
    plain = truncation is not CUTS or kind is PairKind.SWAP
    assert family.interpolates is (kind is not PairKind.REPLACE and truncation is not CUTS)
    assert (family.least_loss is not None) is (kind is PairKind.REMOVE and plain)


def test_a_row_in_every_batch_has_no_least_loss():
    assert StepFamily(q=1.0, kind=PairKind.REMOVE).least_loss is None
    assert StepFamily(q=0.999, kind=PairKind.REMOVE).least_loss == pytest.approx(math.log(0.001))


@pytest.mark.parametrize("kind", [PairKind.REMOVE, PairKind.SWAP])
def test_the_error_of_interpolation_is_that_of_the_gaussian_at_the_inner_epsilon(kind):
    """q H_G at gamma' = (gamma - 1 + q)/q; left of 0 a swap is the mirror image, which scales by e^loss."""
    family, piece = StepFamily(q=0.3, kind=kind), Piece(low=0.8, high=1.1)
    for loss in (-2.0, -0.4, -0.3, -0.01, 0.0, 0.02, 0.7, 2.5, 9.0):
        with mpmath.workdps(40):
            right = abs(mpmath.mpf(loss)) if kind is PairKind.SWAP else mpmath.mpf(loss)
            inner = (mpmath.exp(right) - 1 + mpmath.mpf(0.3)) / mpmath.mpf(0.3)
            at = float(mpmath.log(inner)) if inner > 0 else -math.inf
            mirrored = float(mpmath.exp(min(loss, 0.0))) if kind is PairKind.SWAP else 1.0
        expected = 0.3 * mirrored * float(piece.errors(np.array([at]))[0])
        found = float(family.interpolation_error(piece, np.array([loss]))[0])
        assert found == pytest.approx(expected, rel=1e-6, abs=0.0)


@pytest.mark.parametrize("kind", [PairKind.REMOVE, PairKind.SWAP])
def test_interpolated_curves_are_within_the_error(kind):
    """A wide piece, so that the error stands out of rounding; combined at the nodes against the curve itself."""
    family, piece = StepFamily(q=0.3, kind=kind), Piece(low=0.3, high=6.0)
    losses = np.array([-1.0, -0.3, -0.1, 0.05, 0.8, 3.0, 8.0])
    at_nodes = np.stack([family.curve(family.sigma(mu)).excess(losses) for mu in piece.nodes])
    mus = np.array([0.31, 0.9, 2.2, 5.9])
    combined = piece.weights(mus) @ at_nodes
    exact = np.stack([family.curve(family.sigma(mu)).excess(losses) for mu in mus])
    assert (np.abs(combined - exact) <= family.interpolation_error(piece, losses) + 1e-14).all()
