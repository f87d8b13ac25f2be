"""Canaries: training examples of an auditor, each in or out of one run by a fair coin of its own.

A canary takes the place (the *slot*) of a training example, so the size of the data set, the sampling probability and
the claim stay what they are. A slot whose coin fell on "out" does not exist: where it is drawn, its row is dropped, or is
a zero row under ``zero_out`` and constant rows. Everything about the canaries follows from the seed and is written to
``canaries.json`` before the first step; scoring derives it again and compares.
"""

import dataclasses
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dpaudit.contract import DataError, Relation, RunConfig, UsageError

from .atomic_files import write_atomically
from .checked_json import boolean_at, closed_object, integer_at, parse_json, text_at
from .datasets import Dataset
from .generators import stream_seed

CANARY_FILE = "canaries.json"
SCHEMA = "dpaudit.canaries/1"


class CanaryKind(StrEnum):
    """What a canary is."""

    MISLABELLED = "mislabelled"
    """The slot's own image with another label."""
    NATURAL = "natural"
    """The slot's own example."""
    BLANK = "blank"
    """An image of zeros with a random label."""
    ADVERSARIAL = "adversarial"
    """A random black-and-white pattern of its own, unlike any example, with a random label."""
    DIRAC = "dirac"
    """A per-sample gradient with one entry of the clipping bound, put in place of the slot's own gradient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryPlan:
    """What to insert.

    Attributes:
        count: number of canaries, m.
        kinds: dealt out in turn, so that each gets its share.
        per_coordinate: Dirac canaries that share one coordinate of the parameters.

    Raises:
        UsageError: no canary, no kind, a kind twice, or fewer than one a coordinate.
    """

    count: int
    kinds: tuple[CanaryKind, ...] = (CanaryKind.MISLABELLED, CanaryKind.DIRAC)
    per_coordinate: int = 1

    def __post_init__(self) -> None:
        if self.count < 1 or self.per_coordinate < 1:
            raise UsageError(
                f"canaries: expected at least 1 canary and 1 a coordinate, got {self.count!r}, {self.per_coordinate!r}"
            )
        if not self.kinds or len(set(self.kinds)) != len(self.kinds):
            raise UsageError(f"canaries: expected kinds, each once, got {[kind.value for kind in self.kinds]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """One canary.

    Attributes:
        identifier: unique; scores are joined by it.
        slot: the row of the training set that it takes.
        label: what it is labelled as.
        coordinate: of a Dirac canary, the place in the flattened parameters; else -1.
        sign: of that entry; 0 for the other kinds.
        included: what its coin said.
    """

    identifier: str
    kind: CanaryKind
    slot: int
    label: int
    coordinate: int
    sign: int
    included: bool


def kinds_from_text(text: str) -> tuple[CanaryKind, ...]:
    """Kinds from words with commas in between.

    Raises:
        UsageError: an unknown word.
    """
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in {kind.value for kind in CanaryKind}:
            raise UsageError(f"canary kinds: expected some of {', '.join(CanaryKind)}, got {word!r}")
    return tuple(CanaryKind(word) for word in words)


def draw_canaries(
    plan: CanaryPlan, config: RunConfig, labels: Tensor, *, seed: int, coin_seed: int | None = None
) -> tuple[Canary, ...]:
    """The canaries of the run with this seed: slots, labels, coordinates, and a fair coin for each.

    Guarantee: coins are independent of each other and of everything else that the seed gives (a stream of their own).

    Args:
        labels: of the training set, int64 ``[N]``; the classes are 0 to their maximum.
        coin_seed: of the coins, where several runs share the canaries of ``seed`` and each has coins of its own.

    Raises:
        UsageError: more canaries than examples or coordinates, or ``replace_one``, where being out is no absence.
    """
    require_insertable(plan, config)
    layout = np.random.default_rng(stream_seed(seed, "canary layout"))
    coin_stream = stream_seed(seed if coin_seed is None else coin_seed, "canary coins")
    coins = np.random.default_rng(coin_stream).random(plan.count) < 0.5
    slots = layout.choice(config.dataset_size, size=plan.count, replace=False)
    classes = int(labels.max()) + 1
    shifts, wanted = layout.integers(1, classes, size=plan.count), layout.integers(0, classes, size=plan.count)
    places = layout.permutation(config.n_params)
    signs = layout.choice([-1, 1], size=plan.count)
    drawn, diracs = [], 0
    for index in range(plan.count):
        kind, slot = plan.kinds[index % len(plan.kinds)], int(slots[index])
        own = int(labels[slot])
        match kind:
            case CanaryKind.MISLABELLED:
                label = (own + int(shifts[index])) % classes
            case CanaryKind.BLANK | CanaryKind.ADVERSARIAL:
                label = int(wanted[index])
            case CanaryKind.NATURAL | CanaryKind.DIRAC:
                label = own
        dirac = kind is CanaryKind.DIRAC
        drawn.append(
            Canary(
                identifier=f"{kind.value}-{index:05d}",
                kind=kind,
                slot=slot,
                label=label,
                coordinate=int(places[diracs // plan.per_coordinate]) if dirac else -1,
                sign=int(signs[index]) if dirac else 0,
                included=bool(coins[index]),
            )
        )
        diracs += dirac
    return tuple(drawn)


def require_insertable(plan: CanaryPlan, config: RunConfig) -> None:
    """Refuse a plan that the run cannot hold.

    Raises:
        UsageError: see :func:`draw_canaries`.
    """
    if config.cell.relation is Relation.REPLACE_ONE:
        raise UsageError(
            "canaries: under replace_one an example that is out is replaced by another one, which coins for presence do "
            "not play; expected add_remove or zero_out"
        )
    if plan.count > config.dataset_size // 2:
        raise UsageError(
            f"canaries: expected at most half of the {config.dataset_size} training examples, got {plan.count}"
        )
    share = -(-plan.count // len(plan.kinds)) if CanaryKind.DIRAC in plan.kinds else 0
    if share > config.n_params * plan.per_coordinate:
        raise UsageError(
            f"canaries: {share} Dirac canaries need more than the {config.n_params} coordinates; put more on each"
        )


def with_canaries(data: Dataset, canaries: tuple[Canary, ...], *, seed: int) -> Dataset:
    """The data set with every canary's image and label in its slot, whether it is in or out."""
    images, labels = data.train_images.clone(), data.train_labels.clone()
    for canary in canaries:
        labels[canary.slot] = canary.label
        match canary.kind:
            case CanaryKind.BLANK:
                images[canary.slot] = 0
            case CanaryKind.ADVERSARIAL:
                pattern = np.random.default_rng([stream_seed(seed, "canary image"), canary.slot])
                bits = torch.from_numpy(pattern.integers(0, 2, size=tuple(images.shape[1:])))
                images[canary.slot] = (bits * int(data.maximum)).to(images.device, images.dtype)
            case CanaryKind.MISLABELLED | CanaryKind.NATURAL | CanaryKind.DIRAC:
                pass
    return dataclasses.replace(data, train_images=images, train_labels=labels)


