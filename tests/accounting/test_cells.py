"""The table of cells: which pair stands above and below in each, and what is refused with which reason."""

import itertools
import math

import pytest

from dpaudit.accounting.cells import (
    ANSWERED,
    lower_family,
    preparation_mu,
    require_answered,
    require_no_preparation,
    truncation_of,
    unamplified_mu,
    upper_family,
)
from dpaudit.accounting.step_family import PairKind, StepFamily
from dpaudit.accounting.truncation import Truncation
from dpaudit.contract import Cell, EventTrace, Relation, Rows, Sampler, UnsupportedCellError, UsageError

REPLACE = Relation.REPLACE_ONE


def trace(sampler, relation, q=0.09, sigmas=(3.0, 4.0), preparation=(), batch=100, size=1000):
    rows = Rows.SAMPLED if sampler is Sampler.POISSON else Rows.CONSTANT
    return EventTrace(
        cell=Cell(sampler=sampler, relation=relation, rows=rows), sampling_probability=q, sigmas=sigmas,
        preparation=preparation, batch_size=batch, dataset_size=size,
    )  # fmt: skip


@pytest.mark.parametrize("relation", list(Relation))
def test_the_pair_of_poisson_sampling_is_the_same_above_and_below(relation):
    asked = trace(Sampler.POISSON, relation)
    kind = PairKind.REPLACE if relation is REPLACE else PairKind.REMOVE
    assert upper_family(asked) == lower_family(asked) == StepFamily(q=0.09, kind=kind, reach=1.0, truncation=None)


@pytest.mark.parametrize("relation", list(Relation))
def test_truncation_costs_above_and_spares_below(relation):
    asked = trace(Sampler.TRUNCATED_POISSON, relation)
    cut = Truncation.of(q=0.09, batch_size=100, dataset_size=1000)
    kind = PairKind.REPLACE if relation is REPLACE else PairKind.REMOVE
    assert truncation_of(asked) == cut
    assert upper_family(asked) == StepFamily(q=0.09, kind=kind, truncation=cut)
    assert lower_family(asked) == StepFamily(q=cut.inclusion, kind=kind)
    assert 0.08 < cut.inclusion < 0.09


def test_batches_of_fixed_size_swap_rows_and_reach_twice_as_far():
    asked = trace(Sampler.FIXED_SIZE, REPLACE, q=0.1)
    assert upper_family(asked) == StepFamily(q=0.1, kind=PairKind.SWAP, reach=2.0)
    assert lower_family(asked) == StepFamily(q=0.1, kind=PairKind.REMOVE, reach=2.0)
    with pytest.raises(UsageError, match=r"q must be 0\.1"):
        upper_family(trace(Sampler.FIXED_SIZE, REPLACE, q=0.1 * (1 + 1e-8)))
    assert upper_family(trace(Sampler.FIXED_SIZE, REPLACE, q=0.1 * (1 + 1e-10))).q == 0.1 * (1 + 1e-10)


@pytest.mark.parametrize("sampler", list(Sampler))
@pytest.mark.parametrize("relation", list(Relation))
def test_without_amplification_a_step_reaches_twice_unless_a_row_only_comes_or_goes(sampler, relation):
    reach = 1.0 if sampler is Sampler.POISSON and relation is not REPLACE else 2.0
    asked = trace(sampler, relation, preparation=(12.0,))
    assert unamplified_mu(asked) == pytest.approx(reach * math.sqrt(1 / 9 + 1 / 16 + 1 / 144), rel=1e-15)
    assert unamplified_mu(trace(sampler, relation, sigmas=(2.0, 0.0))) == math.inf


@pytest.mark.parametrize("relation", list(Relation))
def test_releases_before_training_reach_twice_where_rows_are_replaced(relation):
    asked = trace(Sampler.POISSON, relation, preparation=(3.0, 4.0))
    assert preparation_mu(asked) == pytest.approx((2.0 if relation is REPLACE else 1.0) * 5 / 12, rel=1e-15)
    assert preparation_mu(trace(Sampler.POISSON, relation)) == 0.0


def test_who_does_not_know_releases_says_so():
    require_no_preparation(trace(Sampler.POISSON, REPLACE), what="this")
    with pytest.raises(UnsupportedCellError, match=r"accounting: this has no answer .*\(noise multipliers \(3\.0,\)\)"):
        require_no_preparation(trace(Sampler.POISSON, REPLACE, preparation=(3.0,)), what="this")


def test_refusals_name_their_reason():
    reasons = {
        (Sampler.POISSON, Rows.CONSTANT): "a Poisson batch has no constant number of rows",
        (Sampler.TRUNCATED_POISSON, Rows.SAMPLED): "a cap on rows is only accounted for",
        (Sampler.FIXED_SIZE, Rows.SAMPLED): "batches of fixed size always show B rows",
        (Sampler.SHUFFLE, Rows.SAMPLED): "shuffled batches are cut to B rows",
    }
    answered = 0
    for sampler, relation, rows in itertools.product(Sampler, Relation, Rows):
        cell = Cell(sampler=sampler, relation=relation, rows=rows)
        if (sampler, rows) in reasons or (sampler, relation, rows) not in ANSWERED:
            reason = reasons.get((sampler, rows), f"no valid bound for {relation} is known under {sampler}")
            with pytest.raises(UnsupportedCellError, match=reason):
                require_answered(cell)
        else:
            require_answered(cell)
            answered += 1
    assert answered == len(ANSWERED) == 9
