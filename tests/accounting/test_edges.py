"""The whole range that can be asked for: epsilon 1e-4 to 500, delta 0 to 0.1, q 1e-6 to 1, T 1 to 1e6, sigma 0.05 to 100.

Truths are closed forms evaluated with 60 digits by mpmath (one step of each pair, and any number of unsampled steps), and other
accountants. Monotone is meant of the truth: an end may move by the width of the bracket, but no lower end of the cheaper run may
exceed an upper end of the dearer one. ``DPAUDIT_POWER=1`` draws ten times as many settings, and other ones each time.
"""

import math
import os

import mpmath
import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st

from dpaudit.accounting import calibrate_noise_multiplier, epsilon_bracket
from dpaudit.accounting.calibrate import MARGIN, TOLERANCE
from dpaudit.contract import Bracket, Cell, EventTrace, Relation, Rows, Sampler

mpmath.mp.dps = 60
POWER = os.environ.get("DPAUDIT_POWER") == "1"
RELATIONS = st.sampled_from([Relation.ADD_REMOVE, Relation.ZERO_OUT, Relation.REPLACE_ONE])


def drawn(examples: int):
    return settings(max_examples=examples * (10 if POWER else 1), deadline=None, derandomize=not POWER, database=None)


def between(least: float, most: float) -> st.SearchStrategy[float]:
    """Uniform in the logarithm, with both ends among the examples."""
    spread = st.floats(math.log(least), math.log(most)).map(lambda x: min(max(math.exp(x), least), most))
    return st.one_of(spread, st.sampled_from([least, most]))


SIGMAS, PROBABILITIES = between(0.05, 100), between(1e-6, 1)
STEPS, DELTAS = between(1, 1e6).map(round), between(1e-12, 0.1)


def bracket(q: float, sigma: float, steps: int, delta: float, relation: Relation) -> Bracket:
    trace = EventTrace(cell=Cell(relation=relation), sampling_probability=q, sigmas=(sigma,) * steps)
    return epsilon_bracket(trace, delta)


def tail(x):
    return mpmath.erfc(x / mpmath.sqrt(2)) / 2


def delta_of_one_step(epsilon: float, q: float, sigma: float, relation: Relation):
    """Hockey-stick divergence of the worst pair of one sampled step, the worse direction; derived here.

    Add or remove: (1-q) N(0) + q N(1) against N(0). Replace: (1-q) N(0) + q N(1) against (1-q) N(0) + q N(-1), which is
    symmetric.
    Likelihood ratios increase with x, so each region is a half line whose end solves an equation in exp(x / sigma^2).
    """
    e, q, s = mpmath.exp(mpmath.mpf(epsilon)), mpmath.mpf(q), mpmath.mpf(sigma)
    if relation is Relation.REPLACE_ONE:
        a = q * mpmath.exp(-1 / (2 * s**2))
        b = (1 - q) * (1 - e)
        x = s**2 * mpmath.log((-b + mpmath.sqrt(b**2 + 4 * a * a * e)) / (2 * a))
        first = (1 - q) * tail(x / s) + q * tail((x - 1) / s)
        return first - e * ((1 - q) * tail(x / s) + q * tail((x + 1) / s))
    x = s**2 * mpmath.log((e - 1 + q) / q) + mpmath.mpf(1) / 2
    remove = (1 - q) * tail(x / s) + q * tail((x - 1) / s) - e * tail(x / s)
    add = mpmath.mpf(0)
    if 1 / e > 1 - q:
        x = s**2 * mpmath.log((1 / e - 1 + q) / q) + mpmath.mpf(1) / 2
        add = tail(-x / s) - e * ((1 - q) * tail(-x / s) + q * tail(-(x - 1) / s))
    return max(remove, add)


@drawn(60)
@given(sigma=SIGMAS, q=PROBABILITIES, delta=DELTAS, relation=RELATIONS)
def test_one_step_contains_the_closed_form(sigma, q, delta, relation):
    found = bracket(q, sigma, 1, delta, relation)
    if found.lower > 0:
        assert delta_of_one_step(found.lower, q, sigma, relation) >= delta
    if math.isfinite(found.upper):
        assert delta_of_one_step(found.upper, q, sigma, relation) <= delta


@drawn(60)
@given(sigma=SIGMAS, steps=STEPS, delta=DELTAS, relation=RELATIONS)
def test_unsampled_steps_contain_the_closed_form(sigma, steps, delta, relation):
    found = bracket(1.0, sigma, steps, delta, relation)
    mu = (2 if relation is Relation.REPLACE_ONE else 1) * mpmath.sqrt(steps) / mpmath.mpf(sigma)

    def gaussian(epsilon):
        epsilon = mpmath.mpf(epsilon)
        return tail(epsilon / mu - mu / 2) - mpmath.exp(epsilon) * tail(epsilon / mu + mu / 2)

    with mpmath.workdps(60 + int(found.upper / 2) if found.upper < 1000 else 60):
        if found.upper > 1000:  # the closed form cancels there; its mean and spread bound it
            assert found.lower <= mu**2 / 2 + 8 * mu
            assert found.upper >= mu**2 / 2
            return
        if found.lower > 0:
            assert gaussian(found.lower) >= delta
        assert gaussian(found.upper) <= delta


