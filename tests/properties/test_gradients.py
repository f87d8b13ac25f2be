"""Hostile rows, batches of a pair, and counterexamples as data."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpaudit.contract import Cell, Relation, Rows, RunConfig, Sampler
from dpaudit.properties.batches import CONTENTS, Beside, Geometry
from dpaudit.properties.counterexample import Counterexample, read_counterexample
from dpaudit.properties.gradients import KINDS, RowPattern, row_of, row_patterns, sweep_patterns

SIZES = [4, 3, 2]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@settings(deadline=None, max_examples=200)
@given(row_patterns(3), st.sampled_from(DTYPES))
def test_every_row_is_finite_and_of_its_type(pattern: RowPattern, dtype: torch.dtype) -> None:
    row = row_of(pattern, SIZES, 2.0, dtype)
    assert row.shape == (9,)
    assert row.dtype == dtype
    assert bool(torch.isfinite(row).all())


@pytest.mark.parametrize("kind", KINDS)
def test_the_norm_is_the_stated_one(kind: str) -> None:
    parts = row_of(RowPattern(kind=kind, norm=3.0, layer=1), SIZES, 2.0, torch.float64).split(SIZES)
    norms = [float(part.norm()) for part in parts]
    whole = math.hypot(*norms)
    largest = {"spread", "falling", "all_but_one", "one_layer", "tiny_and_huge", "along_release", "against_release"}
    if kind == "zero":
        assert whole == 0
    elif kind in largest:
        assert max(norms) == pytest.approx(6.0)
    else:
        assert whole == pytest.approx(6.0)


def test_the_list_holds_the_named_hostilities() -> None:
    patterns = sweep_patterns(3)
    assert {pattern.kind for pattern in patterns} == set(KINDS)
    norms = {pattern.norm for pattern in patterns}
    assert {1e30, 1e-42, 1.0, 3e38} <= norms
    assert row_of(RowPattern(norm=1e-42), SIZES, 1.0, torch.float32).abs().max() < 1e-38, "denormal"


def test_rows_that_follow_the_release() -> None:
    release = torch.arange(9.0)
    along = row_of(RowPattern(kind="along_release", norm=2.0), SIZES, 1.0, torch.float64, release=release)
    against = row_of(RowPattern(kind="against_release", norm=2.0), SIZES, 1.0, torch.float64, release=release)
    assert torch.equal(along, -against)
    assert float(along.norm()) == pytest.approx(2.0)


def config_of(relation: Relation, rows: Rows) -> RunConfig:
    sampler = Sampler.POISSON if rows is Rows.SAMPLED else Sampler.TRUNCATED_POISSON
    return RunConfig(
        dataset_size=1000, batch_size=5, expected_batch=5.0, epochs=1, steps_per_epoch=1, max_grad_norm=1.0,
        target_epsilon=1.0, target_delta=1e-5, noise_multiplier=1.0,
        cell=Cell(sampler=sampler, relation=relation, rows=rows),
    )  # fmt: skip


@pytest.mark.parametrize("content", CONTENTS)
def test_neighbours_differ_as_the_relation_says(content: str) -> None:
    row, shapes = torch.arange(1.0, 10.0), ((2, 2), (3,), (2,))
    for relation in Relation:
        geometry = Geometry.of(config_of(relation, Rows.SAMPLED), shapes)
        beside = Beside(content=content, count=2)
        without, with_row = geometry.without(beside, row), geometry.with_row(beside, row)
        assert torch.equal(with_row[-1], row)
        assert torch.equal(without[:2], with_row[:2])
        if relation is Relation.ADD_REMOVE:
            assert len(without) == 2
        else:
            assert torch.equal(without[-1], -row if relation is Relation.REPLACE_ONE else 0 * row)
        assert geometry.reach == (2.0 if relation is Relation.REPLACE_ONE else 1.0)
        parts = geometry.tensors(with_row, torch.float32)
        assert [tuple(part.shape) for part in parts] == [(3, 2, 2), (3, 3), (3, 2)]


def test_constant_rows_are_always_the_batch_size() -> None:
    geometry = Geometry.of(config_of(Relation.ZERO_OUT, Rows.CONSTANT), ((2,),))
    assert geometry.counts() == (4,)
    assert len(geometry.without(Beside(count=4), torch.zeros(2))) == 5


def test_sampled_rows_are_tried_at_zero_one_two_and_all() -> None:
    geometry = Geometry.of(config_of(Relation.ADD_REMOVE, Rows.SAMPLED), ((2,),))
    assert {0, 1, 2, 4} <= set(geometry.counts())


def test_a_counterexample_survives_the_border_and_a_forged_one_does_not() -> None:
    found = Counterexample(
        step=3, row=(1.0, math.inf, -2.0), content="mixed", count=2, history="zeros", shapes=((3,),), dtype="float32"
    )
    assert read_counterexample(found.plain()) == found
    for change in (
        {"row": [1.0]},
        {"row": [1.0, "__import__('os')", 2.0]},
        {"row": [1.0, True, 2.0]},
        {"content": "zeros'; import os"},
        {"shapes": [[3.5]]},
        {"step": -1},
        {"count": "2"},
        {"dtype": "int8"},
    ):
        with pytest.raises((ValueError, TypeError)):
            read_counterexample({**found.plain(), **change})
