"""Presets declare the benchmark's settings, and a run configuration is calibrated for exactly its cell."""

import pytest

from dpaudit.contract import Calibration, Cell, NonFinite, Relation, Rows, Sampler, UsageError
from harness import DATASET_PRESETS, PRESETS, preset, run_config, seeds


def test_the_list_of_presets() -> None:
    assert [name for name in PRESETS if not name.startswith("paper-")] == [
        "digits",
        "mnist",
        "fmnist",
        "cifar10",
        "benchmark-mnist",
        "benchmark-fmnist",
        "benchmark-cifar10",
        "scatter-digits",
        "scatter-mnist",
        "scatter-fmnist",
        "scatter-cifar10",
    ]
    assert all(PRESETS[name].dataset == dataset for dataset, name in DATASET_PRESETS.items())


@pytest.mark.parametrize(
    ("name", "size", "epochs", "per_epoch", "parameters"),
    [
        ("mnist", 60_000, 5, 234, 26_010),
        ("fmnist", 60_000, 5, 234, 26_010),
        ("cifar10", 50_000, 30, 195, 132_042),
        ("digits", 1_437, 12, 22, 4_976),
    ],
)
def test_settings(name: str, size: int, epochs: int, per_epoch: int, parameters: int) -> None:
    config = run_config(name, noise_multiplier=1.0)
    assert (config.dataset_size, config.epochs, config.steps_per_epoch) == (size, epochs, per_epoch)
    assert config.n_params == parameters
    assert (config.max_grad_norm, config.target_epsilon, config.target_delta) == (1.0, 3.0, 1e-5)
    assert config.cell == Cell(
        sampler=Sampler.POISSON, relation=Relation.ADD_REMOVE, rows=Rows.SAMPLED, nonfinite=NonFinite.GUARDED
    )
    assert config.expected_batch == config.batch_size == (64 if name == "digits" else 256)
    assert config.calibration is Calibration.PLD
    assert config.name == name


@pytest.mark.parametrize(
    ("name", "sigma"),
    # Published sigmas of the benchmark, whose own search stops at a tolerance of 1e-3.
    [("benchmark-mnist", 0.2385), ("benchmark-fmnist", 0.2385), ("benchmark-cifar10", 0.6405)],
)
def test_the_published_settings_are_repeated_exactly(name: str, sigma: float) -> None:
    config = run_config(name)
    assert config.noise_multiplier == pytest.approx(sigma, abs=1e-3)
    assert config.calibration is Calibration.BENCHMARK
    assert config.cell == Cell(
        sampler=Sampler.SHUFFLE, relation=Relation.ZERO_OUT, rows=Rows.CONSTANT, nonfinite=NonFinite.GUARDED
    )
    assert preset(name).seeds == (42, 123, 456)
    assert (preset(name).recipe.learning_rate, preset(name).recipe.momentum) == (0.1, 0.9)


def test_sigma_is_calibrated_for_the_poisson_cell() -> None:
    # 0.6508: PLD, add/remove, q = 256/60000, 1170 steps, delta 1e-5 (dp-accounting 0.6).
    assert run_config("mnist").noise_multiplier == pytest.approx(0.6508, abs=2e-3)


def test_constant_rows_cap_a_poisson_draw_with_room_to_spare() -> None:
    config = run_config("mnist", rows="constant", noise_multiplier=1.0)
    assert config.cell.sampler is Sampler.TRUNCATED_POISSON
    assert (config.batch_size, config.expected_batch) == (256, 180)
    assert config.sampling_probability == 180 / 60_000
    back = run_config("mnist", rows="sampled", noise_multiplier=1.0)
    assert back.cell.sampler is Sampler.POISSON


def test_words_are_accepted_as_strings_and_as_enums() -> None:
    one = run_config("mnist", sampler="shuffle", relation="zero_out", nonfinite="raw", noise_multiplier=1.0, epochs=2)
    other = run_config(
        PRESETS["mnist"],
        sampler=Sampler.SHUFFLE,
        relation=Relation.ZERO_OUT,
        nonfinite=NonFinite.RAW,
        noise_multiplier=1.0,
        epochs=2,
    )
    assert one == other
    assert one.cell.rows is Rows.CONSTANT
    assert one.total_steps == 468


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sampler": "poison"}, "sampler must be one of poisson, truncated_poisson, fixed_size, shuffle, got 'poison'"),
        ({"relation": "swap"}, "relation must be one of add_remove"),
        ({"rows": "all"}, "rows must be one of sampled, constant"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"noise_multiplier": float("nan")}, "noise_multiplier"),
    ],
)
def test_a_wrong_word_is_named_with_the_right_ones(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        run_config("digits", **({"noise_multiplier": 1.0} | arguments))  # type: ignore[arg-type]


def test_the_papers_systems_have_presets_with_its_settings() -> None:
    networks, optimisers = ("resnet20", "wrn16-4", "efficientnet-b0"), ("rmsprop", "adagrad", "sgd")
    names = {f"paper-{network}-{optimiser}" for network in networks for optimiser in optimisers}
    names |= {f"paper-efficientnet-b0-public-{optimiser}" for optimiser in optimisers}
    assert {name for name in PRESETS if name.startswith("paper-")} == names | {
        "paper-resnet20-plain-sgd-256",
        "paper-resnet20-groupnorm-sgd-256",
        "paper-resnet20-sgd-256",
        "paper-resnet20-sgd-512",
    }
    assert all(PRESETS[name].recipe.public_weights == ("public" in name) for name in PRESETS)
    recipe = preset("paper-resnet20-rmsprop").recipe
    assert (recipe.learning_rate, recipe.final_rate, recipe.momentum, recipe.weight_decay) == (8e-4, 9e-5, 0.9, 1e-4)


def test_the_papers_noise_is_calibrated_by_pld_for_poisson_batches_of_4096() -> None:
    config = run_config("paper-resnet20-rmsprop")
    assert (config.steps_per_epoch, config.total_steps) == (12, 600)
    assert config.sampling_probability == pytest.approx(0.08192)
    # q = .082, T = 600: sigma 2.93 costs 2.999 under add/remove (PLD).
    assert config.noise_multiplier == pytest.approx(2.93, abs=0.02)
    assert config.n_params == 1_084_586


def test_overrides_change_the_claim_and_its_noise() -> None:
    base = run_config("digits", epochs=1)
    larger = run_config("digits", epochs=1, batch_size=128, max_grad_norm=0.5)
    assert (larger.batch_size, larger.max_grad_norm, larger.steps_per_epoch) == (128, 0.5, 11)
    assert larger.noise_multiplier > base.noise_multiplier
    held = run_config("digits", epochs=1, noise_multiplier=1.0, hold_out=437)
    assert (held.dataset_size, held.steps_per_epoch) == (1_000, 15)
    with pytest.raises(UsageError, match="expected a batch size between 1 and the 37 examples"):
        run_config("digits", noise_multiplier=1.0, hold_out=1_400)


def test_an_unknown_preset_names_them_all_and_the_nearest() -> None:
    with pytest.raises(UsageError, match="got 'cifar'; did you mean 'cifar10'"):
        preset("cifar")


def test_seeds() -> None:
    assert seeds(2) == (42, 123)
    assert len(set(seeds(7))) == 7
    with pytest.raises(UsageError, match="at least 1"):
        seeds(0)
