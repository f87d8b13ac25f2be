"""The training behind an audit's accuracy: absent data are a note, a mechanism that fails is a finding."""

import argparse
from pathlib import Path

import pytest

import harness
from dpaudit.cli import main
from dpaudit.commands.progress import Progress
from dpaudit.commands.training import trainer
from dpaudit.contract import ExitCode, Severity
from dpaudit.gate import TrainingResult
from harness import TrainingFailure

HONEST = Path(__file__).resolve().parents[2] / "mechanisms" / "accepted" / "standard_dpsgd.py"


def trained(tmp_path: Path, *, accuracy: str, spec: Path = HONEST) -> TrainingResult:
    config = harness.run_config("digits", noise_multiplier=1.3, epochs=1)
    arguments = argparse.Namespace(form=None, accuracy=accuracy, runs=2, data_root=str(tmp_path / "nowhere"))
    with Progress(quiet=True) as progress:
        train = trainer(str(spec), config, arguments, tmp_path / "runs", progress.bar("x"))
        assert train is not None
        return train()


def test_data_that_are_not_there_are_a_note_and_no_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nowhere").mkdir()
    for folder in ("MNIST", "FashionMNIST"):
        raw = tmp_path / "nowhere" / folder / "raw"
        raw.mkdir(parents=True)
        for part in ("train", "t10k"):
            for kind in ("images-idx3", "labels-idx1"):
                (raw / f"{part}-{kind}-ubyte").write_bytes(b"")
    result = trained(tmp_path, accuracy="mnist")
    assert (result.records, result.findings) == ((), ())
    assert len(result.notes) == 1
    assert "No accuracy on mnist: " in result.notes[0]
    assert "no accuracy" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["crashed", "exited", "refused", "timed_out", "failed"])
def test_every_other_failure_stays_major(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> TrainingFailure:
        return TrainingFailure(kind=kind, message="it failed", file="x.py", line=3)

    monkeypatch.setattr(harness, "train_in_subprocess", fail)
    result = trained(tmp_path, accuracy="digits")
    assert result.notes == ()
    assert [(finding.rule, finding.severity) for finding in result.findings] == [("DPA501", Severity.MAJOR)]


def test_a_mechanism_that_pretends_that_data_are_absent_is_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "candidate.py"
    raising = "    def clip_and_noise(self, per_sample_grads, step, epoch):\n        import harness.datasets\n"
    raising += "        raise harness.datasets.UnusableDataset('no data here')\n"
    text = HONEST.read_text()
    start = text.index("    def clip_and_noise")
    end = text.find("\n    def ", start + 10)
    path.write_text(text[:start] + raising + (text[end:] if end > 0 else ""))
    result = trained(tmp_path, accuracy="digits", spec=path)
    assert result.notes == ()
    assert result.findings[0].severity is Severity.MAJOR
    assert "UnusableDataset" in result.findings[0].message


def test_canary_options_need_canaries(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(HONEST), "--preset", "digits", "--canary-kinds", "dirac"]) == ExitCode.USAGE
    assert "expected --canaries M beside them" in capsys.readouterr().err
