"""Two plots of curves: what a run has spent after each step, and an attack's tests beside what the claim allows."""

from collections.abc import Sequence

from dpaudit.contract import AttackCurve, AttackPoint, AuditReport, SpendRow

from .figures import lower_end, nearest, upper_end
from .plot import Plot
from .svg_axis import Axis, axis_from_zero, linear_ticks
from .svg_frame import Frame, Tick, area, curve
from .svg_marks import label, line, picture, sign
from .wording import NOT_PROVED

_DOT = "M0 -5 A5 5 0 1 0 0.01 -5 Z"
_RATES: tuple[Tick, ...] = tuple((tick, nearest(tick)) for tick in (0.0, 0.25, 0.5, 0.75, 1.0))
_PLACES = {"step": "one step", "run": "the whole run"}


def spend_plot(report: AuditReport) -> Plot | None:
    """Epsilon of the first steps, against the target; ``None`` where no schedule was accounted."""
    rows, target = report.curves.spend, report.epsilon.target
    if not rows:
        return None
    title = f"Epsilon spent after so many steps, at delta {nearest(report.epsilon.delta)}"
    words = f"Target {nearest(target)}. " + " ".join(_spent(row) for row in rows)
    last = rows[-1]
    caption = (
        f"Each point is a run that ends there. {_spent(last)} The upper end holds for all inputs, the lower end is "
        "demonstrated; where they meet, they are drawn as one line."
    )
    return Plot(
        svg=_spend_svg(title, words, rows, target),
        title=title,
        words=caption,
        legend=(
            ("reported", "reported schedule, valid accounting"),
            ("measured", "what ran, at least"),
            ("proved", "what ran, at most"),
        ),
    )


def _spent(row: SpendRow) -> str:
    reported = NOT_PROVED if row.reported is None else upper_end(row.reported)
    lower = NOT_PROVED if row.lower is None else lower_end(row.lower)
    upper = NOT_PROVED if row.upper is None else upper_end(row.upper)
    steps = f"{row.steps} {'step' if row.steps == 1 else 'steps'}"
    return f"After {steps}: reported {reported}, at least {lower}, at most {upper}."


def _spend_svg(title: str, words: str, rows: Sequence[SpendRow], target: float) -> str:
    values = [value for row in rows for value in (row.reported, row.lower, row.upper) if value is not None]
    up = axis_from_zero([*values, target])
    frame = Frame(top=22, height=210)
    steps = rows[-1].steps

    def line_of(class_: str, pairs: Sequence[tuple[int, float | None]]) -> str:
        known = [(step / steps, up.share(value)) for step, value in pairs if value is not None]
        if not known:
            return ""
        return curve(known, class_)

    shapes = [
        line_of("curve measured", [(row.steps, row.lower) for row in rows]),
        line_of("curve proved", [(row.steps, row.upper) for row in rows]),
        line_of("curve reported", [(row.steps, row.reported) for row in rows]),
    ]
    at = frame.y(up.share(target))
    across = [(tick / steps, f"{tick:.0f}") for tick in linear_ticks(0.0, float(steps), most=5) if tick == int(tick)]
    content = (
        frame.grid(across, _ticks(up), "steps" + (" (epsilon upwards, log scale)" if up.log else " (epsilon upwards)"))
        + frame.curves(shapes)
        + line(frame.x(0), frame.x(1), at, at, "target")
        + label(f"target {nearest(target)}", frame.x(0) + 1, at - 6, class_="label strong")
    )
    return picture("plot-spend", title, words, frame.bottom + 44, content)


def _ticks(axis: Axis) -> tuple[Tick, ...]:
    return tuple((axis.share(tick), nearest(tick)) for tick in axis.ticks)


def tradeoff_plots(report: AuditReport) -> tuple[Plot, ...]:
    """One plot for every attack that came to a test."""
    return tuple(_attack(number, attack) for number, attack in enumerate(report.curves.tradeoffs))


def _attack(number: int, attack: AttackCurve) -> Plot:
    place = _PLACES.get(attack.place, attack.place)
    title = f"Errors of the attack on {place} against the claim's trade-off curve"
    told = " ".join(_told(name, point) for name, point in zip(("Test", "Confirmation"), attack.points, strict=False))
    words = (
        f"{told} No test of a mechanism that keeps the claim lies truly under the curve ({attack.words}). The claim is refuted "
        "where the corner of both limits lies under it, twice."
    )
    return Plot(
        svg=_attack_svg(f"plot-attack-{number}", title, words, attack),
        title=title,
        words=words,
        legend=(("reported", "least errors that the claim allows"), ("attack", "attack: observed, with its limits")),
    )


def _told(name: str, point: AttackPoint) -> str:
    seen = f"{name}: false positive rate {nearest(point.false_positive)}, false negative rate {nearest(point.false_negative)}"
    if point.limits is None:
        return f"{seen}; no limits, the runs were ended by what they showed."
    above = f"at most {upper_end(point.limits[0])} and {upper_end(point.limits[1])} at level {nearest(point.level)}"
    return f"{seen}; together {above}."


def _attack_svg(name: str, title: str, words: str, attack: AttackCurve) -> str:
    frame = Frame(top=14, height=300)
    shapes = [
        area([(0.0, 0.0), *attack.claimed, (1.0, 0.0)], "band reported"),
        curve([(0.0, 1.0), (1.0, 0.0)], "curve guess"),
        curve(attack.claimed, "curve reported"),
    ]
    marks = [
        frame.grid(_RATES, _RATES, "false positive rate (false negative rate upwards)"),
        frame.curves(shapes),
        *(_point(frame, point) for point in attack.points),
    ]
    return picture(name, title, words, frame.bottom + 44, "".join(marks))


def _point(frame: Frame, point: AttackPoint) -> str:
    x, y = frame.x(point.false_positive), frame.y(point.false_negative)
    marks = []
    if point.limits is not None:
        right, top = frame.x(point.limits[0]), frame.y(point.limits[1])
        marks = [line(x, right, y, y, "cap attack"), line(x, x, y, top, "cap attack")]
        marks += [line(x, right, top, top, "limit attack"), line(right, right, y, top, "limit attack")]
    return "".join([*marks, sign(_DOT, x, y, "point attack")])
