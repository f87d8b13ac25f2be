"""Which mechanisms may be compared: same data set, same budget, same privacy question."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dpaudit.contract import AccuracyRow, AuditReport, Cell, Verdict

_Question = tuple[str | None, float, float, Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One mechanism in a comparison.

    Attributes:
        place: position of the report in the sequence that was given.
        accuracy: its accuracy on the comparison's data set; ``None`` where none was measured.
        rank: 1 for the most accurate ACCEPTED mechanism, equal for equal means; ``None`` for all that may not be ranked.
    """

    place: int
    report: AuditReport
    accuracy: AccuracyRow | None
    rank: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Mechanisms that answer the same question on the same data set, split by what was shown of them.

    ``accepted`` by falling accuracy; ``inconclusive`` and ``rejected`` by name, because accuracy bought outside the
    budget is no merit. ``broken`` holds every audit in which dpaudit itself failed, whatever its verdict.
    """

    dataset: str | None
    target: float
    delta: float
    cell: Cell
    accepted: tuple[Entry, ...]
    inconclusive: tuple[Entry, ...]
    rejected: tuple[Entry, ...]
    broken: tuple[Entry, ...]


def compare(reports: Sequence[AuditReport]) -> tuple[tuple[str | None, tuple[Comparison, ...]], ...]:
    """Data set and its comparisons; data sets in order of first appearance, mechanisms without accuracy last.

    Within a data set, comparisons with an ACCEPTED mechanism come first.
    """
    groups: dict[_Question, list[Entry]] = {}
    for entry, key in _keyed(reports):
        groups.setdefault(key, []).append(entry)
    datasets = sorted(dict.fromkeys(key[0] for key in groups), key=lambda dataset: dataset is None)
    return tuple(
        (
            dataset,
            tuple(
                sorted(
                    (_comparison(key, entries) for key, entries in groups.items() if key[0] == dataset),
                    key=lambda comparison: not comparison.accepted,
                )
            ),
        )
        for dataset in datasets
    )


def _keyed(reports: Sequence[AuditReport]) -> Iterator[tuple[Entry, _Question]]:
    for place, report in enumerate(reports):
        rows: tuple[AccuracyRow | None, ...] = report.accuracy or (None,)
        for row in rows:
            entry = Entry(place=place, report=report, accuracy=row, rank=None)
            dataset = None if row is None else row.dataset
            yield entry, (dataset, report.epsilon.target, report.epsilon.delta, report.config.cell)


def _comparison(key: _Question, entries: list[Entry]) -> Comparison:
    dataset, target, delta, cell = key
    sound = [entry for entry in entries if not entry.report.broken]

    def named(verdict: Verdict) -> list[Entry]:
        return sorted((e for e in sound if e.report.verdict is verdict), key=lambda e: (e.report.mechanism, e.place))

    return Comparison(
        dataset=dataset,
        target=target,
        delta=delta,
        cell=cell,
        accepted=_ranked(named(Verdict.ACCEPTED)),
        inconclusive=tuple(named(Verdict.INCONCLUSIVE)),
        rejected=tuple(named(Verdict.REJECTED)),
        broken=tuple(entry for entry in entries if entry.report.broken),
    )


def _ranked(entries: list[Entry]) -> tuple[Entry, ...]:
    """By falling mean accuracy; equal means share a rank. Without accuracy there is nothing to rank by."""
    measured = [(entry.accuracy.mean, entry) for entry in entries if entry.accuracy is not None]
    measured.sort(key=lambda pair: -pair[0])
    means = [mean for mean, _ in measured]
    ranked = [
        Entry(place=entry.place, report=entry.report, accuracy=entry.accuracy, rank=means.index(mean) + 1)
        for mean, entry in measured
    ]
    return (*ranked, *(entry for entry in entries if entry.accuracy is None))
