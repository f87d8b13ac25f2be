"""The documentation page of every rule, as it was shipped: ``docs/rules/ID.md``."""

from functools import cache
from importlib import resources
from pathlib import Path


@cache
def rule_page(rule_id: str) -> str | None:
    """The Markdown page of a rule; ``None`` where the installation has none.

    A wheel holds the pages inside the package; a source tree has them under ``docs/``.
    """
    if not rule_id.isalnum():
        return None
    shipped = resources.files("dpaudit").joinpath("rule_pages", f"{rule_id}.md")
    if shipped.is_file():
        return shipped.read_text(encoding="utf-8")
    source = Path(__file__).resolve().parents[2] / "docs" / "rules" / f"{rule_id}.md"
    return source.read_text(encoding="utf-8") if source.is_file() else None
