"""Who is compared with whom, and who is ranked at all."""

import dataclasses

from dpaudit.contract import AccuracyRow, AuditReport, Outcome, Relation
from dpaudit.report.ranking import compare


def scored(report: AuditReport, name: str, mean: float | None) -> AuditReport:
    rows = () if mean is None else (AccuracyRow(dataset="MNIST", mean=mean, std=0.1, runs=3),)
    return dataclasses.replace(report, mechanism=name, accuracy=rows)


def test_accepted_are_ranked_by_accuracy_and_ties_share_a_rank(accepted_report: AuditReport) -> None:
    reports = [
        scored(accepted_report, name, mean) for name, mean in (("a", 94.0), ("b", 96.0), ("c", 94.0), ("d", 90.0))
    ]
    ((dataset, (comparison,)),) = compare(reports)
    assert dataset == "MNIST"
    assert [(entry.rank, entry.report.mechanism) for entry in comparison.accepted] == [
        (1, "b"),
        (2, "a"),
        (2, "c"),
        (4, "d"),
    ]


def test_others_are_never_ranked_however_accurate(
    accepted_report: AuditReport, inconclusive_report: AuditReport
) -> None:
    reports = [scored(inconclusive_report, "best", 99.9), scored(accepted_report, "kept", 90.0)]
    ((_, (comparison,)),) = compare(reports)
    assert [entry.report.mechanism for entry in comparison.accepted] == ["kept"]
    assert [(entry.rank, entry.place) for entry in comparison.inconclusive] == [(None, 0)]


def test_a_broken_audit_is_ranked_nowhere_even_if_it_says_accepted(accepted_report: AuditReport) -> None:
    errored = dataclasses.replace(accepted_report.layers[0], outcome=Outcome.ERRORED)
    broken = dataclasses.replace(scored(accepted_report, "broken", 99.0), layers=(errored,))
    ((_, (comparison,)),) = compare([broken])
    assert comparison.accepted == ()
    assert [entry.report.mechanism for entry in comparison.broken] == ["broken"]


def test_different_budgets_and_questions_are_not_compared(accepted_report: AuditReport) -> None:
    looser = dataclasses.replace(accepted_report, epsilon=dataclasses.replace(accepted_report.epsilon, target=8.0))
    cell = dataclasses.replace(accepted_report.config.cell, relation=Relation.REPLACE_ONE)
    other = dataclasses.replace(accepted_report, config=dataclasses.replace(accepted_report.config, cell=cell))
    reports = [scored(report, name, 95.0) for report, name in ((accepted_report, "a"), (looser, "b"), (other, "c"))]
    ((_, comparisons),) = compare(reports)
    assert sorted(entry.report.mechanism for part in comparisons for entry in part.accepted) == ["a", "b", "c"]
    assert [entry.rank for part in comparisons for entry in part.accepted] == [1, 1, 1]


def test_every_report_appears_once_a_dataset(samples: tuple[AuditReport, ...]) -> None:
    parts = [part for _, questions in compare(samples) for part in questions]
    shown = sorted(
        (entry.place, part.dataset)
        for part in parts
        for entry in (*part.accepted, *part.inconclusive, *part.rejected, *part.broken)
        if part.dataset is not None
    )
    wanted = sorted((place, row.dataset) for place, report in enumerate(samples) for row in report.accuracy)
    assert shown == wanted
    assert compare(samples)[-1][0] is None


def test_without_accuracy_nothing_is_ranked(accepted_report: AuditReport) -> None:
    ((dataset, (comparison,)),) = compare([scored(accepted_report, "a", None)])
    assert dataset is None
    assert [entry.rank for entry in comparison.accepted] == [None]
