"""What a candidate could reach beyond its own objects: the modules, the interpreter, the analysis itself.

The analysis runs in the candidate's process. So nothing may run there that could change it, and that is decided here by
reading, before anything runs: a candidate that passes holds no module, no class of another module that it could change, no
name of the interpreter's own, and no function that looks attributes up by computed names, evaluates text or unpickles.

Chains such as ``torch.nn.functional.relu`` are resolved on the real modules. What they pass through must be listed in
:data:`MODULES`, so that ``warnings.sys`` or ``torch.serialization.os`` lead nowhere.
"""

import ast
import contextlib
import importlib
import importlib.util
from collections.abc import Iterator
from types import ModuleType

from .refusal import Reason
from .surroundings import asks, surroundings

MODULES = frozenset(
    {
        "torch", "torch.nn", "torch.nn.functional", "torch.nn.utils", "torch.linalg", "torch.special", "torch.fft",
        "torch.func", "torch.distributions", "torch.random", "torch.autograd", "torch.cuda", "torch.types",
        "numpy", "numpy.linalg", "numpy.random", "numpy.fft", "numpy.typing",
        "scipy", "scipy.special", "scipy.stats", "scipy.linalg", "scipy.optimize", "scipy.fft", "scipy.signal", "scipy.sparse",
        "scipy.integrate", "scipy.interpolate", "scipy.ndimage", "scipy.spatial",
        "math", "typing", "dataclasses", "functools", "itertools", "collections", "collections.abc", "abc", "operator", "enum",
        "statistics", "warnings", "logging", "copy", "contextlib",
    }
)  # fmt: skip
"""Modules that a candidate may name, each by itself: a submodule that is not listed cannot be reached."""
NARROW: dict[str, frozenset[str]] = {
    "copy": frozenset({"copy", "deepcopy", "replace"}),
    "contextlib": frozenset({"nullcontext", "closing"}),
    "logging": frozenset(
        {
            "getLogger", "Logger", "debug", "info", "warning", "error", "critical", "exception", "log", "DEBUG", "INFO",
            "WARNING", "ERROR", "CRITICAL",
        }
    ),
    "warnings": frozenset({"warn", "simplefilter", "filterwarnings"}),
}  # fmt: skip
"""Modules of which only these names may be used: others swallow, tell how the caller is set up, or keep what is put there."""
_REFUSED = {
    "numpy": frozenset(
        {
            "datetime64", "timedelta64", "setbufsize", "getbufsize", "seterrcall", "geterrcall", "empty", "empty_like", "nditer",
        }
    ),
    "torch.cuda": frozenset({"default_generators", "has_magma", "has_half"}),
    "torch": frozenset({"has_cuda", "has_cudnn", "has_mps", "has_mkl", "has_mkldnn", "has_openmp", "has_lapack", "has_spectral"}),
    "typing": frozenset({"overload", "get_overloads", "clear_overloads", "no_type_check", "no_type_check_decorator"}),
    "functools": frozenset({"singledispatch", "singledispatchmethod"}),
}  # fmt: skip
"""Names that tell the time or the machine, keep what is put there, or give memory that nobody has written to."""
_PROVIDED = {
    "torch": "torch", "math": "math", "np": "numpy", "sp_optimize": "scipy.optimize", "nn": "torch.nn",
    "F": "torch.nn.functional",
}  # fmt: skip
_LOOKUPS = frozenset({"getattr", "hasattr"})
_PLAIN_DUNDERS = frozenset({"__init__", "__call__", "__post_init__", "__len__", "__getitem__", "__name__", "__doc__"})
_EVALUATE = frozenset(
    {
        "attrgetter", "methodcaller", "get_type_hints", "ForwardRef", "update_wrapper", "wraps", "make_dataclass", "load",
        "loads",
        "load_state_dict_from_url", "fromfile", "from_file", "tofile", "memmap", "genfromtxt", "loadtxt", "fromregex", "save",
        "savez", "savez_compressed", "savetxt", "DataSource", "load_library", "set_printoptions", "set_string_function",
        "frompyfunc", "getLoggerClass", "setLoggerClass", "FileHandler", "basicConfig", "set_default_tensor_type",
        "set_default_device", "catch_warnings", "addHandler", "addFilter", "Handler", "StreamHandler", "NullHandler", "Formatter",
        "Filter", "LoggerAdapter", "setLogRecordFactory", "captureWarnings", "addLevelName", "lastResort", "retain_grad",
        "register", "set_default_validate_args",
    }
)  # fmt: skip


