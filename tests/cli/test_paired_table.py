"""``dpaudit table paired``: differences to a baseline on common seeds, with intervals that cover."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import harness
from dpaudit.cli import main
from dpaudit.commands.paired import judgement, student_interval
from dpaudit.commands.run_material import shown_bracket
from dpaudit.contract import Bracket, ExitCode

ACCEPTED = Path(__file__).resolve().parents[2] / "mechanisms" / "accepted"


def run(*words: str) -> int:
    torch.set_num_threads(1)
    return main(words)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two mechanisms at one bound with three common seeds, and one of them with a fourth."""
    out = tmp_path_factory.mktemp("runs")
    words = ("--preset", "digits", "--noise-multiplier", "1.2", "--max-grad-norm", "2", "--epochs", "1")
    words += ("--form", "plain", "--quiet")
    for name, seeds in (("standard_dpsgd", "1,2,3"), ("automatic_clipping", "1,2,3,4")):
        path = str(ACCEPTED / f"{name}.py")
        assert run("train", path, *words, "--seeds", seeds, "--out", str(out)) == 0
    return [str(path) for path in sorted(out.iterdir())]


def accuracy(folders: Sequence[str], name: str, seed: int) -> float:
    (found,) = [folder for folder in folders if Path(folder).name == f"{name}-digits-{seed}"]
    value = harness.read_run(found).accuracy
    assert value is not None
    return value


def test_differences_are_taken_seed_by_seed(folders: list[str], tmp_path: Path) -> None:
    assert run("table", "paired", *folders, "--out", str(tmp_path / "new" / "table.md")) == 0
    pairs = [
        accuracy(folders, "automatic_clipping", seed) - accuracy(folders, "standard_dpsgd", seed) for seed in (1, 2, 3)
    ]
    text = (tmp_path / "new" / "table.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("| automatic_clipping |")]
    assert f"| 3 | {statistics.fmean(pairs):+.2f} | [" in line
    assert "over the seeds that both have; accuracies are over all seeds of a row" in text
    (setting,) = json.loads((tmp_path / "new" / "table.json").read_text())["settings"]
    (compared,) = setting["compared"]
    assert compared["pairs"] == pytest.approx(dict(zip("123", pairs, strict=True)))
    assert compared["interval"]["ends"] == pytest.approx(student_interval(pairs, 0.95))
    assert setting["baseline"]["accuracy"].keys() == {"1", "2", "3"}
    values = sorted(accuracy(folders, "standard_dpsgd", seed) for seed in (1, 2, 3))
    assert (setting["baseline"]["min"], setting["baseline"]["max"], setting["baseline"]["median"]) == pytest.approx(
        (values[0], values[-1], values[1])
    )
    mad = statistics.median(abs(value - values[1]) for value in values)
    assert f"| {values[0]:.2f} / {values[-1]:.2f} / {values[1]:.2f} / {mad:.2f} | 3 |" in text


def test_a_learning_rate_is_tuned_like_a_bound(folders: list[str], tmp_path: Path) -> None:
    """A mechanism without a bound is tuned by its rate: both stand in one table, and the rates beside them."""
    words = ("--preset", "digits", "--noise-multiplier", "1.2", "--epochs", "1", "--form", "plain", "--quiet")
    path, other = str(ACCEPTED / "automatic_clipping.py"), str(ACCEPTED / "per_sample_adaptive_clipping.py")
    for file, rate in ((path, "0.2"), (other, "0.1")):
        assert run("train", file, *words, "--seeds", "1,2", "--learning-rate", rate, "--out", str(tmp_path)) == 0
    base = [folder for folder in folders if "standard_dpsgd" in folder]
    out = tmp_path / "table.md"
    assert run("table", "paired", *base, *map(str, sorted(tmp_path.glob("*-digits-*"))), "--out", str(out)) == 0
    rows = [
        line for line in out.read_text().splitlines() if line.startswith(("| automatic", "| per_sample", "| standard"))
    ]
    assert [row.split(" | ")[2] for row in sorted(rows)] == ["0.2", "0.1", "0.1"]
    (setting,) = json.loads(out.with_suffix(".json").read_text())["settings"]
    assert {one["mechanism"]: one["learning_rate"] for one in setting["compared"]} == {
        "automatic_clipping": 0.2,
        "per_sample_adaptive_clipping": 0.1,
    }
    assert "learning_rate" not in setting["recipe"]


def test_the_audit_of_a_run_at_its_own_bound_and_length_stands_in_the_table(folders: list[str], tmp_path: Path) -> None:
    """A mechanism is audited as it was trained: the epsilon is then the audit's, and its command says bound and length."""
    words = ("--preset", "digits", "--noise-multiplier", "1.2", "--max-grad-norm", "2", "--epochs", "1", "--quiet")
    layers = ("--layers", "replay", "--accuracy", "none", "--out", str(tmp_path))
    assert run("gate", str(ACCEPTED / "standard_dpsgd.py"), *words, *layers) == ExitCode.INCONCLUSIVE
    (audit,) = json.loads((tmp_path / "report.json").read_text())["audits"]
    assert (audit["config"]["max_grad_norm"], audit["config"]["epochs"]) == (2.0, 1)
    assert "--max-grad-norm 2.0 --epochs 1" in audit["command"]
    out = tmp_path / "table.md"
    assert run("table", "paired", *folders, str(tmp_path), "--out", str(out)) == 0
    lines = {
        line.split(" | ")[0]: line.split(" | ")[5] for line in out.read_text().splitlines() if " | plain | " in line
    }
    assert lines == {"| standard_dpsgd": "audit, INCONCLUSIVE", "| automatic_clipping": "reported schedule"}


def test_a_baseline_and_common_seeds_are_needed(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("table", "paired", *folders, "--baseline", "gone") == 2
    assert "expected runs of 'gone' at one bound" in capsys.readouterr().err
    some = [folder for folder in folders if folder.endswith(("standard_dpsgd-digits-1", "automatic_clipping-digits-4"))]
    assert run("table", "paired", *some) == 2
    assert "expected at least 2 seeds that standard_dpsgd has too, got []" in capsys.readouterr().err
    assert run("table", "paired", *folders, "--out", "table.json") == 2
    assert "--out names the Markdown file" in capsys.readouterr().err


def test_the_interval_covers() -> None:
    """5 differences of mean 0.3, 2,000 times: misses at most 5 % and six standard deviations."""
    values = np.random.default_rng(0).normal(0.3, 1.0, size=(2_000, 5))
    ends = [student_interval(row.tolist(), 0.95) for row in values]
    missed = sum(not low <= 0.3 <= high for low, high in ends) / len(ends)
    assert 0.01 < missed < 0.05 + 6 * (0.05 * 0.95 / len(ends)) ** 0.5


@pytest.mark.parametrize(
    ("interval", "words"), [((0.1, 0.4), "better"), ((-0.4, -0.1), "worse"), ((-0.1, 0.4), "no difference shown")]
)
def test_what_an_interval_shows(interval: tuple[float, float], words: str) -> None:
    assert judgement(interval) == words


def test_what_is_printed_of_a_bracket_is_no_tighter_than_the_bracket() -> None:
    words = {"lower_method": "PLD", "upper_method": "PLD"}
    assert shown_bracket(Bracket(lower=57.75551, upper=83.12551, **words)) == "[57.755, 83.126]"
    assert shown_bracket(Bracket(lower=None, upper=2.99784, **words)) == "[?, 2.9979]"
