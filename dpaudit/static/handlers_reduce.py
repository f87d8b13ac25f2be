"""Reductions: sums, means, norms, extremes, and matrix products."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .handlers_elementwise import truth
from .operands import Handler, Operands
from .shadow import Ids


def _axes(args: Sequence[Any], kwargs: dict[str, Any], position: int, name: str = "dim") -> list[int] | None:
    given = kwargs.get(name, args[position] if len(args) > position else None)
    if given is None:
        return None
    return [given] if isinstance(given, int) else list(given)


def _flag(args: Sequence[Any], kwargs: dict[str, Any], position: int, name: str = "keepdim") -> bool:
    return bool(kwargs.get(name, args[position] if len(args) > position else False))


def _sum(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    counted = o.rows_counted(args[0]) if not _flag(args, kwargs, 2) else None
    if counted is not None:
        return counted
    return o.reduce(o.ids(args[0]), _axes(args, kwargs, 1), _flag(args, kwargs, 2), o.total_of_axis)


def _mean(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    axes = _axes(args, kwargs, 1)
    columns = o.columns(args[0], axes)

    def fold(row: list[int]) -> int:
        return o.total_of_axis(row, o.mean_divisor(row, columns))

    return o.reduce(o.ids(args[0]), axes, _flag(args, kwargs, 2), fold)


def _norm_of(o: Operands, order: float) -> Callable[[list[int]], int]:
    table = o.table

    def fold(row: list[int]) -> int:
        if order == 2:
            return table.power(o.total_of_axis([table.power(x, 2.0) for x in row]), 0.5)
        if order == 1:
            return o.total_of_axis([table.absolute(x) for x in row])
        if math.isinf(order):
            return table.extreme("max" if order > 0 else "min", [table.absolute(x) for x in row])
        return o.session.opaque(f"norm of order {order}", *o.touched(row))

    return fold


def _vector_norm(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    order = float(kwargs.get("ord", args[1] if len(args) > 1 else 2))
    return o.reduce(o.settled(args[0]), _axes(args, kwargs, 2), _flag(args, kwargs, 3), _norm_of(o, order))


def _norm(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    order = kwargs.get("p", args[1] if len(args) > 1 else 2)
    order = 2.0 if order is None else float(order)
    return o.reduce(o.settled(args[0]), _axes(args, kwargs, 2), _flag(args, kwargs, 3), _norm_of(o, order))


def _extremum(which: str) -> Handler:
    def handler(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Any:
        if len(args) > 1 and hasattr(args[1], "shape"):
            return o.each(lambda x, y: o.table.extreme(which, (x, y)), o.settled(args[0]), o.settled(args[1]))
        ids = o.settled(args[0])
        values = o.reduce(ids, _axes(args, kwargs, 1), _flag(args, kwargs, 2), lambda row: o.table.extreme(which, row))
        if not isinstance(result, tuple):
            return values
        places = o.reduce(
            ids,
            _axes(args, kwargs, 1),
            _flag(args, kwargs, 2),
            lambda row: o.session.opaque("argument", *o.touched(row)),
        )
        return [values, places]

    return handler


def _quantifier(op: str) -> Handler:
    def handler(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
        def fold(row: list[int]) -> int:
            return o.table.junction(op, [truth(o, x) for x in row])

        axes = _axes(args, kwargs, 1)
        if axes == []:
            # Unlike those of sums and extremes, no axes are none.
            return o.each(lambda x: truth(o, x), o.settled(args[0]))
        return o.reduce(o.settled(args[0]), axes, _flag(args, kwargs, 2), fold)

    return handler


def _prod(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    axes = _axes(args, kwargs, 1) if len(args) > 1 or "dim" in kwargs else None
    return o.reduce(o.settled(args[0]), axes, _flag(args, kwargs, 2), o.table.multiply)


def _cumsum(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    ids = np.moveaxis(o.ids(args[0]), args[1], -1)
    rows = ids.reshape(-1, ids.shape[-1]).tolist()
    summed = [[o.total(row[: k + 1]) for k in range(len(row))] for row in rows]
    return np.moveaxis(np.array(summed, dtype=np.int64).reshape(ids.shape), -1, args[1])


def matrix_product(o: Operands, a: Ids, b: Ids) -> Ids:
    """``a @ b`` for arrays of rank 2 (or the same batch rank and 2)."""
    batch = a.shape[:-2]
    count = int(np.prod(batch)) if batch else 1
    left = a.reshape(count, a.shape[-2], a.shape[-1])
    right = b.reshape(count, b.shape[-2], b.shape[-1])
    out = [
        [
            [
                o.total_of_axis([o.product(x, y) for x, y in zip(row, column, strict=True)])
                for column in columns.T.tolist()
            ]
            for row in rows.tolist()
        ]
        for rows, columns in zip(left, right, strict=True)
    ]
    return np.array(out, dtype=np.int64).reshape(*batch, a.shape[-2], b.shape[-1])


def _mm(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    return matrix_product(o, o.ids(args[0]), o.ids(args[1]))


def _mv(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    return matrix_product(o, o.ids(args[0]), o.ids(args[1])[:, None])[:, 0]


def _dot(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    return matrix_product(o, o.ids(args[0])[None, :], o.ids(args[1])[:, None]).reshape(())


def _added(inner: Handler) -> Handler:
    """``beta * self + alpha * (a @ b)``."""

    def handler(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
        beta, alpha = float(kwargs.get("beta", 1)), float(kwargs.get("alpha", 1))
        product = inner(o, overload, args[1:], {}, result)
        return o.each(
            lambda x, y: o.total([o.table.scale(x, beta), o.table.scale(y, alpha)]),
            np.broadcast_to(o.ids(args[0]), product.shape),
            product,
        )

    return handler


def _renorm(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    """Rows whose norm exceeds the limit are scaled by ``limit / (norm + 1e-7)``."""
    ids, axis, limit, table = o.settled(args[0]), args[2] % args[0].dim(), float(args[3]), o.table
    others = [a for a in range(ids.ndim) if a != axis]
    norms = o.reduce(ids, others, True, _norm_of(o, float(args[1])))

    def weight(n: int) -> int:
        over = table.compare("lt", table.constant(limit), n)
        scaled = table.scale(table.power(table.add([n, table.constant(1e-7)]), -1.0), limit)
        return table.where(over, scaled, table.one)

    return o.each(o.product, ids, o.each(weight, norms))


HANDLERS: dict[str, Handler] = {
    "sum": _sum, "mean": _mean, "linalg_vector_norm": _vector_norm, "norm": _norm, "prod": _prod, "cumsum": _cumsum,
    "amax": _extremum("max"), "amin": _extremum("min"), "max": _extremum("max"), "min": _extremum("min"),
    "any": _quantifier("or"), "all": _quantifier("and"),
    "mm": _mm, "bmm": _mm, "mv": _mv, "dot": _dot, "vdot": _dot,
    "renorm": _renorm, "addmm": _added(_mm), "baddbmm": _added(_mm), "addmv": _added(_mv),
}  # fmt: skip
