"""report.json: the keys that others rely on, and refusal of everything that is not a report."""

import dataclasses
import json
import math
from typing import Any

import pytest

from dpaudit.contract import (
    AccuracyRow,
    AuditBrokenError,
    AuditReport,
    Bracket,
    Calibration,
    Cell,
    DataError,
    EpsilonRecord,
    Finding,
    LayerRecord,
    RunConfig,
    SigmaRecord,
    Verdict,
)
from dpaudit.report import from_json, to_json


def test_every_field_of_the_contract_is_written(rejected_report: AuditReport, accepted_report: AuditReport) -> None:
    """A field added to the contract with a default would otherwise be lost without a sound."""
    prepared = dataclasses.replace(
        rejected_report,
        config=dataclasses.replace(
            rejected_report.config, calibration=Calibration.PLD, cell=Cell(), preparation=(30.0,)
        ),
        curves=accepted_report.curves,
    )
    # written where there are any: releases before training, curves
    (audit,) = json.loads(to_json([prepared]))["audits"]
    parts: list[tuple[type, dict[str, Any], set[str]]] = [
        (AuditReport, audit | {"class_name": audit["class"]}, {"attacks"}),  # tests/report/test_attack_record.py
        (RunConfig, audit["config"], {"cell"}),
        (Cell, audit["cell"], set()),
        (EpsilonRecord, audit["epsilon"], set()),
        (SigmaRecord, audit["sigma"], set()),
        (AccuracyRow, audit["accuracy"][0], set()),
        (LayerRecord, audit["layers"][0], set()),
        (Finding, audit["findings"][0], set()),
    ]
    for kind, written, elsewhere in parts:
        missing = {field.name for field in dataclasses.fields(kind)} - elsewhere - set(written)
        assert not missing, kind.__name__


def test_relied_upon_keys(rejected_report: AuditReport) -> None:
    document = json.loads(to_json([rejected_report]))
    assert document["schema"] == "dpaudit.report/1"
    (audit,) = document["audits"]
    assert (audit["mechanism"], audit["class"], audit["verdict"]) == ("standard_dpsgd", "DPMechanism", "REJECTED")
    assert audit["cell"] == {
        "sampler": "shuffle",
        "relation": "zero_out",
        "rows": "constant",
        "nonfinite": "guarded",
    }
    epsilon = audit["epsilon"]
    assert (epsilon["target"], epsilon["delta"], epsilon["reported"]) == (3.0, 1e-5, 3.0016)
    assert epsilon["replayed"] == [None, 83.1]
    assert epsilon["empirical_lower"] is None
    assert audit["sigma"]["reported"] == [0.2385] * 1170
    assert audit["sigma"]["effective"] == [0.2385, 0.2385]
    assert audit["accuracy"][0] == {
        "dataset": "MNIST",
        "mean": 96.2,
        "std": 0.11,
        "runs": 3,
        "best_on_test_mean": 96.41,
    }
    finding = audit["findings"][0]
    assert (finding["rule"], finding["severity"], finding["strength"]) == ("DPA401", "critical", "proof")
    assert finding["file"] == "mechanisms/rejected/standard_dpsgd.py"
    assert finding["line"] is None
    assert audit["honest_noise_factor"] == 2.7288


def test_infinity_is_the_string_inf(accepted_report: AuditReport) -> None:
    spent = dataclasses.replace(accepted_report.epsilon, reported=math.inf, replayed=Bracket(lower=3.5, upper=math.inf))
    text = to_json([dataclasses.replace(accepted_report, epsilon=spent, verdict=Verdict.INCONCLUSIVE)])
    epsilon = json.loads(text)["audits"][0]["epsilon"]
    assert epsilon["reported"] == "inf"
    assert epsilon["replayed"] == [3.5, "inf"]
    assert from_json(text)[0].epsilon == spent


def test_text_of_any_kind_survives(accepted_report: AuditReport) -> None:
    odd = dataclasses.replace(accepted_report, mechanism="\ud800\x00\u2028\u202e<script>\\\"'é日本😀", pair="inf")
    text = to_json([odd])
    assert text.isascii()
    assert from_json(text) == (odd,)


def test_equal_reports_give_equal_bytes(accepted_report: AuditReport) -> None:
    """An integer in a float field and another order of a mapping are the same report."""
    integer = dataclasses.replace(accepted_report.epsilon, target=3)
    shuffled = dict(reversed(accepted_report.versions.items()))
    other = dataclasses.replace(accepted_report, epsilon=integer, versions=shuffled)
    assert other == accepted_report
    assert to_json([other]) == to_json([accepted_report])


