"""The forms of a report that are one text: which there are, and how each is made."""

from collections.abc import Sequence
from enum import StrEnum
from typing import assert_never

from dpaudit.contract import AuditReport, UsageError

from .html import to_html
from .json_record import to_json
from .markdown import to_markdown
from .sarif import to_sarif
from .text import to_text


class Form(StrEnum):
    """A form of a report; the value is the word on the command line."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"
    HTML = "html"
    SARIF = "sarif"


def render(
    reports: Sequence[AuditReport],
    form: Form,
    *,
    colour: bool = False,
    width: int = 120,
    docs_url: str | None = None,
) -> str:
    """The reports in one form, as one text that ends with a newline.

    Raises:
        UsageError: HTML of other than one audit: several are several pages, see :func:`write_reports`.
        AuditBrokenError: a report holds a NaN.
    """
    match form:
        case Form.TEXT:
            return to_text(reports, colour=colour, width=width)
        case Form.MARKDOWN:
            return to_markdown(reports)
        case Form.JSON:
            return to_json(reports)
        case Form.SARIF:
            return to_sarif(reports, docs_url=docs_url)
        case Form.HTML:
            if len(reports) != 1:
                raise UsageError(
                    f"--format html: expected one audit for one page, got {len(reports)}; use --out DIR for all pages"
                )
            return to_html(reports[0])
    assert_never(form)
