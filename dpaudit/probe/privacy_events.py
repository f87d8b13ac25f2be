"""``privacy_events()``: the author's own claim as plain data, parsed and checked. A claim never replaces a measurement.

Events, one dictionary each (docs/mechanism-interface.md):

``{"kind": "gaussian", "noise_multiplier": z}``
    every step releases a sum with Gaussian noise; z is a number, or one number a step.
``{"kind": "private_threshold", "noise_multiplier": b}``
    every step also releases, to itself, a noisy statistic: b is its noise over what one row can move it by. The joint
    multiplier of a step is (z^-2 + b^-2)^(-1/2).
``{"kind": "correlated_gaussian", "noise_multiplier": z, "bands": [1, ...], "min_separation": b, "max_participations": k}``
    the noise of step t is z times the sum of ``bands[j]`` fresh Gaussians of step t - j; instead of ``bands`` a
    ``strategy``, the lower-triangular T x T matrix itself. A row takes part at most k times, at least b steps apart.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_KEYS = {
    "gaussian": {"noise_multiplier"},
    "private_threshold": {"noise_multiplier"},
    "correlated_gaussian": {"noise_multiplier", "bands", "strategy", "min_separation", "max_participations"},
}


class InvalidClaim(ValueError):
    """``privacy_events()`` returned something outside the vocabulary; the text says what was expected and what came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrelatedClaim:
    """Correlated noise: ``matrix`` from fresh Gaussians to the noise of the steps, in multiples of one contribution."""

    matrix: npt.NDArray[np.float64]
    min_separation: int
    max_participations: int

    def pattern(self, steps: int) -> tuple[int, ...]:
        """The densest participation that the claim allows within the first ``steps``."""
        return tuple(range(0, steps, self.min_separation))[: self.max_participations]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """``multipliers``: the joint noise multiplier of every step, or ``None`` where ``correlated`` noise is claimed."""

    multipliers: tuple[float, ...] | None
    correlated: CorrelatedClaim | None


def parse_claim(events: Any, steps: int) -> Claim:
    """A claim, checked.

    Raises:
        InvalidClaim: not a list of events of the vocabulary, or a number out of its range.
    """
    if not isinstance(events, list | tuple) or not events:
        raise InvalidClaim(f"expected a list of at least one event, got {_brief(events)}")
    inverse_squares = np.zeros(steps)
    correlated: CorrelatedClaim | None = None
    kinds = []
    for number, event in enumerate(events):
        where = f"event {number}"
        kind = _kind(event, where)
        kinds.append(kind)
        match kind:
            case "gaussian" | "private_threshold":
                inverse_squares += np.array(_multipliers(event, steps, where)) ** -2.0
            case "correlated_gaussian":
                correlated = _correlated(event, steps, where)
            case _:
                raise AssertionError(kind)
    if kinds.count("gaussian") + kinds.count("correlated_gaussian") != 1:
        raise InvalidClaim(
            "expected exactly one event of kind gaussian or correlated_gaussian (the released update), got "
            f"{', '.join(kinds)}"
        )
    if correlated is not None and len(kinds) > 1:
        raise InvalidClaim("correlated_gaussian beside other events has no accounting here; claim it alone")
    multipliers = None if correlated is not None else tuple(float(x) for x in inverse_squares**-0.5)
    return Claim(multipliers=multipliers, correlated=correlated)


def _kind(event: Any, where: str) -> str:
    if not isinstance(event, Mapping):
        raise InvalidClaim(f"{where}: expected a dictionary, got {_brief(event)}")
    kind = event.get("kind")
    if kind not in _KEYS:
        raise InvalidClaim(f"{where}: kind: expected one of {', '.join(_KEYS)}, got {_brief(kind)}")
    unknown = sorted(set(map(str, event)) - _KEYS[kind] - {"kind"})
    if unknown:
        raise InvalidClaim(f"{where}: unknown keys {', '.join(unknown)}; {kind} has {', '.join(sorted(_KEYS[kind]))}")
    return str(kind)


def _multipliers(event: Mapping[str, Any], steps: int, where: str) -> tuple[float, ...]:
    value = event.get("noise_multiplier")
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != steps:
            raise InvalidClaim(f"{where}: noise_multiplier: expected {steps} numbers, one a step, got {len(value)}")
        return tuple(_positive(item, f"{where}: noise_multiplier") for item in value)
    return (_positive(value, f"{where}: noise_multiplier"),) * steps


def _correlated(event: Mapping[str, Any], steps: int, where: str) -> CorrelatedClaim:
    scale = _positive(event.get("noise_multiplier"), f"{where}: noise_multiplier")
    if ("bands" in event) == ("strategy" in event):
        raise InvalidClaim(f"{where}: expected either bands or strategy")
    name = "bands" if "bands" in event else "strategy"
    try:
        given = np.array(event[name], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidClaim(f"{where}: {name}: expected numbers, got {_brief(event[name])}") from error
    if name == "bands":
        if given.ndim != 1 or not 1 <= given.size <= steps:
            raise InvalidClaim(f"{where}: bands: expected 1 to {steps} numbers, got shape {given.shape}")
        matrix = np.zeros((steps, steps))
        for offset, band in enumerate(given):
            matrix += np.diag(np.full(steps - offset, band), -offset)
    else:
        if given.shape != (steps, steps) or not np.allclose(given, np.tril(given), rtol=0, atol=0):
            raise InvalidClaim(f"{where}: strategy: expected a lower-triangular {steps} x {steps} matrix")
        matrix = given
    if not np.isfinite(matrix).all() or not (np.abs(np.diag(matrix)) > 0).all():
        raise InvalidClaim(f"{where}: {name}: expected finite numbers and a diagonal without zeros")
    return CorrelatedClaim(
        matrix=scale * matrix,
        min_separation=_whole(event.get("min_separation", 1), f"{where}: min_separation"),
        max_participations=_whole(event.get("max_participations", steps), f"{where}: max_participations"),
    )


def _positive(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (value > 0 and math.isfinite(value)):
        raise InvalidClaim(f"{where}: expected a positive finite number, got {_brief(value)}")
    return float(value)


def _whole(value: Any, where: str) -> int:
    if type(value) is not int or value < 1:
        raise InvalidClaim(f"{where}: expected a whole number >= 1, got {_brief(value)}")
    return value


def _brief(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
