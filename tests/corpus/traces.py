"""Run-level specimens that are event traces: what a run recorded of itself, whose truth is known.

Each is written as a ledger (``docs/howto-ledger.md``) when it is examined. Sigmas and true epsilons come from dp-accounting or a
closed form (``tests/corpus/truth.py``), never from dpaudit.
"""

import functools
import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import truth

SIZE, BATCH, EPOCHS, PER_EPOCH = 2_000, 40, 2, 50
RATE, STEPS = BATCH / SIZE, EPOCHS * PER_EPOCH
EPSILON, DELTA = 3.0, 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A recorded run and the truth about it.

    Attributes:
        name: ``cNN_name/variant``.
        facts: of the first line, beyond the usual ones.
        steps: keys of each step beyond its number.
        rules: of which one at least must be among the findings above MINOR; empty for a sound run.
        rejected: whether the record convicts itself; else what is wrong has no known lower end, and INCONCLUSIVE is right.
        epsilon: true epsilon of what ran, or a lower bound; ``None`` where it is unbounded or not known.
    """

    name: str
    steps: tuple[dict[str, Any], ...]
    facts: dict[str, Any] = field(default_factory=dict)
    rules: tuple[str, ...] = ()
    rejected: bool = False
    epsilon: float | None = None

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.rules

    def write(self, folder: Path) -> Path:
        """As a ledger file."""
        facts = {
            "format": "dpaudit.ledger/1", "name": self.name, "dataset_size": SIZE, "batch_size": BATCH, "epochs": EPOCHS,
            "steps_per_epoch": PER_EPOCH, "max_grad_norm": 1.0, "target_epsilon": EPSILON, "target_delta": DELTA,
            "sampler": "poisson", **self.facts,
        }  # fmt: skip
        path = folder / (self.name.replace("/", "-") + ".jsonl")
        lines = [facts, *({"step": number, **step} for number, step in enumerate(self.steps))]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return path


def traces() -> tuple[Trace, ...]:
    """All of them."""
    return tuple(trace for family in _FAMILIES for trace in family())


@functools.cache
def honest_sigma() -> float:
    """The noise multiplier that costs EPSILON, rounded up by 1e-4."""
    return truth.sigma_for(EPSILON, DELTA, RATE, STEPS)


def _steps(sigma: float | None = None, count: int = STEPS, **more: Any) -> tuple[dict[str, Any], ...]:
    told = honest_sigma() if sigma is None else sigma
    return tuple({"sigma": told, **more} for _ in range(count))


def _poisson_examples(seed: int, rate: float = RATE) -> list[list[int]]:
    draw = random.Random(seed)
    return [[row for row in range(SIZE) if draw.random() < rate] for _ in range(STEPS)]


def _shuffled_examples(seed: int) -> list[list[int]]:
    draw, out = random.Random(seed), []
    for _ in range(EPOCHS):
        order = list(range(SIZE))
        draw.shuffle(order)
        out += [order[start : start + BATCH] for start in range(0, SIZE, BATCH)]
    return out


def _with_examples(examples: list[list[int]]) -> tuple[dict[str, Any], ...]:
    return tuple({"sigma": honest_sigma(), "examples": rows} for rows in examples)


def _with_rows(rows: list[int]) -> tuple[dict[str, Any], ...]:
    return tuple({"sigma": honest_sigma(), "batch_rows": count} for count in rows)


def _sampler() -> list[Trace]:
    shuffle = {"sampler": "shuffle", "accounted_sampler": "poisson"}
    own = truth.shuffled_upper_sigma(EPSILON, DELTA, EPOCHS)
    rows = [len(drawn) for drawn in _poisson_examples(3)]
    faster = [len(drawn) for drawn in _poisson_examples(4, 1.25 * RATE)]
    lower = truth.shuffled_lower(honest_sigma(), DELTA, PER_EPOCH, EPOCHS)
    return [
        Trace(
            name="c05_shuffled/blatant", steps=_with_examples(2 * _shuffled_examples(5)[:PER_EPOCH]), rules=("DPA402",),
            rejected=True, epsilon=truth.shuffled_lower(honest_sigma() / EPOCHS**0.5, DELTA, PER_EPOCH, 1),
        ),
        Trace(name="c05_shuffled/subtle", steps=_with_examples(_shuffled_examples(1)), rules=("DPA402",), epsilon=lower),
        Trace(name="c05_shuffled/declared", facts=shuffle, steps=_steps(), rules=("DPA402",), epsilon=lower),
        Trace(name="c05_shuffled/constant_sizes", steps=_with_rows([BATCH] * STEPS), rules=("DPA402",)),
        Trace(
            name="c05_shuffled/more_rows", steps=_with_rows(faster), rules=("DPA402",), rejected=True,
            epsilon=truth.epsilon(honest_sigma(), DELTA, 1.25 * RATE, STEPS),
        ),
        Trace(name="c05_shuffled/clean_blatant", facts={"sampler": "shuffle"}, steps=_steps(own)),
        Trace(name="c05_shuffled/clean_subtle", steps=_with_examples(_poisson_examples(2))),
        Trace(name="c05_shuffled/clean_sizes", steps=_with_rows(rows)),
    ]  # fmt: skip


def _adjusted() -> list[Trace]:
    """Class 11: the accountant is fed the sigma that was raised for a private threshold, the steps run with less."""
    z = honest_sigma()
    joint = (z**-2 - 3.0**-2) ** -0.5
    each = [z * 1.002**number for number in range(STEPS)]
    return [
        Trace(
            name="c11_adjusted_sigma/blatant", steps=_steps(z, applied_sigma=z * z / joint), rules=("DPA403",), rejected=True,
            epsilon=truth.epsilon(z * z / joint, DELTA, RATE, STEPS),
        ),
        Trace(
            name="c11_adjusted_sigma/subtle", rules=("DPA403",), rejected=True,
            steps=tuple({"sigma": z, "applied_sigma": z * z / sigma} for sigma in each),
            epsilon=truth.epsilon_of([z * z / sigma for sigma in each], DELTA, RATE),
        ),
        Trace(name="c11_adjusted_sigma/clean_blatant", steps=_steps(z, applied_sigma=joint)),
        Trace(name="c11_adjusted_sigma/clean_subtle", steps=_steps(z, applied_sigma=z)),
    ]  # fmt: skip


def _distributed() -> list[Trace]:
    z = honest_sigma()

    def ranks(
        *stds: float, same: bool = False, per_rank: bool = False, missing: int | None = None
    ) -> tuple[dict[str, Any], ...]:
        return tuple(
            {
                "sigma": z,
                "ranks": [
                    {
                        "rank": rank,
                        "noise_std": 0.0 if rank == missing else std,
                        "noise_id": f"{step}-{0 if same else rank}",
                    }
                    for rank, std in enumerate(stds)
                ],
            }
            for step in range(STEPS)
        )

    short = z * (7 / 8) ** 0.5
    return [
        Trace(
            name="c21_distributed/blatant", steps=ranks(*(z / 4,) * 4), rules=("DPA403",), rejected=True,
            epsilon=truth.epsilon(z / 2, DELTA, RATE, STEPS),
        ),
        Trace(
            name="c21_distributed/subtle", steps=ranks(*(z / 8**0.5,) * 8, missing=7), rules=("DPA403",), rejected=True,
            epsilon=truth.epsilon(short, DELTA, RATE, STEPS),
        ),
        Trace(
            name="c21_distributed/same_seed", facts={"releases_per_rank": True}, steps=ranks(*(z,) * 4, same=True),
            rules=("DPA205",), rejected=True,
        ),
        Trace(name="c21_distributed/clean_blatant", steps=ranks(z, 0.0, 0.0, 0.0)),
        Trace(name="c21_distributed/clean_subtle", steps=ranks(*(z / 2,) * 4)),
        Trace(name="c21_distributed/clean_per_rank", facts={"releases_per_rank": True}, steps=ranks(*(z,) * 4)),
    ]  # fmt: skip


def _counted() -> list[Trace]:
    """Class 23: epochs for steps, an epoch's last step forgotten, a rate that is not that of the sampler."""
    few, nearly = (truth.sigma_for(EPSILON, DELTA, RATE, steps) for steps in (EPOCHS, STEPS - EPOCHS))
    half = truth.sigma_for(EPSILON, DELTA, RATE / 2, STEPS)
    return [
        Trace(
            name="c23_steps_for_epochs/blatant", facts={"accounted_steps": EPOCHS}, steps=_steps(few), rules=("DPA402",),
            rejected=True, epsilon=truth.epsilon(few, DELTA, RATE, STEPS),
        ),
        Trace(
            name="c23_steps_for_epochs/subtle", facts={"accounted_steps": STEPS - EPOCHS}, steps=_steps(nearly),
            rules=("DPA402",), rejected=True, epsilon=truth.epsilon(nearly, DELTA, RATE, STEPS),
        ),
        Trace(
            name="c23_steps_for_epochs/half_the_rate", facts={"accounted_q": RATE / 2}, steps=_steps(half), rules=("DPA402",),
            rejected=True, epsilon=truth.epsilon(half, DELTA, RATE, STEPS),
        ),
        Trace(name="c23_steps_for_epochs/clean_blatant", facts={"accounted_steps": STEPS}, steps=_steps()),
        Trace(name="c23_steps_for_epochs/clean_subtle", facts={"accounted_steps": STEPS, "accounted_q": RATE}, steps=_steps()),
    ]  # fmt: skip


