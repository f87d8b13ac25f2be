"""``dpaudit sweep`` and ``dpaudit table`` on the embedded digits."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import harness
from dpaudit.accounting import epsilon_bracket
from dpaudit.cli import main
from dpaudit.commands.training import median_and_mad
from dpaudit.contract import EventTrace, UsageError
from harness.datasets import held_out, load_dataset
from harness.run_directory import write_run
from harness.sweep import private_choice, spent_on_trials

STANDARD = str(Path(__file__).resolve().parents[2] / "mechanisms" / "accepted" / "standard_dpsgd.py")


def run(*words: str) -> int:
    torch.set_num_threads(1)
    return main(words)


def swept(out: Path, *extra: str) -> Sequence[str]:
    grid = ("--grid", "learning_rate=0.05,0.2", "--grid", "epochs=1", "--hold-out", "300", "--momentum", "0.8")
    return ("sweep", STANDARD, "--preset", "digits", *grid, "--quiet", "--out", str(out), *extra)


def test_a_sweep_compares_on_held_out_examples_and_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*swept(tmp_path)) == 0
    said = capsys.readouterr().out
    assert "learning_rate 0.2, epochs 1" in said
    assert "<- chosen" in said
    assert "used by all 2 trainings: together epsilon at most" in said
    assert "the choice is NOT private" in said
    table = json.loads((tmp_path / "sweep.json").read_text())
    assert [row["settings"]["learning_rate"] for row in table["rows"]] == ["0.05", "0.2"]
    assert {row["dataset"] for row in table["rows"]} == {"digits (validation split)"}
    first = harness.read_run(table["rows"][0]["directories"][0])
    assert (first.config.dataset_size, first.recipe["momentum"]) == (1_137, 0.8)
    shutil.rmtree(table["rows"][1]["directories"][0])  # as if it had been stopped after the first
    kept = Path(first.directory, "checkpoint.pt").stat().st_mtime_ns
    assert run(*swept(tmp_path)) == 0
    assert json.loads((tmp_path / "sweep.json").read_text()) == table
    assert Path(first.directory, "checkpoint.pt").stat().st_mtime_ns == kept


def test_a_private_choice_is_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = set()
    for _ in range(4):
        assert run(*swept(tmp_path, "--selection-epsilon", "1e-6")) == 0
        chosen.add(json.loads((tmp_path / "sweep.json").read_text())["chosen"])
    assert len(chosen) == 1
    assert "epsilon 1e-06, delta 0, for the validation part" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--grid", "colour=red"), "expected a setting among"),
        (("--grid", "views=two"), "got 'two', which is no int"),
        (("--grid", "views"), "expected NAME=A,B"),
        (("--grid", "views=1", "--hold-out", "1437"), "expected a batch size between 1 and the 0 examples"),
        (("--grid", "views=1", "--augment", "blur"), "expected names among flip, crop, augmix or none, got 'blur'"),
    ],
)
def test_a_wrong_grid_is_refused(words: Sequence[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sweep", STANDARD, "--preset", "digits", "--hold-out", "100", *words) == 2
    assert said in capsys.readouterr().err


def test_the_held_out_split_is_disjoint_and_fixed() -> None:
    data = load_dataset("digits")
    split, again = held_out(data, 200), held_out(data, 200)
    assert (len(split.train_labels), len(split.test_labels)) == (1_237, 200)
    assert torch.equal(split.test_images, again.test_images)
    whole = torch.cat([split.train_images, split.test_images]).flatten(1).unique(dim=0)
    assert torch.equal(whole, data.train_images.flatten(1).unique(dim=0))
    with pytest.raises(UsageError, match="hold out between 1 and 1436"):
        held_out(data, 1_437)


def test_trials_cost_more_together_than_alone() -> None:
    one = harness.run_config("digits", epochs=1, noise_multiplier=2.0)
    other = harness.run_config("digits", epochs=1, noise_multiplier=2.0, batch_size=128)
    single, twice, mixed = (spent_on_trials(configs) for configs in ([one], [one, one], [one, other]))
    assert single.epsilon < twice.epsilon < 2 * single.epsilon
    assert mixed.epsilon == pytest.approx(single.epsilon + spent_on_trials([other]).epsilon)
    assert mixed.delta == 2 * single.delta


def test_the_releases_before_training_of_every_trial_count() -> None:
    plain = harness.run_config("digits", noise_multiplier=4.0, epochs=2)
    one = dataclasses.replace(plain, preparation=(3.0,))
    without, single, twice = (spent_on_trials(configs).epsilon for configs in ([plain], [one], [one, one]))
    assert without < single < twice
    both = dataclasses.replace(one, preparation=(3.0, 3.0), epochs=4)
    released = EventTrace.of_run(both, (4.0,) * both.total_steps)
    assert twice == pytest.approx(epsilon_bracket(released, one.target_delta).upper)


def test_the_private_choice_follows_the_exponential_mechanism() -> None:
    """10,000 choices between counts 3 and 0 at epsilon 1; six standard deviations."""
    chosen = sum(private_choice([3.0, 0.0], epsilon=1.0) for _ in range(10_000)) / 10_000
    expected = 1 / (1 + 2.718281828459045**1.5)
    assert abs(chosen - expected) < 6 * (expected * (1 - expected) / 10_000) ** 0.5
    with pytest.raises(UsageError, match="epsilon > 0"):
        private_choice([1.0], epsilon=0.0)


def test_median_and_mad() -> None:
    assert median_and_mad([58.6, 58.8, 59.0, 59.4, 59.5]) == pytest.approx((59.0, 0.4))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds and a run that was stopped."""
    out = tmp_path_factory.mktemp("runs")
    words = ("--preset", "digits", "--noise-multiplier", "1.2", "--epochs", "1", "--quiet", "--log", "csv")
    assert run("train", STANDARD, *words, "--runs", "2", "--out", str(out)) == 0
    config = harness.run_config("digits", noise_multiplier=1.2, epochs=1)
    harness.train(STANDARD, "digits", seed=1, out=out / "stopped", config=config, max_steps=2, progress=False)
    return out


