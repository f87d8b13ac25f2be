"""Run-level specimens end as they must; their truths are computed without dpaudit, and the matrix is that of its record."""

import argparse
import json
import math
import random

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from dpaudit.commands.ledger import audit_ledger
from dpaudit.contract import DataError, RecordedRun, RecordedStep
from dpaudit.replay.recorded_sampler import LEVEL, sampler_findings

from . import matrix, truth
from .configs import config
from .run import FOLDER, specimens
from .run_directories import run_directories
from .run_level import RunSpecimen, examine_run, run_specimens
from .traces import DELTA, RATE, STEPS, traces

CLASSES = {
    "c05",
    "c06",
    "c11",
    "c18",
    "c19",
    "c20",
    "c21",
    "c23",
    "c24",
    "c25",
    "c26",
    "c27",
    "c28",
    "c29",
    "c32",
    "c35",
    "c38",
}


def test_every_run_level_class_has_two_broken_specimens_and_two_clean_twins():
    found: dict[str, list[RunSpecimen]] = {}
    for specimen in run_specimens():
        found.setdefault(specimen.name.partition("_")[0], []).append(specimen)
    assert set(found) == CLASSES
    for name, members in found.items():
        assert sum(not member.sound for member in members) >= 2, name
        assert sum(member.sound for member in members) >= 2, name


@pytest.mark.parametrize("specimen", run_specimens("trace"), ids=lambda specimen: specimen.name)
def test_a_trace_ends_as_it_must(specimen):
    outcome = examine_run(specimen)
    assert outcome.as_it_must, (outcome.said, outcome.rules)


@pytest.mark.parametrize("specimen", run_specimens("directory"), ids=lambda specimen: specimen.name)
def test_a_run_directory_ends_as_it_must(specimen):
    outcome = examine_run(specimen)
    assert outcome.as_it_must, (outcome.said, outcome.rules)


def test_a_rejected_run_directory_really_costs_more_than_its_target():
    rejected = [one for one in run_specimens("directory") if one.expected == "rejected"]
    assert len(rejected) >= 4
    assert all(one.epsilon is not None and one.epsilon > 3 for one in rejected)


def test_runs_of_different_configurations_are_not_added_up(tmp_path):
    (several,) = (one for one in run_directories() if one.name == "c32_run_directory/clean_blatant")
    folder = several.write(tmp_path)
    path = folder / "digits-42" / "run.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"epochs": 2', '"epochs": 3', 1), encoding="utf-8")
    with pytest.raises(DataError):
        audit_ledger(str(folder), argparse.Namespace())