def _accountant(name: str, accountant: str, sigma: float, stated: float, *, steps: int = STEPS) -> Trace:
    """A run whose accountant states ``stated`` for what really costs more; the target is what it states."""
    true = truth.epsilon(sigma, DELTA, RATE, steps)
    broken = true > 1.002 * stated
    return Trace(
        name=name,
        facts={"accountant": accountant, "claimed_epsilon": stated, "target_epsilon": stated},
        steps=_steps(sigma),
        rules=("DPA401",) if broken else (),
        rejected=broken,
        epsilon=true,
    )


def _accountants() -> list[Trace]:
    z = honest_sigma()
    true = truth.epsilon(z, DELTA, RATE, STEPS)
    large = truth.epsilon(0.35, DELTA, RATE, STEPS)
    one_sided = truth.one_direction(z, DELTA, RATE, STEPS)
    upper = math.ceil(1e4 * true) / 1e4
    return [
        _accountant("c24_central_limit/blatant", "CLT", 0.5, truth.central_limit(0.5, DELTA, RATE, STEPS)),
        _accountant("c24_central_limit/subtle", "CLT", z, truth.central_limit(z, DELTA, RATE, STEPS)),
        _accountant("c24_central_limit/clean_blatant", "PLD", 0.5, 1.0001 * truth.epsilon(0.5, DELTA, RATE, STEPS)),
        _accountant("c24_central_limit/clean_subtle", "PLD", z, upper),
        _accountant("c25_invalid_renyi/blatant", "RDP q^2 a/s^2", 0.5, truth.naive_renyi(0.5, DELTA, RATE, STEPS)),
        _accountant("c25_invalid_renyi/subtle", "RDP, order below 1 + 1/ln", z, 0.95 * true),
        _accountant("c25_invalid_renyi/clean_blatant", "RDP", 0.5, truth.renyi(0.5, DELTA, RATE, STEPS)),
        _accountant("c25_invalid_renyi/clean_subtle", "RDP", z, truth.renyi(z, DELTA, RATE, STEPS)),
        _accountant("c26_large_epsilon/blatant", "PRV", 0.35, 0.4 * large),
        _accountant("c26_large_epsilon/subtle", "PRV", 0.35, 0.97 * large),
        _accountant("c26_large_epsilon/clean_blatant", "PLD", 0.35, 1.0001 * large),
        _accountant("c26_large_epsilon/clean_subtle", "RDP", 0.35, truth.renyi(0.35, DELTA, RATE, STEPS)),
        _accountant("c27_one_direction/blatant", "PLD, add only", 0.5, truth.one_direction(0.5, DELTA, RATE, STEPS)),
        _accountant("c27_one_direction/subtle", "PLD, add only", z, one_sided),
        _accountant("c27_one_direction/clean_blatant", "PLD", 0.5, 1.0001 * truth.epsilon(0.5, DELTA, RATE, STEPS)),
        _accountant("c27_one_direction/clean_subtle", "PLD", z, upper),
    ]


