"""A report in a notebook: the page itself, in a frame of its own so that neither style touches the other."""

from html import escape

from dpaudit.contract import AuditReport

from .html import to_html


def notebook_html(report: AuditReport) -> str:
    """An inline frame with the report's page. It holds no script and may load nothing."""
    title = escape(f"Privacy audit of {report.mechanism}: {report.verdict}", quote=True)
    page = escape(to_html(report), quote=True)
    return f'<iframe title="{title}" srcdoc="{page}" sandbox style="width:100%;height:640px;border:1px solid #8884"></iframe>'
