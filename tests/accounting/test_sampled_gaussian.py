"""Composed schedules: one step against its closed form, the choice of grids, and what happens where a window is too large."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from dpaudit.accounting import sampled_gaussian
from dpaudit.accounting.composition import WindowError
from dpaudit.accounting.discretise import Grid
from dpaudit.accounting.sampled_gaussian import _coarsened, _grid, _settled, compositions, schedule_of
from dpaudit.accounting.step_family import PairKind, StepFamily
from dpaudit.accounting.truncation import Truncation

REMOVE = StepFamily(q=0.05, kind=PairKind.REMOVE)
REPLACE = StepFamily(q=0.05, kind=PairKind.REPLACE)
SWAP = StepFamily(q=0.05, kind=PairKind.SWAP, reach=2.0)


def test_a_schedule_counts_the_levels_that_are_finite_and_positive():
    assert schedule_of((2.0, 0.5, math.inf, 2.0, 0.0, 0.7, 2.0)) == ((0.5, 1), (0.7, 1), (2.0, 3))
    assert schedule_of((0.0, math.inf)) == ()


@pytest.mark.parametrize("family", [REMOVE, REPLACE, SWAP], ids=lambda family: family.kind)
@pytest.mark.parametrize("from_above", [True, False])
def test_one_step_is_its_own_curve(family, from_above):
    """Either direction: x(eps) and, for the mirror image, e^eps x(-eps)."""
    curve, epsilons = family.curve(0.9), np.array([0.01, 0.2, 0.7, 1.5])
    truths = [curve.excess(epsilons), np.exp(epsilons) * curve.excess(-epsilons)]
    found = compositions(family, ((0.9, 1),), math.log(1e-3), from_above=from_above)
    assert len(found) == (1 if family.symmetric else 2)
    for composed, truth in zip(found, truths, strict=False):
        bound = composed.deltas(epsilons, pessimistic=from_above)
        assert (bound >= truth - 1e-14).all() if from_above else (bound <= truth + 1e-14).all()
        live = truth > 1e-4
        np.testing.assert_allclose(bound[live], truth[live], rtol=2e-2)


@pytest.fixture
def steps_seen(monkeypatch):
    """The grids that steps were asked for, and a composition that says how often its window is too large."""
    seen = SimpleNamespace(grids=[], failures=[])

    def steps_of(family, schedule, grid, theta, *, from_above):
        seen.grids.append(grid)
        return SimpleNamespace(reversed=lambda: "reversed")

    def compose(steps, log_delta):
        if seen.failures:
            error = WindowError(1000, 1000)
            error.excess = seen.failures.pop(0)
            raise error
        return (steps == "reversed", log_delta)

    monkeypatch.setattr(sampled_gaussian, "steps_of", steps_of)
    monkeypatch.setattr(sampled_gaussian, "compose", compose)
    monkeypatch.setattr(sampled_gaussian, "_grid", lambda *asked: (seen.__dict__.update(asked=asked), GRID)[1])
    return seen


GRID = (Grid(start=-2.0, step=0.001, size=4000), 1.5)


def composed(family=REPLACE, **changes):
    return compositions.__wrapped__(family, ((1.0, 7),), -9.0, from_above=True, **changes)


def test_both_directions_are_composed_where_they_differ(steps_seen):
    assert composed() == ((False, -9.0),)
    assert composed(REMOVE) == ((False, -9.0), (True, -9.0))
    assert steps_seen.asked == (REMOVE, ((1.0, 7),), -9.0)
    composed(grid_log_delta=-4.0)
    assert steps_seen.asked[2] == -4.0


def test_a_window_that_is_too_large_makes_the_grid_coarser(steps_seen):
    steps_seen.failures = [3.0, 1.5]
    assert composed() == ((False, -9.0),)
    widths = [grid.step for grid in steps_seen.grids]
    assert widths == pytest.approx([0.001, 0.004, 0.008])  # 1.2 * 3 and then 1.2 * 1.5, rounded up


def test_four_grids_are_tried(steps_seen):
    steps_seen.failures = [1.1] * 3
    assert composed() == ((False, -9.0),)
    steps_seen.failures = [1.1] * 4
    steps_seen.grids.clear()
    with pytest.raises(OverflowError, match="more cells than the largest window"):
        composed()
    assert [grid.step for grid in steps_seen.grids] == pytest.approx([0.001, 0.002, 0.004, 0.008])


def test_a_grid_of_a_few_cells_is_not_tried(steps_seen):
    """4,000 cells may be made 250 times as wide, not 251 times."""
    steps_seen.failures = [250 / 1.2 - 0.01]
    assert composed() == ((False, -9.0),)
    steps_seen.failures = [250 / 1.2 + 0.01]
    with pytest.raises(OverflowError):
        composed()
    assert not steps_seen.failures


@pytest.mark.parametrize("coarsening", [1, 2, 7, 33])
@pytest.mark.parametrize("start", [-2.0, -0.731, -0.002])
def test_a_coarser_grid_covers_the_fine_one_and_has_a_knot_at_zero(coarsening, start):
    fine = Grid(start=start, step=0.001, size=2601)
    wide = _coarsened(REPLACE, fine, coarsening)
    assert wide.step == pytest.approx(0.001 * coarsening)
    assert wide.start <= start + 1e-12
    assert wide.start > start - wide.step
    assert wide.start / wide.step == pytest.approx(round(wide.start / wide.step), abs=1e-9)
    assert wide.losses[-1] >= fine.losses[-1] - 1e-9
    assert wide.losses[-1] <= fine.losses[-1] + 3 * wide.step
    assert wide.size >= wide.pivot + 3


def test_a_coarser_grid_stays_anchored_at_the_least_loss():
    fine = Grid(start=REMOVE.least_loss, step=0.001, size=2601)
    wide = _coarsened(REMOVE, fine, 10)
    assert wide.start == REMOVE.least_loss
    assert fine.losses[-1] <= wide.losses[-1] <= fine.losses[-1] + 3 * wide.step
    centred = _coarsened(REPLACE, fine, 10)
    assert centred.start != fine.start
    short = _coarsened(REMOVE, Grid(start=REMOVE.least_loss, step=0.001, size=40), 30)
    assert short.size == max(math.ceil(0.039 / 0.03), math.ceil(-REMOVE.least_loss / 0.03) + 2) + 1


class Scripted:
    """Steps whose epsilon from above is told by the number of halvings."""

    def __init__(self, epsilons, halvings=0, size=1000, beyond=99):
        self.epsilons, self.halvings, self.beyond = epsilons, halvings, beyond
        self.grid = Grid(start=-1.0, step=0.5**halvings, size=size * 2**halvings)

    def at(self, step):
        return Scripted(self.epsilons, round(-math.log2(step)), beyond=self.beyond)


@pytest.mark.parametrize(
    ("epsilons", "moment", "settled"),
    [
        ([0.71, 0.5, 0.5], 1.0, 0),  # near the moment bound
        ([0.7, 0.6, 0.6], 1.0, 1),  # not so near
        ([0.0, 0.0], 1.0, 0),
        ([0.5, 0.49993], 1.0, 0),  # moves by less than 1.5e-4 of itself
        ([0.5, 0.4999], 1.0, 1),  # moves by more, and then
        ([0.5, 0.4, 0.3, 0.3], 1.0, 2),  # not at all
        ([0.69, 0.6, 0.6], 1.0, 1),
    ],
)
def test_a_grid_is_halved_until_epsilon_settles(monkeypatch, epsilons, moment, settled):
    def compose(steps, log_delta):
        def epsilon(delta, *, pessimistic):
            assert (delta, pessimistic) == (math.exp(-7.0), True)
            return ([*epsilons, epsilons[-1]])[steps.halvings]

        return SimpleNamespace(epsilon=epsilon)

    monkeypatch.setattr(sampled_gaussian, "compose", compose)
    first = Scripted(epsilons)
    assert _settled(first, first.at, -7.0, moment).halvings == settled


def test_halving_ends_at_the_largest_grid_at_sixteen_times_and_where_no_window_holds_it(monkeypatch):
    def compose(steps, log_delta):
        if steps.halvings >= steps.beyond:
            raise WindowError(2, 1)
        return SimpleNamespace(epsilon=lambda delta, pessimistic: 0.9**steps.halvings * 0.5)

    monkeypatch.setattr(sampled_gaussian, "compose", compose)
    first = Scripted([])
    assert _settled(first, first.at, -7.0, 1.0).grid.size == 1000 * 2**7  # the first above 65,536
    assert _settled(Scripted([], size=65536), first.at, -7.0, 1.0).halvings == 7
    assert _settled(Scripted([], size=65537), first.at, -7.0, 1.0).halvings == 0
    small = Scripted([], size=1)
    assert _settled(small, lambda step: Scripted([], round(-math.log2(step)), size=1), -7.0, 1.0).halvings == 16
    blocked = Scripted([], beyond=3)
    assert _settled(blocked, blocked.at, -7.0, 1.0).halvings == 2
    never = Scripted([], beyond=0)
    assert _settled(never, never.at, -7.0, 1.0) is never


RECORDED = {
    "mnist": (StepFamily(q=256 / 60000, kind=PairKind.REMOVE), ((0.6508, 1170),), 1e-5),
    "replaced": (StepFamily(q=0.01, kind=PairKind.REPLACE), ((1.0, 300),), 1e-5),
    "swapped": (SWAP, ((1.5, 40), (2.5, 10)), 1e-7),
    "little epsilon": (StepFamily(q=1e-4, kind=PairKind.REMOVE), ((2.0, 1000),), 1e-5),
    "one large step": (StepFamily(q=0.2, kind=PairKind.REMOVE), ((0.2, 2),), 1e-3),
    "many levels": (
        StepFamily(q=0.02, kind=PairKind.REMOVE),
        tuple((0.8 + k / 50, 1 + k % 2) for k in range(40)),
        1e-5,
    ),
    "few levels": (StepFamily(q=0.02, kind=PairKind.REMOVE), tuple((0.8 + k / 50, 20) for k in range(24)), 1e-5),
    "tiny delta": (StepFamily(q=0.3, kind=PairKind.REPLACE), ((8.0, 2000),), 1e-11),
    "hardly any delta": (StepFamily(q=0.3, kind=PairKind.REPLACE), ((8.0, 20),), 1e-270),
    "nothing to see": (StepFamily(q=1e-6, kind=PairKind.REMOVE), ((100.0, 1), (101.0, 1)), 0.1),
    "below the bulk": (StepFamily(q=1e-3, kind=PairKind.REPLACE), ((1.0, 5000),), 0.09),
    "settles late": (StepFamily(q=1e-4, kind=PairKind.REMOVE), ((0.5, 100),), 1e-4),
    "hardly ever cut": (
        StepFamily(
            q=1e-4, kind=PairKind.REMOVE, truncation=Truncation(probability=1e-17, conditional=0.5, inclusion=1e-4)
        ),
        ((0.8, 100),),
        1e-6,
    ),
}
"""Family, schedule and delta, by name."""


@pytest.mark.parametrize("name", RECORDED)
def test_grids_are_chosen_as_ever(name):
    """As recorded: any grid is sound, but another choice moves every end a little, and should be meant."""
    family, schedule, delta = RECORDED[name]
    grid, theta = _grid(family, schedule, math.log(delta))
    assert (grid.start, grid.step, grid.size, theta) == pytest.approx(CHOSEN[name], rel=1e-6, abs=0.0)


@pytest.mark.parametrize("name", ["mnist", "few levels", "many levels"])
@pytest.mark.parametrize("limit", ["_MAX_FLOATS", "_TOLERANCE"])
def test_grids_end_at_what_may_be_held_and_at_what_is_wanted(name, limit, monkeypatch):
    """As recorded, with little room and with a wide tolerance."""
    family, schedule, delta = RECORDED[name]
    monkeypatch.setattr(sampled_gaussian, limit, (1 << 11) * len(schedule) if limit == "_MAX_FLOATS" else 6e-4)
    monkeypatch.setattr(sampled_gaussian, "_COARSE_TOLERANCE", 1.5e-4 if limit == "_MAX_FLOATS" else 2e-3)
    grid, _ = _grid.__wrapped__(family, schedule, math.log(delta))
    assert (grid.start, grid.step, grid.size) == pytest.approx(LIMITED[name, limit], rel=1e-6, abs=0.0)


LIMITED = {
    ("mnist", "_MAX_FLOATS"): (-0.004275794862788576, 0.0029518575036199717, 2049),
    ("mnist", "_TOLERANCE"): (-0.004275794862788576, 0.003671905095803506, 1648),
    ("few levels", "_MAX_FLOATS"): (-0.02020270731751945, 0.002634502466394581, 2049),
    ("few levels", "_TOLERANCE"): (-0.02020270731751945, 0.003229203755691862, 1672),
    ("many levels", "_MAX_FLOATS"): (-0.02020270731751945, 0.0015870116813696046, 3183),
    ("many levels", "_TOLERANCE"): (-0.02020270731751945, 0.006045377004541392, 837),
}
"""First loss, step and size."""

CHOSEN = {
    "mnist": (-0.004275794862788576, 0.0007709651941520733, 7843, 3.262033336443261),
    "replaced": (-2.580057437673171, 0.0006295894186610959, 8197, 7.94524545012859),
    "swapped": (-7.634707414251806, 0.006810622135817846, 2243, 2.479551155338413),
    "little epsilon": (-9.60398024979173e-05, 1.231279519204068e-06, 1825, 1728.9754268853044),
    "one large step": (-0.22314355131420976, 0.09261023789448541, 434, 0.37781295186128494),
    "many levels": (-0.02020270731751945, 0.0015870116813696046, 3183, 4.972254188442536),
    "few levels": (-0.02020270731751945, 0.0009496931467416562, 5683, 3.8546790424586783),
    "tiny delta": (-0.7022283848516271, 0.001640720525354269, 857, 2.182595888398028),
    "hardly any delta": (-3.542823613969293, 0.0019726189387356866, 3593, 95.77302273746069),
    "nothing to see": (-1.01682339946088e-12, 7.943932808288125e-15, 257, 9.850256722139505),
    "below the bulk": (-0.2580624433696955, 1.1433869887890807e-05, 45141, 6.025048033183888),
    "settles late": (-0.00010000500033335834, 0.00013006920287859564, 27693, 5.494499281209272),
    "hardly ever cut": (-0.00010340605168060414, 2.068121033612083e-05, 17720, 61.43730580134161),
}
"""First loss, step, size and saddle point."""


@pytest.mark.parametrize("name", ["mnist", "replaced", "swapped", "few levels"])
def test_the_grid_costs_about_the_tolerance(name):
    """Twice as fine a grid moves the upper end by at most 2e-4 of it."""
    family, schedule, delta = RECORDED[name]
    ends = []
    for share in (1, 2):
        grid, theta = _grid(family, schedule, math.log(delta))
        fine = Grid(start=grid.start, step=grid.step / share, size=(grid.size - 1) * share + 1)
        steps = sampled_gaussian.steps_of(family, schedule, fine, theta, from_above=True)
        ends.append(sampled_gaussian.compose(steps, math.log(delta)).epsilon(delta, pessimistic=True))
    assert 0 <= ends[0] - ends[1] <= 2e-4 * ends[1]


MIXED = [
    (1e-4, ((0.1, 1), (3.0, 1000))), (1e-4, ((0.05, 1), (1.0, 100))), (1e-3, ((0.4, 10), (10.0, 5000))),
    (1e-2, ((0.05, 1000), (1.0, 100))), (0.1, ((0.3, 100), (20.0, 1000))), (0.5, ((0.05, 1000), (1.0, 100))),
]  # fmt: skip


@pytest.mark.parametrize("coarsening", [1, 8])
@pytest.mark.parametrize(("q", "schedule"), MIXED)
def test_rows_with_much_noise_on_the_grid_of_those_with_little_are_below_their_curve(q, schedule, coarsening):
    """The cells are wide beside the losses of the noisy steps, and loss 0 lies inside one."""
    family = StepFamily(q=q, kind=PairKind.REMOVE)
    grid, _ = _grid(family, schedule, math.log(1e-5))
    grid = _coarsened(family, grid, coarsening)
    rows = sampled_gaussian.rows_of(family, schedule, grid, from_above=False)
    assert rows.shifts is not None
    epsilons = np.linspace(3 * family.least_loss, 2 * grid.step, 301)
    for (sigma, _), masses, shift in zip(schedule, rows.masses, rows.shifts, strict=True):
        losses = grid.losses + shift
        stick = [np.maximum(masses * -np.expm1(at - losses), 0).sum() for at in epsilons]
        excess = stick - np.maximum(0, -np.expm1(epsilons))
        assert (excess <= family.curve(sigma).excess(epsilons) + 1e-13).all()


def test_the_lower_end_of_a_mixed_schedule_is_below_the_upper_end_on_a_fine_grid(monkeypatch):
    """Truth between 52.66666 and 52.66670, by a finer grid still; a lower end of 52.66913 was once given."""
    family, schedule = StepFamily(q=1e-4, kind=PairKind.REMOVE), MIXED[0][1]

    def end(from_above):
        both = compositions.__wrapped__(family, schedule, math.log(1e-5), from_above=from_above)
        return max(curve.epsilon(1e-5, pessimistic=from_above) for curve in both)

    lower = end(False)
    monkeypatch.setattr(sampled_gaussian, "_grid", _grid.__wrapped__)
    monkeypatch.setattr(sampled_gaussian, "_TOLERANCE", 1e-6)
    upper = end(True)
    assert 52.66 < lower <= upper < 52.668
