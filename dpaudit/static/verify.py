"""Re-checks a certificate: recomputes every bound from its expressions. Standard library only; runs no candidate code.

Shares no code with :mod:`dpaudit.static.bounds`. It bounds ``sum weight * y * factor(y)`` over a box of ``y >= 0`` by
pushing the monomial of variables inside the expression, then interval arithmetic, then halving the box.
"""

import hashlib
import heapq
import json
import math
from collections.abc import Mapping
from typing import Any

Interval = tuple[float, float]
FORMAT = "dpaudit.static.certificate/2"
"""Version 1 had no digest and numbered its steps otherwise."""
TOLERANCE = 1e-6
SLACK = 4e-6
_RANGES = {"exp": (0.0, math.inf), "tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0), "erf": (-1.0, 1.0), "sign": (-1.0, 1.0)}


class CertificateError(ValueError):
    """The certificate is malformed, or a bound in it does not follow from its expressions."""


def verify(certificate: Mapping[str, Any]) -> tuple[float, ...]:
    """Check every step's sigma against its expressions and return the schedule of sigmas.

    Raises:
        CertificateError: something does not follow; the message names the step.
    """
    if certificate.get("format") != FORMAT:
        raise CertificateError(
            f"certificate: expected format {FORMAT!r}, got {certificate.get('format')!r}; audit the mechanism again with this "
            "version of dpaudit"
        )
    if certificate.get("digest") != digest(certificate):
        raise CertificateError(
            "certificate: its digest is not that of its contents; it was changed after it was written"
        )
    sigmas: list[float] = []
    for run in certificate["schedule"]:
        claimed = _float(run["sigma"])
        if type(run["analysed"]) is not int or type(run["count"]) is not int:
            raise CertificateError(f"certificate: step {len(sigmas)} names no analysed step, or no number of steps")
        analysed = certificate["steps"][run["analysed"]]
        squared = sum(part["copies"] * _part(part, run["values"]) for part in analysed["parts"])
        honest = math.inf if squared == 0 else squared**-0.5 * (1 - SLACK)
        if not claimed <= honest * (1 + TOLERANCE):
            raise CertificateError(
                f"certificate: step {len(sigmas)} claims sigma {claimed!r}, its expressions give at most {honest!r}"
            )
        sigmas.extend([claimed] * run["count"])
    return tuple(sigmas)


def digest(certificate: Mapping[str, Any]) -> str:
    """SHA-256 of everything in a certificate but the digest. It shows accidents and clumsy changes, not forgery."""
    contents = {key: value for key, value in certificate.items() if key != "digest"}
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def _float(value: Any) -> float:
    return float(value)


def _part(part: Mapping[str, Any], values: Mapping[str, float]) -> float:
    """Upper bound of one part, with the public numbers of the run put in."""
    box = {int(k): (_float(low), _float(high)) for k, (low, high) in part["box"].items()}
    for variable, name in part["public"].items():
        value = float(values[name.removeprefix("slot ")]) if values else math.nan
        if not value > 0:
            raise CertificateError(f"certificate: no value for {name}")
        box[int(variable)] = (value, value)
    count = 0
    queue = [(-_objective(part, box), count, box)]
    while count < 4000:
        top, _, worst = queue[0]
        point = {v: (_inside(e),) * 2 for v, e in worst.items()}
        wide = [v for v, (low, high) in worst.items() if high > low]
        if (
            not wide
            or -top <= _objective(part, point) * (1 + 1e-8)
            or (-top <= _float(part["supremum_squared"]) and not values)
        ):
            break
        heapq.heappop(queue)
        variable = max(wide, key=lambda v: _spread(worst[v]))
        low, high = worst[variable]
        for half in ((low, _inside((low, high))), (_inside((low, high)), high)):
            count += 1
            smaller = {**worst, variable: half}
            heapq.heappush(queue, (-_objective(part, smaller), count, smaller))
    return -queue[0][0]


def _inside(ends: Interval) -> float:
    low, high = ends
    if math.isinf(high):
        return max(1.0, low * 16)
    return math.sqrt(low * high) if low > 0 else high / 16


def _spread(ends: Interval) -> float:
    low, high = ends
    return math.inf if math.isinf(high) else (math.log(high / low) if low > 0 else 50.0)


def _objective(part: Mapping[str, Any], box: Mapping[int, Interval]) -> float:
    total = 0.0
    for term in part["terms"]:
        high = _scaled(_ev(term["factor"], {int(term["variable"]): 1.0}, box), float(term["weight"]))[1]
        total += math.inf if math.isnan(high) else high
    return total


def _times(a: Interval, b: Interval) -> Interval:
    ends = [0.0 if 0.0 in (x, y) else x * y for x in a for y in b]
    return min(ends), max(ends)


def _scaled(a: Interval, by: float) -> Interval:
    return _times(a, (by, by))


def _pow(a: Interval, e: float) -> Interval:
    if a[0] < 0:
        if e == 1:
            return a
        if e == int(e) and int(e) % 2 == 0:
            small = 0.0 if a[1] >= 0 else min(abs(a[0]), abs(a[1]))
            return _pow((small, max(abs(a[0]), abs(a[1]))), e)
        return -math.inf, math.inf
    ends = [_pow1(x, e) for x in a]
    return min(ends), max(ends)


def _pow1(x: float, e: float) -> float:
    if x == 0 or math.isinf(x):
        return (0.0 if (x == 0) == (e > 0) else math.inf) if e else 1.0
    try:
        return float(x**e)
    except OverflowError:
        return math.inf


def _mono(powers: Mapping[int, float], box: Mapping[int, Interval]) -> Interval:
    result = (1.0, 1.0)
    for variable, exponent in powers.items():
        if exponent:
            result = _times(result, _pow(box[variable], exponent))
    return result


def _ev(e: Any, powers: Mapping[int, float], box: Mapping[int, Interval]) -> Interval:
    """Interval of ``monomial * e``."""
    match e[0]:
        case "c":
            return _scaled(_mono(powers, box), float(e[1]))
        case "y" | "p":
            return _mono({**powers, int(e[1]): powers.get(int(e[1]), 0.0) + 1.0}, box)
        case "range":
            return _times((_float(e[1]), _float(e[2])), _mono(powers, box))
        case "sum":
            low, high = _scaled(_mono(powers, box), float(e[1])) if e[1] else (0.0, 0.0)
            for coefficient, inner in e[2]:
                ends = _scaled(_ev(inner, powers, box), float(coefficient))
                low, high = low + ends[0], high + ends[1]
            return low, high
        case "prod":
            return _product(e[1], powers, box)
        case "min" | "max":
            pick = min if e[0] == "min" else max
            parts = [_ev(inner, powers, box) for inner in e[1:]]
            return pick(p[0] for p in parts), pick(p[1] for p in parts)
        case "where":
            return _where(e, powers, box)
        case "abs":
            low, high = _ev(e[1], powers, box)
            return (low, high) if low >= 0 else (max(0.0, -high), max(-low, high))
        case "fun":
            return _function(e, powers, box)
        case "lt" | "le":
            return _times(_holds(e, box), _mono(powers, box))
        case other:
            raise CertificateError(f"certificate: unknown expression {other!r}")


def _product(factors: Any, powers: Mapping[int, float], box: Mapping[int, Interval]) -> Interval:
    merged = dict(powers)
    rest = []
    for inner, exponent in factors:
        base, scale = _single(inner)
        if base is None:
            rest.append((inner, float(exponent)))
        else:
            merged[base] = merged.get(base, 0.0) + float(exponent)
            if scale != 1:
                rest.append((["c", scale], float(exponent)))
    if not rest:
        return _mono(merged, box)
    low, high = -math.inf, math.inf
    for chosen in range(len(rest)):
        result = (1.0, 1.0)
        for k, (inner, exponent) in enumerate(rest):
            pushed = {v: p / exponent for v, p in merged.items()} if k == chosen else {}
            result = _times(result, _pow(_ev(inner, pushed, box), exponent))
        low, high = max(low, result[0]), min(high, result[1])
    return low, high


def _single(e: Any) -> tuple[int | None, float]:
    if e[0] in {"y", "p"}:
        return int(e[1]), 1.0
    if e[0] == "sum" and not e[1] and len(e[2]) == 1 and e[2][0][1][0] == "y":
        return int(e[2][0][1][1]), float(e[2][0][0])
    return None, 1.0


def _holds(e: Any, box: Mapping[int, Interval]) -> Interval:
    if e[0] not in {"lt", "le"}:
        low, high = _ev(e, {}, box)
        return max(low, 0.0), min(high, 1.0)
    a, b = _ev(e[1], {}, box), _ev(e[2], {}, box)
    if a[1] < b[0] or (e[0] == "le" and a[1] <= b[0]):
        return 1.0, 1.0
    if a[0] > b[1] or (e[0] == "lt" and a[0] >= b[1]):
        return 0.0, 0.0
    return 0.0, 1.0


def _where(e: Any, powers: Mapping[int, float], box: Mapping[int, Interval]) -> Interval:
    low, high = _holds(e[1], box)
    parts = []
    if high > 0:
        parts.append(_ev(e[2], powers, _cut(e[1], box, True)))
    if low < 1:
        parts.append(_ev(e[3], powers, _cut(e[1], box, False)))
    return min(p[0] for p in parts), max(p[1] for p in parts)


def _cut(condition: Any, box: Mapping[int, Interval], holds: bool) -> Mapping[int, Interval]:
    """The part of the box where a comparison of a power of one variable with something else can hold."""
    if condition[0] not in {"lt", "le"}:
        return box
    small, large = (condition[1], condition[2]) if holds else (condition[2], condition[1])
    new = dict(box)
    for side, other, upper in ((small, large, True), (large, small, False)):
        base, exponent, scale = _root(side)
        if base is None or exponent <= 0:
            continue
        limit = _ev(other, {}, box)[1 if upper else 0]
        end = _pow1(max(limit, 0.0), 1 / exponent) / scale
        low, high = new[base]
        shrunk = (low, min(high, end)) if upper else (max(low, end), high)
        if shrunk[0] <= shrunk[1]:
            new[base] = shrunk
    return new


def _root(e: Any) -> tuple[int | None, float, float]:
    if e[0] == "prod" and len(e[1]) == 1:
        base, scale = _single(e[1][0][0])
        return base, float(e[1][0][1]), scale
    base, scale = _single(e)
    return base, 1.0, scale


def _function(e: Any, powers: Mapping[int, float], box: Mapping[int, Interval]) -> Interval:
    name, inner = e[1], e[2]
    argument = _ev(inner, {}, box)
    low, high = _RANGES.get(name, (-math.inf, math.inf))
    if name in {"exp", "tanh"}:
        low, high = max(low, _apply(name, argument[0])), min(high, _apply(name, argument[1]))
    plain = _times((low, high), _mono(powers, box))
    if name in {"tanh", "erf"}:
        reach = max(map(abs, _ev(inner, powers, box))) * (2 / math.sqrt(math.pi) if name == "erf" else 1.0)
        return max(plain[0], -reach), min(plain[1], reach)
    if name == "exp" and len(powers) == 1:
        return plain[0], min(plain[1], _decay(inner, *next(iter(powers.items())), box))
    return plain


def _apply(name: str, x: float) -> float:
    if math.isinf(x):
        return {"exp": math.inf if x > 0 else 0.0, "tanh": math.copysign(1.0, x)}[name]
    return math.inf if name == "exp" and x > 700 else float(getattr(math, name)(x))


def _decay(inner: Any, variable: int, power: float, box: Mapping[int, Interval]) -> float:
    """Largest ``v**power * exp(d - c * v**r)`` on the box, where the exponent has that form."""
    if inner[0] != "sum" or len(inner[2]) != 1 or power <= 0:
        return math.inf
    base, rate, scale = _root(inner[2][0][1])
    slope = -float(inner[2][0][0])
    if base != variable or slope <= 0 or rate <= 0:
        return math.inf
    slope *= scale**rate
    at = min(max((power / (slope * rate)) ** (1 / rate), box[variable][0]), box[variable][1])
    return at**power * math.exp(float(inner[1]) - slope * at**rate) if at > 0 else 0.0
