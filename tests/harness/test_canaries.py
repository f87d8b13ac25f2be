"""Canaries: coins, slots, rows; what a run with them records; the same run after an interruption; steps run again."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

import harness
from dpaudit.contract import DataError, Form, Relation, RunConfig, RunRecord, UsageError
from harness.canaries import (
    CanaryKind,
    CanaryPlan,
    CanaryRows,
    draw_canaries,
    kinds_from_text,
    read_canaries,
    with_canaries,
    write_canaries,
)
from harness.canary_products import canary_evidence
from harness.candidate import read_candidate
from harness.datasets import Dataset, load_dataset
from harness.generators import noise_generators
from harness.models import build_model
from harness.process_group import OneProcess
from harness.recipe import Augmentation, Engine, Recipe
from harness.recording import read_recording, read_step_states
from harness.run import Run
from harness.run_parts import Request
from harness.step_replay import replay_steps

Variant = Callable[[str, str], Path]
KINDS = (CanaryKind.MISLABELLED, CanaryKind.BLANK, CanaryKind.ADVERSARIAL, CanaryKind.NATURAL, CanaryKind.DIRAC)
PLAN = CanaryPlan(count=60, kinds=KINDS, per_coordinate=2)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset("digits")


def train(path: Path, out: Path, config: RunConfig, **named: object) -> RunRecord:
    arguments = {"seed": 7, "out": out, "config": config, "progress": False, "canaries": PLAN} | named
    return harness.train(str(path), "digits", **arguments)  # type: ignore[arg-type]


def test_coins_are_fair_and_do_not_follow_the_layout(config: RunConfig, data: Dataset) -> None:
    plan = CanaryPlan(count=40, kinds=KINDS)
    coins = np.array(
        [[one.included for one in draw_canaries(plan, config, data.train_labels, seed=seed)] for seed in range(400)]
    )
    # 16,000 fair coins: five standard deviations of the mean, and of every pair's agreement over seeds.
    assert abs(coins.mean() - 0.5) < 5 * 0.5 / 16_000**0.5
    agreement = (coins[:, :-1] == coins[:, 1:]).mean()
    assert abs(agreement - 0.5) < 5 * 0.5 / (400 * 39) ** 0.5
    same = [draw_canaries(plan, config, data.train_labels, seed=3, coin_seed=coin) for coin in (1, 2)]
    assert [one.slot for one in same[0]] == [one.slot for one in same[1]]
    assert [one.included for one in same[0]] != [one.included for one in same[1]]


def test_every_kind_is_what_it_says(config: RunConfig, data: Dataset) -> None:
    canaries = draw_canaries(PLAN, config, data.train_labels, seed=1)
    changed = with_canaries(data, canaries, seed=1)
    assert len({one.slot for one in canaries}) == len({one.identifier for one in canaries}) == 60
    for one in canaries:
        image, own = changed.train_images[one.slot], data.train_images[one.slot]
        same_label = int(data.train_labels[one.slot]) == int(changed.train_labels[one.slot])
        match one.kind:
            case CanaryKind.MISLABELLED:
                assert torch.equal(image, own)
                assert not same_label
            case CanaryKind.BLANK:
                assert not image.any()
            case CanaryKind.ADVERSARIAL:
                assert set(image.unique().tolist()) == {0, 16}
            case CanaryKind.NATURAL | CanaryKind.DIRAC:
                assert torch.equal(image, own)
                assert same_label
    coordinates = [one.coordinate for one in canaries if one.kind is CanaryKind.DIRAC]
    assert len(coordinates) == 12
    assert all(coordinates.count(place) == 2 for place in coordinates)
    untouched = torch.ones(len(data.train_labels), dtype=torch.bool)
    untouched[[one.slot for one in canaries]] = False
    assert torch.equal(data.train_images[untouched], changed.train_images[untouched])


def test_absent_rows_are_dropped_or_zero_and_diracs_are_exact(config: RunConfig, data: Dataset) -> None:
    canaries = draw_canaries(PLAN, config, data.train_labels, seed=1)
    drawn = torch.tensor([one.slot for one in canaries])
    rows = CanaryRows(canaries, config)
    kept, count = rows.present(drawn)
    assert kept.tolist() == [one.slot for one in canaries if one.included]
    assert count == len(kept)
    zero = dataclasses.replace(config, cell=dataclasses.replace(config.cell, relation=Relation.ZERO_OUT))
    assert CanaryRows(canaries, zero).present(drawn)[1] == len(drawn)
    gradients = [torch.randn(len(kept), *shape) for shape in config.parameter_shapes]
    before = [gradient.clone() for gradient in gradients]
    rows.inject(gradients, kept)
    flat = torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)
    present = [one for one in canaries if one.included]
    for row, one in enumerate(present):
        if one.kind is CanaryKind.DIRAC:
            expected = torch.zeros(config.n_params)
            expected[one.coordinate] = one.sign * config.max_grad_norm
            assert torch.equal(flat[row], expected)
        else:
            assert torch.equal(flat[row], torch.cat([gradient[row].flatten() for gradient in before]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"count": 0}, "at least 1 canary"),
        ({"kinds": ()}, "expected kinds"),
        ({"kinds": (CanaryKind.BLANK, CanaryKind.BLANK)}, "each once"),
        ({"count": 1_000}, "at most half of the 1437"),
    ],
)
def test_impossible_plans_are_refused(config: RunConfig, data: Dataset, change: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        draw_canaries(dataclasses.replace(PLAN, **change), config, data.train_labels, seed=1)  # type: ignore[arg-type]


def test_replace_one_and_unknown_kinds_are_refused(data: Dataset) -> None:
    config = harness.run_config("digits", noise_multiplier=1.3, relation="replace_one")
    with pytest.raises(UsageError, match="replace_one"):
        draw_canaries(PLAN, config, data.train_labels, seed=1)
    with pytest.raises(UsageError, match="got 'ghost'"):
        kinds_from_text("dirac, ghost")
    assert kinds_from_text("dirac, blank") == (CanaryKind.DIRAC, CanaryKind.BLANK)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda values: values["canaries"].pop(), "expected 60 canaries, got 59"),
        (lambda values: values["canaries"][0].update(identifier=values["canaries"][1]["identifier"]), "one twice"),
        (lambda values: values["canaries"][0].update(included=1), "expected true or false"),
        (lambda values: values.update(schema="x"), "expected schema"),
        (lambda values: values["canaries"][0].update(kind="ghost"), "ghost"),
    ],
)
def test_a_spoilt_file_is_refused(
    tmp_path: Path,
    config: RunConfig,
    data: Dataset,
    spoil: Callable[[dict[str, object]], object],
    words: str,
) -> None:
    canaries = draw_canaries(PLAN, config, data.train_labels, seed=1)
    write_canaries(tmp_path, PLAN, canaries)
    assert read_canaries(tmp_path) == (PLAN, canaries)
    values = json.loads((tmp_path / "canaries.json").read_text())
    spoil(values)
    (tmp_path / "canaries.json").write_text(json.dumps(values))
    with pytest.raises(DataError, match=words):
        read_canaries(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, mechanism_text: str) -> tuple[Path, RunRecord]:
    """A short run with canaries, trained once for several tests."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("finished")
    (folder / "candidate.py").write_text(mechanism_text)
    config = harness.run_config("digits", noise_multiplier=1.3, epochs=2)
    return folder / "candidate.py", train(folder / "candidate.py", folder / "run", config)


