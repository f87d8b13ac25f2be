"""The command line as a user meets it: numbers that are relied upon, and every kind of wrong input."""

import json
from pathlib import Path

import pytest

from dpaudit.cli import main
from dpaudit.contract import ExitCode

MNIST = ["--q", str(256 / 60_000), "--delta", "1e-5"]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    try:
        code = main(words)
    except SystemExit as stop:  # argparse ends the process by itself
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def replayed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    code, out, _ = run(capsys, "replay", *words, "--format", "json")
    assert code == ExitCode.ALL_ACCEPTED
    record: dict[str, object] = json.loads(out)
    return record


@pytest.mark.parametrize(
    ("accountant", "ends"),
    [("pld", (86.2, 86.2)), ("rdp", (None, 98.1)), ("benchmark", (3.0016, 3.0016))],
)
def test_the_benchmark_sigma_by_three_accountants(
    capsys: pytest.CaptureFixture[str], accountant: str, ends: tuple[float | None, float]
) -> None:
    record = replayed(capsys, *MNIST, "--sigma", "0.2385", "--steps", "1170", "--accountant", accountant)
    assert isinstance(record["epsilon"], list)
    for got, expected in zip(record["epsilon"], ends, strict=True):
        assert got is None if expected is None else got == pytest.approx(expected, rel=0.01)
    assert record["valid"] is (accountant != "benchmark")
    assert (record["delta"], record["relation"], record["sampler"]) == (1e-5, "add_remove", "poisson")


