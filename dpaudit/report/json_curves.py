"""The curves of an audit as JSON, both ways."""

from dpaudit.contract import AttackCurve, AttackPoint, CurvesRecord, SpendRow

from .json_node import Node
from .stable_json import JsonData


def curves_data(curves: CurvesRecord) -> JsonData:
    """Rows of numbers: spend as ``[steps, reported, lower, upper]``, curves as ``[false positive, false negative]``."""
    return {
        "spend": [[row.steps, _number(row.reported), _number(row.lower), _number(row.upper)] for row in curves.spend],
        "tradeoffs": [
            {
                "place": curve.place,
                "words": curve.words,
                "claimed": [[float(alpha), float(beta)] for alpha, beta in curve.claimed],
                "points": [
                    {
                        "rates": [float(point.false_positive), float(point.false_negative)],
                        "limits": None if point.limits is None else [float(limit) for limit in point.limits],
                        "level": float(point.level),
                    }
                    for point in curve.points
                ],
            }
            for curve in curves.tradeoffs
        ],
    }


def read_curves(node: Node) -> CurvesRecord:
    """The member ``curves`` of an audit.

    Raises:
        DataError: a key is missing or unknown, a value is of the wrong type, or a rate lies outside [0, 1].
    """
    part = node.fields("spend", "tradeoffs")
    return CurvesRecord(
        spend=tuple(_spend(member) for member in part["spend"].items()),
        tradeoffs=tuple(_attack(member) for member in part["tradeoffs"].items()),
    )


def _spend(node: Node) -> SpendRow:
    members = node.items()
    if len(members) != 4:
        node.refuse("a list of four: steps, reported, lower, upper")
    steps, reported, lower, upper = members
    return SpendRow(
        steps=steps.integer(),
        reported=reported.optional_number(),
        lower=lower.optional_number(),
        upper=upper.optional_number(),
    )


def _attack(node: Node) -> AttackCurve:
    part = node.fields("place", "words", "claimed", "points")
    return AttackCurve(
        place=part["place"].text(),
        words=part["words"].text(),
        claimed=tuple(_rates(member) for member in part["claimed"].items()),
        points=tuple(_point(member) for member in part["points"].items()),
    )


def _point(node: Node) -> AttackPoint:
    part = node.fields("rates", "limits", "level")
    false_positive, false_negative = _rates(part["rates"])
    return AttackPoint(
        false_positive=false_positive,
        false_negative=false_negative,
        limits=None if part["limits"].value is None else _rates(part["limits"]),
        level=part["level"].number(),
    )


def _rates(node: Node) -> tuple[float, float]:
    first, second = (member.number() for member in node.pair())
    if not (0 <= first <= 1 and 0 <= second <= 1):
        node.refuse("two rates from 0 to 1")
    return first, second


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
