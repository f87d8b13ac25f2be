"""A run that was killed at any moment goes on or starts again; it never blocks its folder, and never another run's."""

import json
from pathlib import Path

import pytest
import torch

import harness
from dpaudit.contract import DataError, RunConfig, RunRecord, UsageError
from harness.training import train


def go(mechanism: Path, out: Path, config: RunConfig, **named: object) -> RunRecord:
    return train(str(mechanism), "digits", **({"seed": 7, "out": out, "config": config, "progress": False} | named))  # type: ignore[arg-type]


@pytest.fixture
def short() -> RunConfig:
    return harness.run_config("digits", noise_multiplier=1.3, epochs=1)


def final(out: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(out / "checkpoint.pt", weights_only=True)["parameters"])


@pytest.mark.parametrize("resume", [False, True])
def test_killed_between_the_record_and_the_first_checkpoint(
    mechanism: Path, tmp_path: Path, short: RunConfig, resume: bool
) -> None:
    whole = go(mechanism, tmp_path / "whole", short)
    go(mechanism, tmp_path / "run", short, max_steps=5)
    (tmp_path / "run" / "checkpoint.pt").unlink()
    again = go(mechanism, tmp_path / "run", short, resume=resume)
    assert again.completed
    assert again.ledger == whole.ledger
    assert all(torch.equal(final(tmp_path / "run")[key], value) for key, value in final(tmp_path / "whole").items())


def test_a_finished_run_without_its_last_checkpoint_is_finished(
    mechanism: Path, tmp_path: Path, short: RunConfig
) -> None:
    record = go(mechanism, tmp_path / "run", short)
    (tmp_path / "run" / "checkpoint.pt").unlink()
    assert go(mechanism, tmp_path / "run", short, resume=True).accuracy == record.accuracy
    with pytest.raises(UsageError, match="already holds a run"):
        go(mechanism, tmp_path / "run", short)


def test_killed_between_the_ledger_and_the_record(mechanism: Path, tmp_path: Path) -> None:
    """The ledger is a save ahead of record and checkpoint: the checkpoint tells where to go on."""
    config = harness.run_config("digits", noise_multiplier=1.3, epochs=2)
    whole = go(mechanism, tmp_path / "whole", config)
    go(mechanism, tmp_path / "run", config, epochs=1)
    (tmp_path / "run" / "ledger.jsonl").write_bytes((tmp_path / "whole" / "ledger.jsonl").read_bytes())
    assert go(mechanism, tmp_path / "run", config, resume=True).ledger == whole.ledger


def test_what_another_run_left_is_not_thrown_away(mechanism: Path, tmp_path: Path, short: RunConfig) -> None:
    go(mechanism, tmp_path / "run", short, max_steps=5)
    (tmp_path / "run" / "checkpoint.pt").unlink()
    before = (tmp_path / "run" / "run.json").read_text()
    with pytest.raises(UsageError, match="another mechanism, seed"):
        go(mechanism, tmp_path / "run", short, seed=8)
    assert (tmp_path / "run" / "run.json").read_text() == before


def test_a_damaged_record_alone_is_named(mechanism: Path, tmp_path: Path, short: RunConfig) -> None:
    go(mechanism, tmp_path / "run", short, max_steps=5)
    (tmp_path / "run" / "checkpoint.pt").unlink()
    values = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(values | {"steps": 4}))
    with pytest.raises(DataError, match="expected a ledger of 4 steps, got 5"):
        go(mechanism, tmp_path / "run", short)
