"""Every operation handler against torch: the expression that it builds, evaluated, is what torch computes.

The evaluator here is the naive oracle: one ``match`` over the node kinds, in double precision.
"""

import math

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from dpaudit.static import dispatch, handlers_move
from dpaudit.static.box_evaluator import BoxEvaluator
from dpaudit.static.execution import Execution
from dpaudit.static.expressions import Table
from dpaudit.static.hooks import Hooks
from dpaudit.static.intervals import evaluate_function
from dpaudit.static.shapes import Shrinking

SHAPE = (2, 3)


def evaluate(table: Table, x: int, env: dict[int, float]) -> float:
    node, children = table.nodes[x], table.children(x)
    if x in env:
        return env[x]

    def again(y: int) -> float:
        return evaluate(table, y, env)

    match node[0]:
        case "c":
            return node[1]
        case "lin":
            constant, terms = table.linear(x)
            return constant + sum(k * again(t) for t, k in terms)
        case "mul":
            return math.prod(again(f) ** e for f, e in node[1])
        case "min":
            return min(again(c) for c in children)
        case "max":
            return max(again(c) for c in children)
        case "abs":
            return abs(again(children[0]))
        case "fun":
            return evaluate_function(node[1], again(children[0]))
        case "where":
            return again(children[1]) if again(children[0]) else again(children[2])
        case "lt":
            return float(again(children[0]) < again(children[1]))
        case "le":
            return float(again(children[0]) <= again(children[1]))
        case "eq":
            return float(again(children[0]) == again(children[1]))
        case "not":
            return float(not again(children[0]))
        case "and":
            return float(all(again(c) for c in children))
        case "or":
            return float(any(again(c) for c in children))
        case other:
            raise AssertionError(other)


def masked_put(a, b):
    out = a.clone()
    m = a > b
    out[m] = b[m] * 2
    return out


def add_in_place(a, b):
    c = a.clone()
    c[0].add_(b[1], alpha=0.5)
    c[:, 1] *= 2
    return c


