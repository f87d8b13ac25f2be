"""Noise in half precision: a release that no value of the noise gives without the row shows for certain that the row was there.

Notation: g the at most 65,536 values of the noise, f(g) a coordinate's release on D, f'(g) on D', T the set of all f(g), q the
probability that the row is in the first batch, p the probability that f'(g) is in T. Derived here.

The event "a coordinate lies outside T" has probability 0 on D and at least q (1 - p) on D'. So for every epsilon, delta is at
least q (1 - p): where that is above the target's delta no epsilon at all is kept, in the direction from D' to D. (In the other
direction "all coordinates lie in T" has probability 1 on D and at most 1 - q (1 - p) on D', which bounds epsilon by
ln((1 - delta) / (1 - q (1 - p))) only.) The first step alone is meant; later ones can only add to it.

p is that of Gaussian noise rounded to the nearest value. It is small because few g give a value of T: a draw by any other law
over the same values would have to give one of those few nearly always to save the claim.
"""

import base64
import hashlib
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import binom

from dpaudit.contract import AuditBrokenError, Finding, PlainData, Relation, RunConfig, Sampler, Severity
from dpaudit.probe import MechanismSource
from dpaudit.probe.problem import Problem
from dpaudit.probe.sandbox import ask

from .request import request_of
from .rounded_noise import values_of

Floats = NDArray[np.float64]

TIME_LIMIT = 120.0

MOST_ALIKE = 0.5
"""The largest p that is taken for a witness."""

NEAR = 30.0
"""Hits are listed to this many standard deviations; all beyond together have probability below :data:`BEYOND`."""

BEYOND = 1e-190
_UPWARDS = 1 + 1e-9
_MOST_LISTED = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportReading:
    """Two tables of releases, as the worker sent them; ``failed`` says why there are none.

    Attributes:
        dtype: ``bfloat16`` or ``float16``.
        mean, spread: of the noise before it was rounded to that format.
        without, with_row: f and f' for every finite value of the format, ascending.
        row_norm: of the row on D', in multiples of C.
        unwatched: (values released, values outside T) by calls without a tape, on D and on D'.
    """

    failed: str = ""
    dtype: str = "bfloat16"
    mean: float = 0.0
    spread: float = 1.0
    tensor: int = 0
    coordinates: int = 0
    row_norm: float = 0.0
    without: Floats | None = None
    with_row: Floats | None = None
    unwatched: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))


def with_support(finding: Finding, source: MechanismSource, config: RunConfig, time_limit: float) -> Finding:
    """A finding of noise in half precision, CRITICAL where the release itself shows the row.

    Guarantee: CRITICAL only if every value of the noise was tried on D and on D', in a process of its own, and the tables that it
    sent, evaluated here, refute the target; otherwise the finding as it was, with the reason in its evidence.
    """
    reading = read_support(source, config, min(time_limit, TIME_LIMIT))
    evidence = None if reading.failed else evidence_of(reading, config)
    if evidence is None:
        why = reading.failed or "the row does not show, or the record is not consistent"
        return replace(finding, evidence={**finding.evidence, "no_witness": why})
    message = (
        f"{finding.message}. All {evidence['values']} values were tried: without a row tensor {reading.tensor} releases one of "
        f"{evidence['distinct_values']} numbers in every coordinate, whatever the noise is; with a row of norm "
        f"{reading.row_norm:g} C it releases another one with probability at least {_share(evidence['alike'])}. Such a release "
        f"shows for certain that the row was there: at every epsilon, delta is at least {evidence['delta_lower']:.4g} after one "
        f"step, and the target is {config.target_delta:g}"
    )
    return replace(
        finding, severity=Severity.CRITICAL, message=message, evidence={**finding.evidence, "support": evidence}
    )


def read_support(source: MechanismSource, config: RunConfig, time_limit: float = TIME_LIMIT) -> SupportReading:
    """Tabulate the release in a process of its own.

    Raises:
        AuditBrokenError: the measurement itself failed, or its answer is malformed.
    """
    if config.cell.relation is Relation.REPLACE_ONE:
        return SupportReading(failed="under replace_one both neighbours hold a row")
    request = request_of(source, config, time_limit=time_limit)
    answer = ask("dpaudit.properties.support_worker", request)
    if isinstance(answer, Problem):
        return SupportReading(failed=answer.message)
    try:
        return _decoded(answer, config)
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise AuditBrokenError(f"properties: invalid tables of the release for {request.path}: {error}") from error


def evidence_of(reading: SupportReading, config: RunConfig) -> dict[str, PlainData] | None:
    """What follows from the two tables; ``None`` if they do not refute the target."""
    assert reading.without is not None
    assert reading.with_row is not None
    values = values_of(getattr(torch, reading.dtype)).numpy()
    hits = values[np.isin(reading.with_row, reading.without)]
    near = hits[np.abs(hits - reading.mean) <= NEAR * reading.spread]
    if len(near) > _MOST_LISTED:
        return None
    alike = chance_of(near, reading.dtype, reading.mean, reading.spread)
    evidence: dict[str, PlainData] = {
        "step": 0,
        "dtype": reading.dtype,
        "mean": reading.mean,
        "spread": reading.spread,
        "tensor": reading.tensor,
        "coordinates": reading.coordinates,
        "row_norm": reading.row_norm,
        "values": len(values),
        "distinct_values": len(np.unique(reading.without)),
        "near_hits": [float(value) for value in near],
        "alike": alike,
        "inclusion": inclusion_probability(config),
        "delta_lower": inclusion_probability(config) * (1 - alike),
        "unwatched_without": list(reading.unwatched[0]),
        "unwatched_with": list(reading.unwatched[1]),
        "sha256_without": hashlib.sha256(reading.without.tobytes()).hexdigest(),
        "sha256_with": hashlib.sha256(reading.with_row.tobytes()).hexdigest(),
    }
    return None if tuple(faults_in(evidence, config)) else evidence


