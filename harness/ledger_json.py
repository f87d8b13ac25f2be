"""``ledger.jsonl``: one step a line, as text and back."""

import dataclasses
import json

from dpaudit.contract import DataError, LedgerRow

from .checked_json import closed_object, integer_at, optional_number_at, parse_json


def ledger_to_jsonl(rows: tuple[LedgerRow, ...]) -> str:
    """One row a line."""
    return "".join(json.dumps(dataclasses.asdict(row), allow_nan=False) + "\n" for row in rows)


def ledger_from_jsonl(text: str, *, where: str) -> tuple[LedgerRow, ...]:
    """The rows of a ledger, which must be steps 0, 1, 2, ... without a gap.

    Raises:
        DataError: a line is no row, or a step is missing, repeated or out of order.
    """
    names = {field.name for field in dataclasses.fields(LedgerRow)}
    rows = []
    for number, line in enumerate(text.splitlines()):
        place = f"{where}:{number + 1}"
        values = closed_object(parse_json(line, where=place), names, where=place)
        row = LedgerRow(
            **{name: integer_at(values, name, place) for name in _LEDGER_COUNTS},
            reported_sigma=optional_number_at(values, "reported_sigma", place),
            measured_noise=optional_number_at(values, "measured_noise", place),
            largest_contribution=optional_number_at(values, "largest_contribution", place),
        )
        if row.step != number or min(dataclasses.astuple(row)[1:6]) < 0:
            raise DataError(f"{place}: expected step {number} with counts of at least 0, got {line!r:.200}")
        rows.append(row)
    return tuple(rows)


_LEDGER_COUNTS = ("step", "epoch", "rows_seen", "rows_sampled", "rows_truncated", "rows_nonfinite")