OPERATIONS = {
    "add": lambda a, b: torch.add(a, b, alpha=0.3),
    "sub": lambda a, b: a - b,
    "rsub": lambda a, b: 2.0 - a,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "pow 2": lambda a, b: a**2,
    "pow 3": lambda a, b: a**3,
    "pow -1": lambda a, b: a**-1,
    "exponential of a base": lambda a, b: 1.7**a,
    "sqrt": lambda a, b: (a * a).sqrt(),
    "sqrt of a product": lambda a, b: (a * a * b * b).sqrt(),
    "rsqrt": lambda a, b: (a * a).rsqrt(),
    "square": lambda a, b: a.square(),
    "reciprocal": lambda a, b: a.reciprocal(),
    "neg": lambda a, b: -a,
    "abs": lambda a, b: a.abs(),
    "abs of product": lambda a, b: (a * b).abs(),
    "relu": lambda a, b: torch.relu(a),
    "minimum": torch.minimum,
    "maximum": torch.maximum,
    "clamp": lambda a, b: a.clamp(-0.5, 1.5),
    "clamp by tensor": lambda a, b: torch.clamp(a, max=b),
    "clamp_min": lambda a, b: a.clamp_min(0.2),
    "clamp_max": lambda a, b: a.clamp_max(0.2),
    "lt": lambda a, b: (a < b).float(),
    "le": lambda a, b: (a <= b).float(),
    "gt": lambda a, b: (a > b).float(),
    "ge": lambda a, b: (a >= b).float(),
    "eq": lambda a, b: (a == b).float(),
    "ne": lambda a, b: (a != b).float(),
    "and or not": lambda a, b: (((a > 0) & (b > 0)) | ~(a > b)).float(),
    "logical": lambda a, b: torch.logical_and(a > 0, torch.logical_not(b > 1)).float(),
    "where": lambda a, b: torch.where(a > b, a * 2, b),
    "masked_fill": lambda a, b: a.masked_fill(b > 1, 7.0),
    "mask compress": masked_put,
    "exp": lambda a, b: a.exp(),
    "log": lambda a, b: (a * a).log(),
    "log1p": lambda a, b: (a * a).log1p(),
    "expm1": lambda a, b: a.expm1(),
    "tanh": lambda a, b: a.tanh(),
    "sigmoid": lambda a, b: a.sigmoid(),
    "erf": lambda a, b: a.erf(),
    "sign": lambda a, b: a.sign(),
    "sin cos": lambda a, b: a.sin() + b.cos(),
    "floor": lambda a, b: a.floor(),
    "ceil": lambda a, b: a.ceil(),
    "addcmul": lambda a, b: torch.addcmul(a, b, b, value=0.5),
    "addcdiv": lambda a, b: torch.addcdiv(a, b, a, value=0.5),
    "lerp": lambda a, b: torch.lerp(a, b, 0.3),
    "cast": lambda a, b: a.double().float(),
    "bool cast": lambda a, b: (a - a + b).bool().float(),
    "nan_to_num": lambda a, b: torch.nan_to_num(a),
    "isfinite": lambda a, b: torch.isfinite(a).float() * a,
    "sum": lambda a, b: a.sum(),
    "sum dim": lambda a, b: a.sum(dim=1, keepdim=True),
    "mean of columns": lambda a, b: a.mean(dim=1),
    "norm": lambda a, b: a.norm(dim=1),
    "norm 1": lambda a, b: a.norm(1, dim=1),
    "norm inf": lambda a, b: torch.linalg.vector_norm(a, float("inf"), dim=1),
    "vector_norm": lambda a, b: torch.linalg.vector_norm(a),
    "prod": lambda a, b: a.prod(dim=1),
    "cumsum": lambda a, b: a.cumsum(1),
    "amax": lambda a, b: a.amax(1),
    "amin": lambda a, b: a.amin(1),
    "max": lambda a, b: a.max(),
    "max dim": lambda a, b: a.max(1).values,
    "any all": lambda a, b: (a > 0).any().float() + (a > 0).all(1).float(),
    "mm": lambda a, b: a @ b.t(),
    "mv": lambda a, b: a @ b[0],
    "dot": lambda a, b: torch.dot(a[0], b[1]),
    "bmm": lambda a, b: torch.bmm(a[None], b.t()[None]),
    "addmm": lambda a, b: torch.addmm(a[:, :2], a, b.t(), beta=0.5, alpha=2.0),
    "einsum": lambda a, b: torch.einsum("ij,kj->ik", a, b),
    "tensordot": lambda a, b: torch.tensordot(a, b, dims=([1], [1])),
    "renorm": lambda a, b: torch.renorm(a, 2, 0, 1.0),
    "cat": lambda a, b: torch.cat([a, b], 1),
    "stack": lambda a, b: torch.stack([a, b]),
    "repeat": lambda a, b: a.repeat(2, 1),
    "flip roll": lambda a, b: a.flip(0) + b.roll(1, 1),
    "views": lambda a, b: a.t().reshape(-1).view(3, 2)[1:] + b[0, 1],
    "index": lambda a, b: a[:, torch.tensor([2, 0])],
    "index_select": lambda a, b: a.index_select(1, torch.tensor([1, 1])),
    "gather": lambda a, b: a.gather(1, torch.tensor([[0, 2], [1, 1]])),
    "pad": lambda a, b: torch.nn.functional.pad(a, (1, 0), value=3.0),
    "tril": lambda a, b: a.tril(),
    "in place": add_in_place,
    "zero fill copy": lambda a, b: a.clone().zero_().copy_(b).fill_(2.0) + torch.full_like(a, 3.0) * a,
    "foreach": lambda a, b: torch._foreach_add([a, b], [b, a])[1],
    "foreach norm": lambda a, b: torch.stack(torch._foreach_norm([a, b])),
    "normalize": lambda a, b: torch.nn.functional.normalize(a, dim=1),
    "vmap": lambda a, b: torch.func.vmap(lambda r, s: r * s.sum())(a, b),
    "softmax of rows": lambda a, b: a.exp() / a.exp().sum(1, keepdim=True),
    "expand": lambda a, b: a[:, :1].expand(2, 3) * b,
}