def _phases() -> list[Trace]:
    z = honest_sigma()
    half = truth.sigma_for(EPSILON, DELTA, RATE, STEPS // 2)
    mean = {"what": "the mean of all training rows", "noise_multiplier": 6.0}
    both = truth.sigma_beside(EPSILON, DELTA, RATE, STEPS, 6.0)
    first = tuple({"sigma": None, "applied_sigma": half} for _ in range(STEPS // 2))
    second = _steps(half, STEPS // 2, applied_sigma=half)
    return [
        Trace(
            name="c28_two_phases/blatant", steps=(*first, *second), rules=("DPA408",), rejected=True,
            epsilon=truth.epsilon(half, DELTA, RATE, STEPS),
        ),
        Trace(
            name="c28_two_phases/subtle", facts={"also_released": [mean]}, steps=_steps(), rules=("DPA408",), rejected=True,
            epsilon=truth.epsilon_beside(z, DELTA, RATE, STEPS, 6.0),
        ),
        Trace(name="c28_two_phases/clean_blatant", steps=_steps(z, applied_sigma=z)),
        Trace(name="c28_two_phases/clean_subtle", facts={"also_released": [{**mean, "charged": True}]}, steps=_steps(both)),
    ]  # fmt: skip


def _resumed() -> list[Trace]:
    z = honest_sigma()
    sigma = truth.sigma_for(EPSILON, DELTA, RATE, 90)
    lost = tuple({"sigma": None if number < 10 else sigma, "applied_sigma": sigma} for number in range(STEPS))
    half = truth.sigma_for(EPSILON, DELTA, RATE, STEPS // 2)
    most = tuple({"sigma": None if number < STEPS // 2 else half, "applied_sigma": half} for number in range(STEPS))

    def noise(number: int) -> str:
        return f"{number - 5 if 60 <= number < 65 else number:04d}"

    return [
        Trace(
            name="c29_resumed/blatant", steps=most, rules=("DPA408",), rejected=True,
            epsilon=truth.epsilon(half, DELTA, RATE, STEPS),
        ),
        Trace(
            name="c29_resumed/subtle", steps=lost, rules=("DPA408",), rejected=True,
            epsilon=truth.epsilon(sigma, DELTA, RATE, STEPS),
        ),
        Trace(
            name="c29_resumed/same_noise", rules=("DPA205",), rejected=True,
            steps=tuple({"sigma": z, "noise_id": noise(number)} for number in range(STEPS)),
        ),
        Trace(name="c29_resumed/clean_blatant", steps=_steps(z, applied_sigma=z)),
        Trace(name="c29_resumed/clean_subtle", steps=tuple({"sigma": z, "noise_id": str(n)} for n in range(STEPS))),
    ]  # fmt: skip


def _selected() -> list[Trace]:
    def of(candidates: int, *, everything: bool, charged: bool = False) -> dict[str, Any]:
        return {"selection": {"candidates": candidates, "all_released": everything, "charged": charged}}

    third = truth.sigma_for(EPSILON, DELTA, RATE, 3 * STEPS)
    return [
        Trace(
            name="c32_selection/blatant", facts=of(20, everything=True), steps=_steps(), rules=("DPA408",), rejected=True,
            epsilon=truth.epsilon(honest_sigma(), DELTA, RATE, 20 * STEPS),
        ),
        Trace(name="c32_selection/subtle", facts=of(3, everything=False), steps=_steps(), rules=("DPA408",)),
        Trace(name="c32_selection/clean_blatant", facts=of(1, everything=True), steps=_steps()),
        Trace(name="c32_selection/clean_subtle", facts=of(3, everything=True, charged=True), steps=_steps(third)),
    ]  # fmt: skip


def _selective() -> list[Trace]:
    """Class 38: updates that make the loss worse are thrown away, and only those that stay are charged."""
    z = honest_sigma()
    kept = tuple(
        {"sigma": None if number % 3 == 0 else z, "applied_sigma": z, "released": number % 3 != 0}
        for number in range(STEPS)
    )
    exact = {"what": "whether the private loss fell", "noise_multiplier": 0.0, "steps": STEPS}
    noisy = {"what": "whether the noised private loss fell", "noise_multiplier": 3.0, "steps": STEPS}
    paid = truth.sigma_with(EPSILON, DELTA, RATE, STEPS, 3.0)
    every = tuple({**step, "sigma": paid, "applied_sigma": paid} for step in kept)
    return [
        Trace(
            name="c38_selective_release/blatant", facts={"also_released": [exact]}, steps=kept, rules=("DPA408",), rejected=True
        ),
        Trace(
            name="c38_selective_release/subtle", facts={"also_released": [noisy]}, steps=_steps(), rules=("DPA408",),
            rejected=True, epsilon=truth.epsilon_of([z] * STEPS + [3.0] * STEPS, DELTA, RATE),
        ),
        Trace(name="c38_selective_release/thrown_away", steps=kept, rules=("DPA408",)),
        Trace(name="c38_selective_release/clean_blatant", steps=_steps(z, released=True)),
        Trace(name="c38_selective_release/clean_subtle", facts={"also_released": [{**noisy, "charged": True}]}, steps=every),
    ]  # fmt: skip


_FAMILIES: tuple[Callable[[], list[Trace]], ...] = (
    _sampler, _adjusted, _distributed, _counted, _accountants, _phases, _resumed, _selected, _selective,
)  # fmt: skip
