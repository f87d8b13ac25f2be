"""An attack on trainings in a few lines, for the text report of the audit that took its record in."""

from collections.abc import Iterator

from dpaudit.contract import AttackReport, PlaceRecord

from .figures import duration_text, lower_end, nearest
from .untrusted import one_line


def attack_lines(report: AttackReport) -> Iterator[str]:
    """The conclusion, accuracy with and without canaries, and a line for every place; curves are on the page."""
    yield f"attack on training, mode {report.mode}: {report.outcome} in {duration_text(report.seconds)}. {report.summary}"
    for what, value, dataset in report.accuracy:
        yield f"accuracy {one_line(what)}: {value:.2f} % ({one_line(dataset)})"
    for place in report.places:
        yield _place(place)


def _place(place: PlaceRecord) -> str:
    counted = next((bound for bound in place.bounds if bound.counts_here), None)
    shown = "no bound that counts"
    if counted is not None:
        shown = (
            f"epsilon at least {lower_end(counted.epsilon)} ({counted.method}, family {counted.family}, level "
            f"{nearest(counted.level)}; ceiling {lower_end(counted.ceiling)})"
        )
    curve = "" if place.roc is None else f"; ROC area {nearest(place.roc.auc)}"
    able = "a perfect attack could have refuted" if place.able else "no attack with these counts could have refuted"
    refuted = f"; REFUTED by {place.refuted_by}" if place.refuted_by else ""
    return f"{place.name}, {place.trials} trials, design {place.design}: {shown}; {able}{curve}{refuted}"
