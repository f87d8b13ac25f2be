"""Training: accuracy, repeatability, who draws from which generator, and resuming bit by bit."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import harness
from dpaudit.contract import DataError, RunConfig, RunRecord, UsageError
from harness.checkpoint import CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from harness.training import train

Variant = Callable[[str, str], Path]


def parameters(out: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(out / CHECKPOINT_FILE, weights_only=True)["parameters"])


def go(mechanism: Path, out: Path, config: RunConfig, **named: object) -> RunRecord:
    return train(str(mechanism), "digits", **({"seed": 7, "out": out, "config": config, "progress": False} | named))  # type: ignore[arg-type]


def same_bits(one: Path, other: Path) -> bool:
    first, second = parameters(one), parameters(other)
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_the_digits_preset_learns_under_privacy(mechanism: Path, tmp_path: Path) -> None:
    mechanism.write_text(mechanism.read_text().replace("return self.average", "return noised"))
    record = go(mechanism, tmp_path / "run", harness.run_config("digits", noise_multiplier=1.2))
    assert record.completed
    assert record.dataset == "digits"
    assert record.accuracy is not None
    assert 80 < record.accuracy < 99
    assert record.best_accuracy_on_test is not None
    assert record.best_accuracy_on_test >= record.accuracy
    assert set(record.metrics) == {"accuracy_digits", "best_accuracy_digits", "epsilon_digits"}


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(
    mechanism: Path, tmp_path: Path, config: RunConfig
) -> None:
    torch.manual_seed(1)
    one = go(mechanism, tmp_path / "one", config)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    two = go(mechanism, tmp_path / "two", config)
    assert torch.equal(before, torch.get_rng_state())
    go(mechanism, tmp_path / "other", config, seed=8)
    assert same_bits(tmp_path / "one", tmp_path / "two")
    assert one.ledger == two.ledger
    assert not same_bits(tmp_path / "one", tmp_path / "other")


@pytest.mark.parametrize("cell", [{}, {"rows": "constant"}, {"sampler": "shuffle"}, {"sampler": "fixed_size"}])
@pytest.mark.parametrize("stop", [1, 22, 29])
def test_an_interrupted_run_resumes_bit_by_bit(
    mechanism: Path, tmp_path: Path, cell: dict[str, str], stop: int
) -> None:
    config = harness.run_config("digits", noise_multiplier=1.3, epochs=2, **cell)  # type: ignore[arg-type]
    whole = go(mechanism, tmp_path / "whole", config)
    part = go(mechanism, tmp_path / "part", config, max_steps=stop)
    assert not part.completed
    assert part.accuracy is None
    assert not part.metrics
    assert len(part.ledger) == stop
    torch.manual_seed(99)  # a later process starts from other global states
    resumed = go(mechanism, tmp_path / "part", config, resume=True)
    assert same_bits(tmp_path / "whole", tmp_path / "part")
    assert resumed.ledger == whole.ledger
    assert resumed.accuracy == whole.accuracy
    assert resumed.metrics == whole.metrics
    assert go(mechanism, tmp_path / "part", config, resume=True) == resumed


def test_a_checkpoint_behind_its_ledger_resumes_bit_by_bit(mechanism: Path, tmp_path: Path, config: RunConfig) -> None:
    """As after a crash between the two files: the ledger has more steps than the checkpoint."""
    go(mechanism, tmp_path / "whole", config)
    out = tmp_path / "part"
    go(mechanism, out, config, max_steps=22)
    older = (out / CHECKPOINT_FILE).read_bytes()
    go(mechanism, out, config, resume=True, max_steps=30)
    (out / CHECKPOINT_FILE).write_bytes(older)
    go(mechanism, out, config, resume=True)
    assert same_bits(tmp_path / "whole", out)
    assert (tmp_path / "whole" / "ledger.jsonl").read_bytes() == (out / "ledger.jsonl").read_bytes()


def test_a_resumed_run_never_draws_the_same_noise_for_another_batch(
    mechanism: Path, tmp_path: Path, config: RunConfig, variant: Variant
) -> None:
    drawn = tmp_path / "drawn.txt"
    variant(
        "        norms = ",
        f"        with open({str(drawn)!r}, 'a') as file:\n"
        "            print(float(torch.rand(())), int(len(per_sample_grads[0])), file=file)\n        norms = ",
    )
    go(mechanism, tmp_path / "part", config, max_steps=10)
    go(mechanism, tmp_path / "part", config, resume=True)
    values = [line.split()[0] for line in drawn.read_text().splitlines()]
    assert len(values) == config.total_steps
    assert len(set(values)) == len(values)


def test_only_the_mechanism_draws_from_the_global_generators(
    variant: Variant, tmp_path: Path, config: RunConfig
) -> None:
    """A mechanism that finds the states as it left them, at every step and between its two methods."""
    path = variant(
        "    def clip_and_noise(self, per_sample_grads, step, epoch):",
        "    def clip_and_noise(self, grads, step, epoch):\n"
        "        self.check()\n"
        "        out = self.release(grads, step, epoch)\n"
        "        self.left = self.states()\n"
        "        return out\n\n"
        "    def states(self):\n"
        "        import random\n"
        "        return (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate())\n\n"
        "    def check(self):\n"
        "        if hasattr(self, 'left'):\n"
        "            assert self.left == self.states(), 'someone else drew'\n\n"
        "    def release(self, per_sample_grads, step, epoch):",
    )
    assert go(path, tmp_path / "run", config).completed


def test_ctrl_c_finishes_the_step_saves_and_says_how_to_resume(
    variant: Variant, mechanism: Path, tmp_path: Path, config: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    go(mechanism, tmp_path / "whole", config)
    marker = tmp_path / "pressed"
    variant(
        "        norms = ",
        f"        import os, signal, pathlib\n        marker = pathlib.Path({str(marker)!r})\n"
        "        if step == 5 and not marker.exists():\n"
        "            marker.touch()\n            os.kill(os.getpid(), signal.SIGINT)\n        norms = ",
    )
    before = signal.getsignal(signal.SIGINT)
    record = go(mechanism, tmp_path / "part", config)
    assert signal.getsignal(signal.SIGINT) is before
    assert not record.completed
    assert len(record.ledger) == 6
    said = capsys.readouterr().err
    assert "stopped after step 6 of 44" in said
    assert "--resume continues it" in said
    assert str(tmp_path / "part") in said
    go(mechanism, tmp_path / "part", config, resume=True)
    assert same_bits(tmp_path / "whole", tmp_path / "part")


def test_the_ledger_counts_what_the_sampler_and_the_guard_did(mechanism: Path, tmp_path: Path) -> None:
    config = harness.run_config("digits", noise_multiplier=1.0, epochs=1, rows="constant")
    record = go(mechanism, tmp_path / "run", config)
    assert [row.step for row in record.ledger] == list(range(22))
    assert {row.rows_seen for row in record.ledger} == {64}
    assert len({row.rows_sampled for row in record.ledger}) > 3
    assert {row.rows_nonfinite for row in record.ledger} == {0}
    assert {row.reported_sigma for row in record.ledger} == {1.0}


def test_a_diverged_model_is_guarded_and_counted(variant: Variant, tmp_path: Path, config: RunConfig) -> None:
    """Infinite parameters make every gradient NaN; the guard zeroes and counts those rows."""
    path = variant("return self.average", "return [value * float('inf') for value in noised]")
    record = go(path, tmp_path / "run", config, max_steps=4)
    assert record.ledger[0].rows_nonfinite == 0
    assert all(row.rows_nonfinite == row.rows_sampled > 0 for row in record.ledger[1:])
    raw = harness.run_config("digits", noise_multiplier=1.3, epochs=2, nonfinite="raw")
    record = go(path, tmp_path / "raw", raw, max_steps=4)
    assert {row.rows_nonfinite for row in record.ledger} == {0}


@pytest.mark.parametrize("said", ["float('nan')", "-1.0", "None", "'1.0 sigma'", "torch.ones(3)"])
def test_an_unusable_reported_sigma_is_recorded_as_none(
    variant: Variant, tmp_path: Path, config: RunConfig, said: str
) -> None:
    record = go(variant("        return self.sigma", f"        return {said}"), tmp_path / "run", config)
    assert {row.reported_sigma for row in record.ledger} == {None}
    assert "epsilon_digits" not in record.metrics
    assert record.completed


def test_a_failing_mechanism_is_named_with_its_line(variant: Variant, tmp_path: Path, config: RunConfig) -> None:
    path = variant("        norms = ", "        if step == 3:\n            raise KeyError('gone')\n        norms = ")
    line = path.read_text().splitlines().index("            raise KeyError('gone')") + 1
    words = f"candidate.py:{line}: it raised KeyError: 'gone' while clip_and_noise ran at step 3"
    with pytest.raises(harness.MechanismError, match=words) as caught:
        go(path, tmp_path / "run", config)
    assert (caught.value.file, caught.value.line) == (str(path), line)


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("return noised[:-1]", "expected clip_and_noise to return tensors of shapes"),
        ("return [value.sum() for value in noised]", "expected clip_and_noise to return tensors of shapes"),
        ("return None", "not iterable"),
        ("raise SystemExit(0)", "it ended the process with SystemExit"),
    ],
)
def test_a_wrong_return_value_is_refused(
    variant: Variant, tmp_path: Path, config: RunConfig, returned: str, words: str
) -> None:
    with pytest.raises(harness.MechanismError, match=words):
        go(variant("return self.average", returned), tmp_path / "run", config)


def test_a_whole_script_trains_without_running_its_own_training(
    mechanism: Path, tmp_path: Path, config: RunConfig
) -> None:
    go(mechanism, tmp_path / "bare", config, max_steps=3)
    script = tmp_path / "script.py"
    script.write_text(
        "import torch, math\nimport numpy as np\nfrom scipy import optimize as sp_optimize\nimport no_such_package\n"
        + mechanism.read_text()
        + "\nfor step in range(3):\n    raise SystemExit('training ran')\n"
        "train = no_such_package.train()\nif __name__ == '__main__':\n    raise SystemExit('main ran')\n"
    )
    go(script, tmp_path / "script", config, max_steps=3)
    assert same_bits(tmp_path / "bare", tmp_path / "script")


def test_a_bare_class_has_the_benchmarks_names(variant: Variant, tmp_path: Path, config: RunConfig) -> None:
    path = variant("import torch\n", "")
    path.write_text(
        path.read_text().replace("        norms = ", "        math.pi, np.pi, sp_optimize.brentq\n        norms = ")
    )
    assert len(go(path, tmp_path / "run", config, max_steps=2).ledger) == 2


def test_a_used_folder_and_an_empty_one_are_refused(mechanism: Path, tmp_path: Path, config: RunConfig) -> None:
    go(mechanism, tmp_path / "run", config, max_steps=1)
    with pytest.raises(UsageError, match="already holds a run; resume it"):
        go(mechanism, tmp_path / "run", config)
    with pytest.raises(DataError, match=r"expected a checkpoint in .*, found none"):
        go(mechanism, tmp_path / "nothing", config, resume=True)


def test_another_mechanism_seed_or_configuration_is_not_resumed(
    mechanism: Path, tmp_path: Path, config: RunConfig
) -> None:
    out = tmp_path / "run"
    go(mechanism, out, config, max_steps=1)
    with pytest.raises(UsageError, match="belongs to another run: seed was 7, is 8"):
        go(mechanism, out, config, resume=True, seed=8)
    with pytest.raises(UsageError, match="belongs to another run: config"):
        go(mechanism, out, harness.run_config("digits", noise_multiplier=1.4, epochs=2), resume=True)
    mechanism.write_text(mechanism.read_text() + "\n# changed\n")
    with pytest.raises(UsageError, match="belongs to another run: source_sha256"):
        go(mechanism, out, config, resume=True)


def test_a_mechanism_that_cannot_be_saved_trains_but_does_not_resume(
    variant: Variant, tmp_path: Path, config: RunConfig
) -> None:
    path = variant("        self.average = None\n", "        self.average = None\n        self.lock = lambda: 1\n")
    go(path, tmp_path / "run", config, max_steps=2)
    with pytest.raises(UsageError, match="the mechanism's state could not be saved"):
        go(path, tmp_path / "run", config, resume=True)
    assert go(path, tmp_path / "whole", config).completed


def test_a_damaged_checkpoint_is_refused(mechanism: Path, tmp_path: Path, config: RunConfig) -> None:
    go(mechanism, tmp_path / "run", config, max_steps=1)
    path = tmp_path / "run" / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="is damaged"):
        go(mechanism, tmp_path / "run", config, resume=True)


def test_a_checkpoint_survives_the_round_trip(mechanism: Path, tmp_path: Path, config: RunConfig) -> None:
    go(mechanism, tmp_path / "run", config, max_steps=3)
    identity = torch.load(tmp_path / "run" / CHECKPOINT_FILE, weights_only=True)["identity"]
    progress = load_checkpoint(tmp_path / "run", identity=identity)
    save_checkpoint(tmp_path, progress)
    again = load_checkpoint(tmp_path, identity=identity)
    assert again.steps_done == 3
    assert again.mechanism == progress.mechanism
    assert torch.equal(again.noise["torch"], progress.noise["torch"])


def test_a_configuration_of_another_preset_is_refused(mechanism: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected the configuration of preset 'digits'"):
        go(mechanism, tmp_path / "run", harness.run_config("mnist", noise_multiplier=1.0))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(mechanism: Path, tmp_path: Path, config: RunConfig) -> None:
    tmp_path.joinpath("locked").mkdir(mode=0o500)
    with pytest.raises(DataError, match="cannot create"):
        go(mechanism, tmp_path / "locked" / "run", config)


def test_a_file_in_the_way_and_a_full_disk(
    mechanism: Path, tmp_path: Path, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot create .*give another output folder"):
        go(mechanism, tmp_path / "file" / "run", config)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left on device; free space"):
        go(mechanism, tmp_path / "run", config)
    assert not list((tmp_path / "run").iterdir())


def test_metrics_hold_test_accuracy_only(mechanism: Path, tmp_path: Path, config: RunConfig) -> None:
    go(mechanism, tmp_path / "run", config)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert all(set(line) == {"epoch", "test_accuracy", "learning_rate", "seconds"} for line in lines)
    # Cosine over two epochs, stepped once an epoch.
    assert [line["learning_rate"] for line in lines] == pytest.approx([0.1, 0.05])
