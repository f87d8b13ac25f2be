"""What a candidate may not ask: on which machine, in which mode, and by whom it is run.

An audit sees one machine. A branch on ``torch.cuda.is_available()``, on ``grad.is_cuda``, on the number of threads or on the
order of a set of texts would be decided here, once, and elsewhere otherwise. Such questions are therefore refused before anything
runs; devices may be passed on, but not compared, printed or taken apart. Derived here.

Guarantee: a candidate that passes, and whose operations the analysis follows, takes the same course on every machine, up to
operations that fail there. Assumption: gradients are contiguous float32 tensors in a list, all on one device.
"""

import ast
import functools
from collections.abc import Iterator

import numpy as np
import torch

from .refusal import Reason

_PREFIXES = ("is_", "get_", "current_", "memory_", "max_memory_", "are_", "set_", "_is_", "register_")
_OTHERS = frozenset(
    {
        "grad_fn", "layout", "stride", "strides", "storage_offset", "device_count", "data_ptr", "output_nr",
        "retains_grad", "mem_get_info", "can_device_access_peer", "utilization", "temperature", "power_draw", "clock_rate",
        "list_gpu_processes", "autocast_increment_nesting", "autocast_decrement_nesting", "clear_autocast_cache", "flags",
        "ctypes", "base", "show_config", "geterr", "seterr", "errstate",
    }
)  # fmt: skip
_PLAIN = frozenset(
    {"is_floating_point", "is_complex", "is_tensor", "is_nonzero", "is_signed", "is_same_size", "set_grad_enabled", "set_"}
)  # fmt: skip
"""Questions whose answer follows from what the mechanism does itself."""
_ORDERLESS = frozenset({"len", "sum", "min", "max", "sorted", "any", "all"})


@functools.cache
def _questions() -> frozenset[str]:
    """Names in the libraries that ask for the machine, the mode or the memory, or change them."""
    spaces = (torch, torch.Tensor, torch.cuda, torch.autograd, torch.random, torch.func, np, np.ndarray, np.random)
    names = {name for space in spaces for name in dir(space)}
    asking = {name for name in names if name.startswith(_PREFIXES) or name in _OTHERS}
    return frozenset(asking - _PLAIN)


def asks(name: str) -> bool:
    """Whether an attribute of this name tells of the machine, or changes what others compute."""
    return name in _questions()


def surroundings(tree: ast.Module) -> Iterator[Reason]:
    """What in a source depends on where and by whom it is run, in the order of a walk."""
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    allowed = _allowed_sets(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(ctx=ast.Load(), attr=name) if not _on_self(node):
                if asks(name):
                    yield _reason(
                        node.lineno, f"{name} tells of the machine, of the mode or of the memory, or changes them"
                    )
                elif name in {"type", "index"} and id(node) not in called:
                    yield _reason(node.lineno, f"{name} of a device tells of the machine")
            case ast.Call(func=ast.Name(id="suppress")) | ast.Attribute(attr="suppress"):
                yield Reason(
                    rule="DPA115", line=node.lineno, message="exceptions that another machine may raise are swallowed"
                )
            case ast.Call(func=ast.Attribute(attr="device")):
                yield _reason(node.lineno, "a device is named; take that of a gradient")
            case ast.MatchClass() if node.patterns or node.kwd_patterns or not isinstance(node.cls, ast.Name):
                yield _reason(node.lineno, "a pattern that reads attributes is not followed")
            case ast.MatchValue(value=value) if any(isinstance(n, ast.Name | ast.Attribute) for n in ast.walk(value)):
                yield _reason(node.lineno, "a pattern that compares with a name is not followed")
            case ast.ImportFrom(names=names):
                for alias in names:
                    if asks(alias.name) or alias.name == "device":
                        yield _reason(node.lineno, f"{alias.name} tells of the machine or of the mode, or changes them")
            case ast.Set() | ast.SetComp() if id(node) not in allowed and not _is_numeric(node):
                yield _reason(node.lineno, "a set's order differs from process to process; use a list or a tuple")
            case ast.Name(id="set" | "frozenset", ctx=ast.Load()) if id(node) not in allowed:
                yield _reason(node.lineno, "a set's order differs from process to process; use a list or a tuple")
            case _:
                pass


def _allowed_sets(tree: ast.Module) -> set[int]:
    """Sets of which only membership, size or what has no order is asked, and names of their types in annotations and tests."""
    found: set[int] = set()
    bound = bound_names(tree)

    def allow(node: ast.AST | None) -> None:
        if node is not None:
            found.add(id(node))
            if isinstance(node, ast.Call):
                found.add(id(node.func))

    for node in ast.walk(tree):
        match node:
            case ast.Compare(ops=ops, comparators=comparators):
                for op, right in zip(ops, comparators, strict=True):
                    if isinstance(op, ast.In | ast.NotIn):
                        allow(right)
            case ast.Call(func=ast.Name(id=name), args=[only], keywords=[]) if name in _ORDERLESS - bound:
                allow(only)
            case ast.Call(func=ast.Name(id="isinstance"), args=[_, kinds]) if "isinstance" not in bound:
                for inner in ast.walk(kinds):
                    found.add(id(inner))
            case ast.arg(annotation=annotation) | ast.AnnAssign(annotation=annotation) if annotation is not None:
                found.update(id(inner) for inner in ast.walk(annotation))
            case ast.FunctionDef(returns=returns) if returns is not None:
                found.update(id(inner) for inner in ast.walk(returns))
            case _:
                pass
    return found


def bound_names(tree: ast.Module) -> frozenset[str]:
    """Names that the source gives a meaning of its own, anywhere."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.alias(name=name, asname=asname):
                found.add(asname or name)
            case _:
                pass
    return frozenset(found)


def _is_numeric(node: ast.Set | ast.SetComp) -> bool:
    """A set of written numbers is in the same order everywhere."""
    return isinstance(node, ast.Set) and all(
        isinstance(e, ast.Constant) and type(e.value) in {int, float, bool} for e in node.elts
    )


def _on_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "self"


def _reason(line: int, message: str) -> Reason:
    return Reason(rule="DPA116", line=line, message=message)