def test_a_schedule_file_gives_the_same_as_its_constant(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    schedule = tmp_path / "schedule.txt"
    schedule.write_text("# sigma of every step\n" + "0.6508\n" * 1170)
    record = replayed(capsys, *MNIST, "--schedule", str(schedule))
    assert record["epsilon"] == pytest.approx([2.999, 2.999], rel=0.01)
    assert record["steps"] == 1170


def test_a_shuffled_epoch_is_derived_from_q(capsys: pytest.CaptureFixture[str]) -> None:
    record = replayed(capsys, *MNIST, "--sigma", "0.2385", "--steps", "1170", "--sampler", "shuffle")
    assert isinstance(record["epsilon"], list)
    assert record["epsilon"][1] == pytest.approx(83.11, rel=0.01)
    assert (record["relation"], record["rows"]) == ("zero_out", "constant")


def test_no_noise_is_the_string_inf(capsys: pytest.CaptureFixture[str]) -> None:
    assert replayed(capsys, *MNIST, "--sigma", "0", "--steps", "3")["epsilon"] == ["inf", "inf"]


def test_a_release_before_training_costs(capsys: pytest.CaptureFixture[str]) -> None:
    command = (
        "calibrate",
        "--epsilon",
        "3",
        "--q",
        "0.1365333",
        "--delta",
        "1e-5",
        "--steps",
        "280",
        "--format",
        "json",
    )
    sigmas = [
        json.loads(run(capsys, *command, *extra)[1])["noise_multiplier"]
        for extra in ((), ("--preparation", "30"), ("--preparation", "30", "--preparation", "30"))
    ]
    assert sigmas == sorted(sigmas)
    assert sigmas[1:] == pytest.approx([3.3348, 3.3382], abs=5e-4)
    replay = ("replay", *command[3:7], "--sigma", str(sigmas[1]), *command[7:], "--preparation", "30")
    assert json.loads(run(capsys, *replay)[1])["epsilon"] == pytest.approx([2.9979, 2.9981], abs=2e-4)


def test_calibration_rounds_up(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "calibrate", "--epsilon", "3", *MNIST, "--steps", "1170", "--format", "json")
    record = json.loads(out)
    assert code == ExitCode.ALL_ACCEPTED
    assert record["noise_multiplier"] == pytest.approx(0.6508, rel=0.01)
    assert 3 * (1 - 1e-3) <= record["epsilon"][1] <= 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("replay", *MNIST), "expected --sigma S with --steps T, or --schedule FILE"),
        (("replay", *MNIST, "--sigma", "nan", "--steps", "3"), "finite number >= 0, got 'nan'"),
        (("replay", *MNIST, "--sigma", "-1", "--steps", "3"), "finite number >= 0"),
        (("replay", *MNIST, "--sigma", "one", "--steps", "3"), "finite number >= 0, got 'one'"),
        (("replay", *MNIST, "--sigma", "1", "--steps", "0"), "whole number >= 1"),
        (("replay", "--q", "0", "--delta", "1e-5", "--sigma", "1", "--steps", "3"), "probability in (0, 1]"),
        (("replay", "--q", "0.1", "--delta", "1", "--sigma", "1", "--steps", "3"), "delta in [0, 1)"),
        (("replay", *MNIST, "--schedule", "no-such-file"), "cannot read no-such-file"),
        (("replay", *MNIST, "--sigma", "1", "--steps", "3", "--schedule", "x"), "not both"),
        (("replay", *MNIST, "--sigma", "1", "--steps", "3", "--sampler", "fixed_size", "--relation", "add_remove"), ""),
        (("calibrate", "--epsilon", "0", *MNIST, "--steps", "3"), "finite number > 0"),
        (("replay", *MNIST, "--sigma", "1", "--steps", "3", "--preparation", "inf"), "finite number > 0"),
        (
            ("replay", *MNIST, "--sigma", "1", "--steps", "3", "--preparation", "9", "--accountant", "benchmark"),
            "no --preparation",
        ),
        (("gate", "no-such-file.py"), "no such file: 'no-such-file.py'"),
        (("gate", "mechanisms", "--preset", "mnsit"), "did you mean"),
        (("gate", "mechanisms", "--layers", "replya"), "did you mean 'replay'"),
        (("gate", "mechanisms", "--noise-multiplier", "nan"), "finite number >= 0"),
        (("gate", "mechanisms", "--accuracy", "imagenet"), "--accuracy: expected one of"),
        (("gate", "mechanisms", "--expect", "no-such-file.toml"), "cannot read no-such-file.toml"),
        (("train", "no-such-file.py", "--preset", "digits"), "no-such-file.py: No such file"),
        (("train", "m.py", "--preset", "digits", "--seeds", "one"), "whole numbers separated by commas"),
        (("report", "no-such-folder"), "expected a report.json, an attack.json, a run directory"),
        (("frobnicate",), "invalid choice: 'frobnicate'"),
    ],
)
def test_wrong_input_is_named_and_ends_with_code_2(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out) == (ExitCode.USAGE, "")
    assert message in " ".join(err.split())
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "got none"), ("1.0\nnan\n", "line 2: expected a sigma >= 0"), ("1.0\n\n-1\n", "line 3"), ("a\n", "got 'a'")],
)
def test_a_malformed_schedule_names_the_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, message: str
) -> None:
    schedule = tmp_path / "schedule.txt"
    schedule.write_text(text)
    code, _, err = run(capsys, "replay", *MNIST, "--schedule", str(schedule))
    assert code == ExitCode.USAGE
    assert message in err


def test_an_empty_folder_audits_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "gate", str(tmp_path), "--noise-multiplier", "1", "--format", "json")
    assert code == ExitCode.NOTHING_AUDITED
    assert json.loads(out)["audits"] == []


def test_delta_zero_has_no_finite_epsilon(capsys: pytest.CaptureFixture[str]) -> None:
    record = replayed(capsys, "--q", "0.5", "--delta", "0", "--sigma", "1", "--steps", "2")
    assert isinstance(record["epsilon"], list)
    assert record["epsilon"][1] == "inf"


def test_resuming_starts_the_seeds_that_an_interruption_left_out(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    mechanism = str(Path(__file__).resolve().parents[2] / "mechanisms" / "accepted" / "standard_dpsgd.py")
    words = ("train", mechanism, "--preset", "digits", "--epochs", "1", "--quiet", "--out", str(tmp_path))
    first, _, _ = run(capsys, *words, "--seeds", "1")
    both, out, err = run(capsys, *words, "--seeds", "1,2", "--resume")
    assert (first, both, err) == (ExitCode.ALL_ACCEPTED, ExitCode.ALL_ACCEPTED, "")
    assert "seed 1" in out
    assert "seed 2" in out
