"""Examine many small mechanisms in ONE process: a worker takes seconds to start, and T is small here."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import dpaudit
from dpaudit.contract import Cell, NonFinite, Relation, Rows, RunConfig, Sampler
from dpaudit.probe.messages import Request, Result, decode_result, encode_request

SHAPES = ((16, 1, 3, 3), (16,), (8, 16), (8,))

_BATCH = """
import json, sys
from pathlib import Path
from dpaudit.probe.examination import examine_candidate, prepare
from dpaudit.probe.messages import decode_request, encode_result
prepare(0)
for line in Path(sys.argv[1]).read_text().splitlines():
    result = examine_candidate(decode_request(line), [], lambda done, total: None)
    print(json.dumps(encode_result(result)), flush=True)
"""

HEAD = """
import math
import torch
import numpy as np


class DPMechanism:
    def __init__(self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs,
                 target_epsilon, target_delta):
        self.C = max_grad_norm
        self.sigma = noise_multiplier
        self.B = batch_size
        self.m = None
        self.setup()

    def setup(self):
        pass

    def norms(self, grads):
        return torch.sqrt(sum(g.flatten(1).pow(2).sum(1) for g in grads))

    def mean(self, grads, C=None):
        C = self.C if C is None else C
        w = C / self.norms(grads).clamp(min=C)
        return [torch.tensordot(w, g, dims=1) / self.B for g in grads]

    def noise(self, like, scale=1.0):
        return torch.randn_like(like) * (self.sigma * self.C / self.B * scale)

    def get_effective_sigma(self, step, epoch):
        return self.sigma

    def clip_and_noise(self, grads, step, epoch):
"""


def body(text: str, methods: str = "") -> str:
    """A mechanism whose ``clip_and_noise(self, grads, step, epoch)`` is ``text``; ``methods`` override earlier ones."""
    return (
        HEAD
        + textwrap.indent(textwrap.dedent(text), " " * 8)
        + "\n"
        + textwrap.indent(textwrap.dedent(methods), "    ")
    )


def make_config(**changes: object) -> RunConfig:
    """A short run: B = 8 rows always, absent rows zero, sigma 0.8."""
    cell = {
        "sampler": Sampler.TRUNCATED_POISSON,
        "relation": Relation.ZERO_OUT,
        "rows": Rows.CONSTANT,
        "nonfinite": NonFinite.GUARDED,
    }
    fields: dict[str, object] = {
        "dataset_size": 1000,
        "batch_size": 8,
        "expected_batch": 8.0,
        "epochs": 2,
        "steps_per_epoch": 6,
        "max_grad_norm": 1.0,
        "target_epsilon": 3.0,
        "target_delta": 1e-5,
        "noise_multiplier": 0.8,
        "parameter_shapes": SHAPES,
    }
    for name, value in changes.items():
        (cell if name in cell else fields)[name] = value
    return RunConfig(**fields, cell=Cell(**cell))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def mechanism() -> Callable[..., str]:
    return body


@pytest.fixture(scope="session")
def config() -> Callable[..., RunConfig]:
    return make_config


@pytest.fixture(scope="session")
def examine_all(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Mapping[str, tuple[str, RunConfig]]], dict[str, Result]]:
    """Examine named (source text, configuration) pairs in one process."""

    def run(cases: Mapping[str, tuple[str, RunConfig]]) -> dict[str, Result]:
        folder = tmp_path_factory.mktemp("batch")
        lines = []
        for number, (text, run_config) in enumerate(cases.values()):
            path = folder / f"candidate{number}.py"
            path.write_text(text)
            request = Request(
                text=text,
                path=str(path),
                class_name="DPMechanism",
                config=run_config,
                seed=0,
                time_limit=60.0,
                memory_limit_mib=4096,
            )
            lines.append(encode_request(request))
        requests = folder / "requests.jsonl"
        requests.write_text("\n".join(lines))
        root = str(Path(dpaudit.__file__).resolve().parent.parent)
        environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        done = subprocess.run(
            [sys.executable, "-c", _BATCH, str(requests)], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        answers = done.stdout.splitlines()
        assert len(answers) == len(cases), done.stderr[-3000:]
        return {
            name: decode_result(json.loads(answer), run_config.total_steps)
            for (name, (_, run_config)), answer in zip(cases.items(), answers, strict=True)
        }

    return run
