"""The source of an installed library's classes, reduced to what one step runs, as text of one file.

The layers examine one file and import nothing that they do not know. An optimiser of a library is therefore read from
the installed package when the audit runs, at the level of syntax trees: the classes of its ancestry, the methods that are
reached from the named ones, and the module functions and constants that those use. Nothing is rewritten but annotations,
docstrings, log lines and import lines, and nothing is stored: another version of the library gives another text.
"""

import ast
import importlib.util
import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import ModuleType

from dpaudit.contract import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class InlinedSource:
    """Text, and for every function in it where it came from.

    Attributes:
        text: Python source that defines the class under its own name; imports stand first.
        origins: ``(first line in text, name of the original)``, by rising line.
    """

    text: str
    origins: tuple[tuple[int, str], ...]

    def origin(self, line: int) -> str | None:
        """The original function that holds ``line`` of the text."""
        found = [name for first, name in self.origins if first <= line]
        return found[-1] if found else None


@dataclass(slots=True)
class _Parts:
    imports: dict[str, None] = field(default_factory=dict)
    functions: dict[str, tuple[str, ast.stmt]] = field(default_factory=dict)


def inline_class(cls: type, entries: Iterable[str], *, package: str, leave_out: frozenset[str]) -> InlinedSource:
    """The part of ``cls`` that its methods ``entries`` reach.

    Args:
        cls: a class of ``package`` or a subclass of one, defined in source files.
        entries: names of methods from which everything needed is reached.
        package: functions and constants of its modules are taken along; other modules are imported.
        leave_out: names of methods that are not taken although they are reached; the caller defines them.

    Raises:
        UsageError: a class has no source file.
    """
    ancestry = [
        base for base in cls.__mro__ if base.__module__.split(".")[0] not in {"torch", "builtins", "abc", "typing"}
    ]
    trees = {base: _class_tree(base) for base in ancestry}
    reached = _reached(trees.values(), entries, leave_out)
    parts = _Parts()
    for base in reversed(ancestry):
        module = _module(base)
        for node in trees[base].body:
            if isinstance(node, ast.FunctionDef) and node.name in reached:
                _collect(module, node, package, parts)
    lines: list[str] = list(parts.imports)
    origins: list[tuple[int, str]] = []
    for name, (origin, node) in parts.functions.items():
        origins.append((len(lines) + 2, f"{origin}.{name}"))
        lines += ["", *ast.unparse(_bare(node)).splitlines()]
    names = {base.__name__ for base in ancestry}
    for base in reversed(ancestry):
        parents = [parent.__name__ for parent in base.__bases__ if parent.__name__ in names]
        lines += ["", f"class {base.__name__}({', '.join(parents)}):"]
        body = [node for node in trees[base].body if isinstance(node, ast.FunctionDef) and node.name in reached]
        if not body:
            lines.append("    pass")
        for node in body:
            origins.append((len(lines) + 1, f"{base.__module__}.{base.__qualname__}.{node.name}"))
            lines += ["    " + line for line in ast.unparse(_bare(node)).splitlines()]
    return InlinedSource(text="\n".join(lines) + "\n", origins=tuple(origins))


def _module(base: type) -> ModuleType:
    return importlib.import_module(base.__module__)


def _tree(module: ModuleType) -> ast.Module:
    try:
        return ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError) as error:
        raise UsageError(f"adapter: expected the source file of module {module.__name__}, got none: {error}") from None


def _class_tree(base: type) -> ast.ClassDef:
    for node in ast.walk(_tree(_module(base))):
        if isinstance(node, ast.ClassDef) and node.name == base.__name__:
            return node
    raise UsageError(f"adapter: class {base.__qualname__} is not in the source of module {base.__module__}")


def _reached(trees: Iterable[ast.ClassDef], entries: Iterable[str], leave_out: frozenset[str]) -> set[str]:
    """Names of methods that the entries use, directly or through others, as attributes of whatever object."""
    methods: dict[str, list[ast.FunctionDef]] = {}
    for tree in trees:
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                methods.setdefault(node.name, []).append(node)
    reached: set[str] = set()
    waiting = list(entries)
    while waiting:
        name = waiting.pop()
        if name in reached or name in leave_out or name not in methods:
            continue
        reached.add(name)
        for node in methods[name]:
            waiting += [part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)]
            waiting += ["param_groups"] if any(_calls(node, "params")) else []
    return reached


def _calls(node: ast.AST, name: str) -> Iterator[bool]:
    return (True for part in ast.walk(node) if isinstance(part, ast.Name) and part.id == name)


def _collect(module: ModuleType, node: ast.stmt, package: str, parts: _Parts) -> None:
    """Take what a function refers to: functions and constants of the package's modules, and imports from elsewhere."""
    for name in _names(_bare(node)):
        _define(module, name, package, parts)


def _names(node: ast.AST) -> Iterator[str]:
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load))


def _define(module: ModuleType, name: str, package: str, parts: _Parts) -> None:
    if name in parts.functions:
        return
    for node in _tree(module).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            parts.functions[name] = (module.__name__, node)
            _collect(module, node, package, parts)
            parts.functions[name] = parts.functions.pop(name)  # after what it needs
        elif isinstance(node, ast.Assign) and name in {t.id for t in node.targets if isinstance(t, ast.Name)}:
            parts.functions[name] = (module.__name__, node)
            _collect(module, node, package, parts)
            parts.functions[name] = parts.functions.pop(name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name).split(".")[0] == name:
                    _import(module, node, alias, package, parts)


def _import(
    module: ModuleType, node: ast.Import | ast.ImportFrom, alias: ast.alias, package: str, parts: _Parts
) -> None:
    if isinstance(node, ast.ImportFrom):
        source = importlib.util.resolve_name("." * node.level + (node.module or ""), module.__package__ or "")
        if source == package or source.startswith(package + "."):
            _define(importlib.import_module(source), alias.name, package, parts)
            return
        parts.imports[ast.unparse(ast.ImportFrom(module=source, names=[alias], level=0))] = None
    else:
        parts.imports[ast.unparse(ast.Import(names=[alias]))] = None


class _Quiet(ast.NodeTransformer):
    """Take out lines that only write to a log: nothing of a step depends on them."""

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            owner = call.func.value
            if isinstance(owner, ast.Name) and owner.id in {"logger", "logging"}:
                return ast.Pass()
        return node


def _bare(node: ast.stmt) -> ast.stmt:
    """A copy without annotations, docstrings and lines that only write to a log."""
    copy = _Quiet().visit(ast.parse(ast.unparse(node)).body[0])
    assert isinstance(copy, ast.stmt)
    for part in ast.walk(copy):
        if isinstance(part, ast.FunctionDef):
            part.returns = None
            for argument in (*part.args.posonlyargs, *part.args.args, *part.args.kwonlyargs):
                argument.annotation = None
            if ast.get_docstring(part) is not None:
                part.body = part.body[1:] or [ast.Pass()]
    return ast.fix_missing_locations(copy)
