"""The rule for the expected batch under a cap on rows."""

import math

import pytest
from scipy.stats import binom

from dpaudit.accounting import epsilon_bracket
from dpaudit.accounting.expected_batch import rounded_expected_batch
from dpaudit.contract import Cell, EventTrace, Relation, Rows, Sampler, UsageError


def test_the_designed_setting():
    """256 rows of 60,000 over 1,170 steps: 180, the design's choice."""
    assert rounded_expected_batch(256, 60000, 1170) == 180


@pytest.mark.parametrize(
    ("rows", "size", "steps"),
    [
        (256, 50000, 5850),
        (4096, 60000, 586),
        (16, 1000, 60),
        (32, 1797, 500),
        (1, 1000, 7),
        (2, 3, 7),
        (999, 1000, 100),
    ],
)
def test_it_is_the_largest_of_two_digits_that_keeps_the_promise(rows, size, steps):
    """By the binomial law itself: it keeps the promise, and one more unit of the second digit breaks it."""
    expected = rounded_expected_batch(rows, size, steps)
    assert expected == float(f"{expected:.1e}")
    assert _cut(rows, size, steps, expected) <= 1e-4
    assert _cut(rows, size, steps, expected + 10.0 ** (math.floor(math.log10(expected)) - 1)) > 1e-4


def _cut(rows, size, steps, expected):
    return steps * binom.sf(rows - 1, size - 1, expected / size)


@pytest.mark.parametrize(("size", "steps"), [(2, 3), (1000, 1), (60000, 7), (60000, 10**9)])
def test_one_row_in_closed_form(size, steps):
    """With one row, every other row that is drawn cuts: 1 - (1 - p)^(N - 1) = 1e-4 / T. The least rows, steps and size."""
    root = -size * math.expm1(math.log1p(-1e-4 / steps) / (size - 1))
    exponent = math.floor(math.log10(root)) - 1
    assert rounded_expected_batch(1, size, steps) == float(f"{math.floor(root / 10.0**exponent)}e{exponent}")


def test_it_costs_nothing_visible():
    q = rounded_expected_batch(256, 60000, 1170) / 60000
    cell = Cell(sampler=Sampler.TRUNCATED_POISSON, relation=Relation.ZERO_OUT, rows=Rows.CONSTANT)
    sigmas = (0.6508,) * 1170
    cut = EventTrace(cell=cell, sampling_probability=q, sigmas=sigmas, batch_size=256, dataset_size=60000)
    uncut = EventTrace(cell=Cell(), sampling_probability=q, sigmas=sigmas)
    assert epsilon_bracket(cut, 1e-5).upper / epsilon_bracket(uncut, 1e-5).upper - 1 < 1e-3


def test_full_batch_is_never_cut():
    assert rounded_expected_batch(64, 64, 10) == 64
    assert rounded_expected_batch(128, 128, 10) == 128


@pytest.mark.parametrize("arguments", [(0, 10, 1), (11, 10, 1), (5, 10, 0)])
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(UsageError, match="expected batch"):
        rounded_expected_batch(*arguments)
