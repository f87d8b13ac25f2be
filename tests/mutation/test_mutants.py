"""The mutation tests themselves: what is explained exists, a change changes the code, and a killer is one for its change."""

import ast
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.mutation.code_mutants import ROOT, mutants, mutated
from tests.mutation.dpaudit import known_survivors
from tests.mutation.mechanisms import Row, on_record
from tests.mutation.operators import Mutation
from tests.mutation.record import Record
from tests.mutation.report import seen, write_report
from tests.mutation.tests_of import TESTS
from tests.mutation.unaffected import _imports

RECORD = ROOT / "reports" / "mutation" / "dpaudit.json"


def test_what_is_explained_is_a_mutant_and_has_a_reason() -> None:
    known = known_survivors()
    keys = {mutant.key for module in {key.partition("|")[0] for key in known} for mutant in mutants(module)}
    assert set(known) <= keys
    assert all(len(reason) > 10 for reason in known.values())


def test_every_mutant_of_a_module_differs_from_it() -> None:
    module = "dpaudit/gate/decision.py"
    original = ast.dump(ast.parse((ROOT / module).read_text(encoding="utf-8")))
    changed = {ast.dump(mutated(mutant)) for mutant in mutants(module)}
    assert original not in changed
    assert len(changed) == len(mutants(module)) > 40


@pytest.mark.parametrize("module", list(TESTS))
def test_a_module_and_its_tests_are_there(module: str) -> None:
    assert mutants(module)
    for name in TESTS[module]:  # a file, or one test of it
        file, _, test = name.partition("::")
        assert not test or f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")
        assert (ROOT / file).is_file()


def test_every_module_that_decides_bounds_or_accounts_is_mutated() -> None:
    packages = ("contract", "accounting", "gate")
    paths = [path for package in packages for path in sorted((ROOT / "dpaudit" / package).glob("*.py"))]
    modules = [path.relative_to(ROOT).as_posix() for path in paths]
    assert [module for module in modules if mutants(module)] == [module for module in modules if module in TESTS]


def test_no_survivor_of_contract_and_gate_on_record_is_unexplained() -> None:
    known = known_survivors()
    rows = json.loads(RECORD.read_text(encoding="utf-8"))["mutants"]
    assert rows
    rows = [row for row in rows if row["module"].split("/")[1] in {"contract", "gate"}]
    assert not [row["key"] for row in rows if not row["killed_by"] and row["key"] not in known]


def test_records_are_merged_and_forget_what_was_changed(tmp_path: Path) -> None:
    first, second, *_ = mutants("dpaudit/gate/plan.py")
    record = Record(tmp_path, {second.key: "the same"})
    assert not record.add(first, killed_by="tests/test_a.py::test_b", mutants_in_all=13)
    record.write()
    again = Record(tmp_path, {second.key: "the same"})
    assert not again.add(second, killed_by="", mutants_in_all=13)
    assert again.add(mutants("dpaudit/gate/plan.py")[2], killed_by="", mutants_in_all=13)
    again.write()
    kept = Record(tmp_path, {})
    assert kept.of(first)["killed_by"] == "tests/test_a.py::test_b"
    assert "| dpaudit/gate/plan.py | 13 | 3 | a sample | 1 | 1 | 1 |" in (tmp_path / "dpaudit.md").read_text()
    text = (tmp_path / "dpaudit.json").read_text()
    (tmp_path / "dpaudit.json").write_text(text.replace(kept.of(first)["source"], "0" * 16))
    assert Record(tmp_path, {}).of(first) is None


def test_an_import_is_found_however_it_is_written() -> None:
    found = set(_imports("dpaudit.gate.decision", ROOT / "dpaudit" / "gate" / "decision.py"))
    assert {"dpaudit", "dpaudit.gate", "dpaudit.contract", "dpaudit.contract.Bracket"} <= found
    package = set(_imports("dpaudit.gate", ROOT / "dpaudit" / "gate" / "__init__.py"))
    assert {"dpaudit.gate.decision", "dpaudit.gate.layers"} & package


def test_a_campaign_on_mechanisms_goes_on_from_what_it_wrote(tmp_path: Path) -> None:
    mutation = Mutation(operator="guard", position=3, variant=0, line=7, what="no small constant")
    row = Row(
        original="a.py", config="default", mutation=mutation, static="DPA101: no", rules=("DPA101",), seen=seen("text")
    )
    write_report(tmp_path, [{**asdict(row), "killed": row.killed, "wrong": row.wrong}], {"seed": 1}, drawn=2)
    assert on_record(tmp_path) == {seen("text"): row}
    assert seen("text") != seen("other text")
    assert on_record(tmp_path / "nowhere") == on_record(None) == {}
