"""Choose learning rate, clipping bound and rate schedule of a linear model on scattering features, on a validation split.

    python benchmarks/scatter_settings.py --dataset fmnist --data-root DATA [--mirrored] [--centring 30]
        [--whitening 10 --whitening-power 0.25 --whitening-floor 0.1 --row-bound 0.7] [--batch 8192] [--epochs 40]
        [--rates 1.5,2.5,4] [--bounds 0.002] [--schedules constant] [--averages 0.95,0.98] [--validation 10000]

A random part of the TRAINING set is held out and every setting is trained privately on the rest, at the sampling
probability, number of steps and noise multiplier that the whole set would have; the test set is not loaded into it. The
choice is not charged (the audits say so). All settings are trained side by side on the same batches and the same noise in
units of their bound, so that they are compared in pairs and the features are read once.

The last step of a constant rate is one draw of noise and a poor criterion. A setting is therefore judged by the mean over
``LOOKS`` evaluations in the last tenth of the run, which estimates what its last step is expected to reach, and by
the weight averages of the harness (``--averages``), each by the same mean.

Units: a bound is a multiple of the root of the number of features, the largest norm of a row; a rate is learning rate times
bound, so ``max_grad_norm`` is bound * sqrt(features) and ``learning_rate`` is rate / max_grad_norm.
"""

import argparse
import itertools
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dpaudit.accounting import calibrate_noise_multiplier
from dpaudit.contract import Cell
from harness.datasets import Dataset
from harness.private_moments import prepared
from harness.scattering_data import load_scattering
from harness.scattering_settings import ScatteringSettings

