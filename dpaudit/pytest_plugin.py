"""The pytest plugin: ``pytest --dpaudit PATH...`` audits mechanisms beside a project's tests. Inert without that option.

Each mechanism gives one item for its verdict and one for every layer that the profile runs. The audit itself runs once a
mechanism, in the worker that gets its first item; ``--dist loadgroup`` of pytest-xdist keeps a mechanism's items together,
and other distributions repeat the audit in each worker that has one of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

_REPORTS = pytest.StashKey[dict[str, Any]]()
PROFILES: Mapping[str, tuple[str, ...]] = {
    "quick": ("static",),
    "gate": ("static", "properties", "replay"),
    "release": ("static", "properties", "empirical", "replay"),
}
"""Layers of each profile. ``quick`` proves a bound in seconds and never ends ACCEPTED, so it judges the layer alone."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the plugin; none does anything without ``--dpaudit``."""
    group = parser.getgroup("dpaudit", "privacy audits of DP-SGD mechanisms")
    group.addoption(
        "--dpaudit", action="append", metavar="PATH", help="audit this mechanism file, PATH::Class or folder"
    )
    group.addoption("--dpaudit-profile", choices=list(PROFILES), default="gate", help="how much is run (default: gate)")
    group.addoption("--dpaudit-preset", metavar="NAME", help="settings and budget of the claim (default: digits)")
    group.addoption(
        "--dpaudit-admit-inconclusive", action="store_true", help="an INCONCLUSIVE verdict is an xfail, not a failure"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    config.addinivalue_line("markers", "dpaudit: an item of a privacy audit; deselect with -m 'not dpaudit'")
    config.addinivalue_line("markers", "dpaudit_layer(name): the layer, or 'verdict', that an audit item stands for")
    config.stash[_REPORTS] = {}


def pytest_collection(session: pytest.Session) -> None:
    """Refuse a wrong path or preset before anything runs."""
    for given in session.config.getoption("--dpaudit") or ():
        if not Path(given.partition("::")[0]).exists():
            raise pytest.UsageError(
                f"--dpaudit: no such file: {given!r}; give a mechanism file, PATH::Class or a folder"
            )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the audit's items behind the project's own tests, before -m and -k choose among all."""
    given = config.getoption("--dpaudit")
    if not given:
        return
    for spec in _specs(given):
        collector = AuditFile.from_parent(
            session, path=Path(spec.partition("::")[0]).resolve(), name=spec, nodeid=f"dpaudit::{spec}"
        )
        collector.spec = spec
        items.extend(collector.collect())


def _specs(given: Iterable[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for spec in given:
        place = Path(spec)
        if place.is_dir():
            found.update((str(file), None) for file in sorted(place.rglob("*.py")) if not file.name.startswith("_"))
        else:
            found[spec] = None
    return tuple(found)


class AuditFile(pytest.File):
    """One mechanism."""

    spec: str

    def collect(self) -> Iterator["AuditItem"]:
        """The layers of the profile, then the verdict; a profile without all required layers has no verdict."""
        layers = PROFILES[self.config.getoption("--dpaudit-profile")]
        verdict = ("verdict",) if set(PROFILES["gate"]) <= set(layers) else ()
        for name in (*layers, *verdict):
            yield AuditItem.from_parent(self, name=name)


class AuditItem(pytest.Item):
    """One layer of one mechanism, or its verdict."""

    parent: AuditFile

    def __init__(self, **words: Any) -> None:
        super().__init__(**words)
        self.add_marker("dpaudit")
        self.add_marker(pytest.mark.dpaudit_layer(self.name))
        self.add_marker(pytest.mark.xdist_group(f"dpaudit-{self.parent.spec}"))

    def runtest(self) -> None:
        """Fail with what was found; the evidence goes into ``user_properties``, and so into JUnit and through xdist.

        Raises:
            AuditFailed: the layer found something that voids the claim, did not run, or the verdict is not ACCEPTED.
        """
        report = self._report()
        self.user_properties += _properties(report, self.name)
        faults = _verdict_faults(report) if self.name == "verdict" else _layer_faults(report, self.name)
        if not faults:
            return
        if self.config.getoption("--dpaudit-admit-inconclusive") and _only_inconclusive(report):
            pytest.xfail(f"{report.mechanism}: {report.verdict}, admitted: {faults[0]}")
        raise AuditFailed(report, self.name, faults)

    def _report(self) -> Any:
        from dpaudit.auditing import audit

        done = self.config.stash[_REPORTS]
        if self.parent.spec not in done:
            profile = self.config.getoption("--dpaudit-profile")
            preset = self.config.getoption("--dpaudit-preset") or "digits"
            done[self.parent.spec] = audit(self.parent.spec, preset, layers=PROFILES[profile])
        return done[self.parent.spec]

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Findings at their lines, without a traceback of dpaudit's own."""
        if isinstance(excinfo.value, AuditFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where the first finding is, so that editors jump to the mechanism's line."""
        done = self.config.stash[_REPORTS].get(self.parent.spec)
        lines = [] if done is None else [f.line for f in _findings(done, self.name) if f.line is not None]
        return self.path, lines[0] - 1 if lines else None, f"dpaudit {self.parent.spec} [{self.name}]"


class AuditFailed(Exception):
    """An audit item failed; the text names every fault with its place."""

    def __init__(self, report: Any, name: str, faults: list[str]) -> None:
        head = f"{report.mechanism}: {report.verdict} ({name}; {report.config.cell}, delta {report.epsilon.delta:g})"
        again = f"\nagain: dpaudit gate {report.mechanism} --preset {report.config.name} --accuracy none"
        super().__init__("\n".join([head, *faults]) + again)


_HUNDREDS = {"static": "1", "properties": "2", "empirical": "3", "replay": "4"}


def _findings(report: Any, name: str) -> list[Any]:
    """The findings that an item shows: those of its layer's rules, and all for the verdict."""
    digit = _HUNDREDS.get(name)
    return [finding for finding in report.findings if digit is None or finding.rule[3] == digit]


def _layer_faults(report: Any, name: str) -> list[str]:
    """A layer passes only where it ran and PASSED. What stopped the audit as a whole fails every layer."""
    record = next((record for record in report.layers if record.layer == name), None)
    if record is None or not record.ran:
        return [f"the layer {name} did not run" + (f": {record.summary}" if record else ""), *_shown(report, "audit")]
    if record.outcome == "passed" and not report.broken:
        return []
    return [*_shown(report, name), f"{name} ended {record.outcome}: {record.summary}"]


def _verdict_faults(report: Any) -> list[str]:
    if report.verdict == "ACCEPTED" and not report.broken:
        return []
    return [*_shown(report, "verdict"), *report.reasons]


def _only_inconclusive(report: Any) -> bool:
    return report.verdict == "INCONCLUSIVE" and not report.broken


def _shown(report: Any, name: str) -> list[str]:
    from dpaudit.contract import RULES

    lines = []
    for finding in _findings(report, name if name in _HUNDREDS else ""):
        place = finding.file + (f":{finding.line}" if finding.line is not None else "")
        lines.append(
            f"{place}: {finding.rule} {finding.severity}/{finding.strength} {RULES[finding.rule].title}: {finding.message}"
        )
    return lines


def _properties(report: Any, name: str) -> list[tuple[str, object]]:
    """Plain text only: it crosses process borders and becomes XML attributes."""
    ends = report.epsilon.replayed
    shown: list[tuple[str, object]] = [
        ("dpaudit_mechanism", report.mechanism),
        ("dpaudit_verdict", str(report.verdict)),
        ("dpaudit_cell", str(report.config.cell)),
        ("dpaudit_target", f"{report.epsilon.target:g} at delta {report.epsilon.delta:g}"),
        ("dpaudit_replayed", f"[{ends.lower}, {ends.upper}]"),
        ("dpaudit_sha256", report.source_sha256),
    ]
    for finding in _findings(report, name):
        shown.append(("dpaudit_finding", f"{finding.rule} {finding.severity} {finding.file}:{finding.line or ''}"))
    return shown


@pytest.fixture(scope="session")
def dpaudit_audit() -> Any:
    """``dpaudit.audit``, each mechanism and configuration audited once a session."""
    from dpaudit.auditing import audit

    done: dict[str, Any] = {}

    def audited(mechanism: Any, config: Any = "digits", **words: Any) -> Any:
        key = repr((mechanism, config, sorted(words.items())))
        if key not in done:
            done[key] = audit(mechanism, config, **words)
        return done[key]

    return audited
