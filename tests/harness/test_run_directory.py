"""The run directory: a closed list of keys, nothing private, and every value checked when it is read back."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import harness
from dpaudit.contract import DataError, RunConfig, RunRecord
from harness.run_directory import read_run, write_run

CLOSED_LIST = {
    "schema",
    "mechanism",
    "class_name",
    "source_sha256",
    "preset",
    "dataset",
    "form",
    "recipe",
    "engine",
    "config",
    "seed",
    "completed",
    "steps",
    "accuracy",
    "best_accuracy_on_test",
    "seconds",
    "versions",
    "metrics",
    "canaries",
    "features",
}


@pytest.fixture
def run(mechanism: Path, tmp_path: Path, config: RunConfig) -> RunRecord:
    return harness.train(str(mechanism), "digits", seed=7, out=tmp_path / "run", config=config, progress=False)


def test_the_keys_are_a_closed_list(run: RunRecord) -> None:
    values = json.loads((Path(run.directory) / "run.json").read_text())
    assert set(values) == CLOSED_LIST
    assert set(values["metrics"]) == {"accuracy_digits", "best_accuracy_digits", "epsilon_digits"}
    assert set(values["versions"]) == {"python", "torch", "numpy", "device", "threads", "processes"}
    assert set(values["config"]) == {field.name for field in dataclasses.fields(RunConfig)}
    text = json.dumps(values)
    assert "loss" not in text
    assert "norms" not in text


def test_files(run: RunRecord) -> None:
    names = {path.name for path in Path(run.directory).iterdir()}
    assert names == {"run.json", "ledger.jsonl", "metrics.jsonl", "checkpoint.pt"}


def test_what_was_written_is_read_back_equal(run: RunRecord, tmp_path: Path) -> None:
    assert read_run(run.directory) == run
    (tmp_path / "copy").mkdir()
    write_run(tmp_path / "copy", run, epochs=[])
    assert dataclasses.replace(read_run(tmp_path / "copy"), directory=run.directory) == run


def edit(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        *path, last = key.split(".")
        for part in path:
            values = values[part]
        if value is dropped:
            del values[last]
        else:
            values[last] = value

    return change


dropped = object()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("schema", "other/1", "expected schema 'dpaudit.run/2'"),
        ("form", "clip_and_noise", "a form among plain, weights, chunks, got .*'clip_and_noise'"),
        ("recipe.optimiser", "lion", "recipe: optimiser: expected sgd, rmsprop"),
        ("recipe", {}, "recipe: expected exactly the keys"),
        ("engine.physical_batch", 0, "physical_batch must be at least 1"),
        ("engine.bf16", 1, "bf16: expected bool, got 1"),
        ("seed", dropped, "exactly the keys"),
        ("extra", 1, "exactly the keys"),
        ("seed", True, "seed: expected an integer, got True"),
        ("seed", "7", "seed: expected an integer, got '7'"),
        ("accuracy", 101.0, "expected accuracy in percent"),
        ("accuracy", -1, "expected accuracy in percent"),
        ("accuracy", None, "a completed run has 44 steps and an accuracy"),
        ("steps", 43, "expected a ledger of 43 steps, got 44"),
        ("completed", "yes", "completed: expected true or false"),
        ("mechanism", 3, "mechanism: expected text"),
        ("metrics", [], "metrics: expected an object"),
        ("metrics.accuracy_digits", "high", "accuracy_digits: expected a finite number"),
        ("versions.torch", 2, "torch: expected text"),
        ("config.epochs", 0, "epochs must be at least 1"),
        ("config.epochs", 3, "a completed run has 66 steps"),
        ("config.epochs", 2.0, "epochs: expected an integer"),
        ("config.noise_multiplier", -1.0, "noise_multiplier must be >= 0"),
        ("config.cell.sampler", "lottery", "'lottery' is not a valid Sampler"),
        ("config.cell.rows", dropped, "exactly the keys"),
        ("config.calibration", None, "is not a valid Calibration"),
        ("config.parameter_shapes", [[1.5]], "expected a list of lists of integers"),
    ],
)
def test_a_malformed_record_is_refused(run: RunRecord, key: str, value: Any, words: str) -> None:
    path = Path(run.directory) / "run.json"
    values = json.loads(path.read_text())
    edit(key, value)(values)
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match=words) as caught:
        read_run(run.directory)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected JSON"),
        ("[1]", "expected an object"),
        ('{"seconds": NaN}', "NaN is not JSON"),
        ("[" * 100_000, "expected JSON"),
    ],
)
def test_a_record_that_is_no_json_object_is_refused(run: RunRecord, text: str, words: str) -> None:
    (Path(run.directory) / "run.json").write_text(text)
    with pytest.raises(DataError, match=words):
        read_run(run.directory)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda lines: lines[1:], r"ledger\.jsonl:1: expected step 0"),
        (lambda lines: [lines[0], *lines], r"ledger\.jsonl:2: expected step 1"),
        (lambda lines: lines[:-1], "expected a ledger of 44 steps, got 43"),
        (lambda lines: [*lines[:-1], lines[-1][:20]], r"ledger\.jsonl:44: expected JSON"),
        (lambda lines: [lines[0].replace('"epoch": 1', '"epoch": 2'), *lines[1:]], "step 0 lies in epoch 1"),
        (lambda lines: [lines[0].replace('"rows_seen": ', '"rows_seen": -'), *lines[1:]], "counts of at least 0"),
        (lambda lines: [lines[0].replace("1.3", "Infinity"), *lines[1:]], "Infinity is not JSON"),
        (lambda lines: [lines[0].replace("reported_sigma", "sigma"), *lines[1:]], "exactly the keys"),
    ],
)
def test_a_damaged_ledger_is_refused(run: RunRecord, damage: Callable[[list[str]], list[str]], words: str) -> None:
    path = Path(run.directory) / "ledger.jsonl"
    path.write_text("\n".join(damage(path.read_text().splitlines())) + "\n")
    with pytest.raises(DataError, match=words):
        read_run(run.directory)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give the folder of a training run"):
        read_run(tmp_path)
