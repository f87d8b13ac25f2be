"""Every honest specimen passes without any finding; every broken one is named by rule and line."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dpaudit.contract import RunConfig, Severity, Strength
from dpaudit.properties.counterexample import read_counterexample
from dpaudit.properties.report import Report

FOLDER = Path(__file__).parent / "specimens"


def classes_of(file: str) -> list[str]:
    return [name for name in re.findall(r"^class ([A-Z]\w+)", (FOLDER / file).read_text(), re.M) if name != "Hangs"]


HONEST = classes_of("honest.py")
MUST_FIND = {
    "GroupsForOneBound": "DPA201",
    "FallingLayerNoise": "DPA201",
    "DividedTwice": "DPA201",
    "NotClipped": "DPA201",
    "FirstTensorsNorm": "DPA201",
    "LargestNorm": "DPA201",
    "SkipsHugeRows": "DPA201",
    "PeakBetween": "DPA201",
    "ForgetsToClipLate": "DPA201",
    "RealisedDivisor": "DPA208",
    "NoiseFromBatch": "DPA202",
    "LastTensorBare": "DPA204",
    "OneDrawForAll": "DPA204",
    "UniformNoise": "DPA214",
    "ClampedNoise": "DPA214",
    "SeedInCode": "DPA205",
    "WritesInput": "DPA210",
    "FirstRowTwice": "DPA211",
    "SwapsInside": "DPA211",
    "SmoothedRows": "DPA219",
    "ReseedsEveryStep": "DPA214",
    "TurnsAndReseeds": "DPA214",
    "BatchMeanGamma": "DPA201",
    "CountsQuietRows": "DPA201",
    "EmptyWithoutNoise": "DPA212",
    "EmptyRaises": "DPA212",
    "GroupsThrownAway": "DPA215",
    "NoiseThrownAway": "DPA215",
    "PublishedStyle": "DPA213",
    "ExponentialWeight": "DPA216",
    "HalfAfterClip": "DPA201",
}
MINOR = {"DPA205", "DPA210", "DPA211", "DPA215", "DPA219"}

SearchAll = Callable[..., dict[str, Report]]
ConfigOf = Callable[..., RunConfig]


@pytest.fixture(scope="module")
def honest(search_all: SearchAll, config_of: ConfigOf) -> dict[str, Report]:
    return search_all("honest.py", HONEST, config_of())


@pytest.fixture(scope="module")
def broken(search_all: SearchAll, config_of: ConfigOf) -> dict[str, Report]:
    return search_all("broken.py", list(MUST_FIND), config_of())


def test_there_are_enough_honest_specimens() -> None:
    assert len(HONEST) >= 16
    assert set(MUST_FIND) == set(classes_of("broken.py"))


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_mechanism_gets_no_finding(honest: dict[str, Report], name: str) -> None:
    report = honest[name]
    assert [problem.message for problem in report.problems] == []
    assert report.incomplete == ()
    assert report.tried > 300
    assert report.worst is not None
    assert report.worst_reported is not None
    assert report.worst >= report.worst_reported * (1 - 1e-3)
    # The search reaches the true worst row, so its silence means something.
    assert report.worst <= report.worst_reported * 1.001


@pytest.mark.parametrize(("name", "rule"), MUST_FIND.items())
def test_a_broken_mechanism_is_named(broken: dict[str, Report], name: str, rule: str) -> None:
    found = [problem for problem in broken[name].problems if problem.rule == rule]
    assert found, [problem.message for problem in broken[name].problems]
    assert found[0].line is not None
    body = (FOLDER / "broken.py").read_text().splitlines()
    start = next(index for index, text in enumerate(body) if text.startswith(f"class {name}("))
    end = next((i for i in range(start + 1, len(body)) if body[i].startswith("class ")), len(body))
    assert start < found[0].line <= end, "the line lies outside the class"
    assert (found[0].severity is Severity.MINOR) == (rule in MINOR or (name, rule) == ("PublishedStyle", "DPA213"))


@pytest.mark.parametrize("name", ["GroupsForOneBound", "NotClipped", "NoiseFromBatch", "ExponentialWeight"])
def test_a_counterexample_is_shrunk_to_the_simplest_row(broken: dict[str, Report], name: str) -> None:
    problem = next(p for p in broken[name].problems if p.rule == MUST_FIND[name])
    plain = problem.evidence["counterexample"]
    assert isinstance(plain, dict)
    found = read_counterexample(plain)
    assert found.step == 0
    assert found.content == "zeros"
    assert len(set(found.row)) == 1, "all coordinates equal"


def test_the_multipliers_are_those_of_the_formulas(broken: dict[str, Report]) -> None:
    tensors, sigma = 4, 0.8
    assert broken["GroupsForOneBound"].worst == pytest.approx(sigma / tensors**0.5, rel=1e-3)
    joint = sum(((index + 1) / sigma) ** 2 for index in range(tensors)) ** -0.5
    assert broken["FallingLayerNoise"].worst == pytest.approx(joint, rel=1e-3)
    assert broken["DividedTwice"].worst == pytest.approx(sigma / 16, rel=1e-3)
    assert broken["PeakBetween"].worst == pytest.approx(sigma / 1.5, rel=1e-2)  # found by the climb, not by the list
    assert broken["ForgetsToClipLate"].worst == pytest.approx(sigma / 1.3, rel=1e-3)


def test_the_worst_pair_is_followed_along_a_run(broken: dict[str, Report], config_of: ConfigOf) -> None:
    steps = dict(broken["GroupsForOneBound"].demonstrated)
    assert sorted(steps) == list(range(config_of().total_steps))
    assert max(steps.values()) == pytest.approx(0.4, rel=1e-3)
    late = dict(broken["ForgetsToClipLate"].demonstrated)
    assert late[0] == pytest.approx(0.8, rel=1e-3)
    assert late[79] == pytest.approx(0.8 / 1.3, rel=1e-3)


@pytest.mark.parametrize("name", ["BatchMeanGamma", "CountsQuietRows"])
def test_steps_beside_rows_that_matter_bound_no_epsilon(broken: dict[str, Report], name: str) -> None:
    """The sampler draws the other rows, so one choice of them is no pair of data sets."""
    assert broken[name].demonstrated == ()
    assert len(broken[name].beside_others) > 10
    assert broken[name].worst is not None
    assert broken[name].worst < 0.8 / 1.5
    assert broken["GroupsForOneBound"].beside_others == () or broken["GroupsForOneBound"].demonstrated


def test_rows_that_are_not_finite(search_all: SearchAll, config_of: ConfigOf) -> None:
    published = search_all("broken.py", ["PublishedStyle"], config_of("raw"))["PublishedStyle"]
    rules = {problem.rule: problem.severity for problem in published.problems}
    assert rules["DPA209"] is Severity.CRITICAL
    assert rules["DPA213"] is Severity.MAJOR  # an overflow in half precision passes the clip
    guarded = search_all("honest.py", ["Guarded"], config_of("raw"))["Guarded"]
    assert guarded.problems == ()
    assert guarded.incomplete == ()


@pytest.mark.parametrize("cell", ["zero_out", "constant", "replace_one"])
def test_other_cells_keep_honest_mechanisms(search_all: SearchAll, config_of: ConfigOf, cell: str) -> None:
    names = ["AutoS", "ReleasedMomentum"]
    for report in search_all("honest.py", names, config_of(cell)).values():
        assert [problem.message for problem in report.problems] == []
        assert report.worst == pytest.approx(0.8, rel=2e-3)


def test_centring_costs_a_factor_under_zero_out(search_all: SearchAll, config_of: ConfigOf) -> None:
    """An absent row contributes clip(-m): free under add_remove, up to 2 C under zero_out."""
    report = search_all("honest.py", ["CentredOnReleases"], config_of("zero_out"))["CentredOnReleases"]
    assert report.worst is not None
    assert report.worst < 0.75
    assert {problem.rule for problem in report.problems} == {"DPA201"}


def test_the_paper_numbers_with_forty_layers(search_all: SearchAll, config_of: ConfigOf) -> None:
    config = config_of(parameter_shapes=((2,),) * 40, noise_multiplier=1.1, epochs=1, steps_per_epoch=4)
    reports = search_all("broken.py", ["FallingLayerNoise", "GroupsForOneBound"], config)
    assert reports["FallingLayerNoise"].worst == pytest.approx(0.0074, abs=5e-5)
    assert reports["GroupsForOneBound"].worst == pytest.approx(1.1 / 40**0.5, rel=1e-3)


POST_PROCESSED = classes_of("post_processed.py")
BEHIND = {
    "SignsOneBareBroken": ("DPA204", Severity.CRITICAL, Strength.PROOF),
    "ClampedLittleNoiseBroken": ("DPA201", Severity.MAJOR, Strength.PROOF),
    "ClampedNoiseBroken": ("DPA214", Severity.MAJOR, Strength.HEURISTIC),
    "UnitNormScaleFromDataBroken": ("DPA202", Severity.MAJOR, Strength.HEURISTIC),
    "UpperHalfBesideBroken": ("DPA202", Severity.CRITICAL, Strength.PROOF),
}


@pytest.fixture(scope="module")
def post_processed(search_all: SearchAll, config_of: ConfigOf) -> dict[str, Report]:
    return search_all("post_processed.py", POST_PROCESSED, config_of())


@pytest.mark.parametrize("name", [name for name in POST_PROCESSED if not name.endswith("Broken")])
def test_post_processing_of_the_release_gets_no_finding(post_processed: dict[str, Report], name: str) -> None:
    report = post_processed[name]
    assert [problem.message for problem in report.problems] == []
    assert report.incomplete == ()
    assert report.worst == pytest.approx(0.8, rel=1e-6)
    assert report.tried > 300
    assert report.demonstrated == ()
    assert report.beside_others == ()


def test_every_broken_one_behind_post_processing_is_listed() -> None:
    assert set(BEHIND) == {name for name in POST_PROCESSED if name.endswith("Broken")}


@pytest.mark.parametrize("name", BEHIND)
def test_post_processing_hides_no_fault(post_processed: dict[str, Report], name: str) -> None:
    """What the values before post-processing show is a witness only where the release shows it too."""
    rule, severity, strength = BEHIND[name]
    report = post_processed[name]
    found = next(problem for problem in report.problems if problem.rule == rule)
    assert (found.severity, found.strength) == (severity, strength), found.message
    assert report.demonstrated == ()
    if name == "ClampedLittleNoiseBroken":
        assert found.evidence["noise_multiplier"] == pytest.approx(0.4, rel=1e-6)
    if (
        name == "ClampedNoiseBroken"
    ):  # bounded noise is no value before post-processing: nothing is read, nothing passes
        assert report.worst is None
        assert any("the noise cannot be read" in line for line in report.incomplete)
