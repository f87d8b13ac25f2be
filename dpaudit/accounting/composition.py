"""Composition of discrete pairs by one FFT, with every numerical error carried to the result.

Notation: steps t with masses p_t on the grid; S the sum of the losses; theta >= 0 a tilt; p_t^theta ~ p_t e^(theta
loss), K(theta) = sum_t log sum p_t e^(theta loss). With P^theta the tilted law of S, P(S = s) = e^(K - theta s)
P^theta(S = s).

Tilting puts the centre of the transformed law near the epsilon of interest (a saddle point), so that rounding errors
of the FFT are relative to delta instead of to 1. Error budget (derived here), with r the computed tilted law on a
window of n cells:
- folding: mass alpha of P^theta lies outside the window and appears inside; for s > eps its weight is at most e^(K -
theta eps);
- rounding of the FFT and of the product: every entry of r is off by at most eta, so delta by e^(K - theta eps) eta
sum_k e^(-theta h k);
- the floats p_t are the curve that was meant within ``rounding``; replacing the steps one by one, each replacement
changes
  delta by E[curve_t(eps - S')] <= rounding_t * prod of the other |p|_1, so by sum_t rounding_t * (1 + noise).
The size of eta assumes that an FFT of n points has error at most 1e-15 log2(n) in every output for input of unit
2-norm (twenty times what is observed; tested against direct convolution in extended precision).
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from dpaudit.contract import AuditBrokenError

from .composed import Composed
from .steps import Steps

Floats = NDArray[np.float64]

_OUTSIDE = 1e-11
_MAX_WINDOW = 1 << 22
_MAX_WORK = 1 << 25
"""Cells of a window, and cells times rows to transform."""


class WindowError(OverflowError):
    """The law of the sum needs ``excess`` times as many cells as are allowed."""

    def __init__(self, cells: int, allowed: int) -> None:
        super().__init__(f"composition: {cells} cells exceed the limit of {allowed}")
        self.excess = cells / allowed


def compose(steps: Steps, log_delta: float) -> Composed:
    """Compose all steps, with the window placed for delta near e^log_delta."""
    theta, guess = steps.saddle(log_delta)
    # a little less tilt costs nothing near epsilon and spares the window the rare large losses that a tilt blows up
    guess, theta, step = max(guess, 0.0), 0.75 * theta, steps.grid.step
    norms = steps.row_log_moments(theta)
    if steps.weights is not None:  # the sums of the combined masses; any constants near them would do
        peak = float(norms.max())
        norms = peak + np.log(np.maximum(steps.weights @ np.exp(norms - peak), 1e-300))
    base = float(steps.counts @ norms)
    if steps.shifts is not None:
        base += theta * float(steps.counts @ steps.shifts)
    low, high = _window(steps, theta, base)
    size = fft.next_fast_len(max(high - low + 1, 2), real=True)
    law, eta = _tilted_law(steps, theta, norms, size)
    index = low + np.arange(size)
    law = law[index % size]  # index: loss of S over h, counted from the offset
    knots = steps.offset + index * step
    guess = _place(knots, law, base, theta, guess, log_delta)
    keep = np.abs(knots - guess) <= 600.0 / (1 + theta)
    keep |= knots > guess  # beyond, weights underflow to 0
    knots, law = knots[keep], law[keep]
    weight = np.exp((base - theta * guess) - theta * (knots - guess))
    mass = weight * law
    above = _sum_right_of(mass)
    above_q = _sum_right_of(mass * np.exp(-(knots - guess)))
    spread = min(float(size), 1 / -math.expm1(-theta * step))
    noise = min(steps.noise(), 50.0)
    total = float(steps.counts.sum())
    error = weight * (2 * _OUTSIDE + eta * spread + _interpolation_noise(steps, theta, float(norms.min()))) + np.abs(
        above
    ) * (total * 1e-15 + size * 3e-16)
    error = np.maximum.accumulate(error[::-1])[::-1] + steps.rounding * math.exp(noise)
    near = knots - guess <= 600.0  # beyond, the Q-masses underflow: nothing is claimed there
    return Composed(
        losses=knots[near],
        above=above[near],
        above_q=above_q[near],
        reference=guess,
        error=error[near],
        infinity=steps.infinity,
    )


def _place(knots: Floats, law: Floats, base: float, theta: float, guess: float, log_delta: float) -> float:
    """A better guess of epsilon: where the P-mass to the right falls to delta, which is just above it."""
    near = np.abs(knots - guess) * theta <= 600.0
    if not near.any():
        return guess
    above = _sum_right_of(np.exp((base - theta * guess) - theta * (knots[near] - guess)) * law[near])
    exceeding = np.flatnonzero(above > math.exp(max(log_delta, -700.0)))  # far left, only noise
    last = int(exceeding[-1]) if exceeding.size else 0
    return max(float(knots[near][last]), 0.0)


def _interpolation_noise(steps: Steps, theta: float, least_norm: float) -> float:
    """Bound on the l1 distance of the tilted composed laws, interpolated against exact: sum over steps, grown by the
    hybrids.

    A mass is (y_{j+1} - (1 + e^h) y_j + e^h y_{j-1})/(e^h - 1), so it moves by at most 4 e^h/(e^h - 1) times the
    largest of the three errors. The exact tilted masses sum to e^norm.
    """
    if steps.curve_error is None:
        return 0.0
    error = np.pad(steps.curve_error, 1, mode="edge")
    largest = np.maximum(np.maximum(error[:-2], error[1:-1]), error[2:])
    gain = 4 * math.exp(steps.grid.step) / math.expm1(steps.grid.step)
    with np.errstate(over="ignore"):
        moved = float(largest @ np.exp(np.minimum(theta * steps.grid.losses - least_norm, 700.0))) * gain
        total = 1.001 * moved * float(steps.counts.sum())
    return math.expm1(total) if total < 600 else math.inf


def _sum_right_of(values: Floats) -> Floats:
    """Sum of the entries strictly right of each entry."""
    return np.concatenate([np.cumsum(values[::-1])[::-1][1:], [0.0]])


def _window(steps: Steps, theta: float, base: float) -> tuple[int, int]:
    """Cells outside which the tilted law has mass at most ``_OUTSIDE``, by Chernoff's bound on either side.

    Raises:
        WindowError: more cells would be needed than this module allows itself.
    """
    step = steps.grid.step
    shifts = np.exp(np.linspace(math.log(1e-4), math.log(60 / step), 48))
    need = math.log(2 / _OUTSIDE)
    up = float(np.min((steps.log_moments(theta + shifts) - base + need) / shifts))
    lowered = steps.log_moments(theta - shifts)
    if (
        steps.envelope is not None
    ):  # between -1 and 0 moments fall as noise does, and the envelope is none; but K <= 0 there
        lowered = np.where((theta < shifts) & (shifts < theta + 1), np.maximum(lowered, 0.0), lowered)
    down = float(np.max((lowered - base + need) / -shifts))
    total = float(steps.counts.sum())
    shift = steps.offset
    low = max(math.floor((down - shift) / step), 0)
    high = min(math.ceil((up - shift) / step), int(total) * (steps.grid.size - 1))
    allowed = min(_MAX_WINDOW, _MAX_WORK // len(steps.masses))
    if high - low >= allowed:
        raise WindowError(high - low, allowed)
    return low, high


def _tilted_law(steps: Steps, theta: float, norms: Floats, size: int) -> tuple[Floats, float]:
    """The tilted law of S folded onto ``size`` cells (index modulo size), and eta."""
    losses = steps.grid.losses
    peak = theta * losses[-1]
    tilted, norms = steps.masses * np.exp(theta * losses - peak), norms - peak
    unit = 1e-15 * math.log2(size + 2)
    if steps.weights is None:
        spectrum, sensitivity = _power_product(steps, tilted, norms, size)
    else:
        spectrum, sensitivity = _mixed_product(steps, tilted, norms, size)
    law = fft.irfft(spectrum, n=size)
    if not np.isfinite(law).all():
        raise AuditBrokenError("composition: the transform is not finite; report this schedule")
    return law, unit * (1 + sensitivity)


def _fold(row: Floats, size: int) -> Floats:
    """The row as a periodic signal of ``size`` cells."""
    if len(row) <= size:
        folded = np.zeros(size)
        folded[: len(row)] = row
    else:
        folded = np.concatenate([row, np.zeros(-len(row) % size)]).reshape(-1, size).sum(axis=0)
    return folded


def _power_product(steps: Steps, tilted: Floats, norms: Floats, size: int) -> tuple[NDArray[np.complex128], float]:
    """prod phi_k^count_k, and the mean over frequencies of d(product)/d(one factor), summed over factors."""
    spectrum = np.ones(size // 2 + 1, dtype=np.complex128)
    smallest = np.ones(size // 2 + 1)
    with np.errstate(all="ignore"):
        for row, norm, count in zip(tilted, norms, steps.counts, strict=True):
            factor = fft.rfft(_fold(row * math.exp(-norm), size))
            smallest = np.minimum(smallest, np.abs(factor))
            spectrum *= factor if count == 1 else np.where(factor == 0, 0, factor**count)
        others = np.minimum(1.0, np.abs(spectrum) / smallest)
    others = np.where(np.isfinite(others), others, 1.0)
    return spectrum, float(steps.counts.sum() * others.mean())


def _mixed_product(steps: Steps, tilted: Floats, norms: Floats, size: int) -> tuple[NDArray[np.complex128], float]:
    """prod_t sum_k w_tk phi_k. Frequencies whose product has fallen below 1e-30 are dropped (their error is that small)."""
    assert steps.weights is not None
    nodes = np.stack([fft.rfft(_fold(row, size)) for row in tilted])
    weights = steps.weights * np.exp(-norms)[:, None]
    product = np.ones(nodes.shape[1], dtype=np.complex128)
    active = np.arange(nodes.shape[1])
    block = 32
    for start in range(0, len(weights), block):
        factors = weights[start : start + block] @ nodes[:, active]
        counts = steps.counts[start : start + block]
        if (counts != 1).any():
            factors = factors ** counts[:, None]
        product[active] *= factors.prod(axis=0)
        active = active[np.abs(product[active]) > 1e-30]
    kept = np.zeros_like(product)
    kept[active] = product[active]
    # every factor has modulus at most 1 + noise, so one factor's error moves a product, kept or dropped, by no more than itself
    return kept, float(steps.counts.sum()) + 1.0