ATEN = torch.ops.aten
OPERATIONS |= {
    "addmv": lambda a, b: torch.addmv(a[:, 0], a, b[0]),
    "baddbmm": lambda a, b: torch.baddbmm(a[None, :, :2], a[None], b.t()[None], beta=0.5),
    "vdot": lambda a, b: torch.vdot(a[0], b[1]),
    "atan": lambda a, b: a.atan(),
    "fmin fmax": lambda a, b: torch.fmin(a, b) + torch.fmax(a, b * 2),
    "index_add": lambda a, b: torch.index_add(a, 1, torch.tensor([2, 0]), b[:, :2], alpha=0.5),
    "index_put": lambda a, b: ATEN.index_put(a, [torch.tensor([1])], b[:1]),
    "index_put_impl": lambda a, b: ATEN._index_put_impl(a, [torch.tensor([1])], b[:1]),
    "isnan isinf": lambda a, b: a + torch.isnan(a) + torch.isinf(b),
    "logical_or": lambda a, b: torch.logical_or(a > 0, b > 1).float(),
    "min dim": lambda a, b: a.min(1).values,
    "min": lambda a, b: a.min(),
    "fills of a shape": lambda a, b: (
        a * torch.ones_like(a) + torch.zeros_like(a) + a.new_ones(2, 3) + a.new_zeros(2, 3)
    ),
    "norm, old form": lambda a, b: ATEN.norm(a, 2.0, [1], True),
    "round": lambda a, b: (a * 3.3).round(),
    "sgn": lambda a, b: a.sgn(),
    "softplus": lambda a, b: torch.nn.functional.softplus(a),
    "triu": lambda a, b: a.triu(),
    "alias_copy": lambda a, b: ATEN.alias_copy(a),
    "as_strided_copy": lambda a, b: ATEN.as_strided_copy(a, [2, 2], [3, 1]),
    "block_diag": lambda a, b: torch.block_diag(a, b),
    "detach_copy": lambda a, b: ATEN.detach_copy(a),
    "diagonal_copy": lambda a, b: ATEN.diagonal_copy(a),
    "expand_copy": lambda a, b: ATEN.expand_copy(a[:, :1], [2, 3]),
    "permute_copy": lambda a, b: ATEN.permute_copy(a, [1, 0]),
    "select_copy": lambda a, b: ATEN.select_copy(a, 1, 2),
    "slice_copy": lambda a, b: ATEN.slice_copy(a, 1, 1, 3),
    "split_copy": lambda a, b: ATEN.split_copy(a, 2, 1)[0],
    "split_with_sizes_copy": lambda a, b: ATEN.split_with_sizes_copy(a, [1, 2], 1)[1],
    "squeeze_copy": lambda a, b: ATEN.squeeze_copy(a[:, :1]),
    "t_copy": lambda a, b: ATEN.t_copy(a),
    "transpose_copy": lambda a, b: ATEN.transpose_copy(a, 0, 1),
    "unbind_copy": lambda a, b: ATEN.unbind_copy(a, 1)[2],
    "unfold_copy": lambda a, b: ATEN.unfold_copy(a, 1, 2, 1),
    "unsqueeze_copy": lambda a, b: ATEN.unsqueeze_copy(a, 0),
    "view_copy": lambda a, b: ATEN.view_copy(a, [3, 2]),
    "unsafe_split": lambda a, b: ATEN.unsafe_split(a, 2, 1)[1],
    "unsafe_split_with_sizes": lambda a, b: ATEN.unsafe_split_with_sizes(a, [1, 2], 1)[1],
    "unsafe_view": lambda a, b: ATEN._unsafe_view(a, [3, 2]),
    "reshape_copy": lambda a, b: ATEN._reshape_copy(a, [3, 2]),
    "take": lambda a, b: torch.take(a, torch.tensor([5, 0])),
    "rot90": lambda a, b: torch.rot90(a),
    "repeat_interleave": lambda a, b: a.repeat_interleave(2, 1),
    "lift": lambda a, b: ATEN.lift(a) + ATEN.lift_fresh_copy(b) + ATEN.lift_fresh(a),
}


def test_every_handler_has_a_case(monkeypatch):
    """Walks the tables: a handler that no case of this file reaches would never be compared with torch."""
    reached = set()
    move = handlers_move.move

    def noted(name, handler):
        return lambda *arguments: reached.add(name) or handler(*arguments)

    def noted_move(operands, function, args, kwargs):
        reached.add(dispatch.base_name(function._schema.name))
        return move(operands, function, args, kwargs)

    for name, handler in list(dispatch.HANDLERS.items()):
        monkeypatch.setitem(dispatch.HANDLERS, name, noted(name, handler))
    monkeypatch.setattr(handlers_move, "move", noted_move)
    for operation in OPERATIONS.values():
        run(operation, [1.0, 2.0, -0.5, 0.3, 0.7, -2.0], [0.5, -1.0, 1.5, 2.0, 0.2, 0.4])
    every = set(dispatch.HANDLERS) | handlers_move.MOVEMENT
    missing = {name for name in every - reached if not _is_composite(name)}
    assert not missing


def _is_composite(name):
    """Whether torch always takes it apart before it is dispatched, so that no handler is ever asked."""
    schemas = [
        s.name + (f".{s.overload_name}" if s.overload_name else "")
        for s in torch._C._jit_get_schemas_for_operator(f"aten::{name}")
    ]
    known = [s for s in schemas if _dispatched(s)]
    return all(torch._C._dispatch_has_kernel_for_dispatch_key(s, "CompositeImplicitAutograd") for s in known)


