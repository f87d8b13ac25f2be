"""Faults that people make in mechanisms, as rewrites of one place of the syntax tree.

A mutant is named by the operator, the position of the node in a walk of the tree, and the number of the rewrite there, so that
the same name always makes the same file.
"""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_NOISE = frozenset({"randn", "randn_like", "normal", "normal_", "standard_normal"})
_BOUNDS = frozenset({"clamp", "clip", "clamp_max", "clamp_min", "minimum", "maximum", "min", "max"})
_NORMS = frozenset({"norm", "vector_norm"})
_REDUCTIONS = frozenset({"sum", "mean", "norm", "vector_norm", "square", "flatten", "stack", "cat"})
_SKIPPED = frozenset({"get_effective_sigma"})
_SMALL = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One fault at one place."""

    operator: str
    position: int
    variant: int
    line: int
    what: str


Rewrite = tuple[str, ast.AST]


def mutations(text: str) -> tuple[Mutation, ...]:
    """Every fault that can be put into the text."""
    found = []
    tree = ast.parse(text)
    inside = _mutable(tree)
    for position, node in enumerate(ast.walk(tree)):
        if id(node) not in inside:
            continue
        for operator, rewrite in OPERATORS.items():
            for variant, (what, _) in enumerate(rewrite(copy.deepcopy(node))):
                line = getattr(node, "lineno", 0)
                found.append(Mutation(operator=operator, position=position, variant=variant, line=line, what=what))
    return tuple(found)


def mutate(text: str, mutation: Mutation) -> str:
    """The text with the fault. Lines and comments are lost: the result is for a machine."""
    tree = ast.parse(text)
    node = list(ast.walk(tree))[mutation.position]
    replacement = list(OPERATORS[mutation.operator](copy.deepcopy(node)))[mutation.variant][1]
    changed = _Replace(node, replacement).visit(tree)
    if "_mutant_" in ast.dump(replacement):
        _remember_step_and_rows(changed)
    return ast.unparse(ast.fix_missing_locations(changed)) + "\n"


def _remember_step_and_rows(tree: ast.Module) -> None:
    """What rewrites read as ``self._mutant_step`` and ``self._mutant_rows``."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name == "clip_and_noise":
            itself, rows, step = (argument.arg for argument in function.args.args[:3])
            text = f"{itself}._mutant_step = {step}\n{itself}._mutant_rows = {rows}[0].shape[0]"
            function.body = [*ast.parse(text).body, *function.body]


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self._new if node is self._old else self.generic_visit(node)


def _mutable(tree: ast.Module) -> set[int]:
    """Nodes inside functions, but for the report of sigma and for docstrings."""
    inside: set[int] = set()
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name not in _SKIPPED:
            inside.add(id(function))
            inside |= {id(node) for statement in function.body for node in ast.walk(statement)}
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name in _SKIPPED:
            inside -= {id(node) for node in ast.walk(function)}
    return inside


# ---- small builders ---------------------------------------------------------------------------------------------------


