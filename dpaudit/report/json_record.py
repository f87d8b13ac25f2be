"""AuditReport to ``report.json`` and back: the machine's form, from which every other form can be made again.

Guarantee: ``from_json(to_json(reports)) == tuple(reports)``, and writing what was read gives the same bytes.
The shape is fixed by ``schema.json`` beside this module. Order is kept where it has a meaning (audits, reasons, findings,
steps); free mappings (evidence, versions) are sorted by key.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby

from dpaudit.contract import (
    SCHEMA,
    AccuracyRow,
    AuditReport,
    Bracket,
    EpsilonRecord,
    LayerRecord,
    NoiseClass,
    SigmaRecord,
)

from .attack_record import attack_data
from .json_config import config_data
from .json_curves import curves_data
from .json_finding import evidence_data, finding_data
from .json_node import Node
from .json_parts import read_audit
from .stable_json import JsonData, dump, load


def to_json(reports: Sequence[AuditReport]) -> str:
    """The reports as the text of ``report.json``: ASCII, newline at the end, the same bytes for the same reports.

    Raises:
        AuditBrokenError: a report holds a NaN or something that is not plain data.
    """
    return dump({"schema": SCHEMA, "audits": [_audit(report) for report in reports]})


def from_json(text: str) -> tuple[AuditReport, ...]:
    """The reports in the text of a ``report.json``, in file order.

    Raises:
        DataError: the text is not a report of schema ``dpaudit.report/1``: malformed JSON, a key missing or unknown, a
            value of the wrong type or outside its range. The message names the place.
    """
    top = Node(value=load(text), where="report").fields("schema", "audits")
    if top["schema"].value != SCHEMA:
        top["schema"].refuse(f"the schema {SCHEMA}")
    return tuple(read_audit(audit) for audit in top["audits"].items())


def _audit(report: AuditReport) -> JsonData:
    return {
        "mechanism": report.mechanism,
        "class": report.class_name,
        "verdict": report.verdict.value,
        "reasons": _texts(report.reasons),
        "expected": [verdict.value for verdict in report.expected],
        "cell": {
            "sampler": report.config.cell.sampler.value,
            "relation": report.config.cell.relation.value,
            "rows": report.config.cell.rows.value,
            "nonfinite": report.config.cell.nonfinite.value,
        },
        "epsilon": _epsilon(report.epsilon),
        "sigma": _sigma(report.sigma),
        "honest_noise_factor": _number(report.honest_noise_factor),
        "accuracy": [_accuracy(row) for row in report.accuracy],
        "layers": [_layer(record) for record in report.layers],
        "findings": [finding_data(finding) for finding in report.findings],
        "pair": report.pair,
        "certificate": evidence_data(report.certificate),
        "assumptions": _texts(report.assumptions),
        "blind_spots": _texts(report.blind_spots),
        "config": config_data(report.config),
        "source_sha256": report.source_sha256,
        "command": report.command,
        "seconds": float(report.seconds),
        "created": report.created,
        "versions": {name: report.versions[name] for name in sorted(report.versions)},
        **_attacks(report),
        # Written only where there are any; a report without them tells of an audit without.
        **({"curves": curves_data(report.curves)} if report.curves else {}),
    }


def _attacks(report: AuditReport) -> dict[str, JsonData]:
    """Records of attacks on trainings, as they stand in ``attack.json``; the key is there only if there are any."""
    return {"attacks": [attack_data(attack) for attack in report.attacks]} if report.attacks else {}


def _epsilon(record: EpsilonRecord) -> JsonData:
    schedule = record.reported_bracket
    return {
        "target": float(record.target),
        "delta": float(record.delta),
        "reported": _number(record.reported),
        "reported_bracket": None if schedule is None else _ends(schedule),
        "reported_bracket_methods": None if schedule is None else _methods(schedule),
        "replayed": _ends(record.replayed),
        "replayed_methods": _methods(record.replayed),
        "empirical_lower": _number(record.empirical_lower),
    }


def _sigma(record: SigmaRecord) -> JsonData:
    return {
        "reported": [_number(value) for value in record.reported],
        "measured": [_number(value) for value in record.measured],
        "classes": _runs(record.classes),
        "effective": _ends(record.effective),
        "effective_methods": _methods(record.effective),
    }


def _accuracy(row: AccuracyRow) -> JsonData:
    return {
        "dataset": row.dataset,
        "mean": float(row.mean),
        "std": _number(row.std),
        "runs": row.runs,
        "best_on_test_mean": _number(row.best_on_test_mean),
    }


def _layer(record: LayerRecord) -> JsonData:
    return {
        "layer": record.layer.value,
        "ran": record.ran,
        "outcome": record.outcome.value,
        "summary": record.summary,
        "seconds": float(record.seconds),
    }


def _number(value: float | None) -> float | None:
    # float(): an integer 3 and a float 3.0 are equal and must give the same bytes.
    return None if value is None else float(value)


def _ends(bracket: Bracket) -> list[JsonData]:
    return [_number(bracket.lower), _number(bracket.upper)]


def _methods(bracket: Bracket) -> list[JsonData]:
    return [bracket.lower_method, bracket.upper_method]


def _texts(texts: Iterable[str]) -> list[JsonData]:
    return list(texts)


def _runs(classes: Iterable[NoiseClass]) -> list[JsonData]:
    """``[word, count]`` for every run of equal classes."""
    return [[word.value, sum(1 for _ in run)] for word, run in groupby(classes)]