def reach(tree: ast.Module) -> Iterator[Reason]:
    """What leads out of the candidate, in the order of a walk."""
    modules = dict(_PROVIDED)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _listed(alias.name, node.lineno)
                modules[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and node.module != "__future__":
            yield from _listed(node.module, node.lineno)
            yield from _imported(node, modules)
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        match node:
            case ast.Attribute() if id(node) not in inner:
                yield from _chain(node, modules)
            case ast.Name(ctx=ast.Load()) if node.id in modules and id(node) not in inner:
                yield _reason(node.lineno, f"the module {node.id} is used as a value")
            case ast.Name() if node.id in _LOOKUPS and id(node) not in called:
                yield _reason(node.lineno, f"{node.id} is used as a value")
            case ast.Name() if _is_dunder(node.id) and node.id != "__name__":
                yield _reason(node.lineno, f"{node.id} is a name of the interpreter or of the analysis")
            case ast.Call(func=ast.Name(id=name)) if name in _LOOKUPS:
                yield from _lookup(node)
            case _:
                pass
        yield from _attribute(node)
    yield from _stores(tree)
    yield from surroundings(tree)


def _attribute(node: ast.AST) -> Iterator[Reason]:
    if isinstance(node, ast.Attribute):
        if _is_dunder(node.attr) and node.attr not in _PLAIN_DUNDERS:
            yield _reason(node.lineno, f"the attribute {node.attr} belongs to the interpreter")
        if node.attr in _EVALUATE and not _on_self(node):
            yield _reason(node.lineno, f"{node.attr} evaluates, unpickles, or changes what others see")


def _lookup(node: ast.Call) -> Iterator[Reason]:
    name = node.args[1] if len(node.args) > 1 else None
    if not (isinstance(name, ast.Constant) and isinstance(name.value, str)):
        yield _reason(node.lineno, "an attribute is looked up by a computed name")
        return
    written = ast.Attribute(value=node.args[0], attr=name.value, ctx=ast.Load(), lineno=node.lineno, col_offset=0)
    yield from _attribute(written)
    if asks(name.value) or name.value in {"type", "index"}:
        yield _reason(node.lineno, f"{name.value} tells of the machine, of the mode or of the memory, or changes them")
    from .lint import FORBIDDEN_ATTRIBUTES

    if name.value in FORBIDDEN_ATTRIBUTES:
        yield _reason(node.lineno, f"the attribute {name.value} is outside the verified subset of Python")


def _chain(node: ast.Attribute, modules: dict[str, str]) -> Iterator[Reason]:
    """A chain of attributes that begins at a module: every module on the way must be listed, and its end must be none."""
    names: list[str] = []
    root: ast.expr = node
    while isinstance(root, ast.Attribute):
        names.insert(0, root.attr)
        root = root.value
    if not (isinstance(root, ast.Name) and root.id in modules and modules[root.id] in MODULES):
        return  # a module that is not listed is refused where it is imported
    value: object = importlib.import_module(modules[root.id])
    for name in names:
        if name.startswith("_") and not name.startswith("_foreach_"):
            yield _reason(node.lineno, f"{name} is private to {root.id}")
            return
        if isinstance(value, ModuleType) and not _may_use(value.__name__, name):
            yield _reason(node.lineno, f"{value.__name__}.{name} is outside the verified subset of Python")
            return
        value = _member(value, name)
        if isinstance(value, ModuleType) and value.__name__ not in MODULES:
            yield _reason(node.lineno, f"{value.__name__} is not among the modules that the analysis knows")
            return
    if isinstance(value, ModuleType):
        yield _reason(node.lineno, f"the module {value.__name__} is used as a value")


def _may_use(module: str, name: str) -> bool:
    """Whether a name of a listed module may be used."""
    if module == "warnings" and name.endswith("Warning"):
        return True
    return name in NARROW.get(module, {name}) and name not in _REFUSED.get(module, ())


def _member(value: object, name: str) -> object:
    """An attribute; of a package also a submodule that nobody has imported yet."""
    found = getattr(value, name, None)
    if found is None and isinstance(value, ModuleType) and hasattr(value, "__path__"):
        with contextlib.suppress(ImportError, ValueError):
            if importlib.util.find_spec(f"{value.__name__}.{name}") is not None:
                return ModuleType(f"{value.__name__}.{name}")
    return found


def _imported(node: ast.ImportFrom, modules: dict[str, str]) -> Iterator[Reason]:
    assert node.module is not None
    if node.module not in MODULES:
        return
    package = importlib.import_module(node.module)
    for alias in node.names:
        value = _member(package, alias.name)
        if alias.name == "*":
            yield _reason(node.lineno, "what an import of everything brings cannot be read")
        elif alias.name.startswith("_") or alias.name in _EVALUATE or not _may_use(node.module, alias.name):
            yield _reason(node.lineno, f"{node.module}.{alias.name} is outside the verified subset of Python")
        elif isinstance(value, ModuleType):
            yield from _listed(value.__name__, node.lineno)
            modules[alias.asname or alias.name] = value.__name__


def _listed(name: str, line: int) -> Iterator[Reason]:
    """Roots that are not allowed at all are refused by the lint's own words."""
    if name not in MODULES and name.split(".")[0] in {known.split(".")[0] for known in MODULES}:
        yield _reason(line, f"{name} is not among the modules that the analysis knows")


def _stores(tree: ast.Module) -> Iterator[Reason]:
    """Attributes are set on the object itself, on what lies in its attributes, and on what a plain name holds.

    What it holds is looked at when it happens: nothing but the candidate's own objects and plain tensors is written to.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            root: ast.expr = node
            while isinstance(root, ast.Attribute | ast.Subscript):
                root = root.value
            plain = isinstance(node.value, ast.Name) and isinstance(node.ctx, ast.Store)
            if not plain and not (isinstance(root, ast.Name) and root.id == "self"):
                yield Reason(
                    rule="DPA106",
                    line=node.lineno,
                    message="an attribute is set on something else than the mechanism itself",
                )


def _on_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "self"


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _reason(line: int, message: str) -> Reason:
    return Reason(rule="DPA116", line=line, message=message)
