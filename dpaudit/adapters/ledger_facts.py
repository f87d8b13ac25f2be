"""The optional keys of a ledger: what a run recorded of its sampler, its noise and its other releases."""

import math
from collections.abc import Mapping
from typing import Any

from dpaudit.contract import DataError, OtherRelease, RankNoise, RecordedRun, RecordedStep, Sampler, Selection

OPTIONAL_FACTS = frozenset({
    "claimed_epsilon", "accountant", "accounted_sampler", "accounted_steps", "accounted_q", "also_released", "selection",
    "releases_per_rank",
})  # fmt: skip
OPTIONAL_STEP = frozenset({"applied_sigma", "batch_rows", "examples", "noise_id", "ranks", "released"})
_RELEASE = {"what", "noise_multiplier", "steps", "charged"}
_SELECTION = {"candidates", "all_released", "charged"}
_RANK = {"rank", "noise_std", "noise_id"}


def optional_facts(facts: Mapping[str, Any], steps: tuple[RecordedStep, ...], *, where: str) -> RecordedRun:
    """The record of a run from its first line.

    Raises:
        DataError: a value has the wrong type or range.
    """
    sampler = facts.get("accounted_sampler")
    if sampler is not None and sampler not in list(Sampler):
        raise DataError(f"{where}: accounted_sampler: expected one of {', '.join(Sampler)}, got {sampler!r:.80}")
    accounted = _number(facts, "accounted_q", where)
    if accounted is not None and not 0 < accounted <= 1:
        raise DataError(f"{where}: accounted_q: expected a probability above 0, got {accounted!r}")
    selection = facts.get("selection")
    return RecordedRun(
        steps=steps,
        claimed_epsilon=_number(facts, "claimed_epsilon", where),
        accountant=_text(facts, "accountant", where) or "",
        accounted_sampler=None if sampler is None else Sampler(sampler),
        accounted_steps=_whole(facts, "accounted_steps", where),
        accounted_probability=accounted,
        other_releases=tuple(
            _release(item, f"{where}: also_released") for item in _list(facts, "also_released", where)
        ),
        selection=None if selection is None else _selection(selection, f"{where}: selection"),
        releases_per_rank=_flag(facts, "releases_per_rank", where, default=False),
    )


def optional_step(row: Mapping[str, Any], told: float | None, *, where: str) -> RecordedStep:
    """A step from its line; ``told`` is what the line says the accountant was told.

    Raises:
        DataError: a value has the wrong type or range.
    """
    examples = row.get("examples")
    if examples is not None and not (isinstance(examples, list) and all(type(one) is int for one in examples)):
        raise DataError(f"{where}: examples: expected a list of whole numbers, got {examples!r:.80}")
    rows = _whole(row, "batch_rows", where)
    if examples is not None and rows is not None and rows != len(examples):
        raise DataError(f"{where}: batch_rows says {rows}, examples lists {len(examples)}")
    return RecordedStep(
        told=told,
        ran=_number(row, "applied_sigma", where),
        rows=len(examples) if examples is not None else rows,
        examples=None if examples is None else tuple(examples),
        noise_id=_text(row, "noise_id", where),
        ranks=tuple(_rank(item, f"{where}: ranks") for item in _list(row, "ranks", where)),
        released=_flag(row, "released", where, default=True),
    )


def _release(item: Any, where: str) -> OtherRelease:
    values = _closed(item, _RELEASE, where)
    multiplier = _number(values, "noise_multiplier", where)
    if multiplier is None:
        raise DataError(f"{where}: expected noise_multiplier, got none (0 for an exact value)")
    return OtherRelease(
        what=_text(values, "what", where) or "something",
        noise_multiplier=multiplier,
        steps=_whole(values, "steps", where),
        charged=_flag(values, "charged", where, default=False),
    )


def _selection(item: Any, where: str) -> Selection:
    values = _closed(item, _SELECTION, where)
    candidates = _whole(values, "candidates", where)
    if not candidates:
        raise DataError(f"{where}: expected candidates, a whole number of at least 1, got {candidates!r}")
    return Selection(
        candidates=candidates,
        all_released=_flag(values, "all_released", where, default=False),
        charged=_flag(values, "charged", where, default=False),
    )


def _rank(item: Any, where: str) -> RankNoise:
    values = _closed(item, _RANK, where)
    rank, noise = _whole(values, "rank", where), _number(values, "noise_std", where)
    if rank is None or noise is None:
        raise DataError(f"{where}: expected rank and noise_std, got {values!r:.80}")
    return RankNoise(rank=rank, noise_std=noise, noise_id=_text(values, "noise_id", where))


def _closed(item: Any, known: set[str], where: str) -> Mapping[str, Any]:
    if not isinstance(item, dict):
        raise DataError(f"{where}: expected an object, got {item!r:.80}")
    for key in sorted(set(item) - known):
        raise DataError(f"{where}: unknown key {key!r}; known: {', '.join(sorted(known))}")
    return item


def _list(values: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = values.get(key, [])
    if not isinstance(value, list):
        raise DataError(f"{where}: {key}: expected a list, got {value!r:.80}")
    return value


def _number(values: Mapping[str, Any], key: str, where: str) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise DataError(f"{where}: {key}: expected a finite number >= 0 or null, got {value!r:.80}")
    return float(value)


def _whole(values: Mapping[str, Any], key: str, where: str) -> int | None:
    value = values.get(key)
    if value is not None and (type(value) is not int or value < 0):
        raise DataError(f"{where}: {key}: expected a whole number >= 0 or null, got {value!r:.80}")
    return value


def _text(values: Mapping[str, Any], key: str, where: str) -> str | None:
    value = values.get(key)
    if value is not None and not isinstance(value, str):
        raise DataError(f"{where}: {key}: expected text or null, got {value!r:.80}")
    return value


def _flag(values: Mapping[str, Any], key: str, where: str, *, default: bool) -> bool:
    value = values.get(key, default)
    if not isinstance(value, bool):
        raise DataError(f"{where}: {key}: expected true or false, got {value!r:.80}")
    return value