def test_recording_leaves_the_training_as_it_was(finished: tuple[Path, RunRecord]) -> None:
    """The same steps without a recorder end at the same weights, bit by bit."""
    path, record = finished
    data, config = load_dataset("digits"), record.config
    canaries = draw_canaries(PLAN, config, data.train_labels, seed=7)
    request = Request(
        candidate=read_candidate(str(path)),
        settings=harness.preset("digits"),
        config=config,
        recipe=harness.preset("digits").recipe,
        engine=Engine(),
        form=Form.PLAIN,
        seed=7,
        device=torch.device("cpu"),
        group=OneProcess(),
    )
    run = Run(request)
    run.canaries = CanaryRows(canaries, config)
    with noise_generators(7):
        run.begin(with_canaries(data, canaries, seed=7), None, ledger=())
        while run.steps_done < config.total_steps:
            run.step()
            if run.steps_done % config.steps_per_epoch == 0:
                run.end_epoch(seconds=0.0)
    final = torch.nn.utils.parameters_to_vector(run.parts.model.parameters()).detach().numpy()
    assert np.array_equal(final, read_recording(Path(record.directory), config).final)
    assert record.canaries == 60


def test_a_resumed_run_records_the_same(finished: tuple[Path, RunRecord], tmp_path: Path) -> None:
    path, record = finished
    train(path, tmp_path / "run", record.config, max_steps=30)
    # An interruption between two saves leaves later records behind; they belong to no run.
    (tmp_path / "run" / "recorded" / "updates-0000030.npy").write_bytes(b"junk")
    again = train(path, tmp_path / "run", record.config, resume=True)
    whole, parts = (
        read_recording(Path(record.directory), record.config),
        read_recording(tmp_path / "run", record.config),
    )
    assert np.array_equal(whole.updates, parts.updates)
    assert np.array_equal(whole.parameters, parts.parameters)
    assert np.array_equal(whole.final, parts.final)
    assert again.ledger == record.ledger
    states = [read_step_states(Path(place)) for place in (record.directory, tmp_path / "run")]
    assert [state.step for state in states[0]] == [state.step for state in states[1]]
    with pytest.raises(UsageError, match="other"):
        train(path, tmp_path / "run", record.config, resume=True, canaries=dataclasses.replace(PLAN, count=61))


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"form": Form.WEIGHTS}, "expected the form plain, in which every row's gradient exists, got weights"),
        ({"recipe": Recipe(augmentations=(Augmentation.FLIP,))}, "a run with augmentation cannot be scored"),
        ({"recipe": Recipe(dropout=0.2)}, "a run with dropout cannot"),
        ({"engine": Engine(bf16=True)}, "a run with bfloat16"),
    ],
)
def test_runs_that_cannot_be_run_again_are_refused_before_they_train(
    finished: tuple[Path, RunRecord], tmp_path: Path, named: dict[str, object], message: str
) -> None:
    path, record = finished
    with pytest.raises(UsageError, match=message):
        train(path, tmp_path / "run", record.config, **named)
    assert not (tmp_path / "run").exists()


