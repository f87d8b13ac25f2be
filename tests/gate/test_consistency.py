"""A measurement outside a proved bound is a defect of the audit itself: with a falsified bound it must be reported."""

import pytest

from dpaudit.contract import Measurement, NoiseClass, Outcome, StaticResult
from dpaudit.gate.consistency import contradictions


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
