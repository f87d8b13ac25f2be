"""The bounds against slow twins, edge cases, and what each says about itself."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import beta, binom

from dpaudit.accounting import epsilon_bracket
from dpaudit.contract import Cell, EventTrace, UsageError
from dpaudit.empirical import METHODS, NEEDS_TRACE, Design, Family, LowerBound, bounds_on, checked
from dpaudit.empirical.accountant_family import accountant_family, per_step, refutes
from dpaudit.empirical.one_run import Guesses, guess, steinke_epsilon, steinke_p_value
from dpaudit.empirical.rectangle import Tally, clopper_pearson, gaussian, posterior, upper_limit
from dpaudit.empirical.sequential import PairWealth, Wealth, pairs_to_refute, rounds_to_refute, sequential

DELTA = 1e-5
TRACE = EventTrace(cell=Cell(), sampling_probability=0.1, sigmas=(1.0,) * 20)


def tally(fp: int, n0: int, fn: int, n1: int) -> Tally:
    return Tally(false_positives=fp, outside=n0, false_negatives=fn, inside=n1)


@pytest.mark.parametrize(("errors", "trials"), [(0, 10), (3, 10), (9, 10), (10, 10), (0, 100_000)])
def test_upper_limit_is_the_beta_quantile(errors: int, trials: int) -> None:
    expected = 1.0 if errors == trials else beta.ppf(1 - 1e-3, errors + 1, trials - errors)
    assert upper_limit(errors, trials, 1e-3) == pytest.approx(expected, rel=1e-9)


def test_clopper_pearson_by_hand() -> None:
    found = clopper_pearson(tally(0, 1000, 100, 1000), delta=DELTA, level=0.05, design=Design.INDEPENDENT)
    fpr = 1 - 0.025 ** (1 / 1000)
    fnr = beta.ppf(0.975, 101, 900)
    assert found.epsilon == pytest.approx(math.log((1 - fnr - DELTA) / fpr), rel=1e-9)
    assert found.ceiling == pytest.approx(math.log((1 - fpr - DELTA) / fpr), rel=1e-9)
    assert found.ceiling == pytest.approx(math.log(1000 / math.log(2 / 0.05)), rel=0.01)
    assert (found.family, found.valid) == (Family.NONE, True)


def test_a_backward_attack_shows_nothing_under_gdp() -> None:
    # the absolute value, a published mistake, would report about 1.9 here
    backward = tally(300, 400, 300, 400)
    assert gaussian(backward, delta=DELTA, level=0.05, design=Design.INDEPENDENT).epsilon == 0.0


def test_the_posterior_is_advisory_and_close_to_its_simulation() -> None:
    found = posterior(tally(5, 500, 100, 500), delta=DELTA, level=0.05, design=Design.INDEPENDENT)
    generator = np.random.default_rng(0)
    fpr, fnr = generator.beta(5.5, 495.5, 400_000), generator.beta(100.5, 400.5, 400_000)
    simulated = np.maximum(np.log((1 - fnr - DELTA) / fpr), np.log((1 - fpr - DELTA) / fnr))
    assert found.epsilon == pytest.approx(float(np.quantile(np.maximum(simulated, 0), 0.05)), abs=0.01)
    assert not found.valid


@pytest.mark.parametrize(("r", "v"), [(40, 40), (40, 33), (40, 12)])
def test_steinke_against_the_sum_in_the_theorem(r: int, v: int) -> None:
    epsilon, delta, m = 1.2, 1e-3, 60
    law = binom(r, 1 / (1 + math.exp(-epsilon)))
    tail = sum(law.pmf(k) for k in range(v, r + 1))
    steepest = max(sum(law.pmf(k) for k in range(v - i, v)) / i for i in range(1, v + 1))
    expected = min(1.0, tail + 2 * m * delta * steepest)
    found = steinke_p_value(Guesses(canaries=m, guessed=r, correct=v), epsilon, delta)
    assert found == pytest.approx(expected, rel=1e-9)


def test_steinke_without_delta_inverts_the_binomial_tail() -> None:
    found = Guesses(canaries=100, guessed=100, correct=80)
    epsilon = steinke_epsilon(found, 0.0, 0.05)
    assert binom.sf(79, 100, 1 / (1 + math.exp(-epsilon))) == pytest.approx(0.05, rel=1e-6)


def test_ties_are_broken_against_the_auditor() -> None:
    same = np.zeros(10)
    assert guess(same, same, guessed=10).correct == 0
    assert guess(np.ones(10), same, guessed=20).correct == 20


def test_accountant_family_is_tight_on_many_trials_and_refutes_a_false_declaration() -> None:
    # counts at the true error rates of a threshold test in the trace itself
    from dpaudit.empirical.model import simulated_scores

    inside, outside = simulated_scores(TRACE, runs=20_000, seed=1)
    seen = tally(int((outside > 0.5).sum()), 20_000, int((inside <= 0.5).sum()), 20_000)
    found = accountant_family(seen, trace=TRACE, delta=DELTA, level=0.05, design=Design.INDEPENDENT)
    assert found.noise_deficit is not None
    assert 1.0 < found.noise_deficit < 1.12
    assert not refutes(seen.rectangle(1e-6), TRACE)
    assert refutes(seen.rectangle(1e-6), TRACE.scaled(1.5))


def test_releases_before_training_are_not_seen_by_the_trials_but_count_in_epsilon() -> None:
    steps = EventTrace(cell=Cell(), sampling_probability=0.2, sigmas=(1.0,) * 10)
    run = dataclasses.replace(steps, preparation=(2.0,))
    counts = tally(10, 5_000, 2_500, 5_000)
    assert refutes(counts.rectangle(0.05), run) == refutes(counts.rectangle(0.05), steps)
    alone, whole = (
        accountant_family(counts, trace=one, delta=1e-5, level=0.05, design=Design.INDEPENDENT) for one in (steps, run)
    )
    assert whole.noise_deficit == alone.noise_deficit is not None
    assert alone.epsilon < whole.epsilon == epsilon_bracket(run.scaled(whole.noise_deficit or 0.0), 1e-5).lower


def test_per_step_scales_the_whole_trace() -> None:
    seen = tally(1587, 10_000, 5000, 10_000)  # mu = 1 at threshold 1
    found = per_step(seen, sigma=1.0, trace=TRACE, delta=DELTA, level=0.05, design=Design.INDEPENDENT)
    assert found.noise_deficit is not None
    assert 1.0 <= found.noise_deficit < 1.08


def test_a_perfect_attack_stops_the_sequential_test_when_planned() -> None:
    rounds = rounds_to_refute(1.0, DELTA, 1e-3)
    for count, refuted in ((rounds - 1, False), (rounds, True)):
        wealth = Wealth.against(epsilon=1.0, delta=DELTA, level=1e-3)
        wealth.update(np.ones(count, dtype=bool), np.zeros(count, dtype=bool))
        assert wealth.refuted is refuted
    pairs = pairs_to_refute(0.4, 1e-6)
    assert pairs is not None
    test = PairWealth.against(most_right=0.4, level=1e-6)
    test.update(np.ones(pairs, dtype=bool))
    assert test.refuted
    assert pairs_to_refute(1.0, 1e-6) is None


def test_the_sequential_bound_agrees_with_one_wealth() -> None:
    generator = np.random.default_rng(0)
    hits, misses = generator.random(400) < 0.8, generator.random(400) < 0.1
    bound = sequential(hits, misses, delta=0.0, level=0.05, design=Design.INDEPENDENT)
    wealth = Wealth.against(epsilon=bound.epsilon, delta=0.0, level=0.05)
    wealth.update(hits, misses)
    assert bound.epsilon > 0.5
    assert wealth.refuted


@pytest.mark.parametrize("design", list(Design))
def test_which_methods_a_design_supports(design: Design) -> None:
    generator = np.random.default_rng(1)
    scores = checked(generator.normal(2, 1, 200), generator.normal(0, 1, 200), where="test")
    found = bounds_on(scores, delta=DELTA, level=0.05, design=design, methods=METHODS, trace=TRACE)
    valid = {bound.method for bound in found if bound.valid}
    if design is Design.INDEPENDENT:
        assert valid == {
            *("clopper_pearson", "rank_test", "gdp", "sequential", "order_statistics", "accountant_family", "per_step")
        }
    else:
        assert valid == {"steinke", "one_run_fdp", "one_run_fdp_accountant"}
    for bound in found:
        assert bound.ceiling >= bound.epsilon >= 0
        assert bound.counts


def test_requests_that_cannot_be_met_name_the_remedy() -> None:
    scores = checked(np.arange(9.0), np.arange(9.0), where="test")
    with pytest.raises(UsageError, match="--q, --sigma and --steps"):
        bounds_on(scores, delta=DELTA, level=0.05, design=Design.INDEPENDENT, methods=tuple(NEEDS_TRACE))
    with pytest.raises(UsageError, match="expected names among"):
        bounds_on(scores, delta=DELTA, level=0.05, design=Design.INDEPENDENT, methods=("abs_gdp",))
    with pytest.raises(UsageError, match="level"):
        bounds_on(scores, delta=DELTA, level=0.7, design=Design.INDEPENDENT, methods=("gdp",))


def test_nan_is_no_bound() -> None:
    from dpaudit.contract import AuditBrokenError

    with pytest.raises(AuditBrokenError):
        LowerBound(
            method="x", epsilon=math.nan, ceiling=1.0, delta=DELTA, level=0.05, design=Design.INDEPENDENT,
            family=Family.NONE, valid=True,
        )  # fmt: skip
