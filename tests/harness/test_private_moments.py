"""The private second moment against its slow twin, its sensitivity and noise, and what whitening makes of it.

The private mean is tested beside the features, in ``test_scattering_data.py``.
"""

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from harness.datasets import Dataset
from harness.private_moments import centred, prepared, second_moment, whitened, whitening_matrix
from harness.scattering_settings import ScatteringSettings

CHANNELS, PLACES = 81, 4
WIDTH = CHANNELS * PLACES
QUIET = 1e-9


def rows_of(count: int = 30, seed: int = 3) -> Tensor:
    """Rows whose channels differ in size and are correlated, some of them longer than the root of ``WIDTH``."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(CHANNELS, CHANNELS, generator=generator) / 5
    maps = mixing @ torch.randn(count, CHANNELS, PLACES, generator=generator)
    return maps.flatten(1).half()


def data_of(rows: Tensor, tests: Tensor) -> Dataset:
    return Dataset(
        title="random",
        train_images=rows,
        train_labels=torch.zeros(len(rows), dtype=torch.int64),
        test_images=tests,
        test_labels=torch.zeros(len(tests), dtype=torch.int64),
        mean=torch.zeros((1, 1)),
        std=torch.ones((1, 1)),
        maximum=1.0,
    )


def moment_of(rows: Tensor, *, bound: float = 10.0, multiplier: float = QUIET, seed: int = 1) -> Tensor:
    return second_moment(rows, channels=CHANNELS, bound=bound, multiplier=multiplier, seed=seed)


def test_without_noise_it_is_the_mean_of_outer_products_of_clipped_rows() -> None:
    rows = rows_of()
    expected = torch.zeros((CHANNELS, CHANNELS), dtype=torch.float64)
    for row in rows.double():
        clipped = row * min(1.0, 10.0 / float(row.norm()))
        for place in range(PLACES):
            vector = clipped[place::PLACES]
            expected += torch.outer(vector, vector)
    assert int((rows.float().norm(dim=1) > 10.0).sum()) > 0
    torch.testing.assert_close(moment_of(rows), expected / 30, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", ["one entry", "constant", "random"])
def test_a_row_moves_the_sum_by_at_most_the_square_of_its_bound(shape: str) -> None:
    rows, generator = rows_of(), torch.Generator().manual_seed(2)
    hostile = {
        "one entry": torch.nn.functional.one_hot(torch.tensor(22), WIDTH).float(),
        "constant": torch.ones(WIDTH),
        "random": torch.randn(WIDTH, generator=generator),
    }[shape]
    present, absent = rows.clone(), rows.clone()
    present[7], absent[7] = 300 * hostile.half(), 0.0
    distance = float((moment_of(present) - moment_of(absent)).norm()) * len(rows)
    assert distance <= 100.0 * (1 + 1e-4)
    if shape != "random":  # of rank one, so that nothing of its trace is lost: the bound is reached
        assert distance == pytest.approx(100.0, rel=1e-4)


def test_without_its_clip_a_row_would_move_the_sum_beyond_any_bound() -> None:
    rows = rows_of()
    present, absent = rows.clone(), rows.clone()
    present[7], absent[7] = 300.0, 0.0
    distance = float((moment_of(present, bound=1e9) - moment_of(absent, bound=1e9)).norm()) * len(rows)
    assert distance > 1e4 * 100.0


def test_the_noise_is_isotropic_on_symmetric_matrices_and_moves_with_the_seed() -> None:
    rows = rows_of()
    quiet = moment_of(rows)
    upper = torch.triu_indices(CHANNELS, CHANNELS, offset=1)
    drawn = []
    for seed in range(1, 13):
        noise = (moment_of(rows, multiplier=3.0, seed=seed) - quiet) * len(rows) / 100.0
        assert torch.equal(noise, noise.T)
        drawn.append(torch.cat([noise.diagonal(), math.sqrt(2) * noise[upper[0], upper[1]]]))
    diagonal, off = (torch.stack(drawn)[:, part].flatten() for part in (slice(None, CHANNELS), slice(CHANNELS, None)))
    assert float(diagonal.std()) == pytest.approx(3.0, rel=0.1)  # 4.4 standard errors of 972 draws
    assert float(off.std()) == pytest.approx(3.0, rel=0.016)  # 4.5 standard errors of 38,880 draws
    assert abs(float((drawn[0] * drawn[1]).mean())) < 4.5 * 9 / math.sqrt(len(drawn[0]))
    assert torch.equal(moment_of(rows, multiplier=3.0), moment_of(rows, multiplier=3.0))


def test_at_full_power_the_moment_becomes_a_multiple_of_one() -> None:
    moment = moment_of(rows_of(400), bound=1e3)
    matrix = whitening_matrix(moment, power=0.5, floor=1e-12).double()
    after = matrix @ moment @ matrix.T
    torch.testing.assert_close(after, torch.eye(CHANNELS).double() * moment.trace() / CHANNELS, rtol=0, atol=1e-3)


@pytest.mark.parametrize("power", [0.1, 0.25, 0.5])
def test_the_trace_stays_and_directions_come_closer(power: float) -> None:
    moment = moment_of(rows_of(400), bound=1e3)
    matrix = whitening_matrix(moment, power=power, floor=0.1).double()
    after = matrix @ moment @ matrix.T
    assert float(after.trace()) == pytest.approx(float(moment.trace()), rel=1e-4)
    before, now = (torch.linalg.eigvalsh(part) for part in (moment, after))
    assert float(now[-1] / now[CHANNELS // 2]) < float(before[-1] / before[CHANNELS // 2])


def test_eigenvalues_below_zero_are_noise_and_are_not_amplified_beyond_the_floor() -> None:
    noisy = torch.diag(torch.tensor([4.0, 1.0, 1.0, -2.0]))
    matrix = whitening_matrix(noisy, power=0.5, floor=0.25)
    clean = whitening_matrix(torch.diag(torch.tensor([4.0, 1.0, 1.0, 0.0])), power=0.5, floor=0.25)
    torch.testing.assert_close(matrix, clean)
    assert float(matrix[3, 3] / matrix[0, 0]) == pytest.approx(math.sqrt((4 / 1.5 + 0.25) / 0.25), rel=1e-5)


def test_a_moment_of_noise_alone_mixes_nothing() -> None:
    assert torch.equal(whitening_matrix(-torch.eye(5), power=0.25, floor=0.1), torch.eye(5))


def test_after_the_release_a_row_depends_on_itself_alone() -> None:
    settings = ScatteringSettings(whitening=5.0)
    rows, tests = rows_of(), rows_of(6, seed=8)
    one = whitened(data_of(rows, tests), settings, seed=4)
    changed = tests.clone()
    changed[2] += 1
    two = whitened(data_of(rows, changed), settings, seed=4)
    assert torch.equal(one.train_images, two.train_images)
    same = [torch.equal(one.test_images[row], two.test_images[row]) for row in range(6)]
    assert same == [True, True, False, True, True, True]
    moved = rows.clone()
    moved[0] *= -3  # another training row: it is seen through the release, by all
    assert not torch.equal(whitened(data_of(moved, tests), settings, seed=4).test_images, one.test_images)


def test_the_two_releases_are_made_in_turn_from_streams_of_their_own() -> None:
    settings = ScatteringSettings(centring=30.0, whitening=20.0, row_bound=0.5)
    data = data_of(rows_of(), rows_of(6, seed=8))
    both = prepared(data, settings, seed=11)
    mean_only = prepared(data, dataclasses.replace(settings, whitening=None), seed=11)
    none = prepared(data, ScatteringSettings(), seed=11)
    assert torch.equal(none.train_images, data.train_images)
    assert not torch.equal(mean_only.train_images, data.train_images)
    assert not torch.equal(both.train_images, mean_only.train_images)
    assert settings.preparation == (30.0, 20.0)
    assert not torch.equal(both.test_images, prepared(data, settings, seed=12).test_images)
    assert torch.equal(both.test_images, prepared(data, settings, seed=11).test_images)
    assert centred(data, 30.0, seed=1).train_images.dtype == both.train_images.dtype == torch.float16


@pytest.mark.parametrize("width", [82, 81 * 2, 243 * 5])
def test_rows_that_are_not_maps_of_such_channels_are_refused(width: int) -> None:
    with pytest.raises(ValueError, match="81 or 243 channels"):
        whitened(
            data_of(torch.ones(3, width).half(), torch.ones(1, width).half()), ScatteringSettings(whitening=1.0), seed=0
        )
    with pytest.raises(ValueError, match="expected a noise multiplier"):
        whitened(data_of(rows_of(), rows_of()), ScatteringSettings(), seed=0)
