"""Imports point one way: a lower package never knows a higher one, and the layers never know each other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = {"static", "properties", "empirical", "replay"}
MAY_IMPORT = {
    "contract": set(),
    "accounting": {"contract"},
    "probe": {"contract", "accounting"},
    **{layer: {"contract", "accounting", "probe"} for layer in LAYERS},
    "testing": {"contract", "probe", "properties"},
    "adapters": {"contract"},
    "gate": {"contract", "accounting", "probe", *LAYERS},
    "report": {"contract"},
    "configuration": {"contract"},
    "commands": {"contract", "accounting", "probe", *LAYERS, "gate", "report", "adapters", "options", "harness"},
    "auditing": {"contract", "gate", "harness"},
    "pytest_plugin": {"contract", "configuration", "gate", "report", "auditing"},
    "options": {"contract"},
    "cli": {"contract", "configuration", "options", "commands"},
    "__main__": {"cli"},
    "harness": {"contract", "accounting"},
    "mechanisms": set(),
}


def _ours(path: Path) -> set[str]:
    """Packages of ours that a file imports, other than its own."""
    found = set()
    package = path.relative_to(ROOT).parts[: -1 or None]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "dpaudit" else [module]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "dpaudit" and len(parts) > 1:
                found.add(parts[1])
            elif parts[0] in {"harness", "mechanisms"}:
                found.add(parts[0])
    return found


def _files() -> list[tuple[str, Path]]:
    units = []
    for path in sorted(
        [*ROOT.glob("dpaudit/**/*.py"), *ROOT.glob("harness/**/*.py"), *ROOT.glob("mechanisms/**/*.py")]
    ):
        parts = path.relative_to(ROOT).parts
        unit = Path(parts[1]).stem if parts[0] == "dpaudit" else parts[0]
        if unit != "__init__":
            units.append((unit, path))
    return units


def test_there_are_files_to_check() -> None:
    assert {unit for unit, _ in _files()} >= {
        "contract",
        "accounting",
        "probe",
        "gate",
        "report",
        "harness",
        "mechanisms",
    }


@pytest.mark.parametrize(
    ("unit", "path"), _files(), ids=lambda value: str(value) if isinstance(value, str) else value.name
)
def test_imports_point_one_way(unit: str, path: Path) -> None:
    forbidden = _ours(path) - MAY_IMPORT[unit] - {unit, "__version__"}
    assert not forbidden, f"{path.relative_to(ROOT)} ({unit}) may not import {sorted(forbidden)}"


def test_the_contract_needs_the_standard_library_only() -> None:
    outside = set()
    for path in (ROOT / "dpaudit" / "contract").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                outside |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                outside.add(node.module.split(".")[0])
    import sys

    assert outside <= set(sys.stdlib_module_names)
