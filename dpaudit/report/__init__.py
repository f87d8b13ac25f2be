"""An :class:`~dpaudit.contract.AuditReport` as JSON, as text and as web pages, and the files of a whole run."""

from .attack_pages import attack_html, attack_json, attack_text, write_attack
from .html import to_html, to_index_html
from .json_record import from_json, to_json
from .text import to_text
from .write import write_reports

__all__ = [
    "attack_html",
    "attack_json",
    "attack_text",
    "from_json",
    "to_html",
    "to_index_html",
    "to_json",
    "to_text",
    "write_attack",
    "write_reports",
]
