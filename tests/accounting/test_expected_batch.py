"""The rule for the expected batch under a cap on rows."""

import pytest
from scipy.stats import binom

from dpaudit.accounting import epsilon_bracket
from dpaudit.accounting.expected_batch import rounded_expected_batch
from dpaudit.contract import Cell, EventTrace, Relation, Rows, Sampler, UsageError


def test_the_designed_setting():
    """256 rows of 60,000 over 1,170 steps: 180, the design's choice."""
    assert rounded_expected_batch(256, 60000, 1170) == 180


@pytest.mark.parametrize(
    ("rows", "size", "steps"), [(256, 50000, 5850), (4096, 60000, 586), (16, 1000, 60), (32, 1797, 500)]
)
def test_truncation_is_as_rare_as_promised_and_the_rounding_small(rows, size, steps):
    expected = rounded_expected_batch(rows, size, steps)
    assert steps * binom.sf(rows - 1, size - 1, expected / size) <= 1e-4
    larger = expected * 1.12  # two significant digits give away at most 10 %
    assert steps * binom.sf(rows - 1, size - 1, larger / size) > 1e-4


def test_it_costs_nothing_visible():
    q = rounded_expected_batch(256, 60000, 1170) / 60000
    cell = Cell(sampler=Sampler.TRUNCATED_POISSON, relation=Relation.ZERO_OUT, rows=Rows.CONSTANT)
    sigmas = (0.6508,) * 1170
    cut = EventTrace(cell=cell, sampling_probability=q, sigmas=sigmas, batch_size=256, dataset_size=60000)
    uncut = EventTrace(cell=Cell(), sampling_probability=q, sigmas=sigmas)
    assert epsilon_bracket(cut, 1e-5).upper / epsilon_bracket(uncut, 1e-5).upper - 1 < 1e-3


def test_full_batch_is_never_cut():
    assert rounded_expected_batch(64, 64, 10) == 64


@pytest.mark.parametrize("arguments", [(0, 10, 1), (11, 10, 1), (5, 10, 0)])
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(UsageError, match="expected batch"):
        rounded_expected_batch(*arguments)
