"""The expected batch of truncated Poisson sampling for a given number of rows."""

from decimal import ROUND_DOWN, Context

from scipy.special import betaincinv

from dpaudit.contract import UsageError

TRUNCATED_RUNS = 1e-4
"""Largest expected number of steps of a whole run in which drawing the sensitive row would cut the batch."""
_TWO_DIGITS = Context(prec=2, rounding=ROUND_DOWN)


def rounded_expected_batch(rows: int, dataset_size: int, total_steps: int) -> float:
    """The expected batch for ``rows`` constant rows, chosen so that truncation costs nothing visible.

    Rule: the largest expected batch with ``total_steps * P[Bin(N-1, expected/N) >= rows] <= 1e-4``, rounded down to
    two significant digits; an answer that has no more than two may end one unit lower by floating point. 256 rows of
    60,000 over 1,170 steps: 180. There truncation adds 0.1 % to epsilon at sigma 0.65; a third more rows costs ten times
    epsilon (the row that is cut out moves the sum twice).

    Errors: ``UsageError`` for arguments below 1 or rows above dataset_size.
    """
    if not (1 <= rows <= dataset_size and total_steps >= 1):
        raise UsageError(
            f"expected batch: needs 1 <= rows <= dataset_size and total_steps >= 1; got {rows}, {dataset_size}, {total_steps}"
        )
    if rows == dataset_size:
        return float(rows)  # nothing can be cut

    # P[Bin(n, p) >= r] is the regularised incomplete beta function I_p(r, n - r + 1)
    largest = dataset_size * float(betaincinv(rows, dataset_size - rows, TRUNCATED_RUNS / total_steps))
    return float(_TWO_DIGITS.create_decimal_from_float(largest))
