"""True epsilons of the corpus, by dp-accounting or closed forms alone: nothing here imports dpaudit.

Relation add_remove, Poisson sampling at rate q, delta as given. ``epsilon`` takes the larger of the two directions.

Values are kept in ``truths.json``, because some take seconds; ``python -m tests.corpus.truth`` computes them all again and a
test does so for a few. A call that is not on record is computed.
"""

import functools
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from dp_accounting import ComposedDpEvent, DpEvent, GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.rdp import RdpAccountant
from scipy import optimize, stats

_CELL = 1e-3
RECORD = Path(__file__).parent / "truths.json"


@functools.cache
def on_record() -> dict[str, float]:
    """Everything computed before, by call."""
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}


USED: dict[str, float] = {}
"""What was asked for in this process."""


def recorded(function: Callable[..., float]) -> Callable[..., float]:
    """Look a call up; ``function.__wrapped__`` computes."""

    @functools.wraps(function)
    def looked_up(*arguments: float) -> float:
        call = f"{function.__name__}{arguments!r}"
        if call not in USED:
            known = on_record().get(call)
            USED[call] = function(*arguments) if known is None else known
        return USED[call]

    return looked_up


@recorded
def epsilon(sigma: float, delta: float, rate: float, steps: int) -> float:
    """Pessimistic, within about 1e-3 of the truth."""
    return _pld([_sampled(sigma, rate, steps)], delta)


def epsilon_of(sigmas: Sequence[float], delta: float, rate: float) -> float:
    """Of a schedule."""
    counted = Counter(float(sigma) for sigma in sigmas)
    return _scheduled(delta, rate, *(number for pair in counted.items() for number in pair))


@recorded
def _scheduled(delta: float, rate: float, *pairs: float) -> float:
    """Of noise multipliers and how often each."""
    counts = zip(pairs[::2], pairs[1::2], strict=True)
    return _pld([_sampled(sigma, rate, int(count)) for sigma, count in counts], delta)


@recorded
def epsilon_beside(sigma: float, delta: float, rate: float, steps: int, whole: float) -> float:
    """Of a run beside one Gaussian release of the whole data set at noise multiplier ``whole``."""
    return _pld([_sampled(sigma, rate, steps), GaussianDpEvent(whole)], delta)


@recorded
def sigma_for(target: float, delta: float, rate: float, steps: int) -> float:
    """Noise multiplier that costs just below ``target``."""
    return _smallest(lambda sigma: epsilon.__wrapped__(sigma, delta, rate, steps), target)


@recorded
def sigma_beside(target: float, delta: float, rate: float, steps: int, whole: float) -> float:
    """The same beside a release of the whole data set."""
    return _smallest(lambda sigma: epsilon_beside.__wrapped__(sigma, delta, rate, steps, whole), target)


@recorded
def sigma_with(target: float, delta: float, rate: float, steps: int, other: float) -> float:
    """The same beside as many further releases on batches at noise multiplier ``other``."""
    return _smallest(lambda sigma: _scheduled.__wrapped__(delta, rate, sigma, steps, other, steps), target)


@recorded
def one_direction(sigma: float, delta: float, rate: float, steps: int) -> float:
    """What an accountant says that looks at the cheaper direction only (class 27)."""
    step = pld.from_gaussian_mechanism(sigma, sampling_prob=rate, value_discretization_interval=_CELL)
    composed = step.self_compose(steps)
    directions = composed._pmf_remove, composed._pmf_add
    return float(min(direction.get_epsilon_for_delta(delta) for direction in directions))


@recorded
def renyi(sigma: float, delta: float, rate: float, steps: int) -> float:
    """The valid RDP accountant: at least the truth."""
    accountant = RdpAccountant()
    accountant.compose(_sampled(sigma, rate, steps))
    return float(accountant.get_epsilon(delta))


def naive_renyi(sigma: float, delta: float, rate: float, steps: int) -> float:
    """The formula q^2 a T / sigma^2 used at any sigma and order (class 25): valid for large sigma and small orders only."""
    cost = rate**2 * steps / sigma**2
    return min(cost * order + math.log(1 / delta) / (order - 1) for order in (1 + 0.1 * k for k in range(1, 2000)))


def central_limit(sigma: float, delta: float, rate: float, steps: int) -> float:
    """Epsilon of the Gaussian that the central limit theorem gives (class 24; Bu et al. 2020): no bound."""
    mu = rate * math.sqrt(steps * math.expm1(sigma**-2))
    return gaussian(mu, delta)


def gaussian(mu: float, delta: float) -> float:
    """Epsilon of one Gaussian release (Dong et al. 2022, corollary 2.13)."""

    def gap(eps: float) -> float:
        return float(stats.norm.cdf(-eps / mu + mu / 2) - math.exp(eps) * stats.norm.cdf(-eps / mu - mu / 2) - delta)

    return float(optimize.brentq(gap, 0, 20 * mu + mu**2))


@recorded
def shuffled_upper_sigma(target: float, delta: float, epochs: int) -> float:
    """Noise multiplier at which one unamplified release an epoch costs the target."""
    return float(optimize.brentq(lambda sigma: gaussian(math.sqrt(epochs) / sigma, delta) - target, 0.1, 50)) * 1.0001


@recorded
def shuffled_lower(sigma: float, delta: float, steps: int, epochs: int) -> float:
    """A lower bound for shuffled batches: the largest of an epoch's batches, thresholded once an epoch, and once more.

    One row of norm one beside zero rows: the largest of the T0 batch sums exceeds x with probability 1 - Phi(x/sigma)^T0 without
    it and 1 - Phi(x/sigma)^(T0-1) Phi((x-1)/sigma) with it. The event: it does so in every epoch.
    """
    best = 0.0
    for place in range(1, 400):
        x = place * 0.02 * sigma
        rest = (steps - 1) * stats.norm.logcdf(x / sigma)
        absent = -math.expm1(rest + stats.norm.logcdf(x / sigma))
        present = -math.expm1(rest + stats.norm.logcdf((x - 1) / sigma))
        if present**epochs > delta and absent > 0:
            best = max(best, math.log((present**epochs - delta) / absent**epochs))
    return best


def _sampled(sigma: float, rate: float, count: int) -> DpEvent:
    return SelfComposedDpEvent(PoissonSampledDpEvent(rate, GaussianDpEvent(sigma)), count)


def _pld(events: list[DpEvent], delta: float) -> float:
    accountant = PLDAccountant(value_discretization_interval=_CELL)
    accountant.compose(ComposedDpEvent(events))
    return float(accountant.get_epsilon(delta))


def _smallest(cost: Callable[[float], float], target: float) -> float:
    """By bisection, rounded up to 1e-4."""
    low, high = 0.2, 20.0
    while high - low > 5e-5:
        middle = (low + high) / 2
        low, high = (low, middle) if cost(middle) <= target else (middle, high)
    return math.ceil(high * 1e4) / 1e4


def main() -> None:
    """Compute everything that the traces ask for again, and write it down."""
    RECORD.unlink(missing_ok=True)
    on_record.cache_clear()
    from . import traces

    traces.traces()
    # ``-m`` runs this file as another module than the one that the traces import.
    RECORD.write_text(json.dumps(traces.truth.USED, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
