"""Which privacy questions are answered, and how: the table of cells."""

import math

from dpaudit.contract import Cell, EventTrace, Relation, Rows, Sampler, UnsupportedCellError

from .renyi import batch_of
from .step_family import PairKind, StepFamily
from .truncation import Truncation

ANSWERED: dict[tuple[Sampler, Relation, Rows], str] = {
    (Sampler.POISSON, Relation.ADD_REMOVE, Rows.SAMPLED): "privacy loss distribution, both ends",
    (Sampler.POISSON, Relation.ZERO_OUT, Rows.SAMPLED): "privacy loss distribution, both ends",
    (Sampler.POISSON, Relation.REPLACE_ONE, Rows.SAMPLED): "privacy loss distribution, both ends",
    (Sampler.TRUNCATED_POISSON, Relation.ADD_REMOVE, Rows.CONSTANT): "truncated event above, Poisson pair below",
    (Sampler.TRUNCATED_POISSON, Relation.ZERO_OUT, Rows.CONSTANT): "truncated event above, Poisson pair below",
    (Sampler.TRUNCATED_POISSON, Relation.REPLACE_ONE, Rows.CONSTANT): "truncated event above, Poisson pair below",
    (Sampler.FIXED_SIZE, Relation.REPLACE_ONE, Rows.CONSTANT): "privacy loss distribution, both ends",
    (Sampler.SHUFFLE, Relation.ZERO_OUT, Rows.CONSTANT): "one Gaussian an epoch above, largest score below",
    (Sampler.SHUFFLE, Relation.REPLACE_ONE, Rows.CONSTANT): "one Gaussian an epoch above, largest score below",
}
"""(sampler, relation, rows) to method, in words."""

_REASONS: dict[tuple[Sampler, Rows], str] = {
    (Sampler.POISSON, Rows.CONSTANT): "a Poisson batch has no constant number of rows; use truncated_poisson",
    (Sampler.TRUNCATED_POISSON, Rows.SAMPLED): "a cap on rows is only accounted for with absent rows as zero gradients",
    (Sampler.FIXED_SIZE, Rows.SAMPLED): "batches of fixed size always show B rows; use rows constant",
    (Sampler.SHUFFLE, Rows.SAMPLED): "shuffled batches are cut to B rows; use rows constant",
}


def require_answered(cell: Cell) -> None:
    """Refuse a cell that is not in the table.

    Errors: ``UnsupportedCellError`` with the reason and the cells that are answered.
    """
    if (cell.sampler, cell.relation, cell.rows) in ANSWERED:
        return
    reason = _REASONS.get(
        (cell.sampler, cell.rows),
        f"no valid bound for {cell.relation} is known under {cell.sampler}: the number of rows itself would differ",
    )
    listed = ", ".join("/".join(key) for key in ANSWERED)
    raise UnsupportedCellError(
        f"accounting: no answer for {cell}: {reason}. Answered (sampler/relation/rows): {listed}"
    )


def upper_family(trace: EventTrace) -> StepFamily:
    """The dominating pair of one step of a Poisson, truncated Poisson or fixed-size cell."""
    q, kind = trace.sampling_probability, _kind(trace)
    if trace.cell.sampler is Sampler.FIXED_SIZE:
        batch_of(trace)
        return StepFamily(q=q, kind=PairKind.SWAP, reach=2.0)
    truncation = truncation_of(trace) if trace.cell.sampler is Sampler.TRUNCATED_POISSON else None
    return StepFamily(q=q, kind=kind, truncation=truncation)


def lower_family(trace: EventTrace) -> StepFamily:
    """A pair that every step attains at once.

    Poisson: the sensitive row beside zero rows. Truncated: the same; every row is sampled with q and kept by a uniform
    choice, so the probability that it is in the batch is ``Truncation.inclusion``, below q. Fixed size: the row S
    replaced by -S, beside rows -S: the sum is -B S, or 2 S more when the row is drawn, with probability B/N.
    """
    q = trace.sampling_probability
    if trace.cell.sampler is Sampler.FIXED_SIZE:
        return StepFamily(q=q, kind=PairKind.REMOVE, reach=2.0)
    if trace.cell.sampler is Sampler.TRUNCATED_POISSON:
        q = truncation_of(trace).inclusion
    return StepFamily(q=q, kind=_kind(trace))


def _kind(trace: EventTrace) -> PairKind:
    return PairKind.REPLACE if trace.cell.relation is Relation.REPLACE_ONE else PairKind.REMOVE


def truncation_of(trace: EventTrace) -> Truncation:
    """The cap of a truncated Poisson trace."""
    dataset, batch = batch_of(trace)
    return Truncation.of(q=trace.sampling_probability, batch_size=batch, dataset_size=dataset)


def preparation_mu(trace: EventTrace) -> float:
    """mu of the releases before training, 0 for none: each moves by the norm that it bounds, twice that if rows are replaced.

    Attained by a row at that norm, or by one replaced by its opposite, which can be the row that the steps are worst for.
    """
    reach = 2.0 if trace.cell.relation is Relation.REPLACE_ONE else 1.0
    return reach * math.sqrt(math.fsum(multiplier**-2 for multiplier in trace.preparation))


def require_no_preparation(trace: EventTrace, *, what: str) -> None:
    """Refuse a trace with releases before training where ``what`` does not know them.

    Errors: ``UnsupportedCellError``.
    """
    if trace.preparation:
        raise UnsupportedCellError(
            f"accounting: {what} has no answer for a run with releases of the whole data set before training "
            f"(noise multipliers {trace.preparation}); use epsilon_bracket, with a sampler other than shuffle"
        )


def unamplified_mu(trace: EventTrace) -> float:
    """mu of the Gaussian that dominates the trace if every step surely used the row: sound for every cell but shuffle.

    Two rows can trade places in a batch of bounded size, and a replaced row moves by up to 2 S: reach 2 but for
    Poisson without replacement. A step without noise makes it infinite.
    """
    if 0 in trace.sigmas:
        return math.inf
    precision = math.fsum(sigma**-2 for sigma in (*trace.sigmas, *trace.preparation))
    reach = 1.0 if trace.cell.sampler is Sampler.POISSON and trace.cell.relation is not Relation.REPLACE_ONE else 2.0
    return reach * math.sqrt(precision)
