"""Every number of a report with its cell, its delta and the method that gave it: a number never travels alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dpaudit.contract import AuditReport, Bracket, Calibration

from .figures import accuracy_text, lower_end, nearest, upper_end
from .untrusted import one_line
from .wording import NO_METHOD, NOT_PROVED


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberRow:
    """One line of the table; ``delta`` and ``cell`` are a dash where the number does not depend on them."""

    quantity: str
    value: str
    delta: str
    cell: str
    method: str


def number_rows(report: AuditReport) -> tuple[NumberRow, ...]:
    """All numbers of ``report``: epsilons, noise multipliers, the honest factor, accuracies."""
    return (*_epsilons(report), *_sigmas(report), *_accuracies(report))


def _epsilons(report: AuditReport) -> Iterator[NumberRow]:
    epsilon, cell = report.epsilon, str(report.config.cell)

    def row(quantity: str, value: str, method: str) -> NumberRow:
        return NumberRow(quantity=quantity, value=value, delta=nearest(epsilon.delta), cell=cell, method=method)

    yield row("target epsilon", nearest(epsilon.target), "the claim")
    reported = "none" if epsilon.reported is None else nearest(epsilon.reported)
    yield row("reported epsilon", reported, _claim_method(report.config.calibration))
    if epsilon.reported_bracket is not None:
        for side, value, method in _sides(epsilon.reported_bracket):
            yield row(f"epsilon of the reported schedule, {side}", value, method)
    for side, value, method in _sides(epsilon.replayed):
        yield row(f"replayed epsilon, {side}", value, method)
    attack = "no attack gave a number" if epsilon.empirical_lower is None else lower_end(epsilon.empirical_lower)
    yield row("empirical epsilon, lower end", attack, "attack; level and counts in the empirical layer's summary")
    if report.honest_noise_factor is not None:
        yield row(
            "honest noise factor",
            upper_end(report.honest_noise_factor),
            "solved for through the whole measured schedule, for the target epsilon",
        )


def _sigmas(report: AuditReport) -> Iterator[NumberRow]:
    cell = str(report.config.cell)
    for side, value, method in _sides(report.sigma.effective):
        yield NumberRow(
            quantity=f"effective noise multiplier, smallest over steps, {side}",
            value=value,
            delta="-",
            cell=cell,
            method=method,
        )
    for name, values, method in (
        ("reported", report.sigma.reported, "get_effective_sigma at every step"),
        ("measured", report.sigma.measured, "read by the probe at every step; an upper bound on the truth"),
    ):
        yield NumberRow(
            quantity=f"{name} noise multiplier", value=schedule_text(values), delta="-", cell=cell, method=method
        )


def _accuracies(report: AuditReport) -> Iterator[NumberRow]:
    for row in report.accuracy:
        yield NumberRow(
            quantity=f"test accuracy, {one_line(row.dataset)}, percent",
            value=accuracy_text(row),
            delta="-",
            cell="-",
            method="final model; mean and sample standard deviation over seeds",
        )
        if row.best_on_test_mean is not None:
            yield NumberRow(
                quantity=f"best accuracy on the test set, {one_line(row.dataset)}, percent",
                value=f"{row.best_on_test_mean:.2f}",
                delta="-",
                cell="-",
                method="maximum over epochs, chosen on the test set: optimistic",
            )


def _sides(bracket: Bracket) -> tuple[tuple[str, str, str], ...]:
    """Side, value and method of both ends; a missing end says so, and its method says why."""
    lower = NOT_PROVED if bracket.lower is None else lower_end(bracket.lower)
    upper = NOT_PROVED if bracket.upper is None else upper_end(bracket.upper)
    return (
        ("lower end", lower, bracket.lower_method or NO_METHOD),
        ("upper end", upper, bracket.upper_method or NO_METHOD),
    )


def _claim_method(calibration: Calibration) -> str:
    if calibration is Calibration.BENCHMARK:
        return "the claim's own accountant: the benchmark's formula, which is not valid"
    return f"the claim's own accountant: {calibration}"


def schedule_text(values: Sequence[float | None]) -> str:
    """A schedule in one line: how many steps, its range, and how many steps have no number."""
    known = [value for value in values if value is not None]
    if not values:
        return "no steps"
    steps = f"{len(values)} {'step' if len(values) == 1 else 'steps'}"
    if not known:
        return f"none at any of {steps}"
    low, high = min(known), max(known)
    span = nearest(low) if low == high else f"{nearest(low)} to {nearest(high)}"
    missing = len(values) - len(known)
    return f"{span} over {steps}" + (f", none at {missing} of them" if missing else "")
