"""One stored counterexample, measured again: the pair is rebuilt from plain data, the candidate's code from its file."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dpaudit.contract import AuditBrokenError, PlainData, RunConfig
from dpaudit.probe import MechanismSource
from dpaudit.probe.problem import Problem
from dpaudit.probe.sandbox import ask

from .counterexample import read_counterexample
from .request import request_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PairReading:
    """What one pair of neighbours shows at its step.

    Attributes:
        finite: whether the release with the row is finite; if not, nothing else is known.
        noise_multiplier: noise over the row's contribution (dimensionless); ``inf`` if the row changes nothing.
        reported: sigma that the mechanism reports there; ``None`` if it gives no usable number.
        relative_change: of the noise scale when the row comes in; ``None`` where the noise stays the same.
        failed: why nothing could be measured; empty if something was.
    """

    finite: bool = False
    noise_multiplier: float | None = None
    reported: float | None = None
    relative_change: float | None = None
    failed: str = ""


def measure_pair(
    source: MechanismSource, config: RunConfig, counterexample: Mapping[str, PlainData], *, time_limit: float = 120.0
) -> PairReading:
    """Run the candidate on one pair, in a process of its own, and read the noise and what the row does to the release.

    Args:
        counterexample: as a finding's ``evidence["counterexample"]`` has it; it is checked before use.

    Raises:
        ValueError, KeyError, TypeError: the counterexample is not one.
        AuditBrokenError: the measurement itself failed.
    """
    found = read_counterexample(counterexample)
    request = request_of(source, config, time_limit=time_limit)
    answer = ask("dpaudit.properties.pair_worker", request, attachment=json.dumps(found.plain()))
    if isinstance(answer, Problem):
        return PairReading(failed=answer.message)
    try:
        return _decoded(answer)
    except (KeyError, TypeError, ValueError) as error:
        raise AuditBrokenError(f"properties: invalid reading of a pair for {request.path}: {error}") from error


def _decoded(answer: Any) -> PairReading:
    numbers = {}
    for name in ("noise_multiplier", "reported", "relative_change"):
        value = answer[name]
        numbers[name] = None if value is None else float(value)
        if numbers[name] is not None and math.isnan(numbers[name] or 0.0):
            raise ValueError(f"{name}: expected a number, got NaN")
    return PairReading(finite=answer["finite"] is True, failed=str(answer["failed"])[:2000], **numbers)
