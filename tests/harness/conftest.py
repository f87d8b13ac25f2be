"""A small mechanism on disk, and a run configuration short enough for a test."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import harness
from dpaudit.contract import RunConfig

MECHANISM = """
import torch


class DPMechanism:
    def __init__(self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs,
                 target_epsilon, target_delta):
        self.bound, self.sigma, self.batch_size = max_grad_norm, noise_multiplier, batch_size
        self.average = None

    def clip_and_noise(self, per_sample_grads, step, epoch):
        norms = torch.stack([grad.flatten(1).square().sum(1) for grad in per_sample_grads]).sum(0).sqrt()
        weights = (self.bound / norms.clamp(min=1e-12)).clamp(max=1.0)
        noised = []
        for grad in per_sample_grads:
            total = torch.tensordot(weights, grad, dims=1)
            noised.append((total + self.sigma * self.bound * torch.randn_like(total)) / self.batch_size)
        # State carried from step to step: released values only.
        if self.average is None:
            self.average = noised
        self.average = [0.5 * old + 0.5 * new for old, new in zip(self.average, noised)]
        return self.average

    def get_effective_sigma(self, step, epoch):
        return self.sigma
"""


STANDARD = Path(__file__).resolve().parents[2] / "mechanisms" / "accepted" / "standard_dpsgd.py"

CHUNKS = """
    def begin_step(self, step, epoch):
        self.totals = None

    def accumulate(self, per_sample_grads):
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        weights = self.weights(torch.stack(squares).sum(0).sqrt())
        sums = [torch.tensordot(weights, grad, dims=1) for grad in per_sample_grads]
        self.totals = sums if self.totals is None else [a + b for a, b in zip(self.totals, sums)]

    def finalize(self):
        return [(total + self.noise_std() * torch.randn_like(total)) / self.batch_size for total in self.totals]
"""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def mechanism_text() -> str:
    return MECHANISM


@pytest.fixture
def mechanism(tmp_path: Path) -> Path:
    path = tmp_path / "candidate.py"
    path.write_text(MECHANISM)
    return path


@pytest.fixture
def variant(mechanism: Path) -> Callable[[str, str], Path]:
    """The mechanism with one piece of its text replaced."""

    def change(old: str, new: str) -> Path:
        text = mechanism.read_text()
        assert text.count(old) == 1
        mechanism.write_text(text.replace(old, new))
        return mechanism

    return change


@pytest.fixture
def config() -> RunConfig:
    return harness.run_config("digits", noise_multiplier=1.3, epochs=2)


@pytest.fixture
def candidate(tmp_path: Path) -> Callable[..., Path]:
    """Flat clipping with all forms, one piece of its text replaced."""

    def write(old: str = "", new: str = "") -> Path:
        text = STANDARD.read_text() + CHUNKS
        assert not old or text.count(old) == 1
        path = tmp_path / "forms.py"
        path.write_text(text.replace(old, new) if old else text)
        return path

    return write
