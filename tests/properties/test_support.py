"""Noise in half precision is refuted by a release that it cannot give; honest code that looks like it never is."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch

from dpaudit.contract import Cell, Finding, Measurement, Relation, Rows, RunConfig, Sampler, Severity, Strength
from dpaudit.probe import load_source
from dpaudit.properties import search
from dpaudit.properties.rounded_noise import values_of
from dpaudit.properties.support_event import (
    SupportReading,
    chance_of,
    evidence_of,
    faults_in,
    inclusion_probability,
    read_support,
    with_support,
)

FILE = Path(__file__).parent / "specimens" / "half_noise.py"
WIDE = ((64, 32), (32,), (8, 4))
"""A tensor of 2,048 coordinates, so that all values are tried in 32 calls."""

CLASSES = re.findall(r"^class ([A-Z]\w+)", FILE.read_text(encoding="utf-8"), re.M)
BROKEN = [name for name in CLASSES if name.endswith("Broken")]
HONEST = [name for name in CLASSES if not name.endswith("Broken")]


def reading_of(name: str, config: RunConfig) -> SupportReading:
    return read_support(load_source(f"{FILE}::{name}"), config, 60.0)


@pytest.fixture(scope="module")
def wide(config_of: Callable[..., RunConfig]) -> RunConfig:
    return config_of(parameter_shapes=WIDE)


def test_the_specimens_are_as_many_as_they_should_be() -> None:
    assert len(BROKEN) >= 8
    assert len(HONEST) >= 6


@pytest.mark.parametrize("name", BROKEN)
def test_noise_in_half_precision_is_refuted(name: str, wide: RunConfig) -> None:
    reading = reading_of(name, wide)
    assert reading.failed == ""
    evidence = evidence_of(reading, wide)
    assert evidence is not None
    q = wide.sampling_probability
    assert evidence["delta_lower"] == pytest.approx(q, rel=0.02)
    assert evidence["values"] == len(values_of(getattr(torch, reading.dtype)))
    assert evidence["unwatched_without"][1] == 0  # type: ignore[index]
    seen, outside = evidence["unwatched_with"]  # type: ignore[misc]
    assert outside >= 0.97 * seen


@pytest.mark.parametrize("name", HONEST)
def test_honest_code_that_looks_like_it_is_let_be(name: str, wide: RunConfig) -> None:
    reading = reading_of(name, wide)
    assert reading.failed or evidence_of(reading, wide) is None


def test_under_replace_one_nothing_is_said(config_of: Callable[..., RunConfig]) -> None:
    config = config_of("replace_one", parameter_shapes=WIDE)
    assert "replace_one" in reading_of(BROKEN[0], config).failed


def test_padded_batches_are_refuted_too(config_of: Callable[..., RunConfig]) -> None:
    config = config_of("constant", parameter_shapes=WIDE)
    evidence = evidence_of(reading_of("DrawnInBfloat16Broken", config), config)
    assert evidence is not None
    assert 0 < evidence["inclusion"] < config.sampling_probability  # type: ignore[operator]


def test_the_layer_ends_with_a_witness(wide: RunConfig, not_measured: Measurement) -> None:
    result = search(load_source(f"{FILE}::RoundedAfterTheDrawBroken"), wide, not_measured, time_limit=60.0)
    (finding,) = [one for one in result.findings if one.rule == "DPA214"]
    assert finding.severity is Severity.CRITICAL
    assert finding.strength is Strength.PROOF
    assert finding.refutes
    assert "at every epsilon, delta is at least 0.008 after one step" in finding.message
    assert faults_in(finding.evidence["support"], wide) == []  # type: ignore[arg-type]


def test_a_finding_without_a_witness_says_why(wide: RunConfig) -> None:
    finding = Finding(
        rule="DPA214", severity=Severity.MAJOR, strength=Strength.PROOF, message="noise", file="", evidence={"dtype": "x"}
    )  # fmt: skip
    after = with_support(finding, load_source(f"{FILE}::SumOfFourHalfDraws"), wide, 60.0)
    assert after.severity is Severity.MAJOR
    assert after.evidence["no_witness"]


# ---- what follows from tables --------------------------------------------------------------------------------------------


def synthetic(shift: float, dtype: torch.dtype = torch.bfloat16) -> SupportReading:
    values = values_of(dtype).numpy()
    with np.errstate(over="ignore"):
        sums = (np.float32(shift) + values.astype(np.float32)).astype(np.float64)
    return SupportReading(
        dtype=str(dtype).removeprefix("torch."),
        coordinates=8,
        row_norm=1.0,
        without=values,
        with_row=sums,
        unwatched=((1000, 0), (1000, 999)),
    )


def test_p_by_another_way() -> None:
    """By the standard library's normal law and a search of each value's neighbours."""
    values = np.unique(values_of(torch.float16).numpy())
    law = NormalDist(0.1, 0.7)
    hits = np.array([-3.5, -0.099975586, 0.0, 0.5, 1.2001953, 2.0], dtype=np.float16).astype(np.float64)
    expected = 0.0
    for hit in hits:
        below, above = values[values < hit].max(), values[values > hit].min()
        expected += law.cdf((hit + above) / 2) - law.cdf((hit + below) / 2)
    assert chance_of(hits, "float16", 0.1, 0.7) == pytest.approx(expected, rel=1e-6)
    assert chance_of(hits, "float16", 0.1, 0.7) >= expected * (1 - 1e-12)
    assert chance_of(values, "float16", 0.0, 1.0) == pytest.approx(1.0)
    assert chance_of(np.array([]), "float16", 0.0, 1.0) < 1e-100
    assert chance_of(np.array([12.0]), "bfloat16", 0.0, 1.0) == pytest.approx(
        math.erfc(11.96875 / 2**0.5) / 2, rel=1e-6
    )


def test_p_covers_the_share_of_real_draws() -> None:
    """Of 10^6 rounded Gaussian draws with the row, those that D can release too are as many as p says, at 5 sigma."""
    config_p = synthetic(0.3, torch.float16)
    hits = values_of(torch.float16).numpy()[np.isin(config_p.with_row, config_p.without)]
    p = chance_of(hits[np.abs(hits) < 30], "float16", 0.0, 1.0)
    draws = torch.randn(10**6, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(torch.float16)
    released = (np.float32(0.3) + draws.numpy().astype(np.float32)).astype(np.float64)
    share = np.isin(released, config_p.without).mean()
    assert abs(share - p) <= 5 * (p / 10**6) ** 0.5 + 1e-9


def test_a_foreign_value_is_no_hit() -> None:
    with pytest.raises(ValueError, match="no value of bfloat16"):
        chance_of(np.array([0.1]), "bfloat16", 0.0, 1.0)
    with pytest.raises(ValueError, match="positive spread"):
        chance_of(np.array([1.0]), "bfloat16", 0.0, 0.0)


def test_what_does_not_refute(config_of: Callable[..., RunConfig]) -> None:
    config = config_of(parameter_shapes=WIDE)
    shown = synthetic(0.3)
    assert evidence_of(shown, config) is not None
    assert evidence_of(replace(shown, with_row=shown.without), config) is None
    assert evidence_of(replace(shown, unwatched=((1000, 1), (1000, 999))), config) is None
    assert evidence_of(replace(shown, unwatched=((0, 0), (1000, 999))), config) is None
    assert evidence_of(replace(shown, unwatched=((1000, 0), (1000, 499))), config) is None
    assert evidence_of(shown, replace(config, target_delta=0.0081)) is None
    assert evidence_of(shown, replace(config, target_delta=0.0079)) is not None


def test_tampered_evidence_is_seen(config_of: Callable[..., RunConfig]) -> None:
    config = config_of(parameter_shapes=WIDE)
    evidence = evidence_of(synthetic(0.3, torch.float16), config)
    assert evidence is not None
    assert faults_in(evidence, config) == []
    assert faults_in({**evidence, "near_hits": []}, config)
    assert faults_in({**evidence, "delta_lower": 0.5}, config)
    assert faults_in({**evidence, "unwatched_without": [10, 1]}, config)


def test_the_inclusion_probability_is_a_lower_bound() -> None:
    """Against the expectation of min(1, B / K) given that the row was drawn, by enumeration."""
    config = RunConfig(
        dataset_size=50, batch_size=6, expected_batch=5.0, epochs=1, steps_per_epoch=10, max_grad_norm=1.0, target_epsilon=3.0,
        target_delta=1e-5, noise_multiplier=1.0, parameter_shapes=((2,),),
        cell=Cell(sampler=Sampler.TRUNCATED_POISSON, relation=Relation.ZERO_OUT, rows=Rows.CONSTANT),
    )  # fmt: skip
    q = 0.1
    others = [math.comb(49, k) * q**k * (1 - q) ** (49 - k) for k in range(50)]
    exact = q * sum(chance * min(1.0, 6 / (k + 1)) for k, chance in enumerate(others))
    assert 0.5 * exact < inclusion_probability(config) <= exact
