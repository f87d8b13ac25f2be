"""Rendering of expressions and of a mechanism's data flow for people."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .session import Session

_SIGNS = {"lt": "<", "le": "<=", "eq": "=="}


def readable(session: Session, x: int, depth: int = 0) -> str:
    """An expression in readable form; sums of squares of gradients are norms ``||g||``."""
    table = session.table
    if depth > 8:
        return "..."
    node, children = table.nodes[x], table.children(x)

    def again(y: int) -> str:
        return readable(session, y, depth + 1)

    match node[0]:
        case "c":
            return f"{node[1]:g}"
        case "g":
            return "g"
        case "z":
            return "z"
        case "r":
            return "1"
        case "p":
            return "public"
        case "h" | "opaque":
            return f"unknown({node[1] if node[0] == 'opaque' else 'masked'})"
        case "lin":
            return _sum(session, x, depth)
        case "mul":
            return " * ".join(_factor(session, f, e, depth) for f, e in table.factors(x)[1])
        case "fun":
            return f"{node[1]}({again(children[0])})"
        case "where":
            return f"({again(children[1])} if {again(children[0])} else {again(children[2])})"
        case "lt" | "le" | "eq":
            return f"{again(children[0])} {_SIGNS[str(node[0])]} {again(children[1])}"
        case _:
            return f"{node[0]}({', '.join(again(c) for c in children)})"


def _is_square_sum(session: Session, x: int) -> bool:
    table = session.table
    constant, terms = table.linear(x)
    return (
        constant == 0
        and len(terms) > 1
        and all(k > 0 and all(e % 2 == 0 for _, e in table.factors(t)[1]) and table.touch[t] for t, k in terms)
    )


def _sum(session: Session, x: int, depth: int) -> str:
    table = session.table
    if _is_square_sum(session, x):
        return "||g||^2"
    constant, terms = table.linear(x)
    shown = [
        f"{k:g}*{readable(session, t, depth + 1)}" if k != 1 else readable(session, t, depth + 1) for t, k in terms[:4]
    ]
    more = [f"... {len(terms) - 4} more"] if len(terms) > 4 else []
    parts = [*([f"{constant:g}"] if constant else []), *shown, *more]
    return parts[0] if len(parts) == 1 else f"({' + '.join(parts)})"


def _factor(session: Session, x: int, exponent: float, depth: int) -> str:
    if _is_square_sum(session, x):
        power = 2 * exponent
        return "||g||" if power == 1 else f"||g||^{power:g}"
    inner = readable(session, x, depth + 1)
    return inner if exponent == 1 else f"{inner}^{exponent:g}"


def explain_line(certificate: Mapping[str, Any], line: int) -> str:
    """What the analysis knows of one line of the candidate."""
    notes = certificate.get("lines", {})
    found = notes.get(str(line))
    if not found:
        known = ", ".join(notes) or "none"
        return f"Line {line}: nothing private, no noise and no release. Lines with something to say: {known}.\n"
    return "\n".join([f"Line {line}:", *(f"  {text}" for text in found)]) + "\n"


def _until(flow: Mapping[str, Any]) -> str:
    if not flow:
        return "It was refused before anything ran.\n"
    lines = ["Up to there, line by line (what is not named is public and known):"]
    lines.extend(f"  {line}: {text}" for line, texts in flow.items() for text in texts)
    return "\n".join(lines) + "\n"


def explain(
    certificate: Mapping[str, Any],
    refusal: str = "",
    assumptions: Sequence[str] = (),
    flow: Mapping[str, Any] | None = None,
) -> str:
    """The data flow of a mechanism in words, from its certificate: what is private, what is noise, where it is released.

    Args:
        refusal: text of the refusal, where there is one and no certificate.
        flow: what is known of the lines up to the refusal.
    """
    if refusal:
        return f"Nothing was proved: {refusal}\n{_until(flow or {})}"
    lines = [f"Private: {certificate['rows']} rows of per-sample gradients stand for all; cell {certificate['cell']}."]
    for step in certificate["steps"]:
        where = ", ".join(str(k) for k in step["release_lines"]) or "nowhere"
        lines.append(f"As at step {step['step']}: {step['releases']} numbers released, at line {where}.")
        lines.append(f"  one sample contributes {step['contribution']}, per coordinate")
        lines.append(f"  noise of standard deviation {step['noise_std']}, per coordinate")
        for part in step["parts"]:
            squared = part["supremum_squared"]
            bound = "inf" if squared == "inf" else f"{math.sqrt(squared * part['copies']):.6g}"
            lines.append(f"  contribution over noise is at most {bound} ({len(part['terms'])} group(s) of coordinates)")
    for run in certificate["schedule"]:
        sigma = run["sigma"]
        lines.append(f"{run['count']} step(s): noise multiplier at least {sigma if sigma == 'inf' else f'{sigma:.6g}'}")
    lines.extend(f"Assumed: {text}" for text in assumptions)
    return "\n".join(lines) + "\n"
