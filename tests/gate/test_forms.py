"""An optional form is audited as itself: the verdict is about what the harness does with it."""

from pathlib import Path

import pytest

import harness
from dpaudit.contract import Form, Layer, UsageError, Verdict
from dpaudit.contract.forms import class_in_form, in_form
from dpaudit.gate import audit

STANDARD = Path(__file__).resolve().parents[2] / "mechanisms" / "accepted" / "standard_dpsgd.py"
LAYERS = (Layer.STATIC, Layer.REPLAY)


def verdict(path: Path, form: Form) -> tuple[Verdict, str, float | None, set[str]]:
    config = harness.run_config("digits", noise_multiplier=1.5, epochs=1)
    report = audit(str(path), config, layers=LAYERS, form=form)
    return report.verdict, report.class_name, report.epsilon.replayed.upper, {f.rule for f in report.findings}


def test_the_weights_form_of_flat_clipping_has_the_same_bound_as_the_plain_form() -> None:
    plain, formed = verdict(STANDARD, Form.PLAIN), verdict(STANDARD, Form.WEIGHTS)
    assert formed[1] == "DPMechanismInWeightsForm"
    assert formed[2] == plain[2]
    assert formed[2] is not None
    assert formed[0] is Verdict.INCONCLUSIVE  # a required layer did not run


def test_a_form_that_overspends_is_rejected_although_the_plain_form_is_sound(tmp_path: Path) -> None:
    """Noise of a tenth in the form alone: clip_and_noise keeps its own."""
    text = STANDARD.read_text()
    text = text.replace("noise_std = self.noise_std()", "noise_std = self.noise_multiplier * self.max_grad_norm")
    text = text.replace("        return self.noise_multiplier * self.max_grad_norm\n", "        return 0.1\n")
    path = tmp_path / "candidate.py"
    path.write_text(text)
    assert verdict(path, Form.PLAIN)[0] is not Verdict.REJECTED
    rejected = verdict(path, Form.WEIGHTS)
    assert rejected[0] is Verdict.REJECTED
    assert rejected[3] & {"DPA403", "DPA404"}


def test_lines_of_the_candidate_keep_their_numbers() -> None:
    text = "class DPMechanism:\n    pass\n"
    for form in (Form.WEIGHTS, Form.CHUNKS):
        written, name = in_form(text, "DPMechanism", form)
        assert written.startswith(text)
        assert f"class {name}(DPMechanism):" in written
        assert name == class_in_form("DPMechanism", form)
        compile(written, "candidate", "exec")
    assert in_form(text, "DPMechanism", Form.PLAIN) == (text, "DPMechanism")


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(UsageError, match="already uses the name DPMechanismInChunksForm"):
        in_form("DPMechanismInChunksForm = 1", "DPMechanism", Form.CHUNKS)


CHUNKS = """
import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm, self.noise_multiplier, self.batch_size = max_grad_norm, noise_multiplier, batch_size
        self.total, self.chunks = None, 0

    def begin_step(self, step, epoch):
        self.total, self.chunks = None, 0

    def accumulate(self, grads):
        norms = torch.sqrt(sum(grad.flatten(1).square().sum(1) for grad in grads))
        weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        self.chunks += 1
        if self.chunks > {most}:
            weights = 50 * weights
        sums = [torch.tensordot(weights, grad, dims=1) for grad in grads]
        self.total = sums if self.total is None else [a + b for a, b in zip(self.total, sums)]

    def finalize(self):
        std = self.noise_multiplier * self.max_grad_norm
        total, self.total, self.chunks = self.total, None, 0
        return [(s + std * torch.randn_like(s)) / self.batch_size for s in total]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
"""


@pytest.mark.parametrize("most", ["1", "3"])
def test_a_second_chunk_is_looked_at(tmp_path: Path, most: str) -> None:
    """As one chunk the batch is clipped; the harness hands over several."""
    path = tmp_path / "candidate.py"
    path.write_text(CHUNKS.replace("{most}", most))
    assert verdict(path, Form.CHUNKS)[2] is None


def test_chunks_that_are_treated_alike_have_the_bound_of_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "candidate.py"
    counting = "        self.chunks += 1\n        if self.chunks > {most}:\n            weights = 50 * weights\n"
    path.write_text(CHUNKS.replace(counting, ""))
    assert verdict(path, Form.CHUNKS)[2] == verdict(STANDARD, Form.PLAIN)[2]
