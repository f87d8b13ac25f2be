"""The parts of ``report.json`` read back into the contract's types."""

import math

from dpaudit.contract import (
    RULES,
    AccuracyRow,
    AuditReport,
    Calibration,
    Cell,
    DataError,
    EpsilonRecord,
    Finding,
    Layer,
    LayerRecord,
    NoiseClass,
    NonFinite,
    Outcome,
    PlainData,
    Relation,
    Rows,
    RunConfig,
    Sampler,
    Severity,
    SigmaRecord,
    Strength,
    UsageError,
    Verdict,
)

from .json_node import Node

_MAX_STEPS = 100_000_000


def read_audit(node: Node) -> AuditReport:
    """One member of ``audits``.

    Raises:
        DataError: a key is missing or unknown, or a value is not of its type or outside its range.
    """
    part = node.fields(
        *("mechanism", "class", "verdict", "reasons", "expected", "cell", "epsilon", "sigma", "honest_noise_factor"),
        *(
            "accuracy",
            "layers",
            "findings",
            "pair",
            "certificate",
            "assumptions",
            "blind_spots",
            "config",
            "source_sha256",
            "command",
        ),
        *("seconds", "created", "versions"),
    )
    return AuditReport(
        mechanism=part["mechanism"].text(),
        class_name=part["class"].text(),
        verdict=part["verdict"].word(Verdict),
        reasons=part["reasons"].texts(),
        expected=tuple(member.word(Verdict) for member in part["expected"].items()),
        config=_config(part["config"], _cell(part["cell"])),
        epsilon=_epsilon(part["epsilon"]),
        sigma=_sigma(part["sigma"]),
        honest_noise_factor=part["honest_noise_factor"].optional_number(),
        accuracy=tuple(_accuracy(member) for member in part["accuracy"].items()),
        layers=tuple(_layer(member) for member in part["layers"].items()),
        findings=tuple(_finding(member) for member in part["findings"].items()),
        pair=part["pair"].text(),
        certificate={_key(key): _evidence(member) for key, member in part["certificate"].mapping()},
        assumptions=part["assumptions"].texts(),
        blind_spots=part["blind_spots"].texts(),
        source_sha256=part["source_sha256"].text(),
        command=part["command"].text(),
        seconds=part["seconds"].number(),
        created=part["created"].text(),
        versions={name: member.text() for name, member in part["versions"].mapping()},
    )


def _cell(node: Node) -> Cell:
    part = node.fields("sampler", "relation", "rows", "nonfinite")
    return Cell(
        sampler=part["sampler"].word(Sampler),
        relation=part["relation"].word(Relation),
        rows=part["rows"].word(Rows),
        nonfinite=part["nonfinite"].word(NonFinite),
    )


def _config(node: Node, cell: Cell) -> RunConfig:
    # Written only where there is one; a report without it tells of a run without it.
    prepared = ("preparation",) if isinstance(node.value, dict) and "preparation" in node.value else ()
    part = node.fields(
        *("name", "dataset_size", "batch_size", "expected_batch", "epochs", "steps_per_epoch", "max_grad_norm"),
        *("target_epsilon", "target_delta", "noise_multiplier", "calibration", "parameter_shapes"),
        *prepared,
    )
    values = {
        "dataset_size": part["dataset_size"].integer(),
        "batch_size": part["batch_size"].integer(),
        "epochs": part["epochs"].integer(),
        "steps_per_epoch": part["steps_per_epoch"].integer(),
    }
    shapes = tuple(tuple(size.integer() for size in shape.items()) for shape in part["parameter_shapes"].items())
    try:
        return RunConfig(
            **values,
            name=part["name"].text(),
            expected_batch=part["expected_batch"].number(),
            max_grad_norm=part["max_grad_norm"].number(),
            target_epsilon=part["target_epsilon"].number(),
            target_delta=part["target_delta"].number(),
            noise_multiplier=part["noise_multiplier"].number(),
            cell=cell,
            calibration=part["calibration"].word(Calibration),
            parameter_shapes=shapes,
            preparation=tuple(value.number() for value in part["preparation"].items()) if prepared else (),
        )
    except DataError:
        raise
    except UsageError as error:
        raise DataError(f"{node.where}: {error}; the report was altered or is of another version") from error


def _epsilon(node: Node) -> EpsilonRecord:
    part = node.fields(
        *("target", "delta", "reported", "reported_bracket", "reported_bracket_methods"),
        *("replayed", "replayed_methods", "empirical_lower"),
    )
    schedule = part["reported_bracket"]
    if schedule.value is None and part["reported_bracket_methods"].value is not None:
        part["reported_bracket_methods"].refuse("null beside a reported_bracket of null")
    return EpsilonRecord(
        target=part["target"].number(),
        delta=part["delta"].number(),
        reported=part["reported"].optional_number(),
        reported_bracket=None if schedule.value is None else schedule.bracket(part["reported_bracket_methods"]),
        replayed=part["replayed"].bracket(part["replayed_methods"]),
        empirical_lower=part["empirical_lower"].optional_number(),
    )


def _sigma(node: Node) -> SigmaRecord:
    part = node.fields("reported", "measured", "classes", "effective", "effective_methods")
    classes: list[NoiseClass] = []
    for run in part["classes"].items():
        word, count = run.pair()
        length = count.integer()
        # The cap keeps a damaged file from asking for all memory; no training run has that many steps.
        if not 1 <= length <= _MAX_STEPS - len(classes):
            count.refuse(f"a run length from 1 to {_MAX_STEPS - len(classes)}")
        classes += [word.word(NoiseClass)] * length
    return SigmaRecord(
        reported=part["reported"].optional_numbers(),
        measured=part["measured"].optional_numbers(),
        classes=tuple(classes),
        effective=part["effective"].bracket(part["effective_methods"]),
    )


def _accuracy(node: Node) -> AccuracyRow:
    part = node.fields("dataset", "mean", "std", "runs", "best_on_test_mean")
    return AccuracyRow(
        dataset=part["dataset"].text(),
        mean=part["mean"].number(),
        std=part["std"].optional_number(),
        runs=part["runs"].integer(),
        best_on_test_mean=part["best_on_test_mean"].optional_number(),
    )


def _layer(node: Node) -> LayerRecord:
    part = node.fields("layer", "ran", "outcome", "summary", "seconds")
    return LayerRecord(
        layer=part["layer"].word(Layer),
        ran=part["ran"].boolean(),
        outcome=part["outcome"].word(Outcome),
        summary=part["summary"].text(),
        seconds=part["seconds"].number(),
    )


def _finding(node: Node) -> Finding:
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
        evidence={_key(key): _evidence(member) for key, member in part["evidence"].mapping()},
        rerun=part["rerun"].text(),
    )


def _evidence(node: Node) -> PlainData:
    """Free data back from the form in which :mod:`json_record` writes it."""
    if isinstance(node.value, dict):
        if set(node.value) == {"$inf"}:
            if node.value["$inf"] not in (1, -1):
                node.refuse('{"$inf": 1} or {"$inf": -1}')
            return math.inf if node.value["$inf"] == 1 else -math.inf
        return {_key(key): _evidence(member) for key, member in node.mapping()}
    if isinstance(node.value, list):
        return [_evidence(member) for member in node.items()]
    return node.value


def _key(key: str) -> str:
    return key[1:] if key.startswith("$$") else key
