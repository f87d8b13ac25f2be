"""The expected batch of truncated Poisson sampling for a given number of rows."""

import math

from scipy.stats import binom

from dpaudit.contract import UsageError

TRUNCATED_RUNS = 1e-4
"""Largest expected number of steps of a whole run in which drawing the sensitive row would cut the batch."""


def rounded_expected_batch(rows: int, dataset_size: int, total_steps: int) -> float:
    """The expected batch for ``rows`` constant rows, chosen so that truncation costs nothing visible.

    Rule: the largest expected batch with ``total_steps * P[Bin(N-1, expected/N) >= rows] <= 1e-4``, rounded down to
    two significant digits. 256 rows of 60,000 over 1,170 steps: 180. There truncation adds 0.1 % to epsilon at sigma
    0.65; a third more rows costs ten times epsilon (the row that is cut out moves the sum twice).

    Errors: ``UsageError`` for arguments below 1 or rows above dataset_size.
    """
    if not (1 <= rows <= dataset_size and total_steps >= 1):
        raise UsageError(
            f"expected batch: needs 1 <= rows <= dataset_size and total_steps >= 1; got {rows}, {dataset_size}, {total_steps}"
        )
    if rows == dataset_size:
        return float(rows)  # nothing can be cut

    low, high = 0.0, float(rows)
    for _ in range(60):
        middle = (low + high) / 2
        cut = total_steps * float(binom.sf(rows - 1, dataset_size - 1, middle / dataset_size))
        low, high = (middle, high) if cut <= TRUNCATED_RUNS else (low, middle)
    unit = 10.0 ** (math.floor(math.log10(low)) - 1)
    return round(math.floor(low / unit + 1e-9) * unit, 12)
