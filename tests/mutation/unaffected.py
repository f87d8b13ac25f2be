"""Modules that run without a given one, and may therefore be imported once for all its mutants."""

import ast
import importlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from .code_mutants import ROOT


def import_unaffected(module: str, names: Iterable[str]) -> None:
    """Import those of ``names`` that import ``module`` neither directly nor through others.

    Raises:
        RuntimeError: it was imported all the same.
    """
    changed = module.removesuffix(".py").replace("/", ".")
    paths = {name: path for name in names if (path := _path(name)) is not None}
    needs = {name: set(_imports(name, path)) for name, path in paths.items()}
    affected = {changed}
    while grown := {name for name, needed in needs.items() if name not in affected and needed & affected}:
        affected |= grown
    for name in sorted(paths.keys() - affected):
        importlib.import_module(name)
    if changed in sys.modules:
        raise RuntimeError(f"{changed} was imported by a module that does not seem to need it")


def _path(name: str) -> Path | None:
    base = ROOT.joinpath(*name.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _imports(name: str, path: Path) -> Iterator[str]:
    """What importing ``name`` may import: its packages, and every name that an import statement in it could mean."""
    yield from _packages(name)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from (alias.name, *_packages(alias.name))
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join((*parts[: len(parts) - node.level + 1], node.module or "")).strip(".")
            source = base if node.level else str(node.module)
            yield from (source, *_packages(source))
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _packages(name: str) -> Iterator[str]:
    while name := name.rpartition(".")[0]:
        yield name
