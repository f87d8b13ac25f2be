"""Cached features, their normalisation, and the private mean."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import harness
from dpaudit.contract import DataError, Form, RunRecord, UsageError
from harness.canaries import CanaryPlan
from harness.checkpoint import CHECKPOINT_FILE
from harness.datasets import Dataset
from harness.private_moments import centred
from harness.recipe import Augmentation, Engine, Recipe
from harness.scattering import scattering_of
from harness.scattering_cache import FOLDER, scattering_features
from harness.scattering_data import load_scattering
from harness.scattering_settings import ScatteringSettings
from harness.training import train

MECHANISM = str(Path(__file__).parents[2] / "mechanisms" / "accepted" / "standard_dpsgd.py")


def pixels(count: int = 6) -> torch.Tensor:
    return torch.randint(0, 256, (count, 1, 28, 28), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def features(root: Path, images: torch.Tensor, *, mirrored: bool = False) -> torch.Tensor:
    return scattering_features(images, maximum=255.0, mirrored=mirrored, root=root)


def test_cached_features_are_the_transform_and_are_not_made_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pixels()
    first = features(tmp_path, images)
    expected = scattering_of(28)(images[:, 0].float() / 255).reshape(6, -1).half()
    torch.testing.assert_close(first, expected)
    monkeypatch.setattr("harness.scattering_cache._transformed", None)  # would fail if it were called
    assert torch.equal(features(tmp_path, images), first)


def test_other_pixels_have_other_features(tmp_path: Path) -> None:
    images = pixels()
    features(tmp_path, images)
    changed = images.clone()
    changed[0, 0, 0, 0] ^= 1
    assert not torch.equal(features(tmp_path, changed)[0], features(tmp_path, images)[0])
    assert len(list((tmp_path / FOLDER).iterdir())) == 2


@pytest.mark.parametrize("damage", [b"", b"not an array", None])
def test_a_damaged_block_is_made_again(tmp_path: Path, damage: bytes | None) -> None:
    images = pixels()
    first = features(tmp_path, images)
    (path,) = (tmp_path / FOLDER).iterdir()
    if damage is None:
        np.save(path, np.full((6, 3969), np.nan, dtype=np.float16))
    else:
        path.write_bytes(damage)
    assert torch.equal(features(tmp_path, images), first)


def test_mirrored_features_are_the_mean_of_both(tmp_path: Path) -> None:
    images = pixels()
    both = features(tmp_path, images, mirrored=True)
    expected = (features(tmp_path, images).float() + features(tmp_path, images.flip(-1)).float()) / 2
    assert torch.equal(both, expected.half())
    assert torch.equal(features(tmp_path, images.flip(-1), mirrored=True), both)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("in the way")
    with pytest.raises(DataError, match="cannot create"):
        features(tmp_path, pixels())


def test_groups_of_three_channels_are_normalised_and_rows_are_bounded(tmp_path: Path) -> None:
    data = load_scattering("digits", ScatteringSettings(), root=tmp_path, device="cpu", progress=False)
    groups = data.train_images[:50].float().view(50, 27, -1)
    assert float(groups.mean(2).abs().max()) < 1e-2
    assert float(groups.var(2, unbiased=False).max()) < 1.01
    assert float(data.train_images.float().norm(dim=1).max()) <= math.sqrt(324) * 1.001
    assert data.normalised(data.test_images).dtype == torch.float32


def random_data(rows: int = 40, width: int = 30) -> Dataset:
    generator = torch.Generator().manual_seed(5)
    unit = torch.ones((1, 1))
    return Dataset(
        title="random",
        train_images=(1 + torch.randn(rows, width, generator=generator)).half(),
        train_labels=torch.zeros(rows, dtype=torch.int64),
        test_images=torch.randn(5, width, generator=generator).half(),
        test_labels=torch.zeros(5, dtype=torch.int64),
        mean=torch.zeros((1, 1)),
        std=unit,
        maximum=1.0,
    )


def mean_of(data: Dataset, multiplier: float, seed: int) -> torch.Tensor:
    """What was taken off, to the precision of the features."""
    return (data.test_images.float() - centred(data, multiplier, seed=seed).test_images.float())[0]


def test_without_noise_it_is_the_mean_of_clipped_rows() -> None:
    data = random_data()
    rows = data.train_images.double()
    clipped = rows * (math.sqrt(30) / rows.norm(dim=1)).clamp(max=1)[:, None]
    torch.testing.assert_close(mean_of(data, 1e-12, 1).double(), clipped.mean(0), atol=2e-3, rtol=0)


def test_one_row_moves_the_released_sum_by_at_most_its_bound() -> None:
    data = random_data()
    rows = data.train_images.clone()
    rows[3] = 300.0
    moved = dataclasses.replace(data, train_images=rows)
    absent = dataclasses.replace(data, train_images=rows.index_fill(0, torch.tensor([3]), 0))
    distance = (mean_of(moved, 1e-12, 1) - mean_of(absent, 1e-12, 1)).norm() * len(rows)
    assert float(distance) == pytest.approx(math.sqrt(30), rel=2e-2)


def test_the_noise_has_the_declared_size_and_moves_with_the_seed() -> None:
    data = random_data(width=4000)
    quiet = mean_of(data, 1e-12, 1)
    noise = [(mean_of(data, 5.0, seed) - quiet) * 40 / math.sqrt(4000) for seed in (1, 2)]
    for drawn in noise:
        assert float(drawn.std()) == pytest.approx(5.0, rel=0.05)  # four standard errors of 4,000 draws
    assert float((noise[0] * noise[1]).mean()) == pytest.approx(0, abs=1.6)
    assert torch.equal(mean_of(data, 5.0, 1), mean_of(data, 5.0, 1))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"centring": 0.0}, "centring must be positive and finite"),
        ({"centring": math.nan}, "centring must be positive and finite"),
        ({"variance_floor": -1.0}, "variance_floor must be positive and finite"),
        ({"whitening": -3.0}, "whitening must be positive and finite"),
        ({"row_bound": math.inf}, "row_bound must be positive and finite"),
        ({"whitening_floor": 0.0}, "whitening_floor must be positive and finite"),
        ({"whitening_power": 0.6}, "whitening_power must be at most 0.5"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ScatteringSettings(**values)  # type: ignore[arg-type]


WHITENED = ScatteringSettings(centring=30.0, whitening=20.0)


@pytest.fixture
def whitened_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """``scatter-digits`` with both releases."""
    changed = dataclasses.replace(harness.preset("scatter-digits"), features=WHITENED)
    monkeypatch.setitem(harness.PRESETS, "scatter-digits", changed)


def go(out: Path, root: Path, **named: object) -> RunRecord:
    config = harness.run_config("scatter-digits")
    return train(
        MECHANISM,
        "scatter-digits",
        **({"seed": 7, "out": out, "config": config, "data_root": root, "progress": False, "form": None} | named),  # type: ignore[arg-type]
    )


def test_a_preset_on_features_trains_in_the_weights_form_and_charges_its_mean(tmp_path: Path) -> None:
    record = go(tmp_path / "run", tmp_path)
    assert record.form is Form.WEIGHTS
    assert record.config.preparation == (30.0,)
    assert record.accuracy is not None
    assert record.accuracy > 85
    assert 2.99 < record.metrics["epsilon_digits"] <= 3.0
    assert harness.read_run(tmp_path / "run") == record


def test_such_a_run_resumes_bit_by_bit(tmp_path: Path) -> None:
    go(tmp_path / "whole", tmp_path)
    go(tmp_path / "parts", tmp_path, max_steps=23)
    assert go(tmp_path / "parts", tmp_path, resume=True).completed
    whole, parts = (
        torch.load(tmp_path / name / CHECKPOINT_FILE, weights_only=True)["parameters"] for name in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        (
            {"recipe": Recipe(augmentations=(Augmentation.FLIP, Augmentation.CROP))},
            "features, which have no flip or crop",
        ),
        ({"engine": Engine(channels_last=True)}, "features, which have no channels_last"),
    ],
)
def test_what_needs_images_is_refused(named: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        go(tmp_path / "run", tmp_path, **named)


def test_the_plain_form_trains_to_the_same_model(tmp_path: Path) -> None:
    go(tmp_path / "weights", tmp_path, max_steps=5)
    go(tmp_path / "plain", tmp_path, max_steps=5, form=Form.PLAIN)
    weights, plain = (
        torch.load(tmp_path / name / CHECKPOINT_FILE, weights_only=True)["parameters"] for name in ("weights", "plain")
    )
    for key, value in weights.items():
        torch.testing.assert_close(value, plain[key], rtol=0, atol=1e-5)


def test_canaries_are_refused_where_a_mean_is_released_before_training(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a run with releases before the first step cannot be scored"):
        go(tmp_path / "run", tmp_path, canaries=CanaryPlan(count=10))


@pytest.mark.usefixtures("whitened_digits")
def test_both_releases_are_charged_kept_in_the_record_and_resumed_bit_by_bit(tmp_path: Path) -> None:
    record = go(tmp_path / "whole", tmp_path)
    assert record.config.preparation == (30.0, 20.0)
    assert 2.99 < record.metrics["epsilon_digits"] <= 3.0
    assert ScatteringSettings.from_json(record.features, where="features") == WHITENED
    assert harness.read_run(tmp_path / "whole") == record
    go(tmp_path / "parts", tmp_path, max_steps=23)
    assert go(tmp_path / "parts", tmp_path, resume=True).completed
    whole, parts = (
        torch.load(tmp_path / name / CHECKPOINT_FILE, weights_only=True)["parameters"] for name in ("whole", "parts")
    )
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_a_run_is_not_resumed_with_other_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(tmp_path / "finished", tmp_path, max_steps=60)
    go(tmp_path / "begun", tmp_path, max_steps=3)
    other = dataclasses.replace(
        harness.preset("scatter-digits"), features=ScatteringSettings(mirrored=True, centring=30.0)
    )
    monkeypatch.setitem(harness.PRESETS, "scatter-digits", other)
    with pytest.raises(UsageError, match="of another mechanism, seed, configuration, canaries or features"):
        go(tmp_path / "finished", tmp_path, resume=True)
    with pytest.raises(UsageError, match="features was"):
        go(tmp_path / "begun", tmp_path, resume=True)


def test_a_run_from_before_features_were_kept_is_read(tmp_path: Path) -> None:
    go(tmp_path, tmp_path, max_steps=2)
    path = tmp_path / "run.json"
    values = json.loads(path.read_text())
    assert values.pop("features") == ScatteringSettings(centring=30.0).to_json()
    path.write_text(json.dumps(values))
    assert harness.read_run(tmp_path).features == {}
    path.write_text(json.dumps({**values, "seconds": 10**400}))
    with pytest.raises(DataError, match="seconds: expected a finite number"):
        harness.read_run(tmp_path)
    path.write_text(json.dumps({**values, "features": {"mirrored": True}}))
    with pytest.raises(DataError, match="expected exactly the keys"):
        harness.read_run(tmp_path)