def _dispatched(schema):
    """Some schemas belong to TorchScript alone."""
    try:
        return torch._C._dispatch_has_kernel_for_dispatch_key(schema, "CompositeImplicitAutograd") in {True, False}
    except RuntimeError:
        return False


def run(operation, first, second):
    """Ids of the result, the table, the atoms' values, and what torch computed under observation."""
    table = Table()
    execution = Execution.begin(table, Hooks("nowhere"), Shrinking.first([SHAPE], 3), sampled=False, real_rows=3)
    env = {}
    tensors = []
    for sample, values in enumerate((first, second)):
        tensor = torch.tensor(values, dtype=torch.float32).reshape(SHAPE)
        ids = np.array([table.gradient(sample, 0, c) for c in range(6)])
        for atom, value in zip(ids.tolist(), tensor.reshape(-1).tolist(), strict=True):
            env[atom] = value
        execution.operands.shadows.attach(tensor, ids.reshape(SHAPE))
        tensors.append(tensor)
    with execution.watched():
        result = operation(*tensors)
        ids = execution.operands.ids(result)
    return table, env, ids, result


numbers = st.floats(0.125, 3.0, width=32).flatmap(lambda v: st.sampled_from([v, -v]))
vectors = st.lists(numbers, min_size=6, max_size=6)


@pytest.mark.parametrize("name", OPERATIONS)
@hypothesis.settings(max_examples=8, deadline=None, derandomize=True)
@hypothesis.given(first=vectors, second=vectors)
def test_the_expression_is_what_torch_computes(name, first, second):
    table, env, ids, _ = run(OPERATIONS[name], first, second)
    flat = ids.reshape(-1).tolist()
    assert flat, "vacuous"
    assert all(table.kind(x) != "opaque" for x in flat)
    found = [evaluate(table, x, env) for x in flat]
    plain = OPERATIONS[name](
        torch.tensor(first, dtype=torch.float32).reshape(SHAPE),
        torch.tensor(second, dtype=torch.float32).reshape(SHAPE),
    )
    expected = plain.reshape(-1).tolist()
    assert found == pytest.approx(expected, rel=2e-5, abs=2e-5)


@pytest.mark.parametrize("name", [n for n in OPERATIONS if n != "mask compress"])
@hypothesis.settings(max_examples=4, deadline=None, derandomize=True)
@hypothesis.given(first=vectors, second=vectors)
def test_watching_changes_no_output(name, first, second):
    _, _, _, watched = run(OPERATIONS[name], first, second)
    plain = OPERATIONS[name](
        torch.tensor(first, dtype=torch.float32).reshape(SHAPE),
        torch.tensor(second, dtype=torch.float32).reshape(SHAPE),
    )
    assert torch.equal(watched, plain)


@pytest.mark.parametrize("name", OPERATIONS)
@hypothesis.settings(max_examples=4, deadline=None, derandomize=True)
@hypothesis.given(first=vectors, second=vectors)
def test_intervals_contain_every_sampled_point(name, first, second):
    table, env, ids, _ = run(OPERATIONS[name], first, second)
    for x in ids.reshape(-1).tolist():
        low, high = table.range(x)
        assert low - 1e-6 <= evaluate(table, x, env) <= high + 1e-6


@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
@hypothesis.given(
    y=st.floats(1e-6, 1e6),
    width=st.floats(1.0, 50.0),
    c=st.floats(0.01, 10),
    r=st.floats(1e-3, 5),
    power=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_pushed_bounds_contain_every_point(y, width, c, r, power):
    table = Table()
    square = table.add([table.power(table.gradient(0, 0, k), 2.0) for k in range(3)])
    norm = table.power(square, 0.5)
    inverse = table.power(norm, -1.0)
    weights = [
        table.extreme("min", (table.one, table.scale(inverse, c))),
        table.power(table.add([norm, table.constant(r)]), -1.0),
        table.where(table.compare("lt", table.constant(c), norm), table.scale(inverse, c), table.one),
        table.function("exp", table.scale(norm, -r)),
        table.multiply([table.function("tanh", norm), inverse]),
        table.power(table.add([square, table.constant(r)]), -0.5),
    ]
    box = {0: (y / width, y * width)}
    evaluator = BoxEvaluator(table, {square: (table.zero, {0: 1.0})}, {}, box)
    env = {table.gradient(0, 0, k): math.sqrt(y) if k == 0 else 0.0 for k in range(3)}
    for weight in weights:
        low, high = evaluator.of(weight, ((0, power),))
        exact = y**power * evaluate(table, weight, env)
        assert low * (1 - 1e-9) - 1e-12 <= exact <= high * (1 + 1e-9) + 1e-12
