"""Recipes: optimisers, rates, averages and augmentation; and that every one of them resumes bit by bit."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

import harness
from dpaudit.contract import UsageError
from harness.augmentation import Augmenter
from harness.checkpoint import CHECKPOINT_FILE
from harness.optimisers import DPAdam, build_optimiser
from harness.rates import learning_rates
from harness.recipe import Augmentation, Engine, Optimiser, RateSchedule, Recipe
from harness.training import train
from harness.weight_average import WeightAverage

STANDARD = str(Path(__file__).resolve().parents[2] / "mechanisms" / "accepted" / "standard_dpsgd.py")
FLIP, CROP, AUGMIX = Augmentation

RECIPES = {
    "nesterov": (Recipe(nesterov=True, weight_decay=1e-3, warmup_steps=9), Engine()),
    "rmsprop": (Recipe(optimiser=Optimiser.RMSPROP, learning_rate=1e-3, average_decay=0.9), Engine()),
    "adagrad": (Recipe(optimiser=Optimiser.ADAGRAD, learning_rate=1e-2), Engine(constant_shapes=True)),
    "adam": (
        Recipe(optimiser=Optimiser.ADAM, learning_rate=1e-3, schedule=RateSchedule.COSINE_STEPS),
        Engine(bf16=True),
    ),
    "dp_adam": (Recipe(optimiser=Optimiser.DP_ADAM, learning_rate=1e-3, schedule=RateSchedule.CONSTANT), Engine()),
    "views": (Recipe(augmentations=(FLIP, CROP), views=2, average_decay=0.95), Engine(channels_last=True)),
    "augmix": (Recipe(augmentations=(AUGMIX,)), Engine(physical_batch=7)),
}


@pytest.mark.parametrize(
    ("name", "form"), [*((name, "weights") for name in RECIPES), ("views", "plain"), ("augmix", "plain")]
)
def test_every_recipe_resumes_bit_by_bit(tmp_path: Path, name: str, form: str) -> None:
    recipe, engine = RECIPES[name]
    steps = 4 if name == "augmix" else 26
    config = harness.run_config("digits", noise_multiplier=1.0, epochs=2)
    options = {"seed": 7, "config": config, "progress": False, "form": form, "recipe": recipe, "engine": engine}
    whole = train(STANDARD, "digits", out=tmp_path / "whole", max_steps=steps, **options)  # type: ignore[arg-type]
    for stop in (3, steps - 1, steps):
        resume = (tmp_path / "part").exists()
        torch.manual_seed(stop)
        part = train(STANDARD, "digits", out=tmp_path / "part", max_steps=stop, resume=resume, **options)  # type: ignore[arg-type]
    assert part.ledger == whole.ledger
    first, second = (torch.load(tmp_path / out / CHECKPOINT_FILE, weights_only=True) for out in ("whole", "part"))
    for key in ("parameters", "average"):
        assert (first[key] is None) == (second[key] is None)
        for entry, value in (first[key] or {}).items():
            assert torch.equal(value, second[key][entry])
    assert part.recipe == recipe.to_json()
    with pytest.raises(UsageError, match="belongs to another run: recipe was"):
        train(STANDARD, "digits", out=tmp_path / "part", resume=True, **(options | {"recipe": Recipe(momentum=0.1)}))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", list(Optimiser))
def test_optimisers_follow_their_formulas(kind: Optimiser) -> None:
    """Three steps in float64 against the update written out."""
    recipe = Recipe(optimiser=kind, learning_rate=0.1, momentum=0.9)
    model = nn.Linear(3, 1, bias=False).double()
    start = model.weight.detach().clone()
    optimiser = build_optimiser(recipe, model, noise_std=0.1)
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(1, 3, generator=generator, dtype=torch.float64) for _ in range(3)]
    for gradient in gradients:
        model.weight.grad = gradient.clone()
        optimiser.step()
    expected, first, second = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for step, gradient in enumerate(gradients, start=1):
        match kind:
            case Optimiser.SGD:
                first = gradient if step == 1 else 0.9 * first + gradient
                expected -= 0.1 * first
            case Optimiser.RMSPROP:
                second = 0.99 * second + 0.01 * gradient**2
                first = 0.9 * first + gradient / (second.sqrt() + 1e-8)
                expected -= 0.1 * first
            case Optimiser.ADAGRAD:
                second = second + gradient**2
                expected -= 0.1 * gradient / (second.sqrt() + 1e-10)
            case Optimiser.ADAM | Optimiser.DP_ADAM:
                first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
                mean, variance = first / (1 - 0.9**step), second / (1 - 0.999**step)
                scale = variance.sqrt() + 1e-8
                if kind is Optimiser.DP_ADAM:
                    scale = (variance - 0.01).clamp(min=0).sqrt().clamp(min=5e-4)
                expected -= 0.1 * mean / scale
    torch.testing.assert_close(model.weight.detach(), expected, rtol=1e-9, atol=1e-9)


def test_dp_adam_takes_no_closure() -> None:
    optimiser = DPAdam([nn.Parameter(torch.zeros(1))], lr=0.1, noise_variance=0.0)
    with pytest.raises(ValueError, match="no closure"):
        optimiser.step(lambda: 0.0)


def test_rates() -> None:
    config = harness.run_config("digits", noise_multiplier=1.0, epochs=4)
    per_epoch = config.steps_per_epoch
    cosine = learning_rates(Recipe(learning_rate=1.0, final_rate=0.2), config)
    assert len(cosine) == config.total_steps
    for epoch in range(4):
        wanted = 0.2 + 0.8 * (1 + math.cos(math.pi * epoch / 4)) / 2
        assert cosine[epoch * per_epoch : (epoch + 1) * per_epoch] == pytest.approx([wanted] * per_epoch)
    steps = learning_rates(Recipe(learning_rate=1.0, schedule=RateSchedule.COSINE_STEPS), config)
    assert steps[44] == pytest.approx((1 + math.cos(math.pi * 44 / 88)) / 2)
    warm = learning_rates(Recipe(learning_rate=1.0, schedule=RateSchedule.CONSTANT, warmup_steps=4), config)
    assert warm[:6] == pytest.approx((0.25, 0.5, 0.75, 1.0, 1.0, 1.0))


def test_the_average_warms_up_and_counts_logical_steps() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, decay=0.5)
    expected = float(model.weight.detach())
    for step in range(20):
        with torch.no_grad():
            model.weight.fill_(step)
        average.update(model)
        kept = min(0.5, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * step
    assert float(average.parameters()["weight"]) == pytest.approx(expected, rel=1e-5)


def test_flips_and_crops_move_pixels_and_invent_none() -> None:
    images = torch.arange(1, 65, dtype=torch.uint8).view(1, 1, 8, 8).repeat(200, 1, 1, 1)
    flipper = Augmenter(Recipe(augmentations=(FLIP,)), seed=1)
    flipped = flipper.apply(images, flipper.draw(200, height=8))
    same = (flipped == images).flatten(1).all(1)
    assert (flipped[~same] == images[~same].flip(3)).all()
    assert 60 < int(same.sum()) < 140
    cropper = Augmenter(Recipe(augmentations=(CROP,), views=3), seed=1)
    views = cropper.apply(images, cropper.draw(200, height=8))
    assert views.shape == (600, 1, 8, 8)
    padded = nn.functional.pad(images[:1], (1, 1, 1, 1))
    windows = {padded[0, 0, y : y + 8, x : x + 8].numpy().tobytes() for y in range(3) for x in range(3)}
    assert {view[0].numpy().tobytes() for view in views} == windows


@pytest.mark.parametrize("kinds", [(FLIP, CROP), (AUGMIX,)])
def test_a_view_depends_on_its_own_row_and_leaves_global_generators_alone(kinds: tuple[Augmentation, ...]) -> None:
    images = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    augmenter = Augmenter(Recipe(augmentations=kinds, views=2), seed=3)
    drawn = augmenter.draw(5, height=16)
    before = torch.get_rng_state()
    whole = augmenter.apply(images, drawn)
    assert torch.equal(before, torch.get_rng_state())
    assert drawn is not None
    changed = images.clone()
    changed[2] = 0
    kept = [0, 1, 2, 3, 6, 7, 8, 9]
    assert torch.equal(augmenter.apply(changed, drawn)[kept], whole[kept])
    assert torch.equal(
        torch.cat([augmenter.apply(images[row : row + 1], drawn[row : row + 1]) for row in range(5)]), whole
    )
    assert not torch.equal(whole[0], whole[1])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"learning_rate": math.nan}, "learning_rate must be positive"),
        ({"views": 2}, "more than one view needs an augmentation"),
        ({"nesterov": True, "momentum": 0.0}, "nesterov needs sgd with momentum"),
        ({"final_rate": 1.0}, r"final_rate must lie in \[0, learning_rate\]"),
        ({"average_decay": 1.0}, "average_decay"),
        ({"augmentations": (FLIP, FLIP)}, "must not repeat"),
    ],
)
def test_a_recipe_out_of_range_cannot_exist(values: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Recipe(**values)  # type: ignore[arg-type]


def test_recipes_and_engines_come_back_from_json() -> None:
    for recipe, engine in RECIPES.values():
        assert Recipe.from_json(recipe.to_json(), where="here") == recipe
        assert Engine.from_json(engine.to_json(), where="here") == engine
    wrong = ("optimiser", "lion"), ("views", True), ("learning_rate", "fast"), ("augmentations", ["blur"])
    for key, value in (*wrong, ("learning_rate", 10**400), ("momentum", float("inf"))):
        with pytest.raises(UsageError, match=f"here: {key}: expected"):
            Recipe.from_json(Recipe().to_json() | {key: value}, where="here")
    with pytest.raises(UsageError, match="exactly the keys"):
        Recipe.from_json({"views": 1}, where="here")
    for broken in ({"compile": True}, {"cuda_graphs": True, "constant_shapes": True}, {"physical_batch": 0}):
        with pytest.raises(UsageError, match="engine: "):
            Engine(**broken)  # type: ignore[arg-type]
