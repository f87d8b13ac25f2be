"""Every rule is documented, is emitted by some check, and is exercised by some test or specimen; and nothing else is."""

import ast
import re
from importlib import resources
from pathlib import Path

import pytest

from dpaudit.contract import RULES
from dpaudit.contract.rule_pages import rule_page

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "rules"
HEADINGS = ["Why it voids the claim", "Strength of the evidence", "What it cannot see", "Broken", "Clean", "Remedy"]
_ID = re.compile(r"DPA\d{3}")
_TABLES = {"rules.py"}


def _string_constants(path: Path) -> set[str]:
    """Ids that stand as whole strings in a file: what a check emits, not what prose mentions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _ID.fullmatch(node.value)
    }


EMITTED = {
    rule
    for folder in ("dpaudit", "harness")
    for path in (ROOT / folder).rglob("*.py")
    if path.name not in _TABLES
    for rule in _string_constants(path)
}
TESTED = {
    rule
    for folder in ("tests", "mechanisms")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".toml", ".json"} and path != Path(__file__)
    for rule in _ID.findall(path.read_text(encoding="utf-8"))
}


def test_there_is_something_to_walk() -> None:
    assert len(RULES) >= 50
    assert {"DPA203", "DPA401"} <= EMITTED
    assert {"DPA203", "DPA401"} <= TESTED


@pytest.mark.parametrize("rule_id", sorted(RULES))
def test_a_rule_has_a_page_an_emitter_and_a_test(rule_id: str) -> None:
    rule = RULES[rule_id]
    page = rule_page(rule_id)
    assert page is not None, f"write docs/rules/{rule_id}.md"
    assert page.startswith(f"# {rule_id}: {rule.title}\n"), "the page's title is that of the rule"
    assert re.findall(r"^## (.*)$", page, re.M) == HEADINGS
    parts = dict(zip(HEADINGS, re.split(r"^## .*$", page, flags=re.M)[1:], strict=True))
    assert all(text.strip() for text in parts.values())
    assert rule.why in parts["Why it voids the claim"]
    assert parts["Remedy"].strip() == rule.remedy
    for example in ("Broken", "Clean"):
        assert parts[example].strip().startswith("```")
        assert parts[example].strip().endswith("```")
    assert rule_id in EMITTED, f"no check emits {rule_id}"
    assert rule_id in TESTED, f"no test or specimen names {rule_id}"


def test_the_walk_fails_where_something_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyError):
        test_a_rule_has_a_page_an_emitter_and_a_test("DPA998")
    for table, complaint in ((EMITTED, "no check emits DPA203"), (TESTED, "no test or specimen names DPA203")):
        with monkeypatch.context() as patch:
            patch.setattr(f"{__name__}.{'EMITTED' if table is EMITTED else 'TESTED'}", table - {"DPA203"})
            with pytest.raises(AssertionError, match=complaint):
                test_a_rule_has_a_page_an_emitter_and_a_test("DPA203")
    with monkeypatch.context() as patch:
        patch.setattr(f"{__name__}.rule_page", lambda rule: None)
        with pytest.raises(AssertionError, match=r"write docs/rules/DPA203\.md"):
            test_a_rule_has_a_page_an_emitter_and_a_test("DPA203")


def test_python_examples_parse() -> None:
    """An example that is no Python misleads; calls and definitions may stay open with an ellipsis."""
    found = 0
    for path in sorted(PAGES.glob("DPA*.md")):
        for code in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.S):
            wrapped = "def f():\n" + "".join(f"    {line}\n" for line in code.splitlines()) + "    ...\n"
            ast.parse(wrapped)
            found += 1
    assert found >= 80


def test_no_page_and_no_emitter_is_left_over() -> None:
    assert {path.stem for path in PAGES.glob("DPA*.md")} == set(RULES)
    assert set(RULES) >= EMITTED
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\[(DPA\d{3})\]", index)) == set(RULES)


def test_only_ids_are_looked_up() -> None:
    assert rule_page("../README") is None
    assert rule_page("DPA999") is None


def test_a_name_that_is_no_identifier_reads_no_file() -> None:
    assert (PAGES.parent / "accounting.md").is_file()
    assert rule_page("../accounting") is None


def test_an_installed_package_shows_its_own_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rule_pages").mkdir()
    (tmp_path / "rule_pages" / "DPA101.md").write_text("as shipped")
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    assert rule_page.__wrapped__("DPA101") == "as shipped"
    assert rule_page.__wrapped__("DPA102") == (PAGES / "DPA102.md").read_text(encoding="utf-8")
    assert rule_page.__wrapped__("DPA999") is None