@pytest.mark.parametrize(
    "line", ["[]", '{"epoch": 2, "test_accuracy": 1}', '{"epoch": 1}', '{"epoch": 1, "test_accuracy": "x"}']
)
def test_malformed_metrics_are_refused_with_their_line(line, tmp_path):
    (clean,) = (one for one in run_directories() if one.name == "c05_run_directory/clean_blatant")
    folder = clean.write(tmp_path)
    (folder / "metrics.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"metrics\.jsonl:1"):
        audit_ledger(str(folder), argparse.Namespace())


@pytest.mark.parametrize("specimen", run_specimens("network"), ids=lambda specimen: specimen.name)
def test_a_network_ends_as_it_must(specimen):
    outcome = examine_run(specimen)
    assert outcome.as_it_must, (outcome.said, outcome.rules)


def test_a_rejected_trace_really_costs_more_than_its_target():
    for trace in traces():
        if trace.rejected and trace.epsilon is not None:
            assert trace.epsilon > trace.facts.get("target_epsilon", 3.0), trace.name


def test_truths_on_record_are_those_of_today():
    known = truth.on_record()
    for call in (
        "epsilon(0.7623, 1e-05, 0.02, 100)",
        "epsilon(0.38115, 1e-05, 0.02, 100)",
        "one_direction(0.7623, 1e-05, 0.02, 100)",
        "shuffled_upper_sigma(3.0, 1e-05, 2)",
    ):
        name, _, rest = call.partition("(")
        numbers = [json.loads(part) for part in rest.rstrip(")").split(",")]
        assert getattr(truth, name).__wrapped__(*numbers) == pytest.approx(known[call], rel=1e-6)
    sigma = known["sigma_for(3.0, 1e-05, 0.02, 100)"]
    assert truth.epsilon.__wrapped__(sigma, DELTA, RATE, STEPS) <= 3
    assert truth.epsilon.__wrapped__(sigma - 1e-3, DELTA, RATE, STEPS) > 3


def test_the_keys_epsilons_follow_from_its_noise_by_another_accountant():
    """``sigma`` of a key is a formula in z (the calibrated multiplier), B and t (the step); a few are computed again.

    z/B takes minutes. :func:`test_a_single_step_without_noise_to_speak_of_by_closed_form` holds a case of little noise.
    """
    wanted = {"z/2", "z*(0.1 if t == 37 else 1.0)", "z/((1+1.1**2)/2)**0.5", "z/1.003"}
    key = json.loads((FOLDER / "key.json").read_text(encoding="utf-8"))
    checked = set()
    for path, entry in key.items():
        formula = entry["sigma"]
        if formula not in wanted or formula in checked or entry["config"] != "default" or entry["epsilon"] is None:
            continue
        run = config("default")
        words = {"z": run.noise_multiplier, "B": run.batch_size}
        sigmas = [eval(formula, {}, {**words, "t": step}) for step in range(run.total_steps)]  # the key is ours
        found = truth.epsilon_of(sigmas, run.target_delta, run.sampling_probability)
        assert found == pytest.approx(entry["epsilon"], rel=2e-3), path
        checked.add(formula)
    assert checked == wanted


def test_a_single_step_without_noise_to_speak_of_by_closed_form():
    """Step 37 alone is a lower bound of by_step.py: P = (1-q) N(0, s^2) + q N(1, s^2) against N(0, s^2), s = z / 10."""
    entry = json.loads((FOLDER / "key.json").read_text(encoding="utf-8"))["c37_evasion/by_step.py"]
    run = config("default")
    q, s, delta = run.sampling_probability, run.noise_multiplier / 10, run.target_delta

    def excess(epsilon):
        at = s * s * np.log((np.expm1(epsilon) + q) / q) + 0.5
        spent = (1 - q) * norm.sf(at / s) + q * norm.sf((at - 1) / s) - np.exp(epsilon + norm.logsf(at / s))
        return spent - delta

    alone = brentq(excess, 1.0, 500.0)
    assert alone == pytest.approx(142.65, abs=0.01)
    assert alone <= entry["epsilon"] <= alone + 0.5


def test_nothing_true_is_computed_by_dpaudit():
    text = (FOLDER / "truth.py").read_text(encoding="utf-8")
    assert "import dpaudit" not in text
    assert "from dpaudit" not in text


def test_an_honest_sampler_fails_less_often_than_its_level():
    """1,000 Poisson records at a level of a tenth in place of a millionth: at most the binomial band around it."""
    run = config("default")
    draws = np.random.default_rng(5)
    failures = 0
    for _ in range(1000):
        rows = draws.binomial(run.dataset_size, run.sampling_probability, size=run.total_steps)
        record = RecordedRun(steps=tuple(RecordedStep(told=run.noise_multiplier, rows=int(n)) for n in rows))
        failures += bool(_at_level(run, record, 0.1))
    assert failures <= 130
    assert LEVEL == 1e-6


def _at_level(run, record, level):
    from dpaudit.replay import recorded_sampler

    kept = recorded_sampler.LEVEL
    recorded_sampler.LEVEL = level
    try:
        return list(sampler_findings(run, record, file=""))
    finally:
        recorded_sampler.LEVEL = kept


def test_a_record_without_repeats_is_no_poisson_record_and_one_with_them_is_let_be():
    run = config("default")
    draw = random.Random(1)

    def record(rows):
        return RecordedRun(steps=tuple(RecordedStep(told=1.0, rows=len(one), examples=tuple(one)) for one in rows))

    poisson = [
        [row for row in range(run.dataset_size) if draw.random() < run.sampling_probability]
        for _ in range(run.total_steps)
    ]
    assert not list(sampler_findings(run, record(poisson), file=""))
    epoch = [list(range(64 * step, 64 * step + 64)) for step in range(run.steps_per_epoch)]
    messages = [f.message for f in sampler_findings(run, record(epoch * run.epochs), file="")]
    assert any("no example is drawn twice" in message for message in messages)
    assert any("same batches in the same order" in message for message in messages)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"examples": "x"}, "examples: expected a list"),
        ({"batch_rows": 2, "examples": [1]}, "batch_rows says 2"),
        ({"ranks": [{"rank": 0}]}, "expected rank and noise_std"),
        ({"applied_sigma": -1}, "applied_sigma: expected a finite number"),
        ({"released": 1}, "released: expected true or false"),
        ({"noise_id": 4}, "noise_id: expected text"),
    ],
)
def test_a_malformed_step_names_its_key(line, message):
    from dpaudit.adapters.ledger_facts import optional_step

    with pytest.raises(DataError, match=message):
        optional_step(line, 1.0, where="line 2")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"accounted_sampler": "magic"}, "accounted_sampler"),
        ({"accounted_q": 2.0}, "accounted_q"),
        ({"also_released": [{"what": "x"}]}, "expected noise_multiplier"),
        ({"also_released": [{"noise": 1}]}, "unknown key 'noise'"),
        ({"selection": {"candidates": 0}}, "candidates"),
        ({"accounted_steps": 1.5}, "accounted_steps"),
    ],
)
def test_a_malformed_fact_names_its_key(facts, message):
    from dpaudit.adapters.ledger_facts import optional_facts

    with pytest.raises(DataError, match=message):
        optional_facts(facts, (), where="line 1")


