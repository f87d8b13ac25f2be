"""``dpaudit attack`` as a user meets it."""

import json
from importlib import import_module
from pathlib import Path

import pytest

from dpaudit.cli import main
from dpaudit.commands.attack import PLAYERS, exit_code
from dpaudit.contract import ExitCode, Outcome
from dpaudit.options.attack import MODES

HONEST = str(Path(__file__).resolve().parents[2] / "mechanisms" / "accepted" / "standard_dpsgd.py")


def test_every_mode_has_a_player_and_only_those() -> None:
    assert set(MODES) == set(PLAYERS)
    for module in PLAYERS.values():
        assert callable(import_module(f"dpaudit.commands.{module}").play)


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome.PASSED, ExitCode.ALL_ACCEPTED),
        (Outcome.VIOLATED, ExitCode.REJECTED),
        (Outcome.INCONCLUSIVE, ExitCode.INCONCLUSIVE),
        (Outcome.NOT_APPLICABLE, ExitCode.INCONCLUSIVE),
        (Outcome.ERRORED, ExitCode.BROKEN),
    ],
)
def test_only_an_able_attack_that_found_nothing_ends_with_0(outcome: Outcome, code: ExitCode) -> None:
    assert exit_code(outcome) is code


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mode", "loud"], "expected one of"),
        (["--mode", "step,model"], "by themselves"),
        (["--mode", "step,step"], "expected one mode"),
        (["--seconds", "0"], "> 0"),
        (["--seed", "-1"], ">= 0"),
        (["--preset", "absent"], "preset"),
        (["--preset", "scatter-digits", "--mode", "train"], "trains on features of images behind a private mean"),
        (["--preset", "scatter-digits", "--mode", "shadow"], "--mode step and --mode run play its mechanism"),
        (["--preset", "scatter-digits", "--mode", "repeat"], "--mode repeat: canaries are images"),
    ],
)
def test_wrong_input_ends_with_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["attack", HONEST, *words])
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code == ExitCode.USAGE
    assert message in capsys.readouterr().err


def test_the_model_decides_nothing_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["attack", HONEST, "--preset", "digits", "--mode", "model", "--format", "json"])
    record = json.loads(capsys.readouterr().out)
    assert code == ExitCode.INCONCLUSIVE
    assert record["outcome"] == "inconclusive"
    assert "planning only" in record["summary"]
    assert record["epsilon_lower"] is None
    assert record["bounds"]
    assert not any(bound["valid"] for bound in record["bounds"])


def test_too_little_noise_ends_with_1_and_names_the_rule(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--preset", "digits", "--noise-multiplier", "0.4", "--seconds", "6", "--format", "json"]
    code = main(["attack", HONEST, *words])
    record = json.loads(capsys.readouterr().out)
    assert code == ExitCode.REJECTED
    assert [finding["rule"] for finding in record["findings"]] == ["DPA301"]
    assert record["epsilon_lower"] > 3
    assert record["command"].startswith("dpaudit attack ")


def test_a_file_that_cannot_be_loaded_is_inconclusive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("class DPMechanism(:\n", encoding="utf-8")
    assert main(["attack", str(broken), "--preset", "digits"]) == ExitCode.INCONCLUSIVE
    assert "DPA0" in capsys.readouterr().err
