"""Mutate dpaudit's own decision, bounds and accounting code: ``python -m tests.mutation.dpaudit [--only MODULE] [--sample N]``.

Each mutant is one module with one changed node, held against the tests that belong to the module (``tests_of``): first those
that execute the changed lines, up to the first failure, then all others. A mutant that all of them pass survives. What is on
record of a module is written when it is done.
``survivors.json`` beside this file says of survivors that are known why they are equivalent; any other one makes the command end
with 1. With ``--out`` the outcomes are added to those on record there.
"""

import argparse
import importlib
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .code_mutants import Mutant, mutants
from .forked_tests import Test, forked, killer
from .record import Record
from .swapped_code import Campaign
from .tests_of import TESTS
from .unaffected import import_unaffected

KNOWN = Path(__file__).with_name("survivors.json")
_THIRD_PARTY = (
    "numpy", "scipy.special", "scipy.stats", "scipy.signal", "scipy.optimize", "scipy.fft", "mpmath", "hypothesis",
    "dp_accounting.pld", "dp_accounting.rdp", "torch", "torch.func", "jsonschema", "hypothesis.extra.pytestplugin",
    "hypothesis.extra.numpy", "_pytest.assertion.rewrite", "xdist.plugin", "pytest_timeout",
)  # fmt: skip


def known_survivors() -> dict[str, str]:
    """Reasons, by the mutant's key, why no test can notice it."""
    return dict(json.loads(KNOWN.read_text(encoding="utf-8")))


def main() -> int:
    """Exit 0 if every survivor is known to be equivalent, 1 if not, 2 if the tests fail without a change."""
    parser = argparse.ArgumentParser(description="mutation testing of dpaudit's own code")
    parser.add_argument("--only", default="", help="parts of modules' paths, separated by commas")
    parser.add_argument("--sample", type=int, default=12, help="mutants a module; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for dpaudit.json and dpaudit.md, added to what is there")
    parser.add_argument("--resume", action="store_true", help="leave out what is on record in --out")
    parser.add_argument(
        "--survivors", action="store_true", help="only those that survived, unexplained, on record in --out"
    )
    arguments = parser.parse_args()
    parts = arguments.only.split(",")
    chosen = [module for module in TESTS if any(part in module for part in parts)]
    if not chosen:
        parser.error(f"no module's path contains {arguments.only!r}")
    if (arguments.resume or arguments.survivors) and arguments.out is None:
        parser.error("--resume and --survivors need --out")
    for name in _THIRD_PARTY:
        importlib.import_module(name)
    codes = [_campaign(module, arguments) for module in chosen]
    return max(codes)


def _campaign(module: str, arguments: argparse.Namespace) -> int:
    """The campaign on one module; what it imports stays in forks of this process."""
    record, every = Record(arguments.out, known_survivors()), mutants(module)
    picked = random.Random(arguments.seed).sample(every, min(arguments.sample or len(every), len(every)))
    picked = [mutant for mutant in picked if _wanted(record, mutant, arguments.resume, arguments.survivors)]
    if not picked:
        return 0
    picked.sort(key=lambda mutant: (mutant.line, mutant.position, mutant.variant))
    quick = forked(lambda report: _quick(module, picked, report), 36_000.0, silent=False)
    if quick is None or quick["failed"]:
        print(quick and quick["failed"], file=sys.stderr)
        return 2
    for mutant, name in zip(picked, quick["killers"], strict=True):
        if name:
            record.add(mutant, killed_by=name, mutants_in_all=len(every))
    record.write()
    left = [mutant for mutant, name in zip(picked, quick["killers"], strict=True) if not name]
    tests = [Test(name=name, seconds=cost, lines=frozenset(lines)) for name, cost, lines in quick["tests"]]
    slow = forked(lambda report: _slow(module, left, tests, quick["modules"], report), 36_000.0, silent=False)
    if slow is None or len(slow["killers"]) != len(left):
        return 2
    unexplained = sum(
        [_put(record, mutant, name, len(every)) for mutant, name in zip(left, slow["killers"], strict=True)]
    )
    record.write()
    print(
        f"{module}: {len(picked)} run ({len(left)} by a fresh import), {len(every)} in all, {unexplained} survive unexplained",
        flush=True,
    )
    return min(unexplained, 1)


def _quick(module: str, picked: Sequence[Mutant], report: dict[str, Any]) -> None:
    killers: dict[Mutant, str] = {}
    campaign = Campaign(module, picked, killers.__setitem__)
    try:
        campaign.run(TESTS[module])
    except RuntimeError as error:
        report["failed"] = str(error)
        return
    report["killers"] = [killers.get(mutant, "") for mutant in picked]
    report["tests"] = [[test.name, test.seconds, sorted(test.lines)] for test in campaign.tests]
    report["modules"] = campaign.imported


def _slow(
    module: str, left: Sequence[Mutant], tests: Sequence[Test], imported: Sequence[str], report: dict[str, Any]
) -> None:
    import_unaffected(module, imported)
    report["killers"] = [killer(mutant, tests) for mutant in left]


def _wanted(record: Record, mutant: Mutant, resume: bool, survivors: bool) -> bool:
    row = record.of(mutant)
    if survivors:
        return row is not None and not row["killed_by"] and not record.explained(mutant)
    return row is None or not resume


def _put(record: Record, mutant: Mutant, killed_by: str, mutants_in_all: int) -> bool:
    unexplained = record.add(mutant, killed_by=killed_by, mutants_in_all=mutants_in_all)
    if not killed_by:
        word = "SURVIVES" if unexplained else "known   "
        print(f"{word} {mutant.module}:{mutant.line} {mutant.what} | {mutant.code}", flush=True)
    return unexplained


if __name__ == "__main__":
    sys.exit(main())
