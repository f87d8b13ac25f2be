"""Records of attacks on trainings: found, read, and given to the audit that each is about."""

from collections.abc import Sequence
from pathlib import Path

from dpaudit.contract import AttackReport, UsageError
from dpaudit.probe import SourceError, load_source
from dpaudit.report import attack_from_json

from .subjects import Target

FILE = "attack.json"


def read_attack_record(given: str) -> AttackReport:
    """The record in a file, or in the folder that holds an ``attack.json``.

    Raises:
        UsageError: there is none, or it cannot be read. DataError: it is malformed.
    """
    path = Path(given) / FILE if Path(given).is_dir() else Path(given)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"attack record: cannot read {path}: {error}; give an {FILE} (dpaudit attack --out DIR) or its folder"
        ) from None
    return attack_from_json(text)


def attacks_by_target(given: Sequence[str], targets: Sequence[Target]) -> dict[str, dict[str, AttackReport]]:
    """For every target's spec the records of its source, by the names given. The audit checks that the configuration is its own.

    Raises:
        UsageError: a record is about none of the targets.
    """
    if not given:
        return {}
    found: dict[str, dict[str, AttackReport]] = {}
    sources = {target.spec: _source(target.spec) for target in targets if target.subject is None}
    for name in given:
        record = read_attack_record(name)
        about = [spec for spec, source in sources.items() if source == (record.source_sha256, record.class_name)]
        if not about:
            raise UsageError(
                f"--attack-record {name}: it is about {record.mechanism}::{record.class_name} with sha256 "
                f"{record.source_sha256[:16]}, and no audited mechanism has this source; attack the present one: {record.command}"
            )
        for spec in about:
            found.setdefault(spec, {})[name] = record
    return found


def _source(spec: str) -> tuple[str, str]:
    try:
        source = load_source(spec)
    except SourceError:
        return "", ""  # its audit says what is wrong with it; no record is about it
    return source.sha256, source.class_name
