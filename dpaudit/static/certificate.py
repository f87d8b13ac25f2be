"""The certificate: what was proved, as plain data that can be checked again without running the candidate.

Expressions are nested lists: ``["c", value]``, ``["y", variable, scale]`` (a norm variable), ``["p", variable]`` (a public
number that is positive), ``["range", low, high]`` (known by its range only), ``["sum", constant, [[coefficient, e], ...]]``,
``["prod", [[e, exponent], ...]]``, ``["min", e, ...]``, ``["max", e, ...]``, ``["where", condition, a, b]``, ``["lt", a, b]``,
``["le", a, b]``, ``["abs", e]``, ``["fun", name, e]``.
"""

import math
from itertools import groupby

from dpaudit.contract import PlainData, RunConfig

from .explain import readable
from .flow import line_notes
from .schedule import Schedule
from .sensitivity import PartBound
from .session import Session
from .step_numbers import formula_text
from .stepping import StepSetting
from .verify import FORMAT, digest

_MAXIMAL_DEPTH = 60


def build(schedule: Schedule, setting: StepSetting, config: RunConfig) -> dict[str, PlainData]:
    """Certificate of a whole run. ``schedule.certified`` says for every step which analysed step bounds it."""
    steps: list[PlainData] = []
    for step, result in schedule.results:
        first = result.coordinates[:1]
        steps.append(
            {
                "step": step,
                "parts": [_part(result.session, part) for part in result.worst],
                "releases": len(result.session.releases),
                "release_lines": sorted({r.line for r in result.session.releases if r.line is not None}),  # type: ignore[dict-item]
                "contribution": readable(result.session, first[0].contribution) if first else "nothing private",
                "noise_std": readable(result.session, first[0].noise_std) if first else "",
            }
        )
    runs: list[PlainData] = []
    for (sigma, index, values), group in groupby(schedule.certified):
        named: dict[str, PlainData] = {formula_text(formula): value for formula, value in values}
        runs.append({"count": len(list(group)), "sigma": _number(sigma), "analysed": index, "values": named})
    document: dict[str, PlainData] = {
        "format": FORMAT,
        "cell": str(config.cell),
        "subtract_absent_row": setting.subtract_absent,
        "real_shapes": [list(shape) for shape in setting.shrinking.real],
        "tiny_shapes": [list(shape) for shape in setting.shrinking.tiny],
        "rows": setting.shrinking.rows,
        "steps": steps,
        "schedule": runs,
        "lines": line_notes(schedule),
    }
    document["digest"] = digest(document)
    return document


def _number(value: float) -> PlainData:
    return value if math.isfinite(value) else "inf"


def _part(session: Session, part: PartBound) -> dict[str, PlainData]:
    names = {v: k for k, v in part.publics.items()}
    box: dict[str, PlainData] = {}
    public: dict[str, PlainData] = {}
    for variable, (low, high) in part.box.items():
        box[str(variable)] = [low, _number(high)]
        if variable in names:
            name = session.table.nodes[names[variable]][1]
            if isinstance(name, tuple) and name[0] == "slot":
                public[str(variable)] = f"slot {formula_text(name[1])}"
    return {
        "supremum_squared": _number(part.supremum_squared),
        "copies": part.copies,
        "terms": [
            {"weight": t.weight, "variable": t.variable, "factor": expression(session, t.factor, part)}
            for t in part.terms
        ],
        "box": box,
        "public": public,
    }


def expression(session: Session, x: int, part: PartBound, depth: int = 0) -> list[PlainData]:
    """An expression as nested lists, in the variables of ``part``."""
    table = session.table
    if x in part.publics:
        return ["p", part.publics[x]]
    if x in part.norms:
        rest, variables = part.norms[x]
        terms: list[PlainData] = [[scale, ["y", variable]] for variable, scale in variables.items()]
        if rest != table.zero:
            terms.append([1.0, expression(session, rest, part, depth + 1)])
        return ["sum", 0.0, terms]
    low, high = table.range(x)
    if depth > _MAXIMAL_DEPTH:
        return ["range", _number_or_text(low), _number_or_text(high)]

    def again(y: int) -> list[PlainData]:
        return expression(session, y, part, depth + 1)

    node, children = table.nodes[x], table.children(x)
    match node[0]:
        case "c":
            return ["c", float(node[1])]  # type: ignore[arg-type]
        case "lin":
            constant, linear = table.linear(x)
            return ["sum", constant, [[k, again(t)] for t, k in linear]]
        case "mul":
            return ["prod", [[again(f), e] for f, e in table.factors(x)[1]]]
        case "min" | "max" | "where" | "lt" | "le" | "abs":
            return [str(node[0]), *(again(c) for c in children)]
        case "fun":
            return ["fun", str(node[1]), again(children[0])]
        case _:
            return ["range", _number_or_text(low), _number_or_text(high)]


def _number_or_text(value: float) -> PlainData:
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")


__all__ = ["build"]
