"""``dpaudit attack`` on trainings, as a user meets it: a broken mechanism is refuted, its honest twin is not."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from dpaudit.cli import main
from dpaudit.contract import ExitCode
from dpaudit.empirical import read_npz

HONEST = Path(__file__).resolve().parents[2] / "mechanisms" / "accepted" / "standard_dpsgd.py"
TWIN = '''
import torch


class DPMechanism:
    """Clips as it should; adds SHARE of the noise that it reports."""

    def __init__(self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs,
                 target_epsilon, target_delta):
        self.bound, self.sigma, self.batch_size = max_grad_norm, noise_multiplier, batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        norms = torch.stack([grad.flatten(1).square().sum(1) for grad in per_sample_grads]).sum(0).sqrt()
        weights = (self.bound / norms.clamp(min=1e-12)).clamp(max=1.0)
        noised = []
        for grad in per_sample_grads:
            total = torch.tensordot(weights, grad, dims=1)
            noised.append((total + SHARE * self.sigma * self.bound * torch.randn_like(total)) / self.batch_size)
        return noised

    def get_effective_sigma(self, step, epoch):
        return self.sigma
'''


LONG = pytest.mark.skipif(os.environ.get("DPAUDIT_POWER") != "1", reason="a minute long; set DPAUDIT_POWER=1")


def written(tmp_path: Path, share: float) -> str:
    path = tmp_path / "twin.py"
    path.write_text(TWIN.replace("SHARE", str(share)))
    return str(path)


def attack(capsys: pytest.CaptureFixture[str], path: str, *words: str) -> tuple[int, dict[str, object]]:
    code = main(["attack", path, "--preset", "digits", "--format", "json", "--quiet", *words])
    return code, json.loads(capsys.readouterr().out)


def test_one_run_refutes_a_hundredth_of_the_noise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--mode", "train", "--canaries", "500", "--canary-kinds", "dirac", "--no-plain")
    code, record = attack(capsys, written(tmp_path, 0.01), *words, "--out", str(tmp_path / "out"))
    assert code == ExitCode.REJECTED
    assert [finding["rule"] for finding in record["findings"]] == ["DPA301", "DPA407"]  # type: ignore[attr-defined,index]
    assert record["epsilon_lower"] > 3  # type: ignore[operator]
    page = (tmp_path / "out" / "attack.html").read_text()
    assert "Refuted by one_run_fdp_accountant" in page
    assert page.count("<polyline") == 3
    assert (tmp_path / "out" / "attack.txt").read_text().startswith("violated: ")
    stored = json.loads((tmp_path / "out" / "attack.json").read_text())
    assert stored["schema"] == "dpaudit.attack/1"
    assert {step["reproduced"] for step in stored["replayed"]} == {True}


def test_one_run_does_not_refute_the_honest_twin_and_says_what_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--mode", "train", "--canaries", "90", "--run-dir", str(tmp_path / "runs"))
    code, record = attack(capsys, written(tmp_path, 1.0), *words)
    assert code == ExitCode.INCONCLUSIVE
    assert "underpowered" in str(record["summary"])
    assert "at least 304 canaries are needed, there are 90" in str(record["summary"])
    assert record["findings"] == []
    valid = {bound["method"] for bound in record["bounds"] if bound["valid"]}  # type: ignore[attr-defined,index]
    assert valid == {"steinke", "one_run_fdp", "one_run_fdp_accountant"}
    # The scores that were kept are read by `dpaudit bound`, and the finished runs are taken again.
    place = tmp_path / "runs" / "canaries"
    scores = read_npz(place / "scores.npz")
    assert len(scores.inside) + len(scores.outside) == 90
    before = (place / "run.json").stat().st_mtime_ns
    assert attack(capsys, str(tmp_path / "twin.py"), *words)[0] == code
    assert (place / "run.json").stat().st_mtime_ns == before
    ledger = [json.loads(line) for line in (place / "ledger.jsonl").read_text().splitlines()]
    measured = [row["measured_noise"] for row in ledger if row["measured_noise"] is not None]
    assert len(measured) == 8
    assert np.allclose(measured, ledger[0]["reported_sigma"], rtol=0.1)


@LONG
def test_repeated_trainings_refute_a_hundredth_of_the_noise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, record = attack(capsys, written(tmp_path, 0.01), "--mode", "repeat", "--trainings", "96")
    assert code == ExitCode.REJECTED
    assert "released updates" in str(record["summary"])
    valid = {bound["method"] for bound in record["bounds"] if bound["valid"]}  # type: ignore[attr-defined,index]
    assert valid == {"clopper_pearson", "gdp", "accountant_family"}


@LONG
def test_shadow_models_attack_and_name_their_design(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--mode", "shadow", "--models", "12", "--canaries", "60", "--run-dir", str(tmp_path / "runs"))
    code, record = attack(capsys, written(tmp_path, 1.0), *words, "--out", str(tmp_path / "out"))
    assert code == ExitCode.INCONCLUSIVE
    assert {bound["design"] for bound in record["bounds"]} == {"one_run"}  # type: ignore[attr-defined,index]
    assert {mode["mode"] for mode in record["plan"]} == {"loss", "lira_online", "lira_offline", "rmia"}  # type: ignore[attr-defined,index]
    assert sum("advisory" in note for note in record["notes"]) == 4  # type: ignore[attr-defined]
    assert (tmp_path / "out" / "attack.html").read_text().count("<polyline") == 12
    model = tmp_path / "runs" / "shadows" / "model-00003.npz"
    before = {path.name: path.read_bytes() for path in model.parent.iterdir()}
    model.unlink()  # an interrupted collection goes on, and comes out the same
    assert attack(capsys, str(tmp_path / "twin.py"), *words)[0] == code
    with np.load(model) as again, np.load(tmp_path / "runs" / "shadows" / "model-00002.npz") as other:
        assert not np.array_equal(again["member"], other["member"])
    assert {path.name: path.read_bytes() for path in model.parent.iterdir()} == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mode", "train", "--canary-kinds", "ghost"], "got 'ghost'"),
        (["--mode", "train", "--canaries", "1000"], "at most half of the 1437"),
        (["--mode", "train", "--relation", "replace_one"], "replace_one"),
        (["--mode", "shadow", "--canary-kinds", "dirac"], "expected no dirac"),
        (["--mode", "shadow", "--models", "3"], "at least 4"),
        (["--mode", "repeat", "--sampler", "shuffle"], "expected a Poisson sampler"),
        (["--mode", "train,shadow"], "by themselves"),
    ],
)
def test_what_cannot_be_played_ends_with_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attack", str(HONEST), "--preset", "digits", "--noise-multiplier", "1.3", *words]) == ExitCode.USAGE
    assert message in capsys.readouterr().err


def test_absent_data_are_the_users_to_mend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (raw / f"{part}-{kind}-ubyte").write_bytes(b"")
    words = ["--preset", "mnist", "--noise-multiplier", "0.65", "--mode", "train", "--data-root", str(tmp_path)]
    assert main(["attack", str(HONEST), *words]) == ExitCode.USAGE
    assert "0 bytes" in capsys.readouterr().err