PIECE = 64
MOMENTUM = 0.9
SPLIT_SEED = 7
EPSILON, DELTA = 3.0, 1e-5
LOOKS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One candidate, in the units above."""

    rate: float
    bound: float
    cosine: bool


def split(data: Dataset, held_out: int) -> Dataset:
    """The training set in two; the held-out part stands where test images do."""
    order = torch.randperm(len(data.train_images), generator=torch.Generator().manual_seed(SPLIT_SEED))
    held, rest = order[:held_out], order[held_out:]
    return Dataset(
        title=data.title,
        train_images=data.train_images[rest],
        train_labels=data.train_labels[rest],
        test_images=data.train_images[held],
        test_labels=data.train_labels[held],
        mean=data.mean,
        std=data.std,
        maximum=data.maximum,
    )


class Trainer:
    """All settings side by side: weights ``[settings, 10, features]``, biases ``[settings, 10]``."""

    def __init__(
        self, data: Dataset, settings: list[Setting], *, q: float, steps: int, sigma: float, averages: list[float]
    ) -> None:
        self.data, self.q, self.steps, self.sigma = data, q, steps, sigma
        rows, width = data.train_images.shape
        self.batch = q * rows
        self.generator = torch.Generator().manual_seed(0)
        self.bounds = torch.tensor([setting.bound for setting in settings]) * math.sqrt(width)
        self.rates = torch.tensor([setting.rate for setting in settings]) / self.bounds
        self.cosine = torch.tensor([setting.cosine for setting in settings])
        pieces = torch.split(data.train_images, PIECE)
        self.lengths = torch.cat([piece.float().square().sum(1) for piece in pieces]).add(1).sqrt()
        self.weight, self.bias = torch.zeros(len(settings), 10, width), torch.zeros(len(settings), 10)
        self.velocity = [torch.zeros_like(self.weight), torch.zeros_like(self.bias)]
        self.averages = {decay: [self.weight.clone(), self.bias.clone()] for decay in averages}

    def logits(self, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """``[rows, settings, 10]``."""
        return (features.float() @ weight.flatten(0, 1).T).unflatten(1, bias.shape) + bias

    def step(self, number: int) -> None:
        """One private step of every setting."""
        rows = len(self.data.train_images)
        drawn = torch.nonzero(torch.rand(rows, generator=self.generator, dtype=torch.float64) < self.q).flatten()
        totals = torch.zeros_like(self.weight).flatten(0, 1)
        biases = torch.zeros_like(self.bias)
        for part in torch.split(drawn, PIECE):
            features, labels = self.data.train_images[part].float(), self.data.train_labels[part]
            slopes = (
                self.logits(features, self.weight, self.bias).softmax(2)
                - torch.nn.functional.one_hot(labels, 10)[:, None]
            )
            norms = slopes.norm(dim=2) * self.lengths[part, None]
            slopes *= (self.bounds / norms.clamp(min=1e-12)).clamp(max=1.0)[:, :, None]
            totals.addmm_(slopes.flatten(1).T, features)
            biases += slopes.sum(0)
        sums = [totals.view_as(self.weight), biases]
        falling = (1 + math.cos(math.pi * number / self.steps)) / 2
        rates = torch.where(self.cosine, self.rates * falling, self.rates)
        for parameter, velocity, total in zip((self.weight, self.bias), self.velocity, sums, strict=True):
            shape = (-1, *[1] * (total.dim() - 1))
            noise = torch.randn(total.shape[1:], generator=self.generator)
            total += (self.sigma * self.bounds).view(shape) * noise
            velocity.mul_(MOMENTUM).add_(total / self.batch)
            parameter -= rates.view(shape) * velocity
        for decay, average in self.averages.items():
            kept = min(decay, (1 + number) / (10 + number))  # as harness/weight_average.py
            for value, parameter in zip(average, (self.weight, self.bias), strict=True):
                value.lerp_(parameter, 1 - kept)

    def accuracies(self) -> Tensor:
        """Percent of the held-out images ``[1 + averages, settings]``: of the last step, then of every average."""
        weights = [[self.weight, self.bias], *self.averages.values()]
        right = torch.zeros(len(weights), len(self.bias))
        for images, labels in zip(
            torch.split(self.data.test_images, 1000), torch.split(self.data.test_labels, 1000), strict=True
        ):
            found = torch.stack([self.logits(images, *pair).argmax(2) for pair in weights])
            right += (found == labels[:, None]).sum(1)
        return 100 * right / len(self.data.test_labels)


def numbers(text: str) -> list[float]:
    """Numbers separated by commas."""
    return [float(part) for part in text.split(",")]


def main() -> None:
    """Train and print a table, best first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--mirrored", action="store_true")
    parser.add_argument("--centring", type=float)
    parser.add_argument("--whitening", type=float)
    parser.add_argument("--whitening-power", type=float, default=0.25)
    parser.add_argument("--whitening-floor", type=float, default=0.1)
    parser.add_argument("--row-bound", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=8192)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--rates", type=numbers, default=[1.5, 2.5, 4.0])
    parser.add_argument("--bounds", type=numbers, default=[0.002])
    parser.add_argument("--schedules", default="constant")
    parser.add_argument("--averages", type=numbers, default=[0.95])
    parser.add_argument("--validation", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    features = ScatteringSettings(
        mirrored=arguments.mirrored,
        centring=arguments.centring,
        whitening=arguments.whitening,
        whitening_power=arguments.whitening_power,
        whitening_floor=arguments.whitening_floor,
        row_bound=arguments.row_bound,
    )
    whole = load_scattering(arguments.dataset, features, root=arguments.data_root, device="cpu", progress=True)
    size = len(whole.train_images)
    q, steps = arguments.batch / size, arguments.epochs * (size // arguments.batch)
    sigma = calibrate_noise_multiplier(
        target_epsilon=EPSILON,
        delta=DELTA,
        cell=Cell(),
        sampling_probability=q,
        steps=steps,
        preparation=features.preparation,
    ).noise_multiplier
    data = prepared(split(whole, arguments.validation), features, seed=SPLIT_SEED)
    schedules = [word == "cosine" for word in arguments.schedules.split(",")]
    settings = [
        Setting(rate=rate, bound=bound, cosine=cosine)
        for bound, rate, cosine in itertools.product(arguments.bounds, arguments.rates, schedules)
    ]
    started = time.process_time()
    looks = {steps - 1 - (look * steps) // (10 * LOOKS) for look in range(LOOKS)}
    seen = []
    with torch.no_grad():
        trainer = Trainer(data, settings, q=q, steps=steps, sigma=sigma, averages=arguments.averages)
        for number in range(steps):
            trainer.step(number)
            if number in looks:
                seen.append(trainer.accuracies())
            if (number + 1) % max(steps // 6, 1) == 0:
                shown = " ".join(f"{accuracy:.2f}" for accuracy in trainer.accuracies()[0])
                print(f"step {number + 1} of {steps}, {time.process_time() - started:.0f} s: {shown}", flush=True)
    print(
        f"{whole.title}: {arguments.validation} images held out, q {q:.6g}, {steps} steps, sigma {sigma:.6g}, {features}"
    )
    print(f"mean of {len(seen)} evaluations in the last tenth, and their range")
    scores = torch.stack(seen)
    rows = itertools.product(
        enumerate(["last step", *(f"average {decay}" for decay in arguments.averages)]), enumerate(settings)
    )
    lines = []
    for (place, weights), (column, setting) in rows:
        values = scores[:, place, column]
        lines.append((float(values.mean()), f"[{values.min():.2f}, {values.max():.2f}]  {weights}  {setting}"))
    for mean, words in sorted(lines, reverse=True):
        print(f"{mean:6.2f} %  {words}")


if __name__ == "__main__":
    main()
