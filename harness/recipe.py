"""What a run does with released gradients and with its images (Recipe), and how it computes (Engine).

Neither is part of the privacy claim. Everything in a Recipe is post-processing of released gradients, or concerns one
example at a time, so epsilon does not depend on it; see ``docs/harness.md`` for the two fields where that needs an
argument (``views`` and ``public_weights``).
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from dpaudit.contract import UsageError

from .plain_settings import PlainSettings


class Optimiser(StrEnum):
    """What turns a released gradient into a step."""

    SGD = "sgd"
    RMSPROP = "rmsprop"
    ADAGRAD = "adagrad"
    ADAM = "adam"
    DP_ADAM = "dp_adam"
    """Adam whose second moment has the noise's own variance taken off (Tang et al. 2023, arXiv 2312.14334)."""


class RateSchedule(StrEnum):
    """How the learning rate moves after the warm-up."""

    CONSTANT = "constant"
    COSINE = "cosine"
    """From the rate to ``final_rate``, stepped once an epoch."""
    COSINE_STEPS = "cosine_steps"
    """The same, stepped at every step."""


class Augmentation(StrEnum):
    """Random changes of one image, drawn afresh for every view."""

    FLIP = "flip"
    CROP = "crop"
    AUGMIX = "augmix"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(PlainSettings):
    """Optimiser, schedule, averaging and augmentation of a run.

    Attributes:
        optimiser, learning_rate, momentum, nesterov, weight_decay: momentum is that of SGD and RMSProp.
        schedule, final_rate: how the rate moves, and where a cosine ends.
        warmup_steps: the rate rises linearly from ``learning_rate / warmup_steps`` over so many steps.
        average_decay: decay of the weight average, stepped once a LOGICAL step; 0 for none. The average is what is tested.
        augmentations: applied to every view in the order of :class:`Augmentation`.
        views: K, augmented views of one example whose gradients are averaged BEFORE the mechanism sees them, so that an
            example contributes one gradient.
        dropout: probability, for networks that have it.
        public_weights: start from ImageNet weights. The accuracy is then labelled "with public data".
    """

    optimiser: Optimiser = Optimiser.SGD
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    schedule: RateSchedule = RateSchedule.COSINE
    final_rate: float = 0.0
    warmup_steps: int = 0
    average_decay: float = 0.0
    augmentations: tuple[Augmentation, ...] = ()
    views: int = 1
    dropout: float = 0.0
    public_weights: bool = False

    def __post_init__(self) -> None:
        finite = math.isfinite(self.learning_rate) and math.isfinite(self.final_rate)
        problems = {
            "learning_rate must be positive and finite": self.learning_rate > 0 and finite,
            "final_rate must lie in [0, learning_rate]": 0 <= self.final_rate <= self.learning_rate,
            "momentum must lie in [0, 1)": 0 <= self.momentum < 1,
            "weight_decay must be at least 0 and finite": 0 <= self.weight_decay < math.inf,
            "average_decay must lie in [0, 1)": 0 <= self.average_decay < 1,
            "dropout must lie in [0, 1)": 0 <= self.dropout < 1,
            "warmup_steps must be at least 0": self.warmup_steps >= 0,
            "views must be at least 1": self.views >= 1,
            "nesterov needs sgd with momentum": not self.nesterov
            or (self.optimiser is Optimiser.SGD and self.momentum > 0),
            "augmentations must not repeat": len(set(self.augmentations)) == len(self.augmentations),
            "more than one view needs an augmentation": self.views == 1 or bool(self.augmentations),
        }
        broken = [words for words, holds in problems.items() if not holds]
        if broken:
            raise UsageError(f"recipe: {'; '.join(broken)}; got {self!r:.500}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine(PlainSettings):
    """How gradients are computed. Norms, clipped sums and noise are float32 at full precision whatever is chosen.

    Attributes:
        physical_batch: rows in memory at once; ``None`` finds one that fits, once, and keeps it for the run.
        bf16: forward and backward pass in bfloat16.
        tf32: TF32 in forward and backward passes; never in norms and sums, where it would round rows after their clip.
        channels_last: memory layout of images and convolution weights.
        constant_shapes: chunks are padded to the physical batch, and padded rows are masked out: no shape ever changes.
        compile: the gradient function through ``torch.compile``; needs constant shapes.
        cuda_graphs: compiled, and replayed as CUDA graphs.
    """

    physical_batch: int | None = None
    bf16: bool = False
    tf32: bool = False
    channels_last: bool = False
    constant_shapes: bool = False
    compile: bool = False
    cuda_graphs: bool = False

    def __post_init__(self) -> None:
        if self.physical_batch is not None and self.physical_batch < 1:
            raise UsageError(f"engine: physical_batch must be at least 1, got {self.physical_batch!r}")
        if self.compile and not self.constant_shapes:
            raise UsageError("engine: compile needs constant_shapes; every new shape would be compiled again")
        if self.cuda_graphs and not self.compile:
            raise UsageError("engine: cuda_graphs needs compile")
