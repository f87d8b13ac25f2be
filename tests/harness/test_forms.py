"""The optional forms: the same update as the plain form, bounded memory, and a check that refuses a form that lies."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import harness
from dpaudit.contract import Form, RunConfig, RunRecord, UsageError
from harness.candidate import MechanismError, load_class, read_candidate
from harness.checkpoint import CHECKPOINT_FILE
from harness.conformance import require_conformance
from harness.form_choice import choose_form
from harness.recipe import Engine, Recipe
from harness.training import train


def go(path: Path, out: Path, config: RunConfig, form: str, **named: object) -> RunRecord:
    options = {"seed": 7, "out": out, "config": config, "progress": False, "form": form} | named
    return train(str(path), "digits", **options)  # type: ignore[arg-type]


def parameters(out: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(out / CHECKPOINT_FILE, weights_only=True)["parameters"])


@pytest.mark.parametrize("rows", ["sampled", "constant"])
@pytest.mark.parametrize("form", ["weights", "chunks"])
def test_a_form_trains_as_the_plain_form_does(
    candidate: Callable[..., Path], tmp_path: Path, form: str, rows: str
) -> None:
    config = harness.run_config("digits", noise_multiplier=1.0, epochs=1, rows=rows)
    path = candidate()
    plain = go(path, tmp_path / "plain", config, "plain")
    formed = go(path, tmp_path / "formed", config, form, engine=Engine(physical_batch=16))
    assert (plain.form, formed.form) == ("plain", form)
    assert plain.ledger == formed.ledger
    for name, value in parameters(tmp_path / "plain").items():
        torch.testing.assert_close(parameters(tmp_path / "formed")[name], value, rtol=1e-3, atol=1e-5)
    assert harness.read_run(tmp_path / "formed").engine["physical_batch"] == 16


@pytest.mark.parametrize("form", ["weights", "chunks"])
@pytest.mark.parametrize("constant", [False, True])
def test_rows_that_are_not_finite_are_counted_and_leave_nothing(
    candidate: Callable[..., Path], tmp_path: Path, form: str, constant: bool
) -> None:
    config = harness.run_config("digits", noise_multiplier=1.0, epochs=1)
    recipe = Recipe(learning_rate=1e38)  # breaks the network at once
    engine = Engine(constant_shapes=constant)
    record = go(candidate(), tmp_path, config, form, max_steps=3, engine=engine, recipe=recipe)
    assert record.ledger[0].rows_nonfinite == 0
    assert all(row.rows_nonfinite == row.rows_sampled for row in record.ledger[1:])


def test_memory_is_bounded_by_the_physical_batch(candidate: Callable[..., Path], tmp_path: Path) -> None:
    """No buffer of the forms grows with the logical batch."""
    from harness.forms import ChunksForm
    from harness.run import Run

    seen = []
    config = harness.run_config("digits", noise_multiplier=1.0, epochs=1, batch_size=1_000)
    original = Run.step

    def watched(self: Run) -> None:
        original(self)
        stepper = self.parts.stepper
        if isinstance(stepper, ChunksForm):
            seen.append(len(stepper._buffers._buffers[0]))
        else:
            scratch = stepper._parts.gradients._scratch  # type: ignore[attr-defined]
            seen.append(max(len(buffer) for buffer in scratch._buffers.values()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "step", watched)
        for form in ("weights", "chunks"):
            record = go(candidate(), tmp_path / form, config, form, engine=Engine(physical_batch=32))
            assert record.ledger[0].rows_sampled > 900
    assert seen
    assert max(seen) <= 36  # 32 and a little room


def config() -> RunConfig:
    return harness.run_config("digits", noise_multiplier=1.0, epochs=1)


WEIGHTS = "        return (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)\n"
STD = "        return self.noise_multiplier * self.max_grad_norm\n"
BY_CALLER = "        inside = sys._getframe(1).f_code.co_name == 'clip_and_noise'\n"
BEGIN = "        self.totals = None\n"
KEEP = "        self.totals = sums if self.totals is None else [a + b for a, b in zip(self.totals, sums)]\n"
LIES = {
    "a weight twice as large": (
        "weights",
        WEIGHTS,
        f"{BY_CALLER}        scale = 1 if inside else 2\n{WEIGHTS[:-1]} * scale\n",
    ),
    "half the noise": ("weights", STD, f"{BY_CALLER}        scale = 1 if inside else 0.5\n{STD[:-1]} * scale\n"),
    "noise for every chunk": ("chunks", KEEP, f"        sums = [a + torch.randn_like(a) for a in sums]\n{KEEP}"),
    "the last chunk only": ("chunks", KEEP, "        self.totals = sums\n"),
    "the step before": ("chunks", BEGIN, "        self.totals = getattr(self, 'totals', None)\n"),
    "raw and clipped sums mixed": ("chunks", KEEP, f"        sums[0] = per_sample_grads[0].sum(0)\n{KEEP}"),
    "another report": ("chunks", BEGIN, f"{BEGIN}        self.noise_multiplier *= 1.0001\n"),
    "a crash on an empty chunk": ("chunks", KEEP, f"        weights.max()\n{KEEP}"),
    "too few gradients": ("chunks", KEEP, "        self.totals = sums[:-1]\n"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_form_that_differs_is_refused(candidate: Callable[..., Path], name: str) -> None:
    form, old, new = LIES[name]
    path = candidate(old, new)
    path.write_text("import sys\n" + path.read_text())
    loaded = load_class(read_candidate(str(path)))
    with pytest.raises(MechanismError, match=r"releases other gradients|says|weights\.max|forms were compared"):
        require_conformance(Form(form), loaded, config(), file=str(path))


@pytest.mark.parametrize("rows", ["sampled", "constant"])
@pytest.mark.parametrize("form", [Form.WEIGHTS, Form.CHUNKS])
def test_an_honest_form_conforms_and_draws_nothing(candidate: Callable[..., Path], form: Form, rows: str) -> None:
    path = candidate()
    loaded = load_class(read_candidate(str(path)))
    before = torch.get_rng_state()
    run = harness.run_config("digits", noise_multiplier=1.0, epochs=1, rows=rows)
    require_conformance(form, loaded, run, file=str(path))
    assert torch.equal(before, torch.get_rng_state())


def test_weights_that_look_at_other_rows_are_refused(candidate: Callable[..., Path]) -> None:
    """The factor is 1 for every chunk that the comparison tries, so only the check of rows can find it."""
    path = candidate(WEIGHTS, f"{WEIGHTS[:-1]} * (0.5 if len(norms) > 1 and norms.min() > 0 else 1.0)\n")
    loaded = load_class(read_candidate(str(path)))
    with pytest.raises(MechanismError, match=r"depending on the norms of OTHER rows|releases other gradients"):
        require_conformance(Form.WEIGHTS, loaded, config(), file=str(path))


def test_the_choice_of_a_form(candidate: Callable[..., Path], mechanism: Path) -> None:
    all_forms = load_class(read_candidate(str(candidate())))
    plain_only = load_class(read_candidate(str(mechanism)))
    run = config()
    assert choose_form(None, all_forms, run, file="f") is Form.WEIGHTS
    assert choose_form(Form.PLAIN, all_forms, run, file="f") is Form.PLAIN
    assert choose_form(None, plain_only, run, file="f") is Form.PLAIN
    with pytest.raises(MechanismError, match="needs the methods weights, noise_std"):
        choose_form(Form.WEIGHTS, plain_only, run, file="f")
    large = harness.run_config("paper-resnet20-rmsprop", noise_multiplier=3.0)
    with pytest.raises(UsageError, match=r"take 16\.5 GiB.*never called chunk by chunk"):
        choose_form(None, plain_only, large, file="f")
