"""Expected verdicts: a TOML file that names, for each mechanism, the verdicts and rules that an audit must end with.

Format, one table a mechanism, its path relative to the file::

    ["rejected/adaptive_clipping.py"]
    verdict = "REJECTED"              # or a list: any of them
    rules = ["DPA202"]                # each must be among the findings
    preset.benchmark-mnist.verdict = ["REJECTED"]   # overrides for one preset
"""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpaudit.contract import RULES, DataError, Finding, UsageError, Verdict

_KEYS = ("verdict", "rules", "preset")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What one audit must end with: any of ``verdicts``, and every rule of ``rules`` among its findings."""

    verdicts: tuple[Verdict, ...]
    rules: tuple[str, ...] = ()

    def surprises(self, verdict: Verdict, findings: Sequence[Finding]) -> tuple[str, ...]:
        """Sentences on what is not as expected; empty if all is."""
        said = []
        if verdict not in self.verdicts:
            said.append(f"expected {' or '.join(self.verdicts)}, got {verdict}")
        found = {finding.rule for finding in findings}
        said.extend(f"expected a finding of {rule}, there is none" for rule in self.rules if rule not in found)
        return tuple(said)


def read_expectations(path: Path, preset: str) -> Mapping[Path, Expectation]:
    """Read an expectation file for audits under ``preset``.

    Returns:
        A mapping from resolved mechanism path to what is expected of it.

    Raises:
        UsageError: the file is absent or unreadable.
        DataError: not TOML, an unknown key, verdict or rule.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"--expect: cannot read {path}: {error.strerror}; give a TOML file of expected verdicts"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise DataError(f"{path}: expected TOML, got {error}") from None
    expectations = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise DataError(f"{path}: {name!r}: expected a table with the key verdict, got {table!r}")
        merged = {**table, **_override(path, name, table, preset)}
        expectations[(path.parent / name).resolve()] = _parse(path, name, merged)
    return expectations


def _override(path: Path, name: str, table: Mapping[str, object], preset: str) -> Mapping[str, object]:
    presets = table.get("preset", {})
    if not isinstance(presets, dict) or not all(isinstance(value, dict) for value in presets.values()):
        raise DataError(f"{path}: {name!r}: expected preset.<name> to be tables, got {presets!r}")
    override: Mapping[str, object] = presets.get(preset, {})
    return override


def _parse(path: Path, name: str, table: Mapping[str, object]) -> Expectation:
    for key in table:
        if key not in _KEYS:
            close = difflib.get_close_matches(key, _KEYS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise DataError(f"{path}: {name!r}: unknown key {key!r}; known: {', '.join(_KEYS)}{hint}")
    verdicts = _words(path, name, table.get("verdict"), "verdict", tuple(Verdict))
    rules = _words(path, name, table.get("rules", []), "rules", tuple(RULES))
    if not verdicts:
        raise DataError(f"{path}: {name!r}: expected the key verdict with at least one of {', '.join(Verdict)}")
    return Expectation(verdicts=tuple(Verdict(word) for word in verdicts), rules=rules)


def _words(path: Path, name: str, value: object, key: str, known: tuple[str, ...]) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(word in known for word in words):
        raise DataError(f"{path}: {name!r}: {key}: expected words among {', '.join(known)}, got {value!r}")
    return tuple(words)
