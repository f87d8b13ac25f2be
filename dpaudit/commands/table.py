"""``dpaudit table``: published tables, and mechanisms in pairs, from what run directories and audits say."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dpaudit.contract import ExitCode, UsageError

from .benchmark_table import benchmark_table
from .paired import paired_table
from .published import PAPER_LADDER, PAPER_PUBLIC_TABLE, PAPER_TABLE
from .run_material import Group, Material, groups_of, provenance, read_material, shown_bracket, true_epsilon
from .training import median_and_mad


def run(arguments: argparse.Namespace) -> ExitCode:
    """Read everything, write one Markdown table with what it rests on; ``paired`` also as JSON beside it."""
    from harness.atomic_files import make_directory, write_atomically

    out = Path(arguments.out) if arguments.out else None
    if out is not None and out.suffix == ".json":
        raise UsageError(f"table: --out names the Markdown file, and JSON goes beside it; got {arguments.out!r}")
    material = read_material([Path(path) for path in arguments.paths])
    if not material.runs:
        raise UsageError("table: expected at least one completed run directory, found none")
    data: dict[str, Any] | None = None
    match arguments.which:
        case "benchmark":
            lines = benchmark_table(material)
        case "paper":
            lines = _paper(material)
        case "paired":
            lines, data = paired_table(material, arguments.baseline)
        case _:
            raise AssertionError(arguments.which)
    text = "\n".join([*lines, "", *provenance(material)]) + "\n"
    if out is None:
        sys.stdout.write(text)
        return ExitCode.ALL_ACCEPTED
    make_directory(out.parent)
    write_atomically(out, text.encode())
    if data is not None:
        write_atomically(out.with_suffix(".json"), (json.dumps(data, indent=1, allow_nan=False) + "\n").encode())
    print(f"written to {arguments.out}", file=sys.stderr)
    return ExitCode.ALL_ACCEPTED


def _paper(material: Material) -> list[str]:
    """The paper's Table 1 and its ladder, published beside what was run; what was not run says so."""
    groups = groups_of(material.runs)
    lines = ["# Privacy-preserving optimisers: the paper's tables beside our runs", "", "## Table 1, CIFAR-10", ""]
    spread = "min / max / median / MAD"
    heads = f"| network | optimiser | published {spread} | ours {spread} | seeds | epsilon | as run |"
    rule = "|---|---|---|---|---|---|---|"
    lines += [heads, rule]
    for (network, optimiser, preset), published in PAPER_TABLE.items():
        lines += _paper_rows(f"{network} | {optimiser}", " / ".join(map(str, published)), preset, groups, material)
    lines += [
        "",
        "## The same with public data (ImageNet weights): not to be compared with the table above",
        "",
        heads,
        rule,
    ]
    for (network, optimiser, preset), published in PAPER_PUBLIC_TABLE.items():
        lines += _paper_rows(f"{network} | {optimiser}", " / ".join(map(str, published)), preset, groups, material)
    lines += ["", "## Ladder, ResNet-20 with DP-SGD", "", heads.replace("network | optimiser", "step | settings"), rule]
    for number, step in PAPER_LADDER.items():
        ours = [group for group in groups if step.grouped in (None, _is_grouped(group))]
        lines += _paper_rows(f"{number} | {step.settings}", f"{step.accuracy}", step.preset, ours, material)
    return lines


def _is_grouped(group: Group) -> bool:
    return Path(group.runs[0].mechanism).stem.startswith("grouped_clipping")


def _paper_rows(label: str, published: str, preset: str, groups: Sequence[Group], material: Material) -> list[str]:
    matching = [group for group in groups if group.config.name == preset]
    if not matching:
        return [f"| {label} | {published} | not run | 0 | | |"]
    rows = []
    for group in matching:
        bracket, source = true_epsilon(group, material.audits)
        values = sorted(group.accuracies)
        median, mad = median_and_mad(values)
        ours = f"{values[0]:.1f} / {values[-1]:.1f} / {median:.1f} / {mad:.1f}"
        rows.append(
            f"| {label} | {published} | {ours} | {len(values)} | {shown_bracket(bracket)} ({source}) | {_as_run(group)} |"
        )
    return rows


def _as_run(group: Group) -> str:
    """The data set's title, the mechanism, and everything that differs from the preset."""
    import harness

    first, config = group.runs[0], group.config
    chosen = harness.preset(config.name)
    words = [first.dataset, f"{Path(first.mechanism).stem}, form {first.form}"]
    if config.epochs != chosen.epochs:
        words.append(f"{config.epochs} of {chosen.epochs} epochs")
    for name, title in (("batch_size", "batch"), ("dataset_size", "examples"), ("max_grad_norm", "bound")):
        if getattr(config, name) != getattr(chosen, name):
            words.append(f"{title} {getattr(config, name):g}, not {getattr(chosen, name):g}")
    if config.cell != chosen.cell:
        words.append(f"cell {config.cell}")
    expected = chosen.recipe.to_json()
    words += [f"{name} {first.recipe.get(name)}" for name in expected if first.recipe.get(name) != expected[name]]
    features = {} if chosen.features is None else chosen.features.to_json()
    if not first.features and features:
        words.append("features not recorded")
    words += [f"{name} {value}" for name, value in first.features.items() if value != features.get(name)]
    return ", ".join(words)