class CanaryRows:
    """What a training step does about canaries: drops absent rows, and puts Dirac gradients in their place."""

    def __init__(self, canaries: tuple[Canary, ...], config: RunConfig) -> None:
        self._absent = torch.zeros(config.dataset_size, dtype=torch.bool)
        self._coordinate = torch.full((config.dataset_size,), -1, dtype=torch.int64)
        self._entry = torch.zeros(config.dataset_size)
        self._zero_rows = config.cell.relation is Relation.ZERO_OUT
        for canary in canaries:
            self._absent[canary.slot] = not canary.included
            self._coordinate[canary.slot] = canary.coordinate
            self._entry[canary.slot] = canary.sign * config.max_grad_norm

    def present(self, indices: Tensor) -> tuple[Tensor, int]:
        """The drawn rows that exist, and how many rows the mechanism sees: absent ones are zero rows under zero_out."""
        kept = indices[~self._absent[indices]]
        return kept, len(indices) if self._zero_rows else len(kept)

    def inject(self, gradients: list[Tensor], indices: Tensor) -> None:
        """Overwrite the gradients of the Dirac canaries among ``indices``, the first rows of ``gradients``."""
        indices = indices.cpu()
        coordinates = self._coordinate[indices]
        for row in torch.nonzero(coordinates >= 0).flatten().tolist():
            left = int(coordinates[row])
            for gradient in gradients:
                values = gradient[row].view(-1)
                values.zero_()
                if 0 <= left < len(values):
                    values[left] = self._entry[indices[row]].to(values)
                left -= len(values)


def write_canaries(directory: Path, plan: CanaryPlan, canaries: tuple[Canary, ...]) -> None:
    """``canaries.json`` of a run directory.

    Raises:
        DataError: the folder cannot be written.
    """
    values = {
        "schema": SCHEMA,
        "plan": {
            "count": plan.count,
            "kinds": [kind.value for kind in plan.kinds],
            "per_coordinate": plan.per_coordinate,
        },
        "canaries": [dataclasses.asdict(canary) for canary in canaries],
    }
    write_atomically(directory / CANARY_FILE, (json.dumps(values, indent=1) + "\n").encode())


def read_canaries(directory: Path) -> tuple[CanaryPlan, tuple[Canary, ...]]:
    """What ``canaries.json`` says, every value checked.

    Raises:
        DataError: absent or malformed, or an identifier or a slot occurs twice.
    """
    path = directory / CANARY_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"canaries: expected a readable {path}, got {type(error).__name__}; train with --canaries"
        ) from error
    where = str(path)
    values = closed_object(parse_json(text, where=where), {"schema", "plan", "canaries"}, where=where)
    asked = closed_object(values["plan"], {"count", "kinds", "per_coordinate"}, where=f"{where}: plan")
    rows = values["canaries"]
    if values["schema"] != SCHEMA or not isinstance(rows, list) or not isinstance(asked["kinds"], list):
        raise DataError(f"{where}: expected schema {SCHEMA!r} with a list of canaries, got {values['schema']!r:.80}")
    try:
        plan = CanaryPlan(
            count=integer_at(asked, "count", where),
            kinds=tuple(CanaryKind(kind) for kind in asked["kinds"]),
            per_coordinate=integer_at(asked, "per_coordinate", where),
        )
        canaries = tuple(_canary(row, f"{where}: canary {number}") for number, row in enumerate(rows))
    except (ValueError, UsageError) as error:
        raise DataError(f"{where}: {error}") from error
    for name in ("identifier", "slot"):
        if len({getattr(canary, name) for canary in canaries}) != len(canaries):
            raise DataError(f"{where}: expected every {name} once, got one twice")
    if len(canaries) != plan.count:
        raise DataError(f"{where}: expected {plan.count} canaries, got {len(canaries)}")
    return plan, canaries


def _canary(row: object, where: str) -> Canary:
    values = closed_object(row, {field.name for field in dataclasses.fields(Canary)}, where=where)
    return Canary(
        identifier=text_at(values, "identifier", where),
        kind=CanaryKind(text_at(values, "kind", where)),
        slot=integer_at(values, "slot", where),
        label=integer_at(values, "label", where),
        coordinate=integer_at(values, "coordinate", where),
        sign=integer_at(values, "sign", where),
        included=boolean_at(values, "included", where),
    )
