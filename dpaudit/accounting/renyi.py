"""Renyi accounting by dp-accounting: the independent cross-check, and the upper end for batches drawn without
replacement.

An upper bound always: eps(delta) is the best over a finite set of orders (Canonne, Kamath and Steinke 2020, arXiv
2004.00010v3, Proposition 12). Sigmas are rounded DOWN to at most 256 levels, which can only raise it.
"""

import math
from collections.abc import Sequence

import numpy as np
from dp_accounting import dp_event
from dp_accounting.privacy_accountant import NeighboringRelation
from dp_accounting.rdp import RdpAccountant

from dpaudit.contract import Cell, EventTrace, Relation, Sampler, UnsupportedCellError, UsageError

_LEVELS = 256


def rdp_epsilon(trace: EventTrace, delta: float) -> float:
    """Upper bound on epsilon at ``delta`` from Renyi divergences.

    Answers poisson with add_remove or zero_out, and fixed_size with replace_one. For the latter dp-accounting counts
    noise in units of the distance that a replacement moves the sum (Wang, Balle and Kasiviswanathan 2018, arXiv
    1808.00087, Theorem 27), which is 2 S, so it is told sigma/2.

    Errors: ``UnsupportedCellError`` for another cell (no Renyi bound of the library applies).
    """
    if not 0 <= delta <= 1:
        raise UsageError(f"rdp_epsilon: delta must lie in [0, 1], got {delta!r}")
    cell: Cell = trace.cell
    without_replacement = cell.sampler is Sampler.FIXED_SIZE and cell.relation is Relation.REPLACE_ONE
    poisson = cell.sampler is Sampler.POISSON and cell.relation is not Relation.REPLACE_ONE
    if not (without_replacement or poisson):
        raise UnsupportedCellError(
            f"rdp_epsilon: expected poisson with add_remove or zero_out, or fixed_size with replace_one; got {cell}; "
            "use epsilon_bracket"
        )
    relation = NeighboringRelation.REPLACE_ONE if without_replacement else NeighboringRelation.ADD_OR_REMOVE_ONE
    sigmas = [sigma for sigma in trace.sigmas if not math.isinf(sigma)]
    if not sigmas and not trace.preparation:
        return 0.0
    if min(sigmas, default=1.0) == 0 or delta == 0:
        return math.inf
    accountant = RdpAccountant(neighboring_relation=relation)
    for sigma, count in _rounded_down(sigmas):
        release = dp_event.GaussianDpEvent(sigma / 2 if without_replacement else sigma)
        event: dp_event.DpEvent
        if without_replacement:
            dataset, batch = batch_of(trace)
            event = dp_event.SampledWithoutReplacementDpEvent(dataset, batch, release)
        else:
            event = dp_event.PoissonSampledDpEvent(trace.sampling_probability, release)
        accountant.compose(event, count)
    for multiplier in trace.preparation:
        accountant.compose(dp_event.GaussianDpEvent(multiplier / 2 if without_replacement else multiplier))
    return float(accountant.get_epsilon(delta))


def batch_of(trace: EventTrace) -> tuple[int, int]:
    """(N, B) of a trace that must carry them.

    Errors: ``UsageError`` where one is missing, or q is not B/N for batches of exactly B rows.
    """
    if trace.dataset_size is None or trace.batch_size is None:
        raise UsageError(f"event trace: {trace.cell.sampler} needs dataset_size and batch_size; got none; set both")
    ratio = trace.batch_size / trace.dataset_size
    if trace.cell.sampler is Sampler.FIXED_SIZE and not math.isclose(ratio, trace.sampling_probability, rel_tol=1e-9):
        raise UsageError(
            f"event trace: fixed_size draws B of N rows, so q must be {ratio!r}; got {trace.sampling_probability!r}"
        )
    return trace.dataset_size, trace.batch_size


def _rounded_down(sigmas: Sequence[float]) -> list[tuple[float, int]]:
    if not sigmas:
        return []
    values, counts = np.unique(np.asarray(sigmas, dtype=np.float64), return_counts=True)
    if len(values) > _LEVELS:
        position = np.log(values / values[0]) / math.log(values[-1] / values[0]) * _LEVELS
        starts = np.flatnonzero(np.diff(np.minimum(position.astype(np.int64), _LEVELS - 1), prepend=-1))
        values, counts = values[starts], np.add.reduceat(counts, starts)
    return [(float(value), int(count)) for value, count in zip(values, counts, strict=True)]