def test_an_automatic_form_is_plain_where_canaries_are(tmp_path: Path) -> None:
    offers_weights = Path(__file__).resolve().parents[2] / "mechanisms" / "accepted" / "standard_dpsgd.py"
    config = harness.run_config("digits", noise_multiplier=1.3, epochs=1)
    record = train(offers_weights, tmp_path / "run", config, max_steps=2, form=None)
    assert record.form is Form.PLAIN
    states = harness.train(
        str(offers_weights),
        "digits",
        seed=7,
        out=tmp_path / "other",
        config=config,
        max_steps=1,
        form=None,
        progress=False,
    )
    assert states.form is Form.WEIGHTS


def test_an_incomplete_recording_is_refused(finished: tuple[Path, RunRecord], tmp_path: Path) -> None:
    path, record = finished
    partial = train(path, tmp_path / "run", record.config, max_steps=30)
    with pytest.raises(DataError, match="expected a finished run"):
        canary_evidence(partial)
    with pytest.raises(DataError, match="expected updates of 44 rows, got 30"):
        read_recording(tmp_path / "run", record.config)


def test_products_are_those_of_single_gradients(finished: tuple[Path, RunRecord]) -> None:
    """Slow twin: one backward pass a canary at the stored parameters."""
    _, record = finished
    evidence, config = canary_evidence(record), record.config
    recording = read_recording(Path(record.directory), config)
    data = with_canaries(load_dataset("digits"), evidence.canaries, seed=7)
    model = build_model("DigitsNet", seed=0)
    for place in (0, 1, 2, 4):
        one = evidence.canaries[place]
        for step in (0, 17, 43):
            weights = torch.from_numpy(recording.parameters[step // recording.stride])
            torch.nn.utils.vector_to_parameters(weights.clone(), model.parameters())
            if one.kind is CanaryKind.DIRAC:
                gradient = torch.zeros(config.n_params)
                gradient[one.coordinate] = one.sign * config.max_grad_norm
            else:
                image = data.normalised(data.train_images[one.slot][None])
                loss = functional.cross_entropy(model(image), data.train_labels[one.slot][None])
                parts = torch.autograd.grad(loss, list(model.parameters()))
                gradient = torch.cat([part.flatten() for part in parts])
                gradient *= min(1.0, config.max_grad_norm / float(gradient.norm()))
            expected = config.batch_size * float(gradient.double() @ torch.from_numpy(recording.updates[step]).double())
            assert evidence.products[place, step] == pytest.approx(expected, rel=1e-4, abs=1e-4)
            assert evidence.norms[place, step] == pytest.approx(float(gradient.norm()), rel=1e-5)
    assert evidence.losses.shape == (48,)


def test_coins_that_the_seed_does_not_draw_are_refused(finished: tuple[Path, RunRecord], tmp_path: Path) -> None:
    import shutil

    _, record = finished
    shutil.copytree(record.directory, tmp_path / "run")
    text = (tmp_path / "run" / "canaries.json").read_text()
    (tmp_path / "run" / "canaries.json").write_text(text.replace('"included": true', '"included": false', 1))
    with pytest.raises(DataError, match="is not what seed 7 draws"):
        canary_evidence(dataclasses.replace(record, directory=str(tmp_path / "run")))


def test_stored_steps_come_out_again_with_their_noise(finished: tuple[Path, RunRecord]) -> None:
    path, record = finished
    steps = replay_steps(record, read_candidate(str(path)))
    assert len(steps) == 8
    for step in steps:
        assert step.reproduced
        # The mechanism halves each release: noise and move alike, so the multiplier is the constructor's.
        assert step.measured_noise == pytest.approx(1.3, rel=0.1)
        share = 1.0 if step.step == 0 else 0.5
        assert step.largest_contribution == pytest.approx(share / 64, rel=1e-3)


@pytest.mark.parametrize(
    ("old", "new", "reproduced", "noise"),
    [
        # Less noise than was recorded, once it has come out of a store: watched and unwatched behaviour differ.
        (
            "    def get_effective_sigma",
            "    def __setstate__(self, state):\n        self.__dict__.update(state)\n        self.sigma *= 3\n\n"
            "    def get_effective_sigma",
            False,
            None,
        ),
        ("self.sigma * self.bound * torch", "0.1 * self.sigma * self.bound * torch", True, 0.13),
    ],
)
def test_a_mechanism_that_cheats_shows(
    variant: Variant, tmp_path: Path, old: str, new: str, reproduced: bool, noise: float | None
) -> None:
    path = variant(old, new)
    config = harness.run_config("digits", noise_multiplier=1.3, epochs=1)
    record = train(path, tmp_path / "run", config)
    steps = replay_steps(record, read_candidate(str(path)))
    assert all(step.reproduced is reproduced for step in steps)
    if noise is not None:
        assert steps[0].measured_noise == pytest.approx(noise, rel=0.1)
