"""Mutants of one module of dpaudit: one changed node each."""

import ast
import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One changed node of one module.

    Attributes:
        position, variant: of the node in a walk of the tree, and of the change there.
        line, last: lines that the change stands on.
        column: from the first character of the line's code.
        code: the original line, by which a known survivor is found again.
        what: the change in words.
    """

    module: str
    position: int
    variant: int
    line: int
    last: int
    column: int
    code: str
    what: str

    @property
    def key(self) -> str:
        """Stable as long as the line stays as it is."""
        return f"{self.module}|{self.code}|{self.column}|{self.what}"


def source_hash(module: str) -> str:
    """Of a module's text: what is on record of another text says nothing."""
    return hashlib.sha256((ROOT / module).read_bytes()).hexdigest()[:16]


def mutants(module: str) -> list[Mutant]:
    """Every mutant of a module."""
    text = (ROOT / module).read_text(encoding="utf-8")
    lines = text.splitlines()
    tree = ast.parse(text)
    skipped = _not_code(tree)
    found = []
    for position, node in enumerate(ast.walk(tree)):
        if id(node) in skipped:
            continue
        for variant, (what, _) in enumerate(_rewrites(copy.deepcopy(node))):
            line, last = _lines(node)
            code = lines[line - 1].strip()
            column = int(getattr(node, "col_offset", 0)) - lines[line - 1].index(code)
            mutant = Mutant(
                module=module, position=position, variant=variant, line=line, last=last, column=column, code=code, what=what
            )  # fmt: skip
            found.append(mutant)
    return found


def _lines(node: ast.AST) -> tuple[int, int]:
    """First and last line of what changes: of a branch, the condition."""
    part = node.test if isinstance(node, ast.If | ast.IfExp) else node
    return int(getattr(part, "lineno", 0)), int(getattr(part, "end_lineno", 0))


def _not_code(tree: ast.Module) -> set[int]:
    """Docstrings, messages and annotations: what no behaviour hangs on."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        dropped: list[ast.AST] = []
        match node:
            case ast.Expr(value=ast.Constant()) | ast.JoinedStr():
                dropped = [node]
            case ast.Raise(exc=ast.Call(args=arguments)):
                dropped = list(arguments)
            case ast.AnnAssign(annotation=annotation) | ast.arg(annotation=annotation) if annotation is not None:
                dropped = [annotation]
            case ast.FunctionDef(returns=returns) if returns is not None:
                dropped = [returns]
            case ast.ClassDef(decorator_list=decorators):
                dropped = list(decorators)
            case _:
                pass
        skipped |= {id(part) for top in dropped for part in ast.walk(top)}
    return skipped


_COMPARISONS: dict[type, tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip
_ARITHMETIC: dict[type, type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.FloorDiv: ast.Mult,
}  # fmt: skip
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "ceil": "floor", "floor": "ceil", "minimum": "maximum",
          "maximum": "minimum", "log1p": "log", "expm1": "exp"}  # fmt: skip


def _rewrites(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    match node:
        case ast.Compare():
            for index, operation in enumerate(node.ops):
                for other in _COMPARISONS.get(type(operation), ()):
                    changed = copy.deepcopy(node)
                    changed.ops[index] = other()
                    yield f"comparison {index}: {type(operation).__name__} to {other.__name__}", changed
        case ast.BinOp(op=operation) if type(operation) in _ARITHMETIC:
            node.op = _ARITHMETIC[type(operation)]()
            yield f"{type(operation).__name__} to {type(node.op).__name__}", node
        case ast.BoolOp(op=operation):
            node.op = ast.Or() if isinstance(operation, ast.And) else ast.And()
            yield f"{type(operation).__name__} to {type(node.op).__name__}", node
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield f"without {type(node.op).__name__}", node.operand
        case ast.Constant(value=bool(value)):
            yield f"{value} to {not value}", ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield f"{value} to {value + 1}", ast.Constant(value + 1)
        case ast.Constant(value=float(value)):
            yield f"{value} doubled", ast.Constant(2 * value if value else 1.0)
        case ast.Call(func=ast.Name(id=name)) if name in _CALLS:
            node.func = ast.Name(id=_CALLS[name], ctx=ast.Load())
            yield f"{name} to {_CALLS[name]}", node
        case ast.Call(func=ast.Attribute(attr=name)) if name in _CALLS:
            assert isinstance(node.func, ast.Attribute)
            node.func.attr = _CALLS[name]
            yield f"{name} to {_CALLS[name]}", node
        case ast.If() | ast.IfExp():
            for value in (True, False):
                changed = copy.deepcopy(node)
                changed.test = ast.Constant(value)
                yield f"condition {value}", changed
        case ast.Raise() | ast.AugAssign():
            yield f"{type(node).__name__} dropped", ast.Pass()
        case ast.Expr(value=ast.Call() | ast.Yield() | ast.YieldFrom()):
            yield "statement dropped", ast.Pass()
        case ast.Return(value=ast.expr()) if not isinstance(node.value, ast.Constant):
            yield "returns None", ast.Return(value=ast.Constant(None))
        case _:
            pass


def mutated(mutant: Mutant) -> ast.Module:
    """The module's tree with the change."""
    tree = ast.parse((ROOT / mutant.module).read_text(encoding="utf-8"))
    target = list(ast.walk(tree))[mutant.position]
    replacement = list(_rewrites(copy.deepcopy(target)))[mutant.variant][1]

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return ast.copy_location(replacement, node) if node is target else self.generic_visit(node)

    changed: ast.Module = ast.fix_missing_locations(Replace().visit(tree))
    return changed
