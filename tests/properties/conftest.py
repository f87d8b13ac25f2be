"""A small run, and a way to search many specimens in one process of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import dpaudit
from dpaudit.contract import Cell, Measurement, NonFinite, Outcome, Relation, Rows, RunConfig, Sampler
from dpaudit.probe.messages import Request, encode_request
from dpaudit.properties.report import Report, decode_report

SPECIMENS = Path(__file__).parent / "specimens"
SHAPES = ((4, 2), (3,), (2, 3), (2,))
CELLS = {
    "sampled": Cell(),
    "raw": Cell(nonfinite=NonFinite.RAW),
    "zero_out": Cell(relation=Relation.ZERO_OUT),
    "replace_one": Cell(relation=Relation.REPLACE_ONE),
    "constant": Cell(sampler=Sampler.TRUNCATED_POISSON, relation=Relation.ZERO_OUT, rows=Rows.CONSTANT),
}


def small_config(cell: str = "sampled", **changes: object) -> RunConfig:
    facts: dict[str, object] = {
        "dataset_size": 2000,
        "batch_size": 16,
        "expected_batch": 16.0,
        "epochs": 2,
        "steps_per_epoch": 40,
        "max_grad_norm": 1.0,
        "target_epsilon": 3.0,
        "target_delta": 1e-5,
        "noise_multiplier": 0.8,
        "cell": CELLS[cell],
        "parameter_shapes": SHAPES,
    }
    return RunConfig(**(facts | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def config_of() -> Callable[..., RunConfig]:
    return small_config


@pytest.fixture(scope="session")
def not_measured() -> Measurement:
    """A measurement without content: the layer needs none of the probe's numbers."""
    return Measurement(
        outcome=Outcome.PASSED,
        reported=(),
        measured=(),
        classes=(),
        demonstrated=False,
        pair="",
        findings=(),
        seconds=0.0,
    )


@pytest.fixture(scope="session")
def search_all(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Report]]:
    """``search_all(file, classes, config)``: reports by class, from one process."""

    def search_all(file: str, classes: list[str], config: RunConfig, seed: int = 0) -> dict[str, Report]:
        path = SPECIMENS / file
        request = Request(
            text=path.read_text(),
            path=str(path),
            class_name="",
            config=config,
            seed=seed,
            time_limit=300.0,
            memory_limit_mib=4096,
        )
        home = tmp_path_factory.mktemp("search")
        (home / "request.json").write_text(encode_request(request))
        environment = os.environ | {
            "PYTHONPATH": str(Path(dpaudit.__file__).resolve().parent.parent),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
        done = subprocess.run(
            [sys.executable, str(SPECIMENS / "run_all.py"), str(home / "request.json"), *classes],
            env=environment,
            cwd=home,
            capture_output=True,
            text=True,
            timeout=850,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        reports = {line.pop("class"): decode_report(line, config.total_steps) for line in lines}
        assert list(reports) == classes
        return reports

    return search_all
