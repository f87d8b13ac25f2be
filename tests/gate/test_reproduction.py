"""A finding shown again: which pair or audit is tried, and what counts as the same, with both told what to show."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from dpaudit.contract import Finding, Layer, LayerRecord, Outcome, RunConfig, Severity, Strength, UsageError
from dpaudit.gate import reproduction
from dpaudit.gate.reproduction import reproduce
from dpaudit.properties import PairReading

CONFIG = RunConfig(
    dataset_size=5000, batch_size=40, expected_batch=40.0, epochs=1, steps_per_epoch=40, max_grad_norm=1.0,
    target_epsilon=3.0, target_delta=1e-5, noise_multiplier=1.0, parameter_shapes=((3, 4),),
)  # fmt: skip
PAIR = {"step": 4, "row": [1.0]}


def record(layer: Layer, *, ran: bool = True) -> LayerRecord:
    return LayerRecord(layer=layer, outcome=Outcome.PASSED, ran=ran, summary="")


REPORT = SimpleNamespace(
    config=CONFIG, mechanism="mechanism.py", command="again",
    layers=(record(Layer.STATIC), record(Layer.PROPERTIES, ran=False), record(Layer.REPLAY)),
)  # fmt: skip


def finding(rule: str, **changes: Any) -> Finding:
    made = Finding(
        rule=rule, severity=Severity.MAJOR, strength=Strength.PROOF, message=f"said by {rule}", file="mechanism.py"
    )
    return replace(made, **changes)


def paired(rule: str, **evidence: Any) -> Finding:
    return finding(rule, evidence={"counterexample": PAIR, **evidence})


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A pair that reads as told, and audits whose findings are told by their layers."""
    told = SimpleNamespace(reading=PairReading(finite=True), asked=[], findings={}, broken=(), reasons=("it broke",))

    def measure_pair(source: object, config: object, pair: object, *, time_limit: float) -> PairReading:
        assert (source, config, pair) == ("source", CONFIG, PAIR)
        told.asked.append(time_limit)
        if isinstance(told.reading, Exception):
            raise told.reading
        return told.reading

    def audit(mechanism: str, config: object, *, layers: tuple[Layer, ...], command: str) -> SimpleNamespace:
        assert (mechanism, config, command) == ("mechanism.py", CONFIG, "again")
        told.asked.append(layers)
        return SimpleNamespace(
            findings=told.findings.get(layers, ()), broken=layers in told.broken, reasons=told.reasons
        )

    monkeypatch.setattr(reproduction, "measure_pair", measure_pair)
    monkeypatch.setattr(reproduction, "audit", audit)
    told.again = lambda what: reproduce(REPORT, what, "source")  # type: ignore[arg-type]
    return told


SHOWS = [
    ("DPA216", {}, {"finite": False}, True), ("DPA216", {}, {"finite": True, "noise_multiplier": 0.0}, False),
    ("DPA209", {}, {"finite": False}, True), ("DPA209", {}, {"finite": True, "noise_multiplier": 0.0, "reported": 1.0}, False),
    ("DPA209", {"sigma": 0.5}, {"finite": True, "noise_multiplier": 0.5, "reported": 1.0}, True),
    ("DPA209", {"sigma": 0.5}, {"finite": False}, False),
    ("DPA202", {}, {"finite": True, "relative_change": 0.1}, True), ("DPA202", {}, {"finite": True}, False),
    ("DPA208", {}, {"finite": True, "relative_change": 0.1}, True), ("DPA208", {}, {"finite": True}, False),
    *((rule, {}, {"finite": True, "noise_multiplier": sigma}, sigma == 0.0)
      for rule in ("DPA204", "DPA205", "DPA206") for sigma in (0.0, 0.4, None)),
    ("DPA201", {}, {"finite": True, "noise_multiplier": 0.9985, "reported": 1.0}, True),
    ("DPA201", {}, {"finite": True, "noise_multiplier": 0.9991, "reported": 1.0}, False),
    ("DPA201", {}, {"finite": True, "noise_multiplier": None, "reported": 1.0}, False),
    ("DPA201", {}, {"finite": True, "noise_multiplier": 0.5, "reported": None}, False),
    ("DPA213", {}, {"finite": True, "noise_multiplier": 0.989, "reported": 1.0}, True),
    ("DPA213", {}, {"finite": True, "noise_multiplier": 0.991, "reported": 1.0}, False),
    ("DPA201", {}, {"finite": True, "noise_multiplier": 2 * (1 - 1e-3), "reported": 2.0}, False),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "evidence", "reading", "shown"), SHOWS)
def test_a_pair_shows_its_own_rule(
    stage: SimpleNamespace, rule: str, evidence: dict[str, Any], reading: dict[str, Any], shown: bool
) -> None:
    stage.reading = PairReading(**reading)
    found = stage.again(paired(rule, **evidence))
    assert found.reproduced is shown
    assert found.how == "the stored pair at step 4"
    assert not found.broken
    assert stage.asked == [122.0]


def test_numbers_of_then_and_of_now_stand_under_the_same_names(stage: SimpleNamespace) -> None:
    stage.reading = PairReading(finite=True, noise_multiplier=math.inf, reported=1.0, relative_change=0.25)
    found = stage.again(paired("DPA201", sigma=0.5, reported=1.1, relative_change=0.2, other=7.0))
    assert found.before == {"noise_multiplier": 0.5, "reported": 1.1, "relative_change": 0.2}
    assert found.after == {"release": "finite", "noise_multiplier": "inf", "reported": 1.0, "relative_change": 0.25}
    stage.reading = PairReading(finite=False)
    for rule, before in (("DPA216", {"release": "not finite"}), ("DPA209", {"release": "not finite"}), ("DPA201", {})):
        found = stage.again(paired(rule))
        assert (found.before, found.after) == (before, {"release": "not finite"})
    assert stage.again(paired("DPA209", sigma=0.5)).before == {"noise_multiplier": 0.5}


