"""The parts of ``report.json`` read back into the contract's types."""

from dpaudit.contract import (
    AccuracyRow,
    AuditReport,
    EpsilonRecord,
    Layer,
    LayerRecord,
    NoiseClass,
    Outcome,
    SigmaRecord,
    Verdict,
)

from .attack_record import read_attack
from .json_config import read_cell, read_config
from .json_curves import read_curves
from .json_finding import plain_key, read_evidence, read_finding
from .json_node import Node

_MAX_STEPS = 100_000_000


def read_audit(node: Node) -> AuditReport:
    """One member of ``audits``.

    Raises:
        DataError: a key is missing or unknown, or a value is not of its type or outside its range.
    """
    # Written only where records of attacks were taken in; a report without them tells of an audit without.
    attacked = ("attacks",) if isinstance(node.value, dict) and "attacks" in node.value else ()
    curved = ("curves",) if isinstance(node.value, dict) and "curves" in node.value else ()
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
        *attacked,
        *curved,
    )
    report = AuditReport(
        mechanism=part["mechanism"].text(),
        class_name=part["class"].text(),
        verdict=part["verdict"].word(Verdict),
        reasons=part["reasons"].texts(),
        expected=tuple(member.word(Verdict) for member in part["expected"].items()),
        config=read_config(part["config"], read_cell(part["cell"])),
        epsilon=_epsilon(part["epsilon"]),
        sigma=_sigma(part["sigma"]),
        honest_noise_factor=part["honest_noise_factor"].optional_number(),
        accuracy=tuple(_accuracy(member) for member in part["accuracy"].items()),
        layers=tuple(_layer(member) for member in part["layers"].items()),
        findings=tuple(read_finding(member) for member in part["findings"].items()),
        pair=part["pair"].text(),
        certificate={plain_key(key): read_evidence(member) for key, member in part["certificate"].mapping()},
        assumptions=part["assumptions"].texts(),
        blind_spots=part["blind_spots"].texts(),
        source_sha256=part["source_sha256"].text(),
        command=part["command"].text(),
        seconds=part["seconds"].number(),
        created=part["created"].text(),
        versions={name: member.text() for name, member in part["versions"].mapping()},
        attacks=tuple(read_attack(member) for member in part["attacks"].items()) if attacked else (),
        **({"curves": read_curves(part["curves"])} if curved else {}),
    )
    if report.verdict is Verdict.ACCEPTED and (lack := report.lacks_for_acceptance):
        part["verdict"].refuse(f"with ACCEPTED {lack}")
    return report


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
