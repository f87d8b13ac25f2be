"""schema.json describes what is written, and its closed sets are those of the contract."""

import json
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dpaudit.contract import AuditReport, Layer, NoiseClass, Outcome, Sampler, Severity, Strength, Verdict
from dpaudit.report import to_json


@pytest.fixture
def schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((files("dpaudit.report") / "schema.json").read_text(encoding="utf-8"))
    return loaded


def test_schema_is_a_schema(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)


def test_what_is_written_is_valid(schema: dict[str, Any], samples: tuple[AuditReport, ...]) -> None:
    Draft202012Validator(schema).validate(json.loads(to_json(samples)))
    Draft202012Validator(schema).validate(json.loads(to_json([])))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("verdict",), "FINE"),
        (("epsilon", "target"), "three"),
        (("epsilon", "replayed"), [1.0]),
        (("epsilon", "replayed"), [1.0, 2.0, 3.0]),
        (("sigma", "classes"), [["clean", 0]]),
        (("findings", 0, "rule"), "X1"),
        (("config", "target_delta"), 1),
        (("extra",), 1),
    ],
)
def test_schema_refuses(
    schema: dict[str, Any], rejected_report: AuditReport, path: tuple[Any, ...], value: Any
) -> None:
    document = json.loads(to_json([rejected_report]))
    part = document["audits"][0]
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    assert not Draft202012Validator(schema).is_valid(document)


def test_every_object_of_the_schema_is_closed_and_complete(schema: dict[str, Any]) -> None:
    closed = [part for part in schema["$defs"].values() if "properties" in part]
    assert len(closed) >= 8
    for part in closed:
        assert part["additionalProperties"] is False
        # Releases before training, records of attacks and curves are written only where there are any; a report without them
        # tells of a run without.
        optional = {"preparation", "attacks", "curves"}
        assert part["required"] == [name for name in part["properties"] if name not in optional]


def test_closed_sets_are_those_of_the_contract(schema: dict[str, Any]) -> None:
    defs = schema["$defs"]
    pairs = [
        (defs["verdict"], Verdict),
        (defs["layer"]["properties"]["layer"], Layer),
        (defs["layer"]["properties"]["outcome"], Outcome),
        (defs["finding"]["properties"]["severity"], Severity),
        (defs["finding"]["properties"]["strength"], Strength),
        (defs["cell"]["properties"]["sampler"], Sampler),
        (defs["sigma"]["properties"]["classes"]["items"]["prefixItems"][0], NoiseClass),
    ]
    for part, words in pairs:
        assert part["enum"] == [word.value for word in words]
