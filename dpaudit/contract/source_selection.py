"""Which top-level statements of a file a mechanism class needs.

A benchmark submission may be a whole training script. Only the class and what it refers to, directly or through other
top-level names, is executed: imports, constants, functions, classes, and statements that fill in those names. The
training part, calls for their effect and the ``__main__`` block are left out.
"""

import ast
import dis
import warnings
from collections.abc import Iterator
from types import CodeType

_NAME_OPS = {
    "LOAD_NAME",
    "LOAD_GLOBAL",
    "STORE_GLOBAL",
    "LOAD_CLASSDEREF",
    "LOAD_FROM_DICT_OR_GLOBALS",
}


def select(tree: ast.Module, class_name: str) -> ast.Module:
    """The smallest set of top-level statements, in their order and on their lines, that defines ``class_name``.

    A statement is taken if it is the class, or binds, amends (``TABLE[0] = 1``, ``TABLE.append(1)``, ``Class.x = y``)
    a name that a taken statement reads. Star imports and ``__future__`` imports are always taken.

    Raises:
        SyntaxError: an error that only the compiler finds.
    """
    statements = [node for node in tree.body if not _is_main_guard(node)]
    reads = [_reads(node) for node in statements]
    writes = [_writes(node) for node in statements]
    needed: set[str] = {class_name}
    taken: set[int] = set()
    grown = True
    while grown:
        grown = False
        for index, node in enumerate(statements):
            if index not in taken and (writes[index] & needed or _always(node)):
                taken.add(index)
                needed |= reads[index]
                grown = True
    body = [statements[index] for index in sorted(taken)]
    return ast.Module(body=body, type_ignores=[])


def _is_main_guard(node: ast.stmt) -> bool:
    if not (isinstance(node, ast.If) and isinstance(node.test, ast.Compare)):
        return False
    return any(isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test))


def _always(node: ast.stmt) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "__future__" or any(alias.name == "*" for alias in node.names)
    return False


def _reads(node: ast.stmt) -> set[str]:
    """Module-level names that a statement refers to; local variables of functions do not count.

    Raises:
        SyntaxError: an error that only the compiler finds, such as ``return`` outside a function.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = compile(ast.Module(body=[node], type_ignores=[]), "candidate", "exec")
    return set(_global_names(code))


def _global_names(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in _NAME_OPS:
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)


def _writes(node: ast.stmt) -> set[str]:
    """Names that a top-level statement binds or amends in the module's own scope."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    names: set[str] = set()
    for part in _own_scope(node):
        if isinstance(part, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in part.names}
        elif isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(part.name)
        elif isinstance(part, ast.Name | ast.Attribute | ast.Subscript) and isinstance(part.ctx, ast.Store | ast.Del):
            names |= _root(part)
        elif isinstance(part, ast.Expr) and isinstance(part.value, ast.Call):
            names |= _amended_by_call(part.value)
    return names


def _amended_by_call(call: ast.Call) -> set[str]:
    """``TABLE.append(x)`` amends TABLE; ``setattr(Class, ...)`` amends Class. A plain call amends nothing."""
    if isinstance(call.func, ast.Attribute):
        return _root(call.func.value) - {"torch", "np", "numpy", "random", "math"}
    if isinstance(call.func, ast.Name) and call.func.id == "setattr" and call.args:
        return _root(call.args[0])
    return set()


def _root(node: ast.expr) -> set[str]:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def _own_scope(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a statement, without descending into the bodies of functions and classes."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield child
        else:
            yield from _own_scope(child)
