"""Records of attacks on the command line: rendered again, taken into an audit, refused where they are about something else."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dpaudit.cli import main
from dpaudit.contract import ExitCode
from dpaudit.probe import load_source
from dpaudit.report import attack_from_json, attack_json, from_json
from harness import run_config

ROOT = Path(__file__).resolve().parents[2]
HONEST = ROOT / "mechanisms" / "accepted" / "standard_dpsgd.py"
RECORDED = ROOT / "reports" / "mnist-canaries"


def test_a_record_is_rendered_in_every_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(RECORDED)]) == ExitCode.ALL_ACCEPTED
    assert "accuracy: without canaries" in capsys.readouterr().out
    assert main(["report", str(RECORDED / "attack.json"), "--format", "markdown"]) == ExitCode.ALL_ACCEPTED
    assert "| steinke | 0.15" in capsys.readouterr().out
    assert main(["report", str(RECORDED), "--format", "html", "--out", str(tmp_path)]) == ExitCode.ALL_ACCEPTED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["attack.html", "attack.json", "attack.md", "attack.txt"]
    assert (tmp_path / "attack.json").read_bytes() == (RECORDED / "attack.json").read_bytes()
    assert main(["report", str(RECORDED), "--format", "sarif"]) == ExitCode.USAGE
    assert "--attack-record" in capsys.readouterr().err


def test_a_damaged_record_ends_with_2_and_names_the_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads((RECORDED / "attack.json").read_text())
    data["outcome"] = "violated"
    (tmp_path / "attack.json").write_text(json.dumps(data))
    assert main(["report", str(tmp_path)]) == ExitCode.USAGE
    assert "attack.outcome" in capsys.readouterr().err


def test_an_audit_takes_the_record_of_its_own_source_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--preset", "digits", "--layers", "replay", "--accuracy", "none", "--format", "json", "--quiet"]
    assert main(["gate", str(HONEST), *words, "--attack-record", str(tmp_path)]) == ExitCode.USAGE
    assert "cannot read" in capsys.readouterr().err
    recorded, source = attack_from_json((RECORDED / "attack.json").read_text()), load_source(str(HONEST))
    other = replace(recorded, source_sha256="0" * 64)
    (tmp_path / "attack.json").write_text(attack_json(other))
    assert main(["gate", str(HONEST), *words, "--attack-record", str(tmp_path)]) == ExitCode.USAGE
    assert "no audited mechanism has this source" in capsys.readouterr().err
    mine = replace(recorded, source_sha256=source.sha256, class_name=source.class_name, config=run_config("digits"))
    (tmp_path / "attack.json").write_text(attack_json(mine))
    assert main(["gate", str(HONEST), *words, "--attack-record", str(tmp_path)]) == ExitCode.INCONCLUSIVE
    (report,) = from_json(capsys.readouterr().out)
    assert report.attacks == (mine,)
    assert f"--attack-record={tmp_path}" in report.command
