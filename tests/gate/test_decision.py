"""The decision rule, one premise at a time: each missing premise costs ACCEPTED, and only a witness rejects."""

import math

import pytest

from dpaudit.contract import Bracket, Finding, Layer, LayerRecord, Outcome, Severity, Strength, Verdict
from dpaudit.gate import REQUIRED_LAYERS, Decision, decide
from dpaudit.gate.consistency import refuted_proof

GOOD = Bracket(lower=2.9, upper=3.0, lower_method="pair", upper_method="static")


def layer(name: Layer, outcome: Outcome = Outcome.PASSED, ran: bool = True) -> LayerRecord:
    return LayerRecord(layer=name, outcome=outcome, ran=ran, summary="why")


ALL = tuple(layer(name) for name in Layer)


def finding(severity: Severity, strength: Strength = Strength.PROOF, rule: str = "DPA404") -> Finding:
    return Finding(rule=rule, severity=severity, strength=strength, message="seen", file="m.py")


def decided(
    *,
    layers: tuple[LayerRecord, ...] = ALL,
    findings: tuple[Finding, ...] = (),
    replayed: Bracket = GOOD,
    target: float = 3.0,
) -> Decision:
    return decide(layers=layers, findings=findings, replayed=replayed, target_epsilon=target)


def test_accepted_needs_every_premise_and_then_is_given() -> None:
    assert decided().verdict is Verdict.ACCEPTED
    assert decided(findings=(finding(Severity.MINOR),)).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("upper", [None, 3.0000001, math.inf])
def test_no_upper_end_within_the_target_no_acceptance(upper: float | None) -> None:
    decision = decided(replayed=Bracket(lower=2.9, upper=upper, upper_method="no static bound"))
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert len(decision.reasons) == 1


@pytest.mark.parametrize("missing", REQUIRED_LAYERS)
@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.PASSED])
def test_a_required_layer_that_did_not_pass_costs_acceptance(missing: Layer, outcome: Outcome) -> None:
    layers = tuple(layer(name, outcome if name is missing else Outcome.PASSED) for name in Layer)
    decision = decided(layers=layers)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert missing in decision.reasons[0]


@pytest.mark.parametrize("missing", REQUIRED_LAYERS)
def test_a_required_layer_that_did_not_run_costs_acceptance(missing: Layer) -> None:
    absent = decided(layers=tuple(record for record in ALL if record.layer is not missing))
    skipped = decided(layers=tuple(layer(name, ran=name is not missing) for name in Layer))
    assert absent.verdict is skipped.verdict is Verdict.INCONCLUSIVE
    assert absent.reasons[0] == f"the required layer {missing} did not run"
    assert skipped.reasons[0] == f"the required layer {missing} did not run: why"
    assert "did not run" in absent.reasons[0]
    assert "did not run" in skipped.reasons[0]


@pytest.mark.parametrize("outcome", [Outcome.ERRORED, Outcome.VIOLATED])
def test_an_optional_layer_that_broke_costs_acceptance(outcome: Outcome) -> None:
    layers = tuple(layer(name, outcome if name is Layer.EMPIRICAL else Outcome.PASSED) for name in Layer)
    assert decided(layers=layers).verdict is Verdict.INCONCLUSIVE


def test_nothing_at_all_is_inconclusive() -> None:
    nothing = decided(layers=(), replayed=Bracket(lower=None, upper=None))
    assert nothing.verdict is Verdict.INCONCLUSIVE
    assert len(nothing.reasons) == 1 + len(REQUIRED_LAYERS)


@pytest.mark.parametrize("strength", [Strength.PROOF, Strength.STATISTICAL])
def test_a_critical_witness_rejects_whatever_else_holds(strength: Strength) -> None:
    decision = decided(findings=(finding(Severity.CRITICAL, strength),))
    assert decision.verdict is Verdict.REJECTED
    assert decision.reasons == ("DPA404: seen",)


@pytest.mark.parametrize(
    "weak",
    [
        finding(Severity.CRITICAL, Strength.HEURISTIC),
        finding(Severity.MAJOR),
        finding(Severity.MAJOR, Strength.HEURISTIC),
    ],
)
def test_less_than_a_witness_neither_rejects_nor_accepts(weak: Finding) -> None:
    assert decided(findings=(weak,)).verdict is Verdict.INCONCLUSIVE


def test_layers_that_contradict_each_other_decide_nothing() -> None:
    contradiction = finding(Severity.MAJOR, rule="DPA002")
    decision = decided(findings=(contradiction, finding(Severity.CRITICAL)))
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.reasons == ("DPA002: seen",)


def test_without_an_upper_end_replay_is_not_blamed_twice_and_the_others_are_named() -> None:
    layers = tuple(layer(name, Outcome.INCONCLUSIVE) for name in Layer)
    decision = decided(layers=layers, replayed=Bracket(lower=2.9, upper=None, upper_method="no static bound"))
    assert decision.reasons == (
        "no upper end for epsilon: no static bound",
        "the required layer static ended inconclusive: why",
        "the required layer properties ended inconclusive: why",
    )


@pytest.mark.parametrize("outcome", [Outcome.INCONCLUSIVE, Outcome.NOT_APPLICABLE])
def test_an_underpowered_attack_leaves_acceptance_alone(outcome: Outcome) -> None:
    layers = tuple(layer(name, outcome if name is Layer.EMPIRICAL else Outcome.PASSED) for name in Layer)
    assert decided(layers=layers).verdict is Verdict.ACCEPTED


def test_an_attack_that_refutes_a_proved_budget_decides_nothing() -> None:
    witness = finding(Severity.CRITICAL, Strength.STATISTICAL, rule="DPA301")
    assert decided(findings=(witness,)).verdict is Verdict.REJECTED
    (defect,) = refuted_proof((witness,), GOOD, 3.0, file="m.py")
    assert defect.rule == "DPA002"
    assert decided(findings=(witness, defect)).verdict is Verdict.INCONCLUSIVE
    unproved = Bracket(lower=2.9, upper=None, lower_method="pair", upper_method="no static bound")
    assert not list(refuted_proof((witness,), unproved, 3.0, file="m.py"))
    assert not list(refuted_proof((finding(Severity.CRITICAL),), GOOD, 3.0, file="m.py"))
