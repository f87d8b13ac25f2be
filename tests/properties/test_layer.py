"""The public entry: its own process, limits, outcomes, and snippets that run."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dpaudit.contract import Measurement, Outcome, RunConfig, Severity, UsageError
from dpaudit.probe import load_source
from dpaudit.properties import measure_pair, search

FOLDER = Path(__file__).parent / "specimens"
ROOT = Path(__file__).resolve().parents[2]
ConfigOf = Callable[..., RunConfig]


def test_an_honest_mechanism_passes(config_of: ConfigOf, not_measured: Measurement) -> None:
    result = search(load_source(f"{FOLDER / 'honest.py'}::FlatClip"), config_of(), not_measured)
    assert result.outcome is Outcome.PASSED, result.summary
    assert result.findings == ()
    assert result.worst_contribution is not None
    assert result.worst_contribution.noise_multiplier == pytest.approx(0.8, rel=1e-3)


def test_a_broken_one_is_refuted_with_a_program_that_shows_it(
    config_of: ConfigOf, not_measured: Measurement, tmp_path: Path
) -> None:
    config = config_of(parameter_shapes=((2, 2),) * 9, target_epsilon=2.0)
    result = search(load_source(f"{FOLDER / 'broken.py'}::GroupsForOneBound"), config, not_measured)
    assert result.outcome is Outcome.VIOLATED
    finding = next(finding for finding in result.findings if finding.rule == "DPA201")
    assert finding.severity is Severity.CRITICAL
    assert finding.refutes
    assert result.demonstrated_epsilon is not None
    assert result.demonstrated_epsilon > config.target_epsilon
    snippet = finding.evidence["snippet"]
    assert isinstance(snippet, str)
    (tmp_path / "show.py").write_text(snippet)
    done = subprocess.run(
        [sys.executable, "show.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    words = done.stdout.split()
    shown, reported = float(words[2]), float(words[4])
    assert reported == 0.8
    expected = finding.evidence["noise_multiplier"]
    assert isinstance(expected, float)
    assert shown == pytest.approx(expected, rel=0.1)


def test_a_row_that_moves_others_refutes_without_an_epsilon(config_of: ConfigOf, not_measured: Measurement) -> None:
    """The sampler draws the other rows: the pair stands, an epsilon from one choice of them would be false."""
    source = load_source(f"{FOLDER / 'broken.py'}::BatchMeanGamma")
    result = search(source, config_of(), not_measured)
    finding = next(finding for finding in result.findings if finding.rule == "DPA201")
    assert finding.refutes
    assert result.demonstrated_epsilon is None
    assert "epsilon_lower" not in finding.evidence
    assert "epsilon >=" not in finding.message
    assert "no epsilon is quoted" in finding.message
    worst = finding.evidence["worst"]
    assert isinstance(worst, dict)
    pair = worst["counterexample"]
    assert isinstance(pair, dict)
    again = measure_pair(source, config_of(), pair)
    assert again.noise_multiplier == pytest.approx(worst["noise_multiplier"], rel=1e-4)


def test_a_run_of_one_step_is_judged_like_any_other(config_of: ConfigOf, not_measured: Measurement) -> None:
    """The noise test takes its samples from as many fresh objects as it needs."""
    config = config_of(epochs=1, steps_per_epoch=1)
    result = search(load_source(f"{FOLDER / 'honest.py'}::NumpyNoise"), config, not_measured)
    assert result.outcome is Outcome.PASSED, result.summary
    assert result.findings == ()


def test_a_fault_of_the_noise_is_found_in_a_short_run(config_of: ConfigOf, not_measured: Measurement) -> None:
    config = config_of(epochs=1, steps_per_epoch=2)
    result = search(load_source(f"{FOLDER / 'broken.py'}::ReseedsEveryStep"), config, not_measured)
    finding = next(finding for finding in result.findings if finding.rule == "DPA214")
    assert "independence of steps 1 apart" in finding.message


def test_a_mechanism_that_hangs_is_stopped_at_the_limit(config_of: ConfigOf, not_measured: Measurement) -> None:
    started = time.monotonic()
    result = search(load_source(f"{FOLDER / 'broken.py'}::Hangs"), config_of(), not_measured, time_limit=2.0)
    assert time.monotonic() - started < 120
    assert result.outcome is Outcome.INCONCLUSIVE
    assert [finding.rule for finding in result.findings] == ["DPA013"]
    text = (FOLDER / "broken.py").read_text().splitlines()
    assert result.findings[0].line is not None
    assert "while True" in text[result.findings[0].line - 1] or "pass" in text[result.findings[0].line - 1]


def test_too_little_time_is_inconclusive(config_of: ConfigOf, not_measured: Measurement) -> None:
    result = search(load_source(f"{FOLDER / 'honest.py'}::LoopOverRows"), config_of(), not_measured, time_limit=0.6)
    assert result.outcome is Outcome.INCONCLUSIVE


def test_a_mechanism_that_cannot_be_run_is_inconclusive(
    config_of: ConfigOf, not_measured: Measurement, tmp_path: Path
) -> None:
    path = tmp_path / "raises.py"
    path.write_text("class DPMechanism:\n    def clip_and_noise(self, grads, step, epoch):\n        return grads\n")
    result = search(load_source(str(path)), config_of(), not_measured)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.worst_contribution is None
    assert {finding.rule for finding in result.findings} == {"DPA012"}


def test_bad_requests_are_refused(config_of: ConfigOf, not_measured: Measurement) -> None:
    source = load_source(f"{FOLDER / 'honest.py'}::FlatClip")
    with pytest.raises(UsageError, match="positive time limit"):
        search(source, config_of(), not_measured, time_limit=0.0)
    with pytest.raises(UsageError, match="parameter_shapes"):
        search(source, config_of(parameter_shapes=()), not_measured)
