"""The candidate's source: read once, parsed, never executed here."""

import ast
import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

from dpaudit.contract import DpauditError, Finding, Severity, Strength, UsageError
from dpaudit.contract.source_selection import select

DEFAULT_CLASS = "DPMechanism"
BENCHMARK_IMPORTS = ("torch", "math", "numpy", "scipy.optimize")


class SourceError(DpauditError):
    """The file exists but holds no mechanism that could be examined. Other mechanisms can still be audited.

    Attributes:
        finding: rule DPA011 with the line, for the report.
    """

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


@dataclass(frozen=True, slots=True, kw_only=True)
class MechanismSource:
    """One class in one Python file.

    Attributes:
        path: as it was given; findings name it.
        class_name: the class to examine.
        sha256: of the file's bytes, hexadecimal.
        text: the file's text; the bytes that were hashed are the ones that run.
    """

    path: str
    class_name: str
    sha256: str
    text: str

    @property
    def display(self) -> str:
        """How a report names the mechanism: the path, with the class where it is not the usual one."""
        return self.path if self.class_name == DEFAULT_CLASS else f"{self.path}::{self.class_name}"


def load_source(spec: str) -> MechanismSource:
    """Read ``file.py`` or ``file.py::ClassName`` (default class ``DPMechanism``). Nothing is executed.

    Raises:
        UsageError: the file does not exist, or the class name is empty.
        SourceError: it is a directory, is not UTF-8, does not parse, or has no such class at its top level.
    """
    path, separator, class_name = spec.partition("::")
    if separator and not class_name.isidentifier():
        raise UsageError(
            f"mechanism {spec!r}: expected PATH::ClassName, got {class_name!r} after '::'; "
            f"drop it to audit class {DEFAULT_CLASS}"
        )
    class_name = class_name or DEFAULT_CLASS
    data = _read(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _failure(path, line, f"is not UTF-8 text: byte {data[error.start]:#04x} on line {line}") from error
    tree = parse(text, path)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    if class_name not in {node.name for node in classes}:
        names = ", ".join(node.name for node in classes) or "none"
        raise _failure(path, None, f"defines no class {class_name} at its top level; classes found: {names}")
    return MechanismSource(path=path, class_name=class_name, sha256=hashlib.sha256(data).hexdigest(), text=text)


def parse(text: str, path: str) -> ast.Module:
    """The syntax tree of a source text.

    Raises:
        SourceError: it does not parse.
    """
    try:
        tree = ast.parse(text, filename=path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(tree, path, "exec")  # finds what the parser lets through; nothing runs
        return tree
    except SyntaxError as error:
        raise _failure(path, error.lineno, f"does not parse: {error.msg} (line {error.lineno})") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise _failure(path, None, f"does not parse: {error or type(error).__name__}") from error


def benchmark_imports(source: MechanismSource) -> tuple[Finding, ...]:
    """Findings (MINOR) for the imports that the published benchmark does not give to a submission.

    Only the imports that the class needs are looked at: a whole benchmark script imports more for its training part.
    """
    findings: dict[str, Finding] = {}
    for statement in select(parse(source.text, source.path), source.class_name).body:
        for node in ast.walk(statement):
            for module in _modules_of(node):
                if not _given(module):
                    findings.setdefault(
                        module,
                        Finding(
                            rule="DPA016",
                            severity=Severity.MINOR,
                            strength=Strength.PROOF,
                            message=f"imports {module}; the benchmark gives a submission only "
                            f"{', '.join(BENCHMARK_IMPORTS)}",
                            file=source.path,
                            line=getattr(node, "lineno", None),
                        ),
                    )
    return tuple(findings.values())


def _modules_of(node: ast.AST) -> tuple[str, ...]:
    if isinstance(node, ast.Import):
        return tuple(alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        package = "." * node.level + (node.module or "")
        return tuple(f"{package}.{alias.name}" if package in {"scipy", "."} else package for alias in node.names)
    return ()


def _given(module: str) -> bool:
    return module == "__future__" or any(
        module == given or module.startswith(given + ".") for given in BENCHMARK_IMPORTS
    )


def _read(path: str) -> bytes:
    if not path:
        raise UsageError("mechanism: expected the path of a Python file, got an empty string")
    file = Path(path)
    if not file.exists():
        raise UsageError(f"mechanism {path}: no such file; give the path of a Python file that defines a mechanism")
    if file.is_dir():
        raise _failure(path, None, "is a directory, not a Python file")
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"mechanism {path}: cannot be read: {error.strerror}") from error


def _failure(path: str, line: int | None, what: str) -> SourceError:
    return SourceError(
        Finding(
            rule="DPA011",
            severity=Severity.MAJOR,
            strength=Strength.PROOF,
            message=f"{path} {what}",
            file=path,
            line=line,
        )
    )