def _parse(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _times(factor: str, node: ast.expr) -> ast.expr:
    return ast.BinOp(left=_parse(factor), op=ast.Mult(), right=node)


def _called(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        match node.func:
            case ast.Attribute(attr=name) | ast.Name(id=name):
                return name
    return ""


def _method(call: ast.Call) -> bool:
    """Whether it is called on a value and not on a module."""
    if not isinstance(call.func, ast.Attribute):
        return False
    match call.func.value:
        case ast.Name(id="torch" | "np" | "math" | "F") | ast.Attribute(attr="linalg"):
            return False
        case _:
            return True


# ---- operators --------------------------------------------------------------------------------------------------------


def _drop_bound(node: ast.AST) -> Iterator[Rewrite]:
    if _called(node) in _BOUNDS and isinstance(node, ast.Call):
        if _method(node):
            assert isinstance(node.func, ast.Attribute)
            yield f"without .{node.func.attr}()", node.func.value
        else:
            for number, argument in enumerate(node.args[:2]):
                yield f"argument {number} of {_called(node)} alone", argument


def _swap_bound(node: ast.AST) -> Iterator[Rewrite]:
    swaps = {"minimum": "maximum", "maximum": "minimum", "min": "max", "max": "min"}
    name = _called(node)
    if name in swaps and isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute):
            node.func.attr = swaps[name]
        else:
            node.func = ast.Name(id=swaps[name], ctx=ast.Load())
        yield f"{name} becomes {swaps[name]}", node
    if name in {"clamp", "clip"} and isinstance(node, ast.Call):
        for keyword in node.keywords:
            if keyword.arg in {"min", "max"}:
                changed = copy.deepcopy(node)
                for other in changed.keywords:
                    other.arg = {"min": "max", "max": "min"}.get(other.arg or "", other.arg)
                yield f"the {keyword.arg} of {name} on the other side", changed
                return


def _norm_order(node: ast.AST) -> Iterator[Rewrite]:
    name = _called(node)
    if name in _NORMS and isinstance(node, ast.Call):
        word = "ord" if name == "vector_norm" else "p"
        for order in ("float('inf')", "1", "3"):
            changed = copy.deepcopy(node)
            keep = [keyword for keyword in changed.keywords if keyword.arg not in {"p", "ord"}]
            position = 0 if _method(changed) else 1
            if len(changed.args) > position:
                changed.args[position] = _parse(order)
                changed.keywords = keep
            else:
                changed.keywords = [*keep, ast.keyword(arg=word, value=_parse(order))]
            yield f"norm of order {order}", changed
    if name == "square" and isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _method(node):
        node.func.attr = "abs"
        yield "absolute values for squares", node


def _scale_noise(node: ast.AST) -> Iterator[Rewrite]:
    if _called(node) in _NOISE - {"normal_"} and isinstance(node, ast.expr):
        for factor in ("0.95", "0.5", "0.0"):
            yield f"noise times {factor}", _times(factor, copy.deepcopy(node))
        yield "noise of 0.5 at step 0", _times("(0.5 if self._mutant_step == 0 else 1.0)", copy.deepcopy(node))
        yield "no noise after step 20", _times("float(self._mutant_step <= 20)", copy.deepcopy(node))
        yield (
            "absolute noise",
            ast.Call(func=ast.Attribute(value=copy.deepcopy(node), attr="abs", ctx=ast.Load()), args=[], keywords=[]),
        )


def _share_noise(node: ast.AST) -> Iterator[Rewrite]:
    if _called(node) == "randn_like" and isinstance(node, ast.Call):
        shared = ast.Subscript(
            value=ast.Call(
                func=ast.Attribute(value=copy.deepcopy(node), attr="flatten", ctx=ast.Load()), args=[], keywords=[]
            ),
            slice=ast.Constant(0),
            ctx=ast.Load(),
        )
        yield "one draw for all coordinates of a tensor", shared
        node.func = _parse("torch.rand_like")
        yield "uniform for normal", node


def _reseed(node: ast.AST) -> Iterator[Rewrite]:
    if isinstance(node, ast.FunctionDef) and node.name == "clip_and_noise":
        for text in ("torch.manual_seed(0)", "torch.manual_seed(step)", "torch.manual_seed(epoch)"):
            yield f"{text} first", _with_first(node, text)


def _aggregate_first(node: ast.AST) -> Iterator[Rewrite]:
    if isinstance(node, ast.FunctionDef) and node.name == "clip_and_noise":
        rows = node.args.args[1].arg
        for text in (
            f"{rows} = [g.sum(0, keepdim=True) for g in {rows}]",
            f"{rows} = [g.mean(0, keepdim=True) * len(g) for g in {rows}]",
            f"{rows} = [g.cumsum(0) for g in {rows}]",
            f"{rows} = [g - g.mean(0, keepdim=True) for g in {rows}]",
            f"{rows} = [g * g.shape[0] / self.batch_size for g in {rows}]",
        ):
            yield f"{text} first", _with_first(node, text)


def _with_first(node: ast.FunctionDef, text: str) -> ast.FunctionDef:
    changed = copy.deepcopy(node)
    changed.body = [*ast.parse(text).body, *changed.body]
    return changed


def _realised_batch(node: ast.AST) -> Iterator[Rewrite]:
    if (
        isinstance(node, ast.Attribute)
        and node.attr in {"batch_size", "expected_batch"}
        and isinstance(node.ctx, ast.Load)
    ):
        yield "the number of rows that came", _parse("max(1, self._mutant_rows)")


def _axis(node: ast.AST) -> Iterator[Rewrite]:
    name = _called(node)
    if name in _REDUCTIONS and isinstance(node, ast.Call):
        for number, argument in enumerate(node.args):
            if isinstance(argument, ast.Constant) and type(argument.value) is int and argument.value in {0, 1}:
                changed = copy.deepcopy(node)
                changed.args[number] = ast.Constant(1 - argument.value)
                yield f"{name} over axis {1 - argument.value}", changed
        for number, keyword in enumerate(node.keywords):
            if keyword.arg in {"dim", "axis"}:
                for axis in ("0", "1", "None"):
                    changed = copy.deepcopy(node)
                    changed.keywords[number].value = _parse(axis)
                    if ast.dump(changed) != ast.dump(node):
                        yield f"{name} over {keyword.arg} {axis}", changed


def _batch_statistic(node: ast.AST) -> Iterator[Rewrite]:
    """A number of each row replaced by one of the batch."""
    if _called(node) in {"sqrt", *_NORMS} and isinstance(node, ast.Call) and _method(node):
        for statistic in ("mean", "max", "median"):
            reduced = ast.Call(
                func=ast.Attribute(value=copy.deepcopy(node), attr=statistic, ctx=ast.Load()), args=[], keywords=[]
            )
            yield f"the batch's {statistic} for each row's own", reduced


def _guard(node: ast.AST) -> Iterator[Rewrite]:
    if isinstance(node, ast.Constant) and type(node.value) is float and 0 < node.value <= _SMALL:
        yield "no small constant", ast.Constant(0.0)


def _constant(node: ast.AST) -> Iterator[Rewrite]:
    if not isinstance(node, ast.Constant) or isinstance(node.value, bool):
        return
    if isinstance(node.value, int):
        for value in (node.value + 1, node.value - 1):
            yield f"{node.value} becomes {value}", _parse(repr(value))
    elif isinstance(node.value, float) and node.value > _SMALL:
        for factor in (2.0, 0.5, 1.05):
            yield f"{node.value} times {factor}", ast.Constant(node.value * factor)


def _compare(node: ast.AST) -> Iterator[Rewrite]:
    swaps = {ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
             ast.Is: ast.IsNot, ast.IsNot: ast.Is}  # fmt: skip
    if isinstance(node, ast.Compare) and type(node.ops[0]) in swaps:
        node.ops[0] = swaps[type(node.ops[0])]()
        yield "comparison turned round", node
    if isinstance(node, ast.IfExp):
        yield "always the first", node.body
        yield "always the second", node.orelse


def _arithmetic(node: ast.AST) -> Iterator[Rewrite]:
    if isinstance(node, ast.BinOp):
        swaps: dict[type, ast.operator] = {
            ast.Mult: ast.Div(),
            ast.Div: ast.Mult(),
            ast.Add: ast.Sub(),
            ast.Sub: ast.Add(),
        }
        if type(node.op) in swaps:
            changed = copy.deepcopy(node)
            changed.op = swaps[type(node.op)]
            yield f"{type(node.op).__name__} becomes {type(changed.op).__name__}", changed
        yield "the left operand alone", node.left
        yield "the right operand alone", node.right


def _drop_call(node: ast.AST) -> Iterator[Rewrite]:
    if _called(node) in {"sqrt", "rsqrt", "exp", "detach", "clone", "square", "nan_to_num"} and isinstance(
        node, ast.Call
    ):
        inner = (
            node.func.value if _method(node) and isinstance(node.func, ast.Attribute) else next(iter(node.args), None)
        )
        if inner is not None:
            yield f"without {_called(node)}", inner


def _drop_statement(node: ast.AST) -> Iterator[Rewrite]:
    if isinstance(node, ast.AugAssign | ast.Expr) and not (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ):
        yield "statement dropped", ast.Pass()
    if isinstance(node, ast.AugAssign):
        yield "assigned, not accumulated", ast.Assign(targets=[node.target], value=node.value)
    if isinstance(node, ast.If):
        yield "branch never taken", ast.If(test=ast.Constant(False), body=node.body, orelse=node.orelse)
        yield "branch always taken", ast.If(test=ast.Constant(True), body=node.body, orelse=node.orelse)


def _drop_block(node: ast.AST) -> Iterator[Rewrite]:
    """A list comprehension or loop over tensors that leaves the last one out of the norm."""
    if isinstance(node, ast.ListComp | ast.GeneratorExp) and isinstance(node.generators[0].iter, ast.Name):
        changed = copy.deepcopy(node)
        changed.generators[0].iter = ast.Subscript(
            value=changed.generators[0].iter,
            slice=_parse("x[:-1]").slice,
            ctx=ast.Load(),  # type: ignore[attr-defined]
        )
        yield "the last block left out", changed


OPERATORS: dict[str, Callable[[ast.AST], Iterator[Rewrite]]] = {
    "drop-bound": _drop_bound,
    "swap-bound": _swap_bound,
    "norm-order": _norm_order,
    "scale-noise": _scale_noise,
    "share-noise": _share_noise,
    "reseed": _reseed,
    "aggregate-first": _aggregate_first,
    "realised-batch": _realised_batch,
    "axis": _axis,
    "batch-statistic": _batch_statistic,
    "guard": _guard,
    "constant": _constant,
    "compare": _compare,
    "arithmetic": _arithmetic,
    "drop-call": _drop_call,
    "drop-statement": _drop_statement,
    "drop-block": _drop_block,
}
"""Name to a function that yields rewrites of one node."""