def faults_in(evidence: Mapping[str, Any], config: RunConfig) -> list[str]:
    """Why an evidence of this kind does not refute the target; empty if it does. Works from the evidence alone."""
    near = np.asarray(evidence["near_hits"], dtype=np.float64)
    alike = chance_of(near, evidence["dtype"], float(evidence["mean"]), float(evidence["spread"]))
    delta = inclusion_probability(config) * (1 - alike)
    (seen, strays), (seen_with, outside) = evidence["unwatched_without"], evidence["unwatched_with"]
    faults = []
    if not math.isclose(alike, float(evidence["alike"]), rel_tol=1e-6) or not math.isclose(
        delta, float(evidence["delta_lower"]), rel_tol=1e-6
    ):
        faults.append(
            f"its hits give p {alike!r} and delta {delta!r}, not {evidence['alike']!r} and {evidence['delta_lower']!r}"
        )
    if not alike <= MOST_ALIKE:
        faults.append(f"a release with the row is one without it with probability up to {alike:.3g}")
    if not delta > config.target_delta:
        faults.append(f"delta {delta:.3g} is not above the target's {config.target_delta:g}")
    if not (seen > 0 and strays == 0):
        faults.append(f"{strays} of {seen} values of calls without the row are not among those that were tabulated")
    if not (seen_with > 0 and 2 * outside >= seen_with):
        faults.append(f"{outside} of {seen_with} values of calls with the row are outside")
    return faults


def chance_of(hits: Floats, dtype: str, mean: float, spread: float) -> float:
    """p, an upper bound: N(mean, spread^2) rounded to the nearest value of the format is one of these, or far out.

    Raises:
        ValueError: a hit is no value of the format, or the spread is not positive.
    """
    if dtype not in {"bfloat16", "float16"} or not (spread > 0 and math.isfinite(spread) and math.isfinite(mean)):
        raise ValueError(f"support: expected a half-precision format and a positive spread, got {dtype!r}, {spread!r}")
    values = np.unique(values_of(getattr(torch, dtype)).numpy())
    places = np.searchsorted(values, hits)
    if not (places < len(values)).all() or not (values[np.minimum(places, len(values) - 1)] == hits).all():
        raise ValueError(f"support: a hit is no value of {dtype}")
    middles = np.concatenate([[-np.inf], (values[1:] + values[:-1]) / 2, [np.inf]])
    low, high = (middles[places] - mean) / spread, (middles[places + 1] - mean) / spread
    mirrored = low > 0  # the difference of two small numbers, not of two near 1
    low, high = np.where(mirrored, -high, low), np.where(mirrored, -low, high)
    return min(1.0, float((ndtr(high) - ndtr(low)).sum()) * _UPWARDS + BEYOND)


def inclusion_probability(config: RunConfig) -> float:
    """A lower bound of the probability that a given row is in the first batch."""
    q = config.sampling_probability
    if config.cell.sampler is Sampler.TRUNCATED_POISSON:
        # With at most B - 1 others nobody is left out.
        return float(q * binom.cdf(config.batch_size - 1, config.dataset_size - 1, q))
    return q


def _decoded(answer: Any, config: RunConfig) -> SupportReading:
    if answer["failed"]:
        return SupportReading(failed=str(answer["failed"])[:2000])
    dtype = answer["dtype"]
    if dtype not in {"bfloat16", "float16"}:
        raise ValueError(f"dtype: expected a half-precision format, got {dtype!r:.40}")
    length = len(values_of(getattr(torch, dtype)))
    tensor, coordinates = answer["tensor"], answer["coordinates"]
    if type(tensor) is not int or not 0 <= tensor < len(config.parameter_shapes):
        raise ValueError(f"tensor: expected the number of a parameter, got {tensor!r:.40}")
    if type(coordinates) is not int or not 1 <= coordinates <= math.prod(config.parameter_shapes[tensor]):
        raise ValueError(f"coordinates: expected a number of this tensor's, got {coordinates!r:.40}")
    (seen, strays), (seen_with, outside) = answer["unwatched"]
    if not all(type(count) is int and count >= 0 for count in (seen, strays, seen_with, outside)):
        raise ValueError("unwatched: expected counts")
    return SupportReading(
        dtype=dtype,
        tensor=tensor,
        coordinates=coordinates,
        without=_table(answer["without"], length),
        with_row=_table(answer["with_row"], length),
        unwatched=((seen, strays), (seen_with, outside)),
        mean=_number(answer["mean"]),
        spread=_number(answer["spread"]),
        row_norm=_number(answer["row_norm"]),
    )


def _share(alike: PlainData) -> str:
    assert isinstance(alike, float)
    return f"{1 - alike:.6g}"


def _number(value: Any) -> float:
    if type(value) not in {int, float} or not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {value!r:.40}")
    return float(value)


def _table(text: Any, length: int) -> Floats:
    packed = base64.b64decode(str(text), validate=True)
    raw = zlib.decompressobj().decompress(packed, 8 * length + 8)
    if len(raw) != 8 * length:
        raise ValueError(f"a table of {length} releases was expected, got {len(raw)} bytes")
    table = np.frombuffer(raw, dtype="<f8").astype(np.float64)
    if np.isnan(table).any():
        raise ValueError("a table holds NaN")
    return table
