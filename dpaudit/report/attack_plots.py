"""The curves of an attack, one for every place that has scores."""

from dpaudit.contract import AttackReport, PlaceRecord

from .figures import nearest
from .plot import Plot
from .svg_roc import roc_plot


def attack_plots(report: AttackReport, prefix: str) -> list[Plot | None]:
    """The receiver operating characteristic of every place, in their order; names on the page start with ``prefix``."""
    return [_plot(f"{prefix}-{number}", place) for number, place in enumerate(report.places)]


def _plot(name: str, place: PlaceRecord) -> Plot | None:
    roc = place.roc
    if roc is None:
        return None
    rates = ", ".join(f"{nearest(hit)} at {nearest(rate)}" for rate, hit in roc.at_low_rates)
    band = f"{nearest(100 * (1 - roc.level))} % limits at each threshold by itself"
    band += "" if roc.bands_valid else ", as if scores were independent, which canaries of one run are not"
    words = f"Area under the curve {nearest(roc.auc)}. True positive rate {rates}. Band: {band}."
    title = f"ROC of the attack: {place.name}"
    legend = [("attack", "attack"), ("guess", "guessing")]
    if roc.claimed:
        legend.insert(1, ("reported", "largest that the claim allows"))
    return Plot(svg=roc_plot(name, title, words, roc), title=title, words=words, legend=tuple(legend))
