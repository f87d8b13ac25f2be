"""The guard zeroes exactly the rows that are not finite, jointly over all parameters."""

import pytest
import torch

from harness.nonfinite import guard_nonfinite


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [(0, 0), (1, 4)])
def test_a_bad_entry_anywhere_zeroes_its_whole_row_and_no_other(value: float, place: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(6, 3, 5, generator=generator), torch.randn(6, 5, generator=generator)]
    before = [gradient.clone() for gradient in gradients]
    which, position = place
    gradients[which].flatten(1)[3, position] = value
    assert int(guard_nonfinite(gradients)) == 1
    kept = [0, 1, 2, 4, 5]
    for gradient, original in zip(gradients, before, strict=True):
        assert not gradient[3].any()
        assert torch.equal(gradient[kept], original[kept])


def test_huge_finite_rows_pass_unchanged() -> None:
    gradients = [torch.full((2, 4), 3.4e38)]
    assert int(guard_nonfinite(gradients)) == 0
    assert torch.equal(gradients[0], torch.full((2, 4), 3.4e38))


def test_several_bad_rows_are_counted_once_each() -> None:
    gradients = [torch.ones(5, 2), torch.ones(5, 3)]
    gradients[0][1, 0] = torch.nan
    gradients[1][1, 2] = torch.inf
    gradients[1][4] = torch.nan
    assert int(guard_nonfinite(gradients)) == 2


def test_no_rows_is_no_problem() -> None:
    assert int(guard_nonfinite([torch.empty(0, 3), torch.empty(0)])) == 0
