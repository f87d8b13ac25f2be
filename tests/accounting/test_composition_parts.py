"""The parts of a composition, each against its definition: windows, folded laws, products and the bounds on their errors."""

import dataclasses
import math

import mpmath
import numpy as np
import pytest

from dpaudit.accounting import composition
from dpaudit.accounting.composition import (
    WindowError,
    _fold,
    _interpolation_noise,
    _mixed_product,
    _place,
    _power_product,
    _sum_right_of,
    _tilted_law,
    _window,
    compose,
)
from dpaudit.accounting.discretise import Grid
from dpaudit.accounting.step_family import PairKind, StepFamily
from dpaudit.accounting.step_rows import rows_of, steps_of
from dpaudit.accounting.steps import Steps
from dpaudit.contract import AuditBrokenError

GRID = Grid(start=-0.6, step=0.2, size=9)
MASSES = np.array([
    [0.02, 0.1, 0.2, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01], [0.01, 0.05, 0.3, 0.28, 0.2, 0.1, 0.04, 0.015, 0.005],
])  # fmt: skip
STEPS = Steps(grid=GRID, masses=MASSES, counts=np.array([3.0, 2.0]), infinity=1e-7, minus_infinity=2e-7, rounding=1e-15)
SHIFTED = dataclasses.replace(STEPS, shifts=np.array([0.03, 0.07]))


def tilted_law(steps, theta):
    """P^theta of the sum, by direct convolution of the normalised tilted masses; index 0 is the offset."""
    law = np.ones(1)
    for row, count in zip(steps.masses, steps.counts, strict=True):
        tilted = row * np.exp(theta * steps.grid.losses)
        for _ in range(int(count)):
            law = np.convolve(law, tilted / tilted.sum())
    return law


def test_sums_right_of_leave_the_entry_out():
    assert _sum_right_of(np.array([1.0, 2.0, 4.0])).tolist() == [6.0, 4.0, 0.0]


@pytest.mark.parametrize("size", [3, 4, 7, 9, 12])
def test_a_folded_row_is_the_sum_over_equal_indices(size):
    folded = _fold(MASSES[0], size)
    slow = np.zeros(size)
    for index, mass in enumerate(MASSES[0]):
        slow[index % size] += mass
    np.testing.assert_allclose(folded, slow, rtol=1e-15)


