"""A counterexample as plain data, and as a short Python program that a person can run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dpaudit.contract import PlainData, Relation, Rows, RunConfig
from dpaudit.probe import MechanismSource

_COORDINATE_LIMIT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterexample:
    """One pair of neighbouring batches at one step.

    Attributes:
        step: global step of the call; all steps before it are called on the other rows.
        row: the differing row, flat (may hold NaN and Inf).
        others: content and number of the rows beside it.
        shapes: parameter shapes of the small model that it is for.
        dtype: name of the floating-point type.
    """

    step: int
    row: tuple[float, ...]
    content: str
    count: int
    history: str
    shapes: tuple[tuple[int, ...], ...]
    dtype: str = "float64"

    def plain(self) -> dict[str, PlainData]:
        """As JSON-able data; values that are not finite become text."""
        return {
            "step": self.step,
            "row": [value if math.isfinite(value) else str(value) for value in self.row],
            "content": self.content,
            "count": self.count,
            "history": self.history,
            "shapes": [list(shape) for shape in self.shapes],
            "dtype": self.dtype,
        }


def read_counterexample(fields: Mapping[str, Any]) -> Counterexample:
    """The counterexample of a finding's evidence, checked: it may come from a process that ran the candidate.

    Raises:
        ValueError: a field is missing, of the wrong type, or inconsistent with the others.
    """
    shapes = tuple(tuple(_whole(size) for size in shape) for shape in fields["shapes"])
    row = tuple(_number(value) for value in fields["row"])
    if len(row) > _COORDINATE_LIMIT or len(row) != sum(math.prod(shape) for shape in shapes):
        raise ValueError(f"counterexample: {len(row)} coordinates do not fit the shapes {shapes!r:.80}")
    words = {name: fields[name] for name in ("content", "history", "dtype")}
    allowed = {"zeros", "mixed", "aligned", "float64", "float32", "float16", "bfloat16"}
    if not set(words.values()) <= allowed:
        raise ValueError(
            f"counterexample: expected words among {sorted(allowed)}, got {sorted(map(str, words.values()))!r:.200}"
        )
    return Counterexample(
        step=_whole(fields["step"]), count=_whole(fields["count"]), row=row, shapes=shapes, **words
    )  # fmt: skip


def snippet(source: MechanismSource, config: RunConfig, found: Counterexample, expected: str) -> str:
    """A program that builds the pair, calls the mechanism on both batches with the same noise, and prints what differs.

    It needs torch and dpaudit. The printed noise multiplier comes from 400 releases and is good to some percent.

    Args:
        expected: what the audit measured, as a comment.
    """
    grows = config.cell.rows is Rows.SAMPLED and config.cell.relation is Relation.ADD_REMOVE
    replaced = config.cell.relation is Relation.REPLACE_ONE
    absent = "others" if grows else f"torch.cat([others, {'-row[None]' if replaced else '0 * row[None].nan_to_num()'}])"
    arguments = (
        f"{config.max_grad_norm!r}, {config.noise_multiplier!r}, {len(found.row)}, {config.dataset_size}, "
        f"{config.batch_size}, {config.epochs}, {config.target_epsilon!r}, {config.target_delta!r}"
    )
    quiet = found.content == "zeros" and found.history == "zeros"
    others = "torch.zeros" if quiet else "other_rows"
    lines = [
        f"# {_one_line(expected)}",
        "import copy, math",
        "import torch",
        "from dpaudit.testing import load_mechanism, other_rows, same_noise",
        "nan, inf = math.nan, math.inf",
        f"torch.set_default_dtype(torch.{found.dtype})",
        f"shapes = {[list(shape) for shape in found.shapes]}",
        "sizes = [math.prod(shape) for shape in shapes]",
        f"row = torch.tensor({_row_text(found.row)})",
        _others_line("others", others, found.content, found.count, config),
        _others_line("history", others, found.history, found.count, config),
        f"mechanism = load_mechanism({source.path!r}, {source.class_name!r})({arguments})",
        "def call(mechanism, rows, step):",
        "    parts = [p.reshape(-1, *s) for p, s in zip(rows.split(sizes, 1), shapes)]",
        f"    released = mechanism.clip_and_noise(parts, step, step // {config.steps_per_epoch} + 1)",
        "    return torch.cat([r.reshape(-1) for r in released])",
        f"for step in range({found.step}): call(mechanism, history, step)",
        "def release(rows, seed):",
        "    with same_noise(seed):",
        f"        return call(copy.deepcopy(mechanism), rows, {found.step})",
        f"without, with_row = {absent}, torch.cat([others, row[None]])",
        "change = release(with_row, 1) - release(without, 1)",
        "noise = torch.stack([release(without, seed) for seed in range(400)]).std(0)",
        f"sigma = mechanism.get_effective_sigma({found.step}, {config.epoch_of(found.step)})",
        f"print('noise multiplier', {'2 / ' if replaced else '1 / '}float((change / noise).norm()), 'reported', sigma)",
    ]
    return "\n".join(lines) + "\n"


def _others_line(name: str, function: str, content: str, count: int, config: RunConfig) -> str:
    if function == "torch.zeros":
        return f"{name} = torch.zeros({count}, sum(sizes))"
    return f"{name} = other_rows({content!r}, {count}, shapes, max_grad_norm={config.max_grad_norm!r})"


def _row_text(row: tuple[float, ...]) -> str:
    if len(set(row)) == 1 and len(row) > 4 and math.isfinite(row[0]):
        return f"[{row[0]!r}] * {len(row)}"
    return "[" + ", ".join(repr(value) for value in row) + "]"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**40:
        raise ValueError(f"counterexample: expected a whole number, got {value!r:.40}")
    return value


def _number(value: Any) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float | str)
        or (isinstance(value, str) and value not in {"nan", "inf", "-inf"})
    ):
        raise ValueError(f"counterexample: expected a number, got {value!r:.40}")
    return float(value)