def test_a_pair_that_cannot_be_measured_decides_nothing(stage: SimpleNamespace) -> None:
    stage.reading = PairReading(failed="it hung")
    found = stage.again(paired("DPA201", reported=1.0))
    assert (found.reproduced, found.said, found.before, found.after) == (
        None,
        "nothing measured: it hung",
        {"reported": 1.0},
        {},
    )


@pytest.mark.parametrize("error", [ValueError("no step"), KeyError("step"), TypeError("not a number")])
def test_a_pair_that_nobody_wrote_is_a_usage_error(stage: SimpleNamespace, error: Exception) -> None:
    stage.reading = error
    with pytest.raises(UsageError, match="pair for DPA201 is not one that dpaudit wrote"):
        stage.again(paired("DPA201"))


@pytest.mark.parametrize("rule", ["DPA501", "DPA407"])
def test_a_training_run_is_not_repeated(stage: SimpleNamespace, rule: str) -> None:
    with pytest.raises(UsageError, match=r"is about a training run.* own command: again"):
        stage.again(finding(rule))
    with pytest.raises(UsageError, match=r"own command: dpaudit gate$"):
        reproduce(SimpleNamespace(command=""), finding(rule), "source")  # type: ignore[arg-type]
    assert not stage.asked


def test_an_attack_is_not_repeated(stage: SimpleNamespace) -> None:
    with pytest.raises(
        UsageError, match=r"attack on trainings, which is not repeated here: dpaudit attack mechanism\.py"
    ):
        stage.again(finding("DPA301", rerun="dpaudit attack mechanism.py"))
    assert stage.again(finding("DPA301", rerun="dpaudit gate mechanism.py")).reproduced is False


@pytest.mark.parametrize(
    ("rule", "tried"),
    [
        ("DPA101", [(Layer.STATIC,)]), ("DPA201", [(), (Layer.PROPERTIES,)]), ("DPA301", [(Layer.EMPIRICAL,)]),
        ("DPA401", [(Layer.REPLAY,)]), ("DPA012", [()]), ("DPA001", [(Layer.STATIC, Layer.REPLAY)]),
        ("DPA002", [(Layer.STATIC, Layer.REPLAY)]),
    ],
)  # fmt: skip
def test_the_narrowest_audit_is_tried(stage: SimpleNamespace, rule: str, tried: list[tuple[Layer, ...]]) -> None:
    found = stage.again(finding(rule))
    assert stage.asked == tried
    assert found.how == "audit by " + " and by ".join(", ".join(layers) or "the probe" for layers in tried)
    assert (found.reproduced, found.said, found.after) == (False, "no such finding now", {})


def test_what_the_probe_alone_shows_needs_no_search(stage: SimpleNamespace) -> None:
    stage.findings = {(): (finding("DPA204", message="now", evidence={"sigma": 0.0}),)}
    evidence = {"sigma": 0.1, "steps": 3, "exact": True, "far": math.inf, "text": "x"}
    found = stage.again(finding("DPA204", evidence=evidence))
    assert stage.asked == [()]
    assert (found.reproduced, found.how, found.broken) == (True, "audit by the probe", False)
    assert found.before == {"message": "said by DPA204", "sigma": 0.1, "steps": 3}
    assert found.after == {"message": "now", "sigma": 0.0}


@pytest.mark.parametrize(
    ("line", "now", "shown"),
    [
        (3, (3,), True),
        (3, (4,), False),
        (3, (None,), True),
        (None, (4,), True),
        (3, (4, None, 3), True),
        (None, (), False),
    ],
)
def test_a_finding_is_the_same_at_the_same_line_where_lines_are_named(
    stage: SimpleNamespace, line: int | None, now: tuple[int | None, ...], shown: bool
) -> None:
    stage.findings = {(Layer.STATIC,): tuple(finding("DPA101", line=at, message=f"at {at}") for at in now)}
    found = stage.again(finding("DPA101", line=line))
    assert found.reproduced is shown
    if 3 in now:
        assert found.after["message"] == "at 3"
    stage.findings = {(Layer.STATIC,): tuple(finding("DPA102", line=at) for at in now)}
    assert stage.again(finding("DPA101", line=line)).reproduced is False


def test_an_audit_that_breaks_decides_nothing(stage: SimpleNamespace) -> None:
    stage.broken = ((),)
    found = stage.again(finding("DPA204"))
    assert (found.reproduced, found.broken, found.said, found.how) == (None, True, "it broke", "audit by the probe")
    for rule in ("DPA001", "DPA002"):
        stage.findings = {(): (finding("DPA012"), finding(rule, message="a layer crashed"))}
        assert stage.again(finding("DPA204")).said == "a layer crashed"
    assert stage.asked == [()] * 3
    stage.findings = {(): (finding("DPA001", message="it crashed again"),)}
    stage.broken = ((Layer.STATIC, Layer.REPLAY),)
    stage.findings = {(Layer.STATIC, Layer.REPLAY): (finding("DPA001", message="it crashed again"),)}
    assert stage.again(finding("DPA001")).reproduced is True
