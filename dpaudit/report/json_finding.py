"""Findings and their free evidence as JSON, both ways."""

import math
from collections.abc import Mapping

from dpaudit.contract import RULES, Finding, PlainData, Severity, Strength

from .json_node import Node
from .stable_json import JsonData


def finding_data(finding: Finding) -> JsonData:
    """One finding as plain data."""
    return {
        "rule": finding.rule,
        "severity": finding.severity.value,
        "strength": finding.strength.value,
        "message": finding.message,
        "file": finding.file,
        "line": finding.line,
        "evidence": evidence_data(finding.evidence),
        "rerun": finding.rerun,
    }


def read_finding(node: Node) -> Finding:
    """The inverse of :func:`finding_data`."""
    part = node.fields("rule", "severity", "strength", "message", "file", "line", "evidence", "rerun")
    if part["rule"].text() not in RULES:
        part["rule"].refuse("the id of a known rule")
    return Finding(
        rule=part["rule"].text(),
        severity=part["severity"].word(Severity),
        strength=part["strength"].word(Strength),
        message=part["message"].text(),
        file=part["file"].text(),
        line=part["line"].optional_integer(),
        evidence={plain_key(key): read_evidence(member) for key, member in part["evidence"].mapping()},
        rerun=part["rerun"].text(),
    )


def evidence_data(data: PlainData | Mapping[str, PlainData]) -> JsonData:
    """Plain data with keys sorted. Free data may hold the string ``inf`` too, so a float infinity becomes ``{"$inf": 1}``

    or ``{"$inf": -1}``, and a key that starts with ``$`` gets one more.
    """
    if isinstance(data, Mapping):
        keys = sorted(data)
        return {f"${key}" if key.startswith("$") else key: evidence_data(data[key]) for key in keys}
    if isinstance(data, list | tuple):
        return [evidence_data(member) for member in data]
    if isinstance(data, float) and math.isinf(data):
        return {"$inf": 1 if data > 0 else -1}
    return data


def read_evidence(node: Node) -> PlainData:
    """Free data back from the form in which :mod:`json_record` writes it."""
    if isinstance(node.value, dict):
        if set(node.value) == {"$inf"}:
            if node.value["$inf"] not in (1, -1):
                node.refuse('{"$inf": 1} or {"$inf": -1}')
            return math.inf if node.value["$inf"] == 1 else -math.inf
        return {plain_key(key): read_evidence(member) for key, member in node.mapping()}
    if isinstance(node.value, list):
        return [read_evidence(member) for member in node.items()]
    return node.value


def plain_key(key: str) -> str:
    """A key of free data as it was before it was written."""
    return key[1:] if key.startswith("$$") else key
