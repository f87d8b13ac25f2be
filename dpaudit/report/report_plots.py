"""Which plots a report has, and what each says in words for those who do not see it."""

from dpaudit.contract import AuditReport, Bracket

from .curve_plots import spend_plot, tradeoff_plots
from .figures import accuracy_text, bracket_text, lower_end, nearest
from .numbers_table import schedule_text
from .plot import Plot
from .svg_plots import Interval, Schedule, Spread, interval_plot, spread_plot, step_plot
from .untrusted import one_line
from .wording import NOT_PROVED


def plots_of(report: AuditReport) -> tuple[Plot, ...]:
    """Epsilon always; noise multipliers, spend, attacks and accuracy where there are any."""
    plots = [_epsilon(report)]
    if report.sigma.reported or report.sigma.measured:
        plots.append(_sigma(report))
    spend = spend_plot(report)
    if spend is not None:
        plots.append(spend)
    plots += tradeoff_plots(report)
    if report.accuracy:
        plots.append(_accuracy(report))
    return tuple(plots)


def _epsilon(report: AuditReport) -> Plot:
    epsilon = report.epsilon
    rows = []
    if epsilon.reported is not None:
        rows.append(_row("Reported", nearest(epsilon.reported), epsilon.reported, epsilon.reported, "reported"))
    if epsilon.reported_bracket is not None:
        rows.append(_bracket("Reported, valid accounting", epsilon.reported_bracket, "valid"))
    rows.append(_bracket("Replayed: what ran", epsilon.replayed, "measured"))
    if epsilon.empirical_lower is not None:
        printed = f"at least {lower_end(epsilon.empirical_lower)}"
        rows.append(_row("Shown by attack", printed, epsilon.empirical_lower, None, "attack"))
    title = f"Epsilon at delta {nearest(epsilon.delta)} against the target"
    words = f"Target {nearest(epsilon.target)}. " + " ".join(f"{row.name}: {row.printed}." for row in rows)
    return Plot(
        svg=interval_plot("plot-epsilon", title, words, rows, epsilon.target),
        title=title,
        words="A dashed bar is open: nothing was proved on the side of its arrow; without arrows, nothing at all.",
    )


def _row(name: str, printed: str, lower: float | None, upper: float | None, class_: str) -> Interval:
    return Interval(name=name, printed=printed, lower=lower, upper=upper, class_=class_)


def _bracket(name: str, bracket: Bracket, class_: str) -> Interval:
    return _row(name, bracket_text(bracket, NOT_PROVED), bracket.lower, bracket.upper, class_)


def _sigma(report: AuditReport) -> Plot:
    sigma = report.sigma
    words = f"Reported: {schedule_text(sigma.reported)}. Measured: {schedule_text(sigma.measured)}."
    schedules = [
        Schedule(values=sigma.measured, class_="curve measured"),
        Schedule(values=sigma.reported, class_="curve reported"),
    ]
    title = "Noise multiplier over the steps"
    steps = max(len(sigma.reported), len(sigma.measured))
    return Plot(
        svg=step_plot("plot-sigma", title, words, schedules, steps),
        title=title,
        words=words + " A gap is a step without a number.",
        legend=(("reported", "reported (thin, dashed)"), ("measured", "measured (thick)")),
    )


def _accuracy(report: AuditReport) -> Plot:
    rows = [
        Spread(name=one_line(row.dataset, limit=28), printed=accuracy_text(row), mean=row.mean, std=row.std)
        for row in report.accuracy
    ]
    words = "; ".join(f"{one_line(row.dataset)} {accuracy_text(row)}" for row in report.accuracy)
    title = "Test accuracy of the final model, percent"
    return Plot(
        svg=spread_plot("plot-accuracy", title, words + ".", rows),
        title=title,
        words="Mean over seeds, with one sample standard deviation on each side. The axis does not begin at 0.",
    )
