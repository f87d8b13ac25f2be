"""What only a CUDA device can show; skipped with a reason where there is none."""

from pathlib import Path

import pytest
import torch

import harness

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
MECHANISM = Path(__file__).resolve().parents[2] / "mechanisms" / "accepted" / "standard_dpsgd.py"


def test_a_run_on_the_gpu_is_complete_and_resumes_bitwise(tmp_path: Path) -> None:
    config = harness.run_config("digits")
    options = {"seed": 42, "config": config, "device": "cuda", "progress": False}
    whole = harness.train(str(MECHANISM), "digits", out=tmp_path / "whole", **options)
    harness.train(str(MECHANISM), "digits", out=tmp_path / "parts", max_steps=40, **options)
    parts = harness.train(str(MECHANISM), "digits", out=tmp_path / "parts", resume=True, **options)
    assert whole.completed
    assert (whole.accuracy, whole.ledger) == (parts.accuracy, parts.ledger)