@pytest.mark.parametrize("place", ["epsilon", "sigma", "evidence", "accuracy"])
def test_nan_is_refused_wherever_it_stands(rejected_report: AuditReport, place: str) -> None:
    report = rejected_report
    changes: dict[str, Any] = {
        "epsilon": {"epsilon": dataclasses.replace(report.epsilon, empirical_lower=math.nan)},
        "sigma": {"sigma": dataclasses.replace(report.sigma, measured=(0.1, math.nan))},
        "evidence": {"findings": (dataclasses.replace(report.findings[0], evidence={"a": [{"b": math.nan}]}),)},
        "accuracy": {"accuracy": (dataclasses.replace(report.accuracy[0], mean=math.nan),)},
    }
    with pytest.raises(AuditBrokenError, match=r"report\.audits\[0\]\..*expected a number, got NaN"):
        to_json([dataclasses.replace(report, **changes[place])])


def test_data_that_is_not_plain_is_refused(rejected_report: AuditReport) -> None:
    odd = dataclasses.replace(rejected_report.findings[0], evidence={"a": object()})  # type: ignore[dict-item]
    with pytest.raises(AuditBrokenError, match="expected plain data, got object"):
        to_json([dataclasses.replace(rejected_report, findings=(odd,))])


def test_bottomless_evidence_is_refused(rejected_report: AuditReport) -> None:
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    odd = dataclasses.replace(rejected_report.findings[0], evidence={"a": deep})
    with pytest.raises(AuditBrokenError, match="levels of nesting"):
        to_json([dataclasses.replace(rejected_report, findings=(odd,))])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected JSON"),
        ("{", "expected JSON"),
        ("[" * 100_000, "expected plain JSON"),
        ("[]", "report: expected an object, got list"),
        ('{"schema": "dpaudit.report/1"}', "expected a key 'audits'"),
        ('{"schema": "dpaudit.report/2", "audits": []}', r"report\.schema: expected the schema dpaudit\.report/1"),
        ('{"schema": "dpaudit.report/1", "schema": "x", "audits": []}', "expected each key once"),
        ('{"schema": "dpaudit.report/1", "audits": [], "more": 1}', "got 'more'"),
        ('{"schema": "dpaudit.report/1", "audits": [NaN]}', "got the literal NaN"),
        ('{"schema": "dpaudit.report/1", "audits": [-Infinity]}', "got the literal -Infinity"),
        ('{"schema": "dpaudit.report/1", "audits": [1e999]}', "got 1e999"),
        ('{"schema": "dpaudit.report/1", "audits": [' + "9" * 5000 + "]}", "expected plain JSON"),
        ('{"schema": "dpaudit.report/1", "audits": [null]}', r"report\.audits\[0\]: expected an object, got null"),
    ],
)
def test_malformed_documents_are_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_json(text)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("verdict",), "FINE", "expected one of ACCEPTED, REJECTED, INCONCLUSIVE, got str 'FINE'"),
        (("verdict",), ["ACCEPTED"], "expected one of"),
        (("epsilon", "target"), "3", 'expected a number or "inf"'),
        (("epsilon", "target"), True, 'expected a number or "inf"'),
        (("epsilon", "target"), None, "got null"),
        (("epsilon", "target"), 10**400, "in the range of a float"),
        (("epsilon", "replayed"), [4.0, 3.0], "lower end no larger than the upper"),
        (("epsilon", "replayed"), [4.0], "a list of two"),
        (("epsilon", "reported_bracket"), None, "null beside a reported_bracket of null"),
        (("sigma", "classes"), [["clean", 10**12]], "a run length"),
        (("sigma", "classes"), [["clean", 0]], "a run length"),
        (("config", "epochs"), 0, "epochs must be at least 1"),
        (("config", "epochs"), 5.0, "expected an integer, got float 5.0"),
        (("findings", 0, "rule"), "DPA999", "the id of a known rule"),
        (("findings", 0, "line"), "12", "expected an integer"),
        (("layers", 0, "ran"), 1, "expected true or false"),
        (("cell", "sampler"), "uniform", "expected one of poisson"),
        (("versions",), {"torch": 2}, "expected a string"),
        (("reasons",), "no", "expected a list"),
    ],
)
def test_wrong_values_are_refused_with_their_place(
    rejected_report: AuditReport, path: tuple[Any, ...], value: Any, message: str
) -> None:
    document = json.loads(to_json([rejected_report]))
    part = document["audits"][0]
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    with pytest.raises(DataError, match=message) as caught:
        from_json(json.dumps(document))
    assert f"report.audits[0].{path[0]}" in str(caught.value)


def test_every_missing_key_is_refused(rejected_report: AuditReport) -> None:
    text = to_json([rejected_report])
    for key in json.loads(text)["audits"][0]:
        document = json.loads(text)
        del document["audits"][0][key]
        with pytest.raises(DataError, match=f"expected a key '{key}'"):
            from_json(json.dumps(document))


def test_a_cut_file_is_refused_at_every_length(accepted_report: AuditReport) -> None:
    short = dataclasses.replace(
        accepted_report, sigma=dataclasses.replace(accepted_report.sigma, reported=(), measured=(), classes=())
    )
    text = to_json([short]).rstrip("\n")
    for length in range(0, len(text), 97):
        with pytest.raises(DataError):
            from_json(text[:length])
