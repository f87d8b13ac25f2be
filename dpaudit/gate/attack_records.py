"""Records of attacks on trainings that an audit takes in: only those of the very same question, and never as a proof."""

from collections.abc import Sequence
from dataclasses import fields, replace

from dpaudit.contract import AttackReport, Finding, Form, RunConfig, UsageError
from dpaudit.probe import MechanismSource

ASSUMED = (
    "Records of attacks on trainings are taken as `dpaudit attack` wrote them; this audit did not make them again."
)


def require_same(attacks: Sequence[AttackReport], source: MechanismSource, config: RunConfig, form: Form) -> None:
    """Refuse a record of another source, class, configuration or form: it says nothing about this audit.

    Raises:
        UsageError: names the first difference.
    """
    for attack in attacks:
        for what, recorded, here in _facts(attack, source, config, form):
            if recorded != here:
                raise UsageError(
                    f"attack record of {attack.mechanism} ({attack.mode}): {what} is {recorded}, in this audit {here}; attack "
                    f"again under this configuration: {attack.command}"
                )


def findings_of(attacks: Sequence[AttackReport]) -> tuple[Finding, ...]:
    """What the attacks found, each with the command of its attack."""
    return tuple(replace(finding, rerun=attack.command) for attack in attacks for finding in attack.findings)


def is_from_attack(finding: Finding) -> bool:
    """Whether a record of an attack brought the finding: no layer gives a finding this command."""
    return finding.rerun.startswith("dpaudit attack ")


def _facts(
    attack: AttackReport, source: MechanismSource, config: RunConfig, form: Form
) -> list[tuple[str, object, object]]:
    """(what, in the record, here); trainings with canaries have the plain form."""
    facts: list[tuple[str, object, object]] = [
        ("its form", str(Form.PLAIN), str(form)),
        ("the sha256 of its source", attack.source_sha256[:16], source.sha256[:16]),
        ("its class", attack.class_name, source.class_name),
    ]
    facts += [(part.name, getattr(attack.config, part.name), getattr(config, part.name)) for part in fields(config)]
    return facts
