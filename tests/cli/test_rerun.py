"""``dpaudit rerun``: a finding of a written report shows again, or it does not, or the reason why not is said."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dpaudit.accounting import calibrate_noise_multiplier
from dpaudit.cli import main
from dpaudit.commands.gate import with_rerun
from dpaudit.contract import AuditReport, Cell, ExitCode, Layer, RunConfig
from dpaudit.gate import audit
from dpaudit.report import to_json

CONFIG = RunConfig(
    dataset_size=5000,
    batch_size=40,
    expected_batch=40.0,
    epochs=1,
    steps_per_epoch=40,
    max_grad_norm=1.0,
    target_epsilon=3.0,
    target_delta=1e-5,
    noise_multiplier=calibrate_noise_multiplier(
        target_epsilon=3.0, delta=1e-5, cell=Cell(), sampling_probability=0.008, steps=40
    ).noise_multiplier,
    parameter_shapes=((3, 4), (3,)),
)
PER_TENSOR = """
import torch

class DPMechanism:
    def __init__(self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs,
                 target_epsilon, target_delta):
        self.c, self.z, self.b = max_grad_norm, noise_multiplier, batch_size

    def get_effective_sigma(self, step, epoch):
        return self.z

    def clip_and_noise(self, grads, step, epoch):
        sums = [torch.tensordot((self.c / g.flatten(1).norm(dim=1).clamp(min=1e-12)).clamp(max=1), g, 1) for g in grads]
        return [(s + self.z * self.c * torch.randn_like(s)) / self.b for s in sums]
"""
SOUND = PER_TENSOR.replace("return [(s + self.z", "return [(s + 2**0.5 * self.z")

Written = tuple[Path, AuditReport]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A report on a mechanism that clips every tensor to C with noise for one, and its folder."""
    folder = tmp_path_factory.mktemp("rerun")
    mechanism = folder / "per_tensor.py"
    mechanism.write_text(PER_TENSOR)
    report = audit(str(mechanism), CONFIG, layers=(Layer.PROPERTIES, Layer.REPLAY), command="dpaudit gate again")
    report = with_rerun(report, folder / "report.json")
    (folder / "report.json").write_text(to_json([report]))
    return folder, report


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["rerun", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def number_of(report: AuditReport, rule: str) -> str:
    return str(next(number for number, finding in enumerate(report.findings, 1) if finding.rule == rule))


def test_every_finding_names_the_command_that_shows_it_again(written: Written) -> None:
    folder, report = written
    assert {"DPA201", "DPA404"} <= {finding.rule for finding in report.findings}
    for number, finding in enumerate(report.findings, 1):
        assert finding.rerun == f"dpaudit rerun {folder / 'report.json'} {number} --mechanism {report.mechanism}"


def test_a_pair_shows_again_with_the_same_numbers(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    _, report = written
    words = next(finding for finding in report.findings if finding.rule == "DPA201").rerun.split()[2:]
    code, out, _ = run(capsys, *words, "--format", "json")
    record = json.loads(out)
    assert (code, record["reproduced"], record["rule"]) == (ExitCode.REJECTED, True, "DPA201")
    assert record["before"]["noise_multiplier"] == pytest.approx(CONFIG.noise_multiplier / 2**0.5, rel=1e-3)
    assert record["after"]["noise_multiplier"] == pytest.approx(record["before"]["noise_multiplier"], rel=1e-9)
    assert record["after"]["reported"] == CONFIG.noise_multiplier
    assert not record["source_changed"]


def test_another_finding_shows_again_by_the_narrowest_audit(
    written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, report = written
    code, out, _ = run(capsys, str(folder), number_of(report, "DPA404"))
    finding = next(finding for finding in report.findings if finding.rule == "DPA404")
    lower = finding.evidence["epsilon_lower"]
    assert code == ExitCode.REJECTED
    assert "run: audit by replay" in out
    assert f"epsilon_lower: {lower:.6g} in the report, {lower:.6g} now" in out
    assert out.splitlines()[-1] == "reproduced"


def test_a_changed_source_is_said_and_a_mended_one_shows_nothing(
    written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, report = written
    mended = tmp_path / "mended.py"
    mended.write_text(SOUND)
    (tmp_path / "report.json").write_text(to_json([replace(report, mechanism=str(mended))]))
    code, out, err = run(capsys, str(tmp_path), "dpa201")
    assert (code, out) == (ExitCode.USAGE, "")
    assert "has changed since the report" in err
    assert report.source_sha256[:12] in err

    code, out, _ = run(capsys, str(tmp_path), "DPA201", "--changed")
    assert code == ExitCode.ALL_ACCEPTED
    assert "the source has changed since the report" in out
    assert out.splitlines()[-1] == "not reproduced"


def test_a_candidate_that_ends_its_process_is_not_decided(
    written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, report = written
    broken = tmp_path / "broken.py"
    broken.write_text(
        PER_TENSOR.replace("        sums =", "        import ctypes; ctypes.string_at(0)\n        sums =")
    )
    (tmp_path / "report.json").write_text(to_json([replace(report, mechanism=str(broken))]))
    code, out, _ = run(capsys, str(tmp_path), "DPA201", "--changed")
    assert code == ExitCode.INCONCLUSIVE
    assert "SIGSEGV" in out
    assert out.splitlines()[-1] == "not decided"


def test_wrong_input_is_named(written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, report = written
    both, forged, gone = (tmp_path / name for name in ("both.json", "forged.json", "gone.json"))
    both.write_text(to_json([report, replace(report, mechanism="other.py")]))
    finding = report.findings[int(number_of(report, "DPA201")) - 1]
    bad = replace(finding, evidence={"counterexample": {"step": "import os"}})
    forged.write_text(to_json([replace(report, findings=(bad,))]))
    gone.write_text(to_json([replace(report, mechanism=str(tmp_path / "gone.py"))]))
    for words, message in (
        ((str(tmp_path / "none.json"), "1"), "cannot read"),
        ((str(folder), "DPA302"), "no finding 'DPA302'; the report holds"),
        ((str(folder), "99"), "no finding '99'"),
        ((str(folder), "1", "--mechanism", "nobody.py"), "no audit of 'nobody.py'"),
        ((str(both), "DPA201"), "add --mechanism with one of"),
        ((str(both), "DPA201", "--mechanism", "other.py"), "run from the folder in which the audit ran"),
        ((str(gone), "DPA201"), "no such file"),
        ((str(forged), "DPA201"), "not one that dpaudit wrote"),
    ):
        code, out, err = run(capsys, *words)
        assert (code, out) == (ExitCode.USAGE, ""), words
        assert message in " ".join(err.split())


def test_a_finding_about_a_training_run_is_not_repeated(
    written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, report = written
    failed = replace(report.findings[0], rule="DPA501", evidence={})
    (tmp_path / "report.json").write_text(to_json([replace(report, findings=(failed,))]))
    code, _, err = run(capsys, str(tmp_path), "1")
    assert code == ExitCode.USAGE
    assert "training run" in err
    assert report.command in err