@drawn(25)
@given(
    sigma=SIGMAS, q=PROBABILITIES, steps=STEPS, delta=DELTAS, relation=RELATIONS,
    which=st.sampled_from(["q", "sigma", "steps", "delta"]), more=st.floats(1.0, 2.0),
)  # fmt: skip
def test_every_argument_moves_epsilon_one_way(sigma, q, steps, delta, relation, which, more):
    cheap = bracket(q, sigma, steps, delta, relation)
    dear = bracket(
        min(1.0, q * more) if which == "q" else q,
        sigma / more if which == "sigma" else sigma,
        math.ceil(steps * more) if which == "steps" else steps,
        delta / more if which == "delta" else delta,
        relation,
    )
    assert 0 <= cheap.lower <= cheap.upper
    assert 0 <= dear.lower <= dear.upper
    assert cheap.lower <= dear.upper
    # The ends themselves: no step back by more than the bracket is wide, and 1e-6 where epsilon is next to nothing.
    assert dear.lower >= cheap.lower - (cheap.upper - cheap.lower) - 1e-6
    if math.isfinite(cheap.upper):
        assert dear.upper >= cheap.upper - (cheap.upper - cheap.lower) - 1e-6


@drawn(20)
@given(sigma=SIGMAS, q=PROBABILITIES, steps=STEPS, relation=RELATIONS)
def test_without_delta_epsilon_is_infinite(sigma, q, steps, relation):
    found = bracket(q, sigma, steps, 0.0, relation)
    assert found.lower == found.upper == math.inf


@drawn(10)
@given(
    sigma=between(0.3, 100), rate=between(1e-3, 0.2), steps=between(1, 2000).map(round), delta=between(1e-9, 0.1),
    sampler=st.sampled_from([Sampler.TRUNCATED_POISSON, Sampler.FIXED_SIZE, Sampler.SHUFFLE]), more=st.floats(1.0, 2.0),
)  # fmt: skip
def test_the_other_samplers_are_ordered_too(sigma, rate, steps, delta, sampler, more):
    size = 20_000
    batch = max(1, round(rate * size))
    q = 0.8 * batch / size if sampler is Sampler.TRUNCATED_POISSON else batch / size

    def at(noise: float, count: int) -> Bracket:
        trace = EventTrace(
            cell=Cell(sampler=sampler, relation=Relation.REPLACE_ONE, rows=Rows.CONSTANT), sampling_probability=q,
            sigmas=(noise,) * count, steps_per_epoch=max(1, size // batch), batch_size=batch, dataset_size=size,
        )  # fmt: skip
        return epsilon_bracket(trace, delta)

    cheap, dear = at(sigma, steps), at(sigma / more, math.ceil(steps * more))
    assert 0 <= cheap.lower <= cheap.upper
    assert cheap.lower <= dear.upper


CROSS = [
    (1e-6, 0.5, 100_000, 1e-7), (1e-4, 0.3, 100_000, 1e-7), (0.01, 0.7, 3_000, 1e-5), (0.3, 30.0, 10_000, 1e-6),
    (0.999, 50.0, 100, 1e-3), (0.05, 100.0, 1_000, 1e-9), (0.5, 2.0, 50, 0.1), (1e-3, 0.4, 10, 1e-12),
]  # fmt: skip


@pytest.mark.parametrize(("q", "sigma", "steps", "delta"), CROSS)
def test_two_other_accountants_agree_at_the_edges(q, sigma, steps, delta):
    """dp-accounting 0.6: its pessimistic PLD is not below our lower end, nor is its Renyi bound; ours is not far above either."""
    found = bracket(q, sigma, steps, delta, Relation.ADD_REMOVE)
    event = SelfComposedDpEvent(PoissonSampledDpEvent(q, GaussianDpEvent(sigma)), steps)
    renyi = RdpAccountant().compose(event).get_epsilon(delta)
    assert found.lower <= renyi * (1 + 1e-9)
    assert found.upper <= renyi * (1 + 1e-3) + 1e-6
    interval = min(1e-3, max(found.upper / 2000, 1e-7))
    library = PLDAccountant(value_discretization_interval=interval).compose(event).get_epsilon(delta)
    assert found.lower <= library * (1 + 1e-9)
    # At delta 1e-12 the bounds on rounding are as large as delta, and the Renyi bound takes the place; at q 1e-6 the grid of
    # losses is coarse beside so small an epsilon. Both are known limits (docs/accounting.md).
    slack = {1e-12: None, 1e-7 if q == 1e-6 else 0.0: 0.04}.get(delta, 2e-3)
    if slack is not None:
        assert found.upper <= library * (1 + slack) + 1e-6


@pytest.mark.filterwarnings("default")  # the library warns that its largest order is the best
@pytest.mark.parametrize(("q", "sigma", "steps", "delta"), [(0.01, 0.7, 300, 1e-5), (0.3, 30.0, 2_000, 1e-6)])
def test_a_third_accountant_agrees_at_the_edges(q, sigma, steps, delta):
    """Opacus's PRV accountant, which overshoots by at most twice its epsilon error."""
    prv = pytest.importorskip("opacus.accountants.prv", reason="opacus is not installed")
    accountant = prv.PRVAccountant()
    accountant.history = [(sigma, q, steps)]
    found = bracket(q, sigma, steps, delta, Relation.ADD_REMOVE)
    third = accountant.get_epsilon(delta, eps_error=0.01, delta_error=delta / 1000)
    assert found.lower <= third
    assert third - 0.021 <= found.upper


@pytest.mark.parametrize("target", [1e-4, 1e-3, 0.1, 3.0, 50.0, 500.0])
@pytest.mark.parametrize(("q", "steps"), [(0.004, 1170), (1.0, 10), (0.3, 1)])
def test_noise_for_any_budget(target, q, steps):
    result = calibrate_noise_multiplier(
        target_epsilon=target, delta=1e-5, cell=Cell(), sampling_probability=q, steps=steps
    )
    assert result.bracket.upper <= target * (1 - MARGIN)
    assert result.bracket.upper >= target * (1 - TOLERANCE) - 1e-9
