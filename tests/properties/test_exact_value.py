"""Updates that are withheld by a look at data are refuted by counting; those that are withheld for free are not."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binom
from statsmodels.stats.proportion import proportion_confint

from dpaudit.contract import Measurement, Outcome, RunConfig, Severity
from dpaudit.probe import load_source
from dpaudit.properties import search
from dpaudit.properties.exact_value import (
    LEVEL,
    ExactValueCounts,
    count_exact_values,
    evidence_of,
    exact_value_findings,
    faults_in,
    trials_needed,
)
from dpaudit.properties.support_event import inclusion_probability

FILE = Path(__file__).parent / "specimens" / "withheld.py"
CLASSES = [name for name in re.findall(r"^class ([A-Z]\w+)", FILE.read_text(encoding="utf-8"), re.M) if name != "Base"]
BROKEN = [name for name in CLASSES if name.endswith("Broken")]
HONEST = [name for name in CLASSES if not name.endswith("Broken")]


@pytest.fixture(scope="module")
def often(config_of: Callable[..., RunConfig]) -> RunConfig:
    """A row is in every fifth batch, so that some thousand releases decide."""
    return config_of(dataset_size=80, target_epsilon=2.0)


def test_there_are_specimens_of_both_kinds() -> None:
    assert len(BROKEN) >= 5
    assert len(HONEST) >= 6


@pytest.mark.parametrize("name", BROKEN)
def test_an_update_withheld_by_private_data_is_refuted(name: str, often: RunConfig) -> None:
    (finding,) = exact_value_findings(load_source(f"{FILE}::{name}"), often, 60.0)
    assert finding.rule == "DPA220"
    assert finding.severity is Severity.CRITICAL
    assert finding.refutes
    assert faults_in(finding.evidence, often) == []
    assert finding.evidence["step"] == (1 if name == "RepeatedFromTheSecondStepBroken" else 0)
    assert finding.evidence["tensor"] == (1 if name == "OneTensorWithheldBroken" else -1)


@pytest.mark.parametrize("name", HONEST)
def test_one_withheld_for_free_is_let_be(name: str, often: RunConfig) -> None:
    assert exact_value_findings(load_source(f"{FILE}::{name}"), often, 60.0) == ()


def test_the_line_is_the_one_that_runs_with_the_row_alone(often: RunConfig) -> None:
    counts = count_exact_values(load_source(f"{FILE}::WithheldOnLargeNormsBroken"), often)
    lines = FILE.read_text(encoding="utf-8").splitlines()
    assert counts.line is not None
    start = lines.index("class WithheldOnLargeNormsBroken(Base):")
    assert counts.line == start + 1 + lines[start:].index(
        "            return [torch.zeros_like(total) for total in sums]"
    )


def test_the_search_counts_where_it_is_in_doubt(often: RunConfig, not_measured: Measurement) -> None:
    source = load_source(f"{FILE}::WithheldByACoinThatDataMovesBroken")
    result = search(source, often, not_measured, time_limit=60.0)
    assert result.outcome is Outcome.VIOLATED
    assert "DPA220" in {finding.rule for finding in result.findings if finding.refutes}


def test_padded_batches(config_of: Callable[..., RunConfig]) -> None:
    config = config_of("constant", dataset_size=80, target_epsilon=2.0)
    source = load_source(f"{FILE}::WithheldOnLargeNormsBroken")
    (finding,) = exact_value_findings(source, config, 60.0)
    assert finding.evidence["inclusion"] == inclusion_probability(config)


@pytest.mark.parametrize("cell", ["replace_one"])
def test_what_the_derivation_does_not_cover_is_not_asked(cell: str, config_of: Callable[..., RunConfig]) -> None:
    counts = count_exact_values(load_source(f"{FILE}::WithheldOnLargeNormsBroken"), config_of(cell))
    assert counts.failed.startswith("not asked")


def test_too_many_trials_are_not_begun(config_of: Callable[..., RunConfig]) -> None:
    config = config_of(dataset_size=60_000, target_epsilon=8.0)
    counts = count_exact_values(load_source(f"{FILE}::WithheldOnLargeNormsBroken"), config)
    assert "fit into the time" in counts.failed


# ---- what follows from counts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("without", "with_row"), [((5000, 0), (400, 400)), ((5000, 3), (400, 381)), ((9000, 40), (400, 250))]
)
def test_the_ends_are_clopper_and_pearsons(
    without: tuple[int, int], with_row: tuple[int, int], often: RunConfig
) -> None:
    evidence: Any = evidence_of(ExactValueCounts(without=without, with_row=with_row), often)
    upper = proportion_confint(without[1], without[0], alpha=LEVEL, method="beta")[1]
    lower = proportion_confint(with_row[1], with_row[0], alpha=LEVEL, method="beta")[0]
    assert evidence["chance_without_at_most"] == pytest.approx(upper, rel=1e-9)
    assert evidence["chance_with_at_least"] == pytest.approx(lower, rel=1e-9)
    expected = math.log((inclusion_probability(often) * lower - often.target_delta) / upper)
    assert evidence["epsilon_lower"] == pytest.approx(max(0.0, expected), rel=1e-9)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("trials", [300, 2000])
def test_a_mechanism_at_the_edge_of_its_budget_is_refuted_with_probability_below_the_level(
    share: float, trials: int, often: RunConfig
) -> None:
    """Summed over all counts: no simulation."""
    q, epsilon = inclusion_probability(often), often.target_epsilon
    rare = (q * share - often.target_delta) / math.exp(epsilon)
    chance = 0.0
    counts_with = range(401)
    weights = binom.pmf(counts_with, 400, share)
    for hits, weight in enumerate(binom.pmf(range(trials + 1), trials, rare)):
        if weight < 1e-12:
            continue
        # More hits with the row refute more: find the smallest number that does.
        low, high = 0, 401
        while low < high:
            middle = (low + high) // 2
            evidence = evidence_of(ExactValueCounts(without=(trials, hits), with_row=(400, middle)), often)
            low, high = (low, middle) if not faults_in(evidence, often) else (middle + 1, high)
        chance += weight * weights[low:].sum()
    assert chance <= LEVEL


def test_the_planned_number_of_trials_refutes(often: RunConfig) -> None:
    needed = trials_needed(often, 0.9)
    counts = ExactValueCounts(without=(needed, 0), with_row=(400, 395))
    assert faults_in(evidence_of(counts, often), often) == []
    fewer = replace(counts, without=(needed // 2, 0))
    assert faults_in(evidence_of(fewer, often), often) != []


def test_a_share_within_delta_needs_no_trials(often: RunConfig) -> None:
    with pytest.raises(ValueError, match="within delta"):
        trials_needed(often, 1e-6)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"hits_without": 60}, "its counts give"),
        ({"trials_without": 0}, "no counts"),
        ({"hits_with": 500}, "no counts"),
        ({"level": 0.05}, "at level"),
        ({"cell": "shuffle"}, "it is of"),
        ({"epsilon_lower": 9.0}, "its counts give"),
    ],
)
def test_evidence_that_was_changed_is_seen(change: dict[str, Any], fault: str, often: RunConfig) -> None:
    evidence = evidence_of(ExactValueCounts(without=(5000, 0), with_row=(400, 400)), often)
    assert faults_in(evidence, often) == []
    assert any(fault in found for found in faults_in({**evidence, **change}, often))
