"""Several processes do what one does: the same update for the same rows and noise, each row in one shard, noise once."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import harness
from dpaudit.contract import RunConfig, UsageError
from harness.checkpoint import CHECKPOINT_FILE
from harness.samplers import Draw, PoissonSampler, ShardSampler
from harness.training import train

MECHANISM = str(Path(__file__).resolve().parents[2] / "mechanisms" / "accepted" / "standard_dpsgd.py")
WORKER = Path(__file__).with_name("distributed_worker.py")


def start(folder: Path, name: str, *, sigma: float, steps: int, kill: int | None = None) -> list[tuple[int, str]]:
    """Exit status and standard error of two processes that train together."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    words = [MECHANISM, str(folder / name), str(sigma), str(steps), str(folder / f"{name}-indices")]
    words += [str(kill)] if kill else []
    running = []
    for rank in range(2):
        environment = {
            **os.environ,
            "RANK": str(rank),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, str(WORKER), *words]
        running.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    ended = []
    for process in running:
        try:
            _, said = process.communicate(timeout=240)
        finally:
            process.kill()
        ended.append((process.returncode, said))
    return ended


def parameters(out: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(out / CHECKPOINT_FILE, weights_only=True)["parameters"])


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty steps by two processes."""
    folder = tmp_path_factory.mktemp("together")
    ended = start(folder, "run", sigma=1.0, steps=30)
    assert [code for code, _ in ended] == [0, 0], ended
    return folder


@pytest.fixture
def one_step_each(together: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The rows that both processes drew, step by step, given to one process instead of its own draws."""
    shards = [json.loads((together / f"run-indices.{rank}").read_text()) for rank in range(2)]
    steps = [first + second for first, second in zip(*shards, strict=True)]
    queue = iter(steps)

    def replayed(_self: PoissonSampler) -> Draw:
        rows = next(queue)
        return Draw(indices=torch.tensor(rows, dtype=torch.int64), sampled=len(rows))

    monkeypatch.setattr(PoissonSampler, "draw", replayed)
    return steps


def test_two_processes_update_as_one_does_for_the_same_rows_and_noise(
    together: Path, one_step_each: list[list[int]], tmp_path: Path
) -> None:
    assert len(one_step_each) == 30
    config = harness.run_config("digits", noise_multiplier=1.0, epochs=2)
    alone = train(
        MECHANISM, "digits", seed=7, out=tmp_path, config=config, form="weights", max_steps=30, progress=False
    )
    both = harness.read_run(together / "run")
    assert [row.rows_sampled for row in both.ledger] == [len(rows) for rows in one_step_each]
    assert both.ledger == alone.ledger
    assert both.form == alone.form == "weights"
    assert both.versions["processes"] == "2"
    # The same noise, because the first process draws it as one process does; sums differ in their order only.
    for name, value in parameters(tmp_path).items():
        torch.testing.assert_close(parameters(together / "run")[name], value, rtol=1e-3, atol=1e-5)


def test_a_lost_process_ends_the_run_with_words_and_the_run_resumes_bitwise(together: Path, tmp_path: Path) -> None:
    ended = start(tmp_path, "lost", sigma=1.0, steps=30, kill=25)
    assert ended[1][0] == -9
    assert ended[0][0] == 3
    assert "another process of this run ended" in ended[0][1]
    assert "--resume" in ended[0][1]
    assert len(harness.read_run(tmp_path / "lost").ledger) == 22  # the last checkpoint, after the first epoch
    again = start(tmp_path, "lost", sigma=1.0, steps=30)
    assert [code for code, _ in again] == [0, 0], again
    assert (tmp_path / "lost" / "ledger.jsonl").read_text() == (together / "run" / "ledger.jsonl").read_text()
    resumed = parameters(tmp_path / "lost")
    assert all(torch.equal(resumed[name], value) for name, value in parameters(together / "run").items())


def test_shards_are_disjoint_cover_everything_and_are_drawn_at_the_same_rate() -> None:
    draws = 4_000
    seen = torch.zeros(11, dtype=torch.float64)
    for rank in range(3):
        sampler = ShardSampler(dataset_size=11, probability=0.2, rank=rank, processes=3, seed=rank)
        for _ in range(draws):
            indices = sampler.draw().indices
            assert (indices % 3 == rank).all()
            seen[indices] += 1
    assert (seen / draws - 0.2).abs().max() < 6 * (0.16 / draws) ** 0.5


def test_samplers_that_cannot_be_split_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.samplers import build_sampler

    class Two:
        rank, size = 0, 2

    config: RunConfig = harness.run_config("digits", noise_multiplier=1.0, sampler="fixed_size")
    with pytest.raises(UsageError, match="expected the sampler poisson, got fixed_size"):
        build_sampler(config, seed=0, group=Two())  # type: ignore[arg-type]
