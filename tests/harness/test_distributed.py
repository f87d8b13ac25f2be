"""Several processes do what one does: the same update for the same rows and noise, each row in one shard, noise once."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
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


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where Python may not keep compiled modules, every start would compile thousands again: half of its time."""
    with pytest.MonkeyPatch.context() as patch:
        if sys.dont_write_bytecode:
            patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
            patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("compiled")))
        yield


def start(
    folder: Path, name: str, *, steps: int, form: str = "weights", mechanism: str = MECHANISM, kill: int | None = None
) -> list[tuple[int, str]]:
    """Exit status and standard error of two processes that train together at sigma 1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    words = [mechanism, str(folder / name), "1.0", str(steps), str(folder / f"{name}-indices"), form]
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
    ended = start(folder, "run", steps=30)
    assert [code for code, _ in ended] == [0, 0], ended
    return folder


def drawn_together(folder: Path, name: str = "run") -> list[list[int]]:
    """The rows that both processes drew, step by step."""
    shards = [json.loads((folder / f"{name}-indices.{rank}").read_text()) for rank in range(2)]
    return [first + second for first, second in zip(*shards, strict=False)]  # one may be killed before the other


@pytest.fixture
def require_as_one_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """One process with the same rows and noise has the same ledger and, up to the order of sums, the same parameters."""

    def compare(together: Path, drawn: list[list[int]], *, form: str, mechanism: str) -> None:
        queue = iter(drawn)

        def replayed(_self: PoissonSampler) -> Draw:
            rows = next(queue)
            return Draw(indices=torch.tensor(rows, dtype=torch.int64), sampled=len(rows))

        monkeypatch.setattr(PoissonSampler, "draw", replayed)
        out, config = tmp_path / "alone", harness.run_config("digits", noise_multiplier=1.0, epochs=2)
        alone = train(
            mechanism, "digits", seed=7, out=out, config=config, form=form, max_steps=len(drawn), progress=False
        )
        both = harness.read_run(together)
        assert [row.rows_sampled for row in both.ledger] == [len(rows) for rows in drawn]
        assert both.ledger == alone.ledger
        assert both.form == alone.form == form
        assert both.versions["processes"] == "2"
        # The same noise, because the first process draws it as one process does.
        for name, value in parameters(out).items():
            torch.testing.assert_close(parameters(together)[name], value, rtol=1e-3, atol=1e-5)

    return compare


def lose_one_and_resume(folder: Path, **named: str) -> list[list[int]]:
    """Thirty steps, in the 25th of which a process is killed; the rows of both parts of the run."""
    ended = start(folder, "run", steps=30, kill=25, **named)
    assert ended[1][0] == -9
    assert ended[0][0] == 3
    assert "another process of this run ended" in ended[0][1]
    assert "--resume" in ended[0][1]
    kept = len(harness.read_run(folder / "run").ledger)
    assert kept == 22  # the last checkpoint, after the first epoch
    before = drawn_together(folder)[:kept]
    again = start(folder, "run", steps=30, **named)
    assert [code for code, _ in again] == [0, 0], again
    return before + drawn_together(folder)


def test_two_processes_update_as_one_does_for_the_same_rows_and_noise(
    together: Path, require_as_one_process: Callable[..., None]
) -> None:
    drawn = drawn_together(together)
    assert len(drawn) == 30
    require_as_one_process(together / "run", drawn, form="weights", mechanism=MECHANISM)


def test_a_lost_process_ends_the_run_with_words_and_the_run_resumes_bitwise(together: Path, tmp_path: Path) -> None:
    assert lose_one_and_resume(tmp_path) == drawn_together(together)
    assert (tmp_path / "run" / "ledger.jsonl").read_text() == (together / "run" / "ledger.jsonl").read_text()
    resumed = parameters(tmp_path / "run")
    assert all(torch.equal(resumed[name], value) for name, value in parameters(together / "run").items())


def test_a_plain_mechanism_with_state_sees_the_rows_of_both_also_after_a_loss(
    mechanism: Path, tmp_path: Path, require_as_one_process: Callable[..., None]
) -> None:
    """What it releases depends on all rows at once and on what it released before, so no shard alone could give it."""
    text, clamp = mechanism.read_text(), "norms.clamp(min=1e-12)"
    assert text.count(clamp) == 1
    mechanism.write_text(text.replace(clamp, "norms.clamp(min=norms.median())"))
    named = {"form": "plain", "mechanism": str(mechanism)}
    drawn = lose_one_and_resume(tmp_path, **named)
    require_as_one_process(tmp_path / "run", drawn, **named)


def test_two_processes_hand_their_chunks_to_one_mechanism(
    candidate: Callable[..., Path], tmp_path: Path, require_as_one_process: Callable[..., None]
) -> None:
    named = {"form": "chunks", "mechanism": str(candidate())}
    ended = start(tmp_path, "run", steps=6, **named)
    assert [code for code, _ in ended] == [0, 0], ended
    require_as_one_process(tmp_path / "run", drawn_together(tmp_path), **named)


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
