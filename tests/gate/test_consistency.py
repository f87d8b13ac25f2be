"""A measurement outside a proved bound is a defect of the audit itself: with a falsified bound it must be reported."""

import pytest

from dpaudit.contract import Finding, Measurement, NoiseClass, Outcome, Severity, StaticResult, Strength
from dpaudit.gate.consistency import ROUNDING, SEARCH_ROUNDING, contradictions


def measured(*sigmas):
    return Measurement(
        outcome=Outcome.PASSED,
        reported=sigmas,
        measured=sigmas,
        classes=(NoiseClass.UNRESOLVED,) * len(sigmas),
        demonstrated=True,
        pair="",
        findings=(),
        seconds=0.0,
    )


def proved(*sigmas):
    return StaticResult(sigma_effective=sigmas, refusal=None)


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_falsified_static_bound_is_reported_at_its_step(step):
    sigmas = [1.2, 1.2, 1.2]
    sigmas[step] *= 1.01
    (finding,) = contradictions(measured(1.2, 1.2, 1.2), proved(*sigmas), None, file="m.py")
    assert finding.rule == "DPA002"
    assert f"step {step}" in finding.message


def test_a_contribution_that_the_search_found_above_the_bound_is_reported():
    (finding,) = contradictions(measured(1.2), proved(1.2), 1.1, file="m.py")
    assert finding.rule == "DPA002"
    assert "property search" in finding.message


@pytest.mark.parametrize("seen", [1.2, 1.3, None])
def test_agreement_is_silent(seen):
    assert not list(contradictions(measured(seen), proved(1.199995), seen, file="m.py"))


def test_a_measurement_that_is_no_number_is_reported():
    assert list(contradictions(measured(float("nan")), proved(1.2), None, file="m.py"))


@pytest.mark.parametrize(
    ("seen", "found", "reported"),
    [
        (1.2 * (1 - ROUNDING), None, False), (1.2 * (1 - 0.5e-5), None, False), (1.2 * (1 - 1.5e-5), None, True),
        (1.2, 1.2 * (1 - SEARCH_ROUNDING), False), (1.2, 1.2 * (1 - 0.5e-2), False), (1.2, 1.2 * (1 - 1.5e-2), True),
    ],
)  # fmt: skip
def test_rounding_and_no_more_is_forgiven(seen, found, reported):
    assert bool(list(contradictions(measured(seen), proved(1.2), found, file="m.py"))) is reported


def test_the_search_is_held_against_the_least_of_what_is_proved():
    assert not list(contradictions(measured(1.2, 1.2), proved(1.2, 0.9), 1.0, file="m.py"))
    assert list(contradictions(measured(1.2, 1.2), proved(1.2, 0.9), 0.8, file="m.py"))


def test_where_nothing_is_proved_nothing_contradicts():
    refusal = Finding(rule="DPA101", severity=Severity.MAJOR, strength=Strength.PROOF, message="", file="m.py")
    for static in (None, StaticResult(sigma_effective=None, refusal=refusal)):
        assert not list(contradictions(measured(0.1), static, 0.1, file="m.py"))


def test_schedules_of_different_length_are_a_defect_that_is_raised():
    with pytest.raises(ValueError, match="zip"):
        list(contradictions(measured(1.2, 1.2), proved(1.2), None, file="m.py"))