def test_the_benchmark_table_is_made_from_run_directories(runs: Path, tmp_path: Path) -> None:
    folders = [str(path) for path in sorted(runs.iterdir())]
    assert run("table", "benchmark", *folders, "--out", str(tmp_path / "table.md")) == 0
    text = (tmp_path / "table.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("| standard_dpsgd | digits |")]
    found = [harness.read_run(path).accuracy for path in folders if "stopped" not in path]
    accuracies = [accuracy for accuracy in found if accuracy is not None]
    assert len(accuracies) == 2
    assert f"| {sum(accuracies) / 2:.2f} ± " in line
    assert "| reported schedule |" in line
    assert "| valid accountant | 1 | 0.1 | 1 | 1.2000 |" in line
    assert f"| {min(accuracies):.2f} / {max(accuracies):.2f} / " in line
    assert "2 completed run(s) on cpu" in text
    assert "stopped: 2 of 22 steps" in text
    assert text.count("| not run |") == 12


def test_a_published_row_is_priced_as_it_ran_and_as_its_formula_assumes(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Figures of the published MNIST runs, from an invented run directory: 83.1 for five shuffled epochs, 86.2 for Poisson."""
    config = harness.run_config("benchmark-mnist")
    given = harness.read_run(runs / "standard_dpsgd-digits-42")
    ledger = tuple(
        dataclasses.replace(
            given.ledger[0],
            step=step,
            epoch=config.epoch_of(step),
            rows_seen=config.batch_size,
            rows_sampled=config.batch_size,
            reported_sigma=config.noise_multiplier,
        )
        for step in range(config.total_steps)
    )
    record = dataclasses.replace(
        given,
        config=config,
        dataset="MNIST",
        ledger=ledger,
        metrics={"accuracy_mnist": 96.18, "epsilon_mnist": 3.0016},
        accuracy=96.18,
    )
    (tmp_path / "run").mkdir()
    write_run(tmp_path / "run", record, epochs=[])
    assert run("table", "benchmark", str(tmp_path / "run")) == 0
    text = capsys.readouterr().out
    (line,) = [line for line in text.splitlines() if line.startswith("| standard_dpsgd | MNIST |")]
    assert "| as published | 1 | 0.1 | 5 | 0.2385 | 3.00 | [55.842, 83.126] | reported schedule | [86." in line
    assert line.endswith("| 96.18 |  | 1 | 96.20 |")
    assert "| adaptive_clipping | MNIST | as published |  |" in text
    assert text.count("| not run |") == 11


def test_a_sigma_that_was_given_is_not_called_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--preset", "digits", "--noise-multiplier", "0.5", "--epochs", "1", "--seeds", "1", "--quiet")
    assert run("train", STANDARD, *words, "--out", str(tmp_path)) == 0
    assert run("table", "benchmark", str(tmp_path / "standard_dpsgd-digits-1")) == 0
    assert "| standard_dpsgd | digits | sigma given | 1 | 0.1 | 1 | 0.5000 |" in capsys.readouterr().out


def test_the_papers_table_says_what_was_not_run(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("table", "paper", str(runs / "standard_dpsgd-digits-42")) == 0
    text = capsys.readouterr().out
    assert "| ResNet-20 | DP-RMSProp | 58.6 / 59.5 / 59.0 / 0.4 | not run | 0 | | |" in text
    assert text.count("not run") == 15


def test_a_run_counts_once(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = str(runs / "standard_dpsgd-digits-42")
    assert run("table", "benchmark", one, one) == 2
    assert "seed given twice" in capsys.readouterr().err


def test_only_runs_and_reports_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("table", "benchmark", str(tmp_path)) == 2
    assert "expected a run directory or a report.json" in capsys.readouterr().err


def test_metrics_as_csv(runs: Path) -> None:
    lines = (runs / "standard_dpsgd-digits-42" / "metrics.csv").read_text().splitlines()
    assert lines[0] == "epoch,test_accuracy,learning_rate,seconds"
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--log", "papyrus"), "expected names among csv, tensorboard, got 'papyrus'"),
        (("--seeds", "1", "--runs", "2"), "--runs and --seeds both name seeds"),
        (("--cuda-graphs",), "cuda_graphs needs compile"),
        (("--views", "2"), "more than one view needs an augmentation"),
    ],
)
def test_wrong_options_of_train_are_refused(
    words: Sequence[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    base = ("train", STANDARD, "--preset", "digits", "--noise-multiplier", "1", "--epochs", "1", "--quiet")
    assert run(*base, "--out", str(tmp_path), *words) == 2
    assert said in capsys.readouterr().err
