"""AttackReport to ``attack.json`` and back; the same object stands in ``report.json`` where an audit took the record in.

Guarantee: ``attack_from_json(attack_json(report)) == report``, and writing what was read gives the same bytes.
"""

import dataclasses
import math
from collections.abc import Mapping
from enum import Enum

from dpaudit.contract import (
    ATTACK_SCHEMA,
    AttackReport,
    BoundRecord,
    Finding,
    Outcome,
    PlaceRecord,
    ReplayedStepRecord,
    RocRecord,
    RunConfig,
)

from .json_config import read_cell, read_config
from .json_finding import finding_data, read_finding
from .json_node import Node
from .stable_json import JsonData, dump, load


def attack_json(report: AttackReport) -> str:
    """The whole record, infinity as ``"inf"``.

    Raises:
        AuditBrokenError: it holds a NaN.
    """
    return dump(attack_data(report))


def attack_data(report: AttackReport) -> dict[str, JsonData]:
    """The record as plain data, with its schema."""
    data = _plain(report)
    assert isinstance(data, dict)
    return {"schema": ATTACK_SCHEMA, **data}


def attack_from_json(text: str) -> AttackReport:
    """The record in the text of an ``attack.json``.

    Raises:
        DataError: it is none of schema ``dpaudit.attack/1``, or contradicts itself. The message names the place.
    """
    return read_attack(Node(value=load(text), where="attack"))


def read_attack(node: Node) -> AttackReport:
    """One record.

    Raises:
        DataError: a key is missing or unknown, a value is not of its type, or the outcome is not what the findings say.
    """
    names = [field.name for field in dataclasses.fields(AttackReport)]
    part = node.fields("schema", *names)
    if part["schema"].value != ATTACK_SCHEMA:
        part["schema"].refuse(f"the schema {ATTACK_SCHEMA}")
    findings = tuple(read_finding(member) for member in part["findings"].items())
    outcome = part["outcome"].word(Outcome)
    refuted = any(finding.rule == "DPA301" and finding.refutes for finding in findings)
    if refuted is not (outcome is Outcome.VIOLATED):
        part["outcome"].refuse(f"{'' if refuted else 'not '}violated, as its findings say")
    return AttackReport(
        mode=part["mode"].text(),
        mechanism=part["mechanism"].text(),
        class_name=part["class_name"].text(),
        source_sha256=part["source_sha256"].text(),
        config=_config(part["config"]),
        outcome=outcome,
        summary=part["summary"].text(),
        epsilon_lower=part["epsilon_lower"].optional_number(),
        places=tuple(_place(member) for member in part["places"].items()),
        accuracy=tuple(_accuracy(member) for member in part["accuracy"].items()),
        replayed=tuple(_replayed(member) for member in part["replayed"].items()),
        findings=findings,
        notes=part["notes"].texts(),
        command=part["command"].text(),
        seconds=part["seconds"].number(),
        created=part["created"].text(),
        versions={name: member.text() for name, member in part["versions"].mapping()},
    )


def _config(node: Node) -> RunConfig:
    """Here the cell stands within the configuration."""
    if not isinstance(node.value, dict) or "cell" not in node.value:
        node.refuse("a run configuration with its cell")
    rest = Node(value={name: value for name, value in node.value.items() if name != "cell"}, where=node.where)
    return read_config(rest, read_cell(Node(value=node.value["cell"], where=f"{node.where}.cell")))


def _place(node: Node) -> PlaceRecord:
    part = node.fields(*(field.name for field in dataclasses.fields(PlaceRecord)))
    return PlaceRecord(
        name=part["name"].text(),
        words=part["words"].text(),
        design=part["design"].text(),
        trials=part["trials"].integer(),
        gate_level=part["gate_level"].number(),
        ceiling=part["ceiling"].number(),
        able=part["able"].boolean(),
        needed=part["needed"].optional_integer(),
        refuted_by=part["refuted_by"].text(),
        bounds=tuple(_bound(member) for member in part["bounds"].items()),
        roc=None if part["roc"].value is None else _roc(part["roc"]),
    )


def _bound(node: Node) -> BoundRecord:
    part = node.fields(*(field.name for field in dataclasses.fields(BoundRecord)))
    valid, counts_here = part["valid"].boolean(), part["counts_here"].boolean()
    if counts_here and not valid:
        part["counts_here"].refuse("false beside a bound that is not valid")
    return BoundRecord(
        method=part["method"].text(),
        epsilon=part["epsilon"].number(),
        ceiling=part["ceiling"].number(),
        level=part["level"].number(),
        design=part["design"].text(),
        family=part["family"].text(),
        valid=valid,
        counts_here=counts_here,
        noise_deficit=part["noise_deficit"].optional_number(),
        counts={name: member.integer() for name, member in part["counts"].mapping()},
        note=part["note"].text(),
    )


def _roc(node: Node) -> RocRecord:
    part = node.fields(*(field.name for field in dataclasses.fields(RocRecord)))
    curves = {name: _numbers(part[name]) for name in ("fpr", "tpr", "lower", "upper")}
    if len({len(curve) for curve in curves.values()}) != 1:
        part["tpr"].refuse("as many points as the other curves have")
    return RocRecord(
        **curves,
        level=part["level"].number(),
        bands_valid=part["bands_valid"].boolean(),
        claimed=tuple(_two(member) for member in part["claimed"].items()),
        auc=part["auc"].number(),
        at_low_rates=tuple(_two(member) for member in part["at_low_rates"].items()),
    )


def _numbers(node: Node) -> tuple[float, ...]:
    return tuple(member.number() for member in node.items())


def _two(node: Node) -> tuple[float, float]:
    first, second = node.pair()
    return first.number(), second.number()


def _accuracy(node: Node) -> tuple[str, float, str]:
    members = node.items()
    if len(members) != 3:
        node.refuse("a list of three: what was trained, percent, data set")
    return members[0].text(), members[1].number(), members[2].text()


def _replayed(node: Node) -> ReplayedStepRecord:
    part = node.fields(*(field.name for field in dataclasses.fields(ReplayedStepRecord)))
    return ReplayedStepRecord(
        step=part["step"].integer(),
        reproduced=part["reproduced"].boolean(),
        reported_sigma=part["reported_sigma"].optional_number(),
        measured_noise=part["measured_noise"].optional_number(),
        largest_contribution=part["largest_contribution"].optional_number(),
    )


def _plain(value: object) -> JsonData:
    """Dataclasses, enums, tuples and mappings as plain data, mappings in the order that they have."""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, Finding):
        return finding_data(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(member) for key, member in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(member) for member in value]
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"attack report: {type(value).__name__} is no plain data")
