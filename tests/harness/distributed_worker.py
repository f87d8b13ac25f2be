"""One process of the distributed tests: ``python distributed_worker.py MECHANISM OUT NOISE STEPS INDICES FORM [KILL_AT]``."""

import json
import os
import signal
import sys
from pathlib import Path

import torch

import harness
from dpaudit.contract import DataError
from harness.samplers import ShardSampler


def main(mechanism: str, out: str, sigma: str, steps: str, indices: str, form: str, kill: str = "") -> None:
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    draw, drawn = ShardSampler.draw, []

    def recorded(self: ShardSampler):  # type: ignore[no-untyped-def]
        found = draw(self)
        drawn.append(found.indices.tolist())
        Path(f"{indices}.{rank}").write_text(json.dumps(drawn))
        if kill and rank == 1 and len(drawn) == int(kill):
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    ShardSampler.draw = recorded  # type: ignore[method-assign]
    config = harness.run_config("digits", noise_multiplier=float(sigma), epochs=2)
    resume = (Path(out) / "checkpoint.pt").exists()
    try:
        harness.train(
            mechanism,
            "digits",
            seed=7,
            out=Path(out),
            config=config,
            form=form,
            max_steps=int(steps),
            progress=False,
            resume=resume,
        )
    except DataError as error:
        print(f"rank {rank}: {error}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(3)


if __name__ == "__main__":
    main(*sys.argv[1:])
