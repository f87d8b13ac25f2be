"""Audits that a run has finished, kept in its ``--out`` folder so that ``--resume`` need not repeat them.

An audit is taken again only where nothing that it depends on changed: dpaudit's own source, the versions of the packages
that it computes with, every Python file in the mechanism's folder, the run configuration and the layers.
"""

import hashlib
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import dpaudit
from dpaudit.contract import AuditReport, DataError
from dpaudit.report import from_json, to_json, write_text

_PACKAGES = ("torch", "numpy", "scipy", "dp-accounting", "hypothesis", "statsmodels")
FOLDER = "finished"


@dataclass(frozen=True, slots=True)
class Finished:
    """The store of one output folder; with no folder it keeps and finds nothing."""

    out: Path | None

    def find(self, key: str) -> AuditReport | None:
        """The finished audit under ``key``; a damaged record is as good as none. A broken audit is never taken again."""
        if self.out is None:
            return None
        path = self._path(self.out, key)
        try:
            (report,) = from_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, DataError, ValueError):
            return None
        return None if report.broken else report

    def keep(self, key: str, report: AuditReport) -> None:
        """Write one finished audit, whole or not at all."""
        if self.out is not None:
            write_text(self._path(self.out, key), to_json([report]))

    @staticmethod
    def _path(out: Path, key: str) -> Path:
        return out / FOLDER / f"{key}.json"


def audit_key(spec: str, parts: Iterable[object]) -> str:
    """A name for one audit: equal names mean equal inputs.

    Args:
        spec: the mechanism file, with its class.
        parts: everything else that decides the result; their ``repr`` must say all of it.
    """
    file = Path(spec.partition("::")[0])
    digest = hashlib.sha256(_own_source())
    for path in (file, *sorted(file.parent.rglob("*.py"))):
        digest.update(f"{path.name}\0".encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    digest.update(repr((spec, *parts)).encode())
    return digest.hexdigest()[:32]


@cache
def _own_source() -> bytes:
    digest = hashlib.sha256(platform.python_version().encode())
    root = Path(dpaudit.__file__).parent
    for path in (*sorted(root.rglob("*.py")), *sorted((root.parent / "harness").glob("*.py"))):
        digest.update(path.read_bytes())
    digest.update(repr([(name, metadata.version(name)) for name in _PACKAGES]).encode())
    return digest.digest()
