"""What only a CUDA device can show; skipped with a reason where there is none."""

from pathlib import Path

import pytest
import torch

import harness
from harness.models import build_model
from harness.per_sample import LayerGradients, per_sample_gradients
from harness.recipe import Engine

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
MECHANISM = Path(__file__).resolve().parents[2] / "mechanisms" / "accepted" / "standard_dpsgd.py"
ENGINES = {
    "float32": Engine(),
    "bfloat16": Engine(bf16=True, channels_last=True),
    "tf32": Engine(tf32=True),
    "constant shapes": Engine(constant_shapes=True),
    "compiled": Engine(constant_shapes=True, compile=True),
    "cuda graphs": Engine(constant_shapes=True, compile=True, cuda_graphs=True),
}


def test_a_run_on_the_gpu_is_complete_and_resumes_bitwise(tmp_path: Path) -> None:
    config = harness.run_config("digits")
    options = {"seed": 42, "config": config, "device": "cuda", "progress": False}
    whole = harness.train(str(MECHANISM), "digits", out=tmp_path / "whole", **options)
    harness.train(str(MECHANISM), "digits", out=tmp_path / "parts", max_steps=40, **options)
    parts = harness.train(str(MECHANISM), "digits", out=tmp_path / "parts", resume=True, **options)
    assert whole.completed
    assert (whole.accuracy, whole.ledger) == (parts.accuracy, parts.ledger)


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_trains_and_resumes_on_the_gpu(tmp_path: Path, name: str) -> None:
    config = harness.run_config("digits", noise_multiplier=1.0, epochs=1)
    options = {"seed": 42, "config": config, "device": "cuda", "progress": False, "engine": ENGINES[name]}
    whole = harness.train(str(MECHANISM), "digits", out=tmp_path / "whole", form="weights", **options)
    harness.train(str(MECHANISM), "digits", out=tmp_path / "parts", form="weights", max_steps=9, **options)
    parts = harness.train(str(MECHANISM), "digits", out=tmp_path / "parts", form="weights", resume=True, **options)
    assert (whole.accuracy, whole.ledger) == (parts.accuracy, parts.ledger)


@pytest.mark.parametrize("name", ENGINES)
def test_a_row_has_the_length_that_was_measured_on_the_gpu(name: str) -> None:
    """Whatever the forward pass rounds, norm and sum are those of one float32 row."""
    model = build_model("CIFAR10Net", seed=1).cuda()
    images, labels = torch.randn(8, 3, 32, 32, device="cuda"), torch.arange(8, device="cuda")
    exact = [value.clone() for value in LayerGradients(model, chunk=8)(images, labels, rows=8)]
    chunk = per_sample_gradients(model, chunk=8, engine=ENGINES[name]).chunk(images, labels)
    norms = chunk.squared_norms().sqrt()
    for row in range(8):
        totals = [torch.zeros_like(parameter) for parameter in model.parameters()]
        chunk.add_weighted(torch.eye(8, device="cuda")[row], totals)
        length = torch.stack([total.square().sum() for total in totals]).sum().sqrt()
        torch.testing.assert_close(length, norms[row], rtol=1e-5, atol=0)
        for total, value in zip(totals, exact, strict=True):
            torch.testing.assert_close(total, value[row], rtol=0.1, atol=0.1)


def test_the_physical_batch_fits_the_device(tmp_path: Path) -> None:
    config = harness.run_config("digits", noise_multiplier=1.0, epochs=1)
    record = harness.train(
        str(MECHANISM), "digits", seed=1, out=tmp_path, config=config, device="cuda", form="weights", progress=False
    )
    assert record.engine["physical_batch"] == 4_096
