"""An :class:`~dpaudit.contract.AuditReport` as JSON, text, Markdown, SARIF and web pages, and the files of a whole run."""

from .attack_markdown import attack_markdown
from .attack_pages import attack_html, attack_text, render_attacks, write_attack
from .attack_record import attack_from_json, attack_json
from .catch_matrix import CatchMatrix, Specimen, catch_matrix, matrix_text, read_specimens
from .changes import Change, changes
from .html import to_html, to_index_html
from .json_record import from_json, to_json
from .markdown import to_markdown
from .notebook import notebook_html
from .renderings import Form, render
from .sarif import to_sarif
from .text import to_text
from .untrusted import visible
from .write import page_names, write_reports, write_text

__all__ = [
    "CatchMatrix",
    "Change",
    "Form",
    "Specimen",
    "attack_from_json",
    "attack_html",
    "attack_json",
    "attack_markdown",
    "attack_text",
    "catch_matrix",
    "changes",
    "from_json",
    "matrix_text",
    "notebook_html",
    "page_names",
    "read_specimens",
    "render",
    "render_attacks",
    "to_html",
    "to_index_html",
    "to_json",
    "to_markdown",
    "to_sarif",
    "to_text",
    "visible",
    "write_attack",
    "write_reports",
    "write_text",
]
