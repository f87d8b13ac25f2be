"""What execution cannot show: a reading of the candidate's source before anything of it runs."""

import ast
from collections.abc import Iterator

from .reach import reach
from .refusal import Reason
from .surroundings import bound_names

ALLOWED_IMPORTS = frozenset(
    {
        "torch", "math", "numpy", "scipy", "typing", "dataclasses", "functools", "itertools", "collections", "abc",
        "__future__", "operator", "enum", "statistics", "warnings", "logging", "copy", "contextlib",
    }
)  # fmt: skip
_RANDOM_IMPORTS = frozenset({"random", "secrets", "uuid"})
_FORBIDDEN_IMPORTS = frozenset(
    {"torch._C", "torch.utils._python_dispatch", "torch.overrides", "torch._dynamo", "torch.utils.dlpack"}
)
_FORBIDDEN_NAMES = frozenset(
    {
        "eval",
        "exec",
        "compile",
        "__import__",
        "globals",
        "locals",
        "vars",
        "open",
        "input",
        "breakpoint",
        "gc",
        "sys",
        "os",
        "setattr",
        "delattr",
        "id",
        "hash",
        "dir",
        "memoryview",
    }
)
FORBIDDEN_ATTRIBUTES = frozenset(
    {
        "_C", "__globals__", "__code__", "__closure__", "__subclasses__", "__bases__", "__mro__", "f_back", "f_locals",
        "__builtins__", "gi_frame", "_getframe", "__torch_function__", "__torch_dispatch__", "modules", "environ",
        "__getattribute__", "__setattr__", "__dict__", "lru_cache", "cache", "__class__", "_python_dispatch",
        "DisableTorchFunction", "_dispatch", "compile",
    }
)  # fmt: skip
_SAME_EVERYWHERE = frozenset({"KeyError", "IndexError", "ZeroDivisionError", "OverflowError", "ValueError"})
"""Exceptions that no device, version or amount of memory decides about."""
_RESEEDING = frozenset(
    {"manual_seed", "manual_seed_all", "seed", "set_rng_state", "get_rng_state", "initial_seed", "fork_rng"}
)
_GENERATORS = frozenset({"Generator", "default_rng", "RandomState", "SystemRandom", "Random", "SeedSequence"})
_TIME_LIKE = frozenset(
    {"time", "datetime", "os", "sys", "inspect", "threading", "multiprocessing", "ctypes", "gc", "subprocess"}
)


def lint(source: str | ast.Module) -> tuple[list[Reason], list[Reason]]:
    """Findings that refuse, and remarks, in the order of their lines. A source that does not parse has none."""
    try:
        tree = ast.parse(source) if isinstance(source, str) else source
    except SyntaxError:
        return [], []
    found = sorted([*_walk(tree), *_stores(tree), *reach(tree)], key=lambda r: (r.line or 0, r.rule))
    return found, []