@pytest.mark.parametrize("theta", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("steps", [STEPS, SHIFTED], ids=["plain", "shifted"])
def test_outside_the_window_lies_next_to_nothing(steps, theta, monkeypatch):
    """At a level that the direct sum can see: at most half of it on either side, and hardly wider than Chernoff needs."""
    monkeypatch.setattr(composition, "_OUTSIDE", 1e-3)
    law = tilted_law(steps, theta)
    low, high = _window(steps, theta, float(steps.log_moments(np.array([theta]))[0]))
    assert 0 <= low < high <= 5 * 8
    assert law[:low].sum() <= 5e-4
    assert law[high + 1 :].sum() <= 5e-4
    assert (low == 0) or law[: low + 6].sum() > 5e-4
    assert (high == 40) or law[high - 5 :].sum() > 5e-4


def test_the_window_is_that_of_the_best_trial_of_chernoff():
    """The bound itself by mpmath, at the same 48 shifts."""
    theta = 0.7
    base = float(STEPS.log_moments(np.array([theta]))[0])
    wide = dataclasses.replace(STEPS, counts=np.array([300.0, 200.0]))
    base = float(wide.log_moments(np.array([theta]))[0])
    with mpmath.workdps(30):
        shifts = [mpmath.exp(mpmath.log(1e-4) + (mpmath.log(300) - mpmath.log(1e-4)) * k / 47) for k in range(48)]
        need = mpmath.log(2 / mpmath.mpf("1e-11"))

        def moment(at):
            rows = [
                mpmath.fsum(mpmath.mpf(m) * mpmath.exp(at * x) for m, x in zip(row, GRID.losses, strict=True))
                for row in MASSES
            ]
            return 300 * mpmath.log(rows[0]) + 200 * mpmath.log(rows[1])

        up = min((moment(theta + s) - moment(theta) + need) / s for s in shifts)
        down = max(-(moment(theta - s) - moment(theta) + need) / s for s in shifts)
    offset = 500 * -0.6
    low, high = _window(wide, theta, base)
    assert low == math.floor((float(down) - offset) / 0.2)
    assert high == math.ceil((float(up) - offset) / 0.2)


def test_an_envelope_counts_for_at_least_nothing_between_minus_one_and_zero():
    """There the exact moments are at most 1, so at most 0 in the logarithm; those of an envelope may be less than exact."""
    theta, counts = 0.4, np.array([300.0, 200.0])
    light = dataclasses.replace(STEPS, masses=MASSES * 0.99, counts=counts)
    behind = dataclasses.replace(STEPS, envelope=light, weights=np.eye(2), counts=counts)
    base = float(light.log_moments(np.array([theta]))[0])
    lows = []
    for steps, spared in ((light, False), (behind, True)):
        ends = []
        for shift in np.exp(np.linspace(math.log(1e-4), math.log(300), 48)):
            moment = float(light.log_moments(np.array([theta - shift]))[0])
            if spared and -1 < theta - shift < 0:
                moment = max(moment, 0.0)
            ends.append((moment - base + math.log(2e11)) / -shift)
        low, _ = _window(steps, theta, base)
        assert low == math.floor((max(ends) + 500 * 0.6) / 0.2)
        lows.append(low)
    assert 0 < lows[1] < lows[0]


def test_a_window_beyond_the_limits_is_refused_with_its_excess(monkeypatch):
    many = dataclasses.replace(STEPS, counts=np.array([300.0, 200.0]))
    base = float(many.log_moments(np.array([0.3]))[0])
    low, high = _window(many, 0.3, base)
    assert 0 < low < high
    for name, value in (("_MAX_WINDOW", high - low), ("_MAX_WORK", 2 * (high - low) + 1)):
        with monkeypatch.context() as patch:
            patch.setattr(composition, name, value)
            with pytest.raises(WindowError, match=f"{high - low} cells exceed the limit of {high - low}") as caught:
                _window(many, 0.3, base)
            assert caught.value.excess == 1.0
            patch.setattr(composition, name, value + 2)
            assert _window(many, 0.3, base) == (low, high)
    assert WindowError(30, 20).excess == 1.5
    assert isinstance(WindowError(30, 20), OverflowError)


def test_a_law_that_is_no_number_breaks_the_audit():
    broken = dataclasses.replace(STEPS, masses=np.where(MASSES == 0.3, np.nan, MASSES))
    with pytest.raises(AuditBrokenError, match="the transform is not finite"):
        _tilted_law(broken, 0.5, STEPS.row_log_moments(0.5), 41)


def test_rows_that_all_count_twice_are_squared():
    twice = dataclasses.replace(STEPS, weights=np.eye(2), counts=np.array([2.0, 2.0]))
    found, _ = _tilted_law(twice, 0.5, STEPS.row_log_moments(0.5), 41)
    np.testing.assert_allclose(found[:33], tilted_law(dataclasses.replace(STEPS, counts=twice.counts), 0.5), atol=1e-15)


@pytest.mark.parametrize("size", [41, 50, 16])
@pytest.mark.parametrize("theta", [0.3, 2.0])
def test_the_law_is_the_folded_convolution_within_eta(size, theta):
    law, eta = _tilted_law(STEPS, theta, STEPS.row_log_moments(theta), size)
    assert np.abs(law - _fold(tilted_law(STEPS, theta), size)).max() <= eta
    assert eta <= 1e-15 * math.log2(size + 2) * (1 + 5)
    assert eta >= 1e-15 * math.log2(size + 2)


@pytest.mark.parametrize("theta", [0.3, 2.0])
def test_combined_rows_are_convolved_as_the_rows_that_they_are(theta):
    weights = np.array([[0.25, 0.75], [1.0, 0.0], [-0.1, 1.1], [0.5, 0.5]])
    mixed = dataclasses.replace(STEPS, weights=weights, counts=np.array([2.0, 1.0, 1.0, 3.0]))
    plain = dataclasses.replace(STEPS, masses=weights @ MASSES, counts=mixed.counts)
    norms = plain.row_log_moments(theta)
    found, eta = _tilted_law(mixed, theta, norms, 64)
    exact, _ = _tilted_law(plain, theta, norms, 64)
    np.testing.assert_allclose(found, exact, atol=1e-15)
    assert eta == pytest.approx(1e-15 * math.log2(66) * (1 + 7 + 1), rel=1e-12, abs=0.0)


def test_frequencies_whose_product_vanishes_are_dropped_in_blocks_of_rows():
    """Three blocks of rows; every frequency but those of |product| > 1e-30 ends as exactly 0."""
    many = np.full((80, 2), 0.5)
    mixed = dataclasses.replace(STEPS, weights=many, counts=np.ones(80))
    plain = dataclasses.replace(STEPS, masses=MASSES.mean(axis=0)[None], counts=np.array([80.0]))
    norms = np.repeat(plain.row_log_moments(0.5), 80)
    tilt = np.exp(0.5 * GRID.losses)
    found, sensitivity = _mixed_product(mixed, MASSES * tilt, norms, 256)
    exact, _ = _power_product(plain, plain.masses * tilt, norms[:1], 256)
    np.testing.assert_allclose(found, exact, atol=1e-14)
    assert sensitivity == 81.0
    assert (found[np.abs(exact) < 1e-31] == 0).all()
    assert (np.abs(exact) < 1e-31).any()
    np.testing.assert_allclose(found[np.abs(exact) > 1e-29], exact[np.abs(exact) > 1e-29], rtol=1e-9)


def test_the_sensitivity_of_a_product_is_the_mean_of_what_one_factor_moves_it():
    tilted = MASSES * np.exp(0.7 * GRID.losses)
    norms = np.log(tilted.sum(axis=1))
    product, sensitivity = _power_product(STEPS, tilted, norms, 32)
    first, second = (np.fft.rfft(np.pad(row / row.sum(), (0, 23))) for row in tilted)
    np.testing.assert_allclose(product, first**3 * second**2, rtol=1e-9, atol=1e-16)
    others = np.minimum(1.0, np.abs(product) / np.minimum(1.0, np.minimum(np.abs(first), np.abs(second))))
    assert sensitivity == pytest.approx(5 * others.mean(), rel=1e-9)
    once, of_one = _power_product(
        dataclasses.replace(STEPS, masses=MASSES[:1], counts=np.ones(1)), tilted[:1], norms[:1], 32
    )
    np.testing.assert_allclose(once, first, rtol=1e-12)
    assert of_one == pytest.approx(1.0)


def test_a_factor_of_zero_makes_no_noise_and_counts_in_full():
    """Two equal masses cancel at the highest frequency."""
    masses = np.zeros((1, 9))
    masses[0, :2] = 0.5
    flat = dataclasses.replace(STEPS, masses=masses, counts=np.array([4.0]))
    product, sensitivity = _power_product(flat, masses, np.zeros(1), 16)
    assert product[-1] == 0
    assert np.isfinite(product).all()
    factors = np.abs(np.fft.rfft(np.pad(masses[0], (0, 7))))[:-1]
    assert sensitivity == pytest.approx(4 * (1.0 + (factors**3).sum()) / 9, rel=1e-9)


def test_the_noise_of_interpolation_is_the_growth_of_the_moved_mass():
    error = np.array([1.0, 5.0, 2.0, 2.0, 1.0, 8.0, 1.0, 1.0, 3.0]) * 1e-8
    uncertain = dataclasses.replace(STEPS, curve_error=error)
    largest = [5.0, 5.0, 5.0, 2.0, 8.0, 8.0, 8.0, 3.0, 3.0]
    moved = math.fsum(e * 1e-8 * math.exp(1.5 * x - 0.3) for e, x in zip(largest, GRID.losses, strict=True))
    moved *= 4 * math.exp(0.2) / math.expm1(0.2)
    assert _interpolation_noise(uncertain, 1.5, 0.3) == pytest.approx(math.expm1(5 * 1.001 * moved), rel=1e-12)
    assert _interpolation_noise(STEPS, 1.5, 0.3) == 0.0
    assert _interpolation_noise(uncertain, 1e5, 0.3) == math.inf
    much = dataclasses.replace(uncertain, curve_error=error / moved / 5.005 * 599)
    assert _interpolation_noise(much, 1.5, 0.3) == pytest.approx(math.expm1(599), rel=1e-9)
    assert _interpolation_noise(dataclasses.replace(much, curve_error=much.curve_error * 1.01), 1.5, 0.3) == math.inf


def test_the_guess_is_placed_where_the_mass_to_the_right_falls_to_delta():
    theta = 1.2
    base = float(STEPS.log_moments(np.array([theta]))[0])
    knots, law = 5 * -0.6 + 0.2 * np.arange(41), tilted_law(STEPS, theta)
    plain = tilted_law(STEPS, 0.0)
    for delta in (0.3, 1e-2, 1e-5):
        placed = _place(knots, law, base, theta, 0.5, math.log(delta))
        index = round((placed + 3.0) / 0.2)
        assert plain[index + 1 :].sum() > delta >= plain[index + 2 :].sum() or placed == 0.0
        # neither a knot that is far off nor a place far from 0 changes that
        far, nothing = np.concatenate([[-700.0], knots]), np.concatenate([[1e-20], law])
        assert _place(far, nothing, base, theta, 0.5, math.log(delta)) == placed
        moved = _place(knots + 400, law, base + theta * 400, theta, 400.5, math.log(delta))
        assert plain[round((moved - 397) / 0.2) + 1 :].sum() > delta >= plain[round((moved - 397) / 0.2) + 2 :].sum()
    assert (
        _place(knots + 400, law, base + theta * 400, theta, 400.5, 1.0) == 397.0
    )  # no mass exceeds it: the first knot
    assert _place(knots, law, base, theta, 0.5, math.log(0.999)) == 0.0  # never below 0
    assert _place(knots, law, base, theta, 1e6, math.log(1e-3)) == 1e6  # no knot near: as it was
    assert _place(knots, law, base, theta, 0.5, 1.0) == 0.0  # no mass exceeds it


def by_definition(steps, epsilon):
    """delta(eps) of the composition, row by row, exactly."""
    law, offset = np.ones(1), steps.offset
    for row, count in zip(steps.masses, steps.counts, strict=True):
        for _ in range(int(count)):
            law = np.convolve(law, row)
    losses = offset + steps.grid.step * np.arange(len(law))
    right = losses > epsilon
    return math.fsum(-np.expm1(epsilon - losses[right]) * law[right])


@pytest.mark.parametrize("steps", [STEPS, SHIFTED], ids=["plain", "shifted"])
@pytest.mark.parametrize("log_delta", [math.log(0.2), math.log(1e-4)])
def test_a_composition_is_its_definition_within_its_error(steps, log_delta):
    found = compose(steps, log_delta)
    epsilons = np.array([0.0, 0.33, 0.9, 1.7, 2.2])
    truth = np.array([by_definition(steps, epsilon) for epsilon in epsilons])
    middle = np.array([(found.deltas(np.array([e]), pessimistic=False)[0]) for e in epsilons])
    above = found.deltas(epsilons, pessimistic=True)
    assert (middle <= truth).all()
    assert (truth <= above).all()
    np.testing.assert_allclose(above, truth + 1e-7, rtol=1e-6)
    assert found.infinity == 1e-7


REMOVE = StepFamily(q=0.05, kind=PairKind.REMOVE)
ANCHORED = Grid(start=math.log1p(-0.05), step=0.02, size=300)
LEVELS = tuple((0.9 + k / 250, 1 + k % 2) for k in range(100))
WIDE = Steps(
    grid=Grid(start=-300.0, step=5.0, size=121), masses=np.exp(-((np.arange(-60, 61) / 16) ** 2) / 2)[None] / 40.1,
    counts=np.array([6.0]), infinity=0.0, minus_infinity=0.0, rounding=1e-15,
)  # fmt: skip
NOISY = dataclasses.replace(STEPS, masses=MASSES + np.array([0.02, *[0.0] * 7, -0.03]))
CASES = {
    "wide": WIDE,
    "noisy": NOISY,
    "plain": STEPS,
    "shifted": SHIFTED,
    "above": rows_of(REMOVE, ((0.9, 30), (1.3, 70)), ANCHORED, from_above=True),
    "below": rows_of(REMOVE, ((0.9, 30), (1.3, 70)), ANCHORED, from_above=False),
    "interpolated": steps_of(REMOVE, LEVELS, ANCHORED, 3.0, from_above=True),
    "mirrored": steps_of(REMOVE, LEVELS, ANCHORED, 3.0, from_above=True).reversed(),
}


def test_the_noise_of_interpolation_is_relative_to_the_least_norm_of_any_row(monkeypatch):
    seen = []
    monkeypatch.setattr(
        composition, "_interpolation_noise", lambda steps, theta, least: seen.append((theta, least)) or 0.0
    )
    compose(CASES["interpolated"], math.log(1e-5))
    ((theta, least),) = seen
    rows = CASES["interpolated"].weights @ CASES["interpolated"].masses
    assert least == pytest.approx(min(np.log(rows @ np.exp(theta * ANCHORED.losses))), rel=1e-9, abs=0.0)


def summary(name):
    """Where the window lies, and the masses and errors at its third, in numbers that any change moves."""
    found = compose(CASES[name], math.log(1e-5))
    third = len(found.losses) // 3
    return (
        float(found.losses[0]), float(found.losses[-1]), float(len(found.losses)), found.reference,
        float(found.above[third]), float(found.above_q[third]), float(found.error[third]),
        float(found.error[-1]), float(found.error[0]),
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_windows_and_errors_are_as_ever(name):
    """As recorded: that the errors are enough is tested above, that they are no larger than needed is not otherwise."""
    assert summary(name) == pytest.approx(RECORDED[name], rel=1e-6, abs=0.0)


RECORDED = {
    "wide": (
        240.0,
        1425.0,
        238.0,
        825.0,
        0.0005524550582262128,
        1.0700858236829113e76,
        1.1505693478927768e-13,
        1.0000258085444966e-15,
        2.395193917410693e-10,
    ),
    "noisy": (
        -2.6,
        5.200000000000001,
        40.0,
        3.0,
        0.41618724570000054,
        5.165248376732198,
        9.194523814731565e-09,
        1.1928863735647143e-15,
        0.0002659121122542556,
    ),
    "plain": (
        -2.4,
        5.4,
        40.0,
        3.2,
        0.4238485092000019,
        4.938331652043398,
        2.655776875549636e-09,
        1.0005629843211088e-15,
        0.00018240519994681113,
    ),
    "shifted": (
        -2.17,
        5.630000000000001,
        40.0,
        3.43,
        0.4238485092000019,
        4.938331652043398,
        2.655776875549636e-09,
        1.0005629843211088e-15,
        0.00018240519994681113,
    ),
    "above": (
        -2.309329438755054,
        20.710670561244946,
        1152.0,
        3.6506705612449455,
        1.736544343169104e-08,
        2.4410377752872023e-09,
        1.5015809930047506e-13,
        1.5e-13,
        4.5670670583833374e-08,
    ),
    "below": (
        -2.185945649020651,
        20.83405435097935,
        1152.0,
        3.6340543509793486,
        9.715279470996187e-09,
        1.1881851640981462e-09,
        6.001095879884042e-13,
        6.000000000000133e-13,
        3.165797819324824e-08,
    ),
    "interpolated": (
        -2.9139941581325806,
        20.10600584186742,
        1152.0,
        4.18600584186742,
        1.2323654293405012e-06,
        5.401655610955428e-07,
        7.18048546114849e-13,
        7.130073523617039e-13,
        1.4561434574513943e-06,
    ),
    "mirrored": (
        -1.9260058418675499,
        5.253994158132514,
        360.0,
        2.5139941581325047,
        0.361605564331675,
        1.9181639077816954,
        1.4963807848124983e-08,
        7.130073523743573e-13,
        0.5532954805720052,
    ),
}
"""First and last knot, their number, the reference; at the third P-mass, Q-mass and error; the last error and the first."""