# ---- the matrix --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def record():
    return json.loads(matrix.RECORD.read_text(encoding="utf-8"))


def test_the_record_holds_every_specimen(record):
    assert [row["path"] for row in record["mechanisms"]] == [specimen.path for specimen in specimens()]
    assert [row["name"] for row in record["runs"]] == [specimen.name for specimen in run_specimens()]


def test_no_verdict_on_record_is_wrong(record):
    rates = matrix.errors(record["mechanisms"]) | matrix.run_errors(record["runs"])
    for name in ("broken specimens ACCEPTED", "sound specimens REJECTED", "broken runs with nothing found"):
        assert rates[name].errors == 0
        assert rates[name].of > 30
    assert rates["sound runs rejected or held"].errors == 0


def test_the_readmes_numbers_and_the_page_are_those_of_the_record(record):
    readme = (matrix.ROOT / "README.md").read_text(encoding="utf-8")
    assert matrix.with_headline(readme, record) == readme
    assert (matrix.OUT / "README.md").read_text(encoding="utf-8") == matrix.page(record)


def test_cells_tell_a_witness_from_a_refusal():
    row = {
        "sound": False,
        "layers": {
            "static": {"outcome": "passed"},
            "properties": {"outcome": "violated"},
            "replay": {"outcome": "inconclusive"},
        },
        "epsilon": [None, 2.9],
        "refuting": ["DPA201"],
    }
    assert [matrix.cell(row, layer) for layer in matrix.LAYERS] == ["missed", "caught", "blocked"]
    assert matrix.cell({**row, "epsilon": [None, 3.1]}, "static") == "blocked"
    assert matrix.cell({**row, "refuting": []}, "properties") == "blocked"
    sound = {**row, "sound": True}
    assert [matrix.cell(sound, layer) for layer in matrix.LAYERS] == ["passed", "false alarm", "false alarm"]


def test_rates_carry_exact_intervals():
    assert str(matrix.Rate(errors=0, of=71)) == "0 of 71 (95 %: 0.0 to 5.1 %)"
    assert math.isclose(1 - 0.025 ** (1 / 71), 0.0506, abs_tol=1e-3)