def _walk(tree: ast.Module) -> Iterator[Reason]:
    bound = bound_names(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                for alias in node.names:
                    yield from _import(alias.name, node.lineno)
            case ast.ImportFrom():
                yield from _import(node.module or "", node.lineno)
                for alias in node.names:
                    yield from _import(f"{node.module}.{alias.name}", node.lineno, whole=False)
            case ast.ExceptHandler():
                yield from _handler(node, bound)
            case ast.Try() | ast.TryStar():
                yield from _leaves_at_last(node)
            case ast.Global():
                yield _reason("DPA106", node.lineno, "global state outlives the step and is not followed")
            case ast.Nonlocal():
                yield _reason(
                    "DPA106", node.lineno, "a closure that changes its variables keeps state that is not followed"
                )
            case ast.Name() if node.id in _FORBIDDEN_NAMES and isinstance(node.ctx, ast.Load):
                yield _reason("DPA116", node.lineno, f"{node.id} is outside the verified subset of Python")
            case ast.Attribute() if node.attr in FORBIDDEN_ATTRIBUTES:
                yield _reason(
                    "DPA116", node.lineno, f"the attribute {node.attr} is outside the verified subset of Python"
                )
            case ast.Attribute() if node.attr in _RESEEDING:
                yield _reason("DPA112", node.lineno, f"{node.attr} sets or reads the state of a random generator")
            case ast.Attribute() if node.attr in _GENERATORS:
                yield _reason("DPA112", node.lineno, f"a generator of the mechanism's own ({node.attr})")
            case ast.AsyncFunctionDef() | ast.Await() | ast.Yield() | ast.YieldFrom():
                yield _reason("DPA116", node.lineno, "generators and coroutines keep state that is not followed")
            case ast.Call(func=ast.Name(id="next" | "iter")):
                yield _reason("DPA116", node.lineno, "iterators keep a position that is not followed; loop with for")
            case ast.Call(func=ast.Attribute(attr="pop" | "popleft" | "popitem")):
                yield _reason("DPA116", node.lineno, "consuming a container step by step is not followed")
            case ast.FunctionDef() if node.name.startswith("__") and node.name not in _HARMLESS_METHODS:
                yield _reason("DPA116", node.lineno, f"the special method {node.name} can hide what runs")
            case _:
                pass


def _stores(tree: ast.Module) -> Iterator[Reason]:
    """State outside the mechanism: on modules, classes and functions, and in default arguments."""
    shared = {n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef | ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            shared |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            root: ast.expr = node
            while isinstance(root, ast.Attribute | ast.Subscript):
                root = root.value
            if isinstance(root, ast.Call) or (isinstance(root, ast.Name) and root.id in shared):
                yield _reason(
                    "DPA106", node.lineno, "a value is stored on a module, class or function, and is not followed"
                )
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            for default in (*node.args.defaults, *node.args.kw_defaults):
                if isinstance(default, ast.List | ast.Dict | ast.Set | ast.Call | ast.ListComp | ast.DictComp):
                    yield _reason(
                        "DPA106",
                        default.lineno,
                        "a default argument that can be changed keeps state that is not followed",
                    )
        if isinstance(node, ast.ImportFrom) and any(a.name in {"lru_cache", "cache"} for a in node.names):
            yield _reason("DPA106", node.lineno, "a cache keeps state that is not followed")


_HARMLESS_METHODS = frozenset({"__init__", "__call__", "__post_init__", "__len__", "__getitem__"})


def _import(name: str, line: int, whole: bool = True) -> Iterator[Reason]:
    root = name.split(".")[0]
    if root in _RANDOM_IMPORTS:
        if whole:
            yield _reason("DPA112", line, f"{root} draws randomness that is not watched")
    elif root in _TIME_LIKE or any(name == f or name.startswith(f + ".") for f in _FORBIDDEN_IMPORTS):
        if whole or root == "torch":
            yield _reason("DPA116", line, f"{name} is outside the verified subset of Python")
    elif whole and root not in ALLOWED_IMPORTS:
        yield _reason("DPA116", line, f"{name} is not among the modules that the analysis knows")


def _handler(node: ast.ExceptHandler, bound: frozenset[str]) -> Iterator[Reason]:
    names = _caught(node)
    leaves = any(isinstance(n, ast.Return | ast.Break | ast.Continue) for part in node.body for n in ast.walk(part))
    if isinstance(node.body[-1], ast.Raise) and not leaves:
        return
    if node.type is None or {"BaseException", "Exception"} & set(names):
        caught = "everything" if node.type is None else " and ".join(names)
        yield _reason("DPA115", node.lineno, f"a handler swallows {caught}: name the exception that is expected")
    elif not set(names) <= _SAME_EVERYWHERE - bound:
        caught = " and ".join(names)
        yield _reason("DPA115", node.lineno, f"a handler swallows {caught}, which another machine raises elsewhere")


def _caught(node: ast.ExceptHandler) -> list[str]:
    kinds = [] if node.type is None else node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return [kind.id if isinstance(kind, ast.Name) else "another" for kind in kinds]


def handled_exceptions(tree: ast.Module) -> frozenset[str]:
    """Names of all exceptions that some handler catches; those of arithmetic also by their parents."""
    found = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        for name in _caught(node) or ["Exception"]
    }
    if found & {"Exception", "BaseException", "ArithmeticError", "another"}:
        found |= {"ZeroDivisionError", "OverflowError", "ValueError"}
    return frozenset(found)


def _leaves_at_last(node: ast.Try | ast.TryStar) -> Iterator[Reason]:
    """``return``, ``break`` and ``continue`` in ``finally`` swallow whatever was raised."""
    for part in node.finalbody:
        for inner in ast.walk(part):
            if isinstance(inner, ast.Return | ast.Break | ast.Continue):
                yield _reason("DPA115", inner.lineno, "a way out of finally swallows what another machine may raise")


def _reason(rule: str, line: int, message: str) -> Reason:
    return Reason(rule=rule, line=line, message=message)


_PURE_CALLS = frozenset({"float", "int", "min", "max", "abs", "len", "round", "range", "sum", "isinstance", "bool"})


def reports_purely(tree: ast.Module, class_name: str) -> bool:
    """Whether ``get_effective_sigma`` plainly changes nothing: no stores but to names, no calls but of pure functions."""
    if bound_names(tree) & (_PURE_CALLS | {"__getitem__", "__len__"}) or _hides_calls(tree):
        return False
    for owner in ast.walk(tree):
        if isinstance(owner, ast.ClassDef) and owner.name == class_name:
            found = [n for n in owner.body if isinstance(n, ast.FunctionDef) and n.name == "get_effective_sigma"]
            return bool(found) and not owner.bases and all(_is_pure(node) for node in ast.walk(found[-1]))
    return False


def _hides_calls(tree: ast.Module) -> bool:
    """Whether an attribute that is read may run code, or ``math`` be something else than the module."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(decorator_list=[_, *_]) | ast.ClassDef(decorator_list=[_, *_]):
                return True
            case ast.Name(id="property") | ast.Attribute(attr="cached_property"):
                return True
            case ast.alias(name=name, asname=asname) if "math" in {name, asname} and not (
                name == "math" and asname is None
            ):
                return True
            case (
                ast.Name(id="math", ctx=ast.Store())
                | ast.arg(arg="math")
                | ast.FunctionDef(name="math")
                | ast.ClassDef(name="math")
            ):
                return True
            case _:
                pass
    return False


def _is_pure(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
            return False
        case ast.Call(func=ast.Name(id=name)):
            return name in _PURE_CALLS
        case ast.Call(func=ast.Attribute(value=ast.Name(id="math"))):
            return True
        case ast.Call() | ast.Lambda() | ast.With() | ast.Try() | ast.Global() | ast.Nonlocal() | ast.Import():
            return False
        case ast.ImportFrom() | ast.Delete() | ast.NamedExpr():
            return False
        case _:
            return True
