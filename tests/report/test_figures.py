"""Printed numbers stay true: directed rounding never crosses the value."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpaudit.contract import AccuracyRow, Bracket
from dpaudit.report import figures

FINITE = st.floats(allow_nan=False, allow_infinity=False)
ORDINARY = st.floats(min_value=-1e300, max_value=1e300)


@given(FINITE)
def test_rounded_ends_enclose_the_value(value: float) -> None:
    assert float(figures.lower_end(value)) <= value <= float(figures.upper_end(value))


@given(ORDINARY)
def test_nearest_is_within_five_digits(value: float) -> None:
    assert math.isclose(float(figures.nearest(value)), value, rel_tol=5.1e-5, abs_tol=1e-320)


@pytest.mark.parametrize(
    ("value", "nearest", "lower", "upper"),
    [
        (3.00161, "3.0016", "3.0016", "3.0017"),
        (86.1, "86.1", "86.1", "86.1"),
        (2.99999999, "3", "2.9999", "3"),
        (1e-5, "1e-05", "1e-05", "1e-05"),
        (12345678.0, "1.2346e+07", "1.2345e+07", "1.2346e+07"),
        (-0.00123456, "-0.0012346", "-0.0012346", "-0.0012345"),
        (0.0, "0", "0", "0"),
        (math.inf, "inf", "inf", "inf"),
    ],
)
def test_examples(value: float, nearest: str, lower: str, upper: str) -> None:
    assert (figures.nearest(value), figures.lower_end(value), figures.upper_end(value)) == (nearest, lower, upper)


def test_noise_factor_is_rounded_up_to_three_digits() -> None:
    assert figures.noise_factor(2.7201) == "2.73"


def test_bracket_names_a_missing_end() -> None:
    assert figures.bracket_text(Bracket(lower=None, upper=83.1), "?") == "[?, 83.1]"
    assert figures.bracket_text(Bracket(lower=2.99, upper=math.inf), "?") == "[2.99, inf]"


def test_accuracy_of_one_run_has_no_spread() -> None:
    assert figures.accuracy_text(AccuracyRow(dataset="MNIST", mean=96.2, std=None, runs=1)) == "96.20 (1 run)"
    assert figures.accuracy_text(AccuracyRow(dataset="MNIST", mean=96.2, std=0.114, runs=3)) == "96.20 ± 0.11 (3 runs)"


@pytest.mark.parametrize(("seconds", "text"), [(0.42, "0.4 s"), (75.2, "75 s"), (720.0, "12 min")])
def test_durations(seconds: float, text: str) -> None:
    assert figures.duration_text(seconds) == text
