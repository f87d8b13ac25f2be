"""Rewrites a candidate's source so that every decision and every number it computes with can be observed.

Operators, comparisons, truth tests, calls and subscripts become calls of a hook object. The program means the same: parts are
evaluated in Python's order, and what Python does not evaluate (the rest of ``2 < 1 < f()``) is not evaluated. Line numbers stay
what they were.
"""

import ast
from typing import Any

from .stand_ins import TELLING
from .surroundings import bound_names

HOOK = "__dpaudit__"
_BINARY = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "truediv", ast.FloorDiv: "floordiv", ast.Mod: "mod",
    ast.Pow: "pow", ast.MatMult: "matmul", ast.BitAnd: "and_", ast.BitOr: "or_", ast.BitXor: "xor",
    ast.LShift: "lshift", ast.RShift: "rshift",
}  # fmt: skip
_COMPARE = {
    ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne", ast.Is: "is_",
    ast.IsNot: "is_not", ast.In: "in", ast.NotIn: "not_in",
}  # fmt: skip


class _Rewriter(ast.NodeTransformer):
    def __init__(self, bound: frozenset[str]) -> None:
        self.site = 0
        self.bound = bound
        """Names that the candidate gives a meaning of its own."""

    def hook(
        self, node: ast.AST, name: str, *arguments: ast.expr, keywords: list[ast.keyword] | None = None
    ) -> ast.Call:
        self.site += 1
        function = ast.Attribute(value=ast.Name(id=HOOK, ctx=ast.Load()), attr=name, ctx=ast.Load())
        call = ast.Call(func=function, args=[ast.Constant(self.site), *arguments], keywords=keywords or [])
        return ast.fix_missing_locations(ast.copy_location(call, node))

    def _truth(self, test: ast.expr) -> ast.expr:
        return self.hook(test, "truth", self.visit(test))

    def visit_If(self, node: ast.If) -> Any:
        node.test = self._truth(node.test)
        node.body = [self.visit(s) for s in node.body]
        node.orelse = [self.visit(s) for s in node.orelse]
        return node

    def visit_While(self, node: ast.While) -> Any:
        node.test = self._truth(node.test)
        node.body = [self.visit(s) for s in node.body]
        node.orelse = [self.visit(s) for s in node.orelse]
        return node

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        node.test = self._truth(node.test)
        node.body, node.orelse = self.visit(node.body), self.visit(node.orelse)
        return node

    def visit_Assert(self, node: ast.Assert) -> Any:
        node.test = self._truth(node.test)
        node.msg = None if node.msg is None else self.visit(node.msg)
        return node

    def _marked(self, body: list[ast.stmt], how: str = "mark") -> list[ast.stmt]:
        """The statements of a block, which says that it ran."""
        mark = ast.copy_location(ast.Expr(value=self.hook(body[0], how)), body[0])
        return [mark, *[self.visit(s) for s in body]]

    def visit_For(self, node: ast.For) -> Any:
        node.target, node.iter = self.visit(node.target), self.visit(node.iter)
        node.body = self._marked(node.body)
        node.orelse = [self.visit(s) for s in node.orelse]
        return node

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> Any:
        node.type = None if node.type is None else self.visit(node.type)
        node.body = self._marked(node.body, "caught")
        return node

    def visit_Raise(self, node: ast.Raise) -> Any:
        node.exc = None if node.exc is None else self.hook(node.exc, "raised", self.visit(node.exc))
        node.cause = None if node.cause is None else self.visit(node.cause)
        return node

    def visit_match_case(self, node: ast.match_case) -> Any:
        node.guard = None if node.guard is None else self._truth(node.guard)
        node.body = self._marked(node.body)
        return node

    def visit_comprehension(self, node: ast.comprehension) -> Any:
        node.target = self.visit(node.target)
        node.iter = self.visit(node.iter)
        node.ifs = [self._truth(test) for test in node.ifs]
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        node.values = [self.hook(v, "seen", self.visit(v)) for v in node.values]
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        if isinstance(node.op, ast.Not):
            return self.hook(node, "negation", self.visit(node.operand))
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        return self.hook(
            node, "binary", ast.Constant(_BINARY[type(node.op)]), self.visit(node.left), self.visit(node.right)
        )

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        value, target = self.visit(node.value), node.target
        name = ast.Constant("i" + _BINARY[type(node.op)].rstrip("_"))
        if isinstance(target, ast.Name):
            load = ast.copy_location(ast.Name(id=target.id, ctx=ast.Load()), target)
            call = self.hook(node, "binary", name, load, value)
            return ast.fix_missing_locations(ast.copy_location(ast.Assign(targets=[target], value=call), node))
        # The target is read before the value is computed, which may change it.
        if isinstance(target, ast.Subscript):
            found = self.hook(target, "found", self.visit(target.value), self._index(target.slice))
            call = self.hook(node, "augment", name, found, value)
        elif not target.attr.startswith("__"):
            found = self.hook(target, "found_attribute", self.visit(target.value), ast.Constant(target.attr))
            call = self.hook(node, "augment_attribute", name, found, value)
        else:
            node.value = value
            return self.generic_visit(node)
        return ast.copy_location(ast.Expr(value=call), node)

    def visit_Compare(self, node: ast.Compare) -> Any:
        names = [ast.Constant(_COMPARE[type(op)]) for op in node.ops]
        values = [self.visit(value) for value in (node.left, *node.comparators)]
        if len(names) == 1:
            return self.hook(node, "compare", *names, *values)
        # ``a < b < c`` is ``a < b and b < c`` with one ``b``, which the hooks keep in between.
        links: list[ast.expr] = [self.hook(node, "first_link", names[0], *values[:2])]
        links += [
            self.hook(node, "link" if name is not names[-1] else "last_link", name, value)
            for name, value in zip(names[1:], values[2:], strict=True)
        ]
        return ast.copy_location(ast.BoolOp(op=ast.And(), values=links), node)

    def visit_Call(self, node: ast.Call) -> Any:
        if isinstance(node.func, ast.Name) and node.func.id == "super" and "super" not in self.bound:
            return self.generic_visit(node)
        match node.func:
            case ast.Attribute(value=ast.Call() as made, attr="sample" | "rsample" as method):
                return self._drawn(node, made, method)
            case _:
                pass
        function = self.visit(node.func)
        arguments = [self.visit(a) for a in node.args]
        keywords = [ast.keyword(arg=k.arg, value=self.visit(k.value)) for k in node.keywords]
        return self.hook(node, "call", function, *arguments, keywords=keywords)

    def _drawn(self, node: ast.Call, made: ast.Call, method: str) -> ast.Call:
        """``distribution(...).sample(...)``: as one call, so that nobody else holds the distribution."""
        given = ast.Tuple(elts=[self.visit(a) for a in made.args], ctx=ast.Load())
        names: list[ast.expr | None] = [None if k.arg is None else ast.Constant(k.arg) for k in made.keywords]
        named = ast.Dict(keys=names, values=[self.visit(k.value) for k in made.keywords])
        arguments = [self.visit(a) for a in node.args]
        keywords = [ast.keyword(arg=k.arg, value=self.visit(k.value)) for k in node.keywords]
        head = (ast.Constant(method), self.visit(made.func), given, named)
        return self.hook(node, "drawn", *head, *arguments, keywords=keywords)

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        node.value = self.visit(node.value)
        if isinstance(node.ctx, ast.Load) and node.attr in TELLING:
            node.value = self.hook(node.value, "told", node.value, ast.Constant(node.attr))
        if not isinstance(node.ctx, ast.Load):
            node.value = self.hook(node.value, "owner", node.value, ast.Constant(node.attr))
        return node

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        if isinstance(node.ctx, ast.Load):
            return self.hook(node, "subscript", self.visit(node.value), self._index(node.slice))
        node.value = self.hook(node.value, "target", self.visit(node.value))
        node.slice = self.hook(node.slice, "place", self._index(node.slice))
        return node

    def _index(self, index: ast.expr) -> ast.expr:
        if isinstance(index, ast.Slice):
            parts = [ast.Constant(None) if p is None else self.visit(p) for p in (index.lower, index.upper, index.step)]
            return self.hook(index, "sliced", *parts)
        if isinstance(index, ast.Tuple):
            return ast.copy_location(ast.Tuple(elts=[self._index(e) for e in index.elts], ctx=ast.Load()), index)
        return self.visit(index)  # type: ignore[no-any-return]

    def visit_Assign(self, node: ast.Assign) -> Any:
        value, target = self.visit(node.value), node.targets[0]
        if len(node.targets) == 1 and isinstance(target, ast.Subscript):
            call = self.hook(node, "store", value, self.visit(target.value), self._index(target.slice))
            return ast.copy_location(ast.Expr(value=call), node)
        node.targets, node.value = [self.visit(t) for t in node.targets], value
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        node.annotation, node.target = self.visit(node.annotation), self.visit(node.target)
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        node.decorator_list = [self.visit(d) for d in node.decorator_list]
        node.args = self.visit(node.args)
        node.returns = None if node.returns is None else self.visit(node.returns)
        node.body = [self.visit(s) for s in node.body]
        return node

    def visit_FormattedValue(self, node: ast.FormattedValue) -> Any:
        node.value = self.hook(node.value, "text", self.visit(node.value))
        node.format_spec = None if node.format_spec is None else self.visit(node.format_spec)
        return node


def instrument(tree: ast.Module, filename: str) -> Any:
    """Compiled form of a parsed source, with hooks. The tree is changed.

    Raises:
        SyntaxError: an error that only the compiler finds.
    """
    tree = _Rewriter(bound_names(tree)).visit(tree)
    return compile(ast.fix_missing_locations(tree), filename, "exec", dont_inherit=True)
