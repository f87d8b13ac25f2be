"""The reports for a terminal or a log: one table, then what stands behind each line of it."""

from collections.abc import Callable, Iterator, Sequence
from io import StringIO

from rich.box import Box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from dpaudit.contract import AccuracyRow, AuditReport, Finding, Severity, Verdict, fold_exit_code

from .figures import bracket_text, duration_text, lower_end, nearest, or_missing
from .untrusted import one_line, shortened, visible
from .wording import BROKEN, NO_REASON, NOTHING_AUDITED, expectation, honest_noise

MISSING = "?"
_RULED = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
_VERDICT_STYLE = {Verdict.ACCEPTED: "green", Verdict.REJECTED: "red", Verdict.INCONCLUSIVE: "yellow"}
_SEVERITY_STYLE = {Severity.CRITICAL: "red", Severity.MAJOR: "yellow", Severity.MINOR: ""}
_MIN_WIDTH = 60


def to_text(reports: Sequence[AuditReport], *, width: int = 100, colour: bool = False, ascii_only: bool = False) -> str:
    """A table with one line a mechanism, then reasons, findings, blind spots and assumptions of each.

    ``width`` is in character cells (at least 60 are used); commands are never broken, so that they can be pasted.
    Escape sequences appear only with ``colour``; control characters of the candidate are written as ``\\x1b``.
    ``ascii_only`` writes everything outside ASCII as an escape, for logs of unknown encoding.
    """
    page = _Page(width=max(width, _MIN_WIDTH), colour=colour, ascii_only=ascii_only)
    if not reports:
        page.line(NOTHING_AUDITED)
    else:
        page.show(_overview(reports, page.plain))
        page.line(f"{MISSING} = not proved. Lower ends are rounded down, upper ends up.")
        page.line(_counts(reports))
    for report in reports:
        _details(page, report)
    return page.text()


class _Page:
    """Lines of output under one width, colour and character set."""

    def __init__(self, *, width: int, colour: bool, ascii_only: bool) -> None:
        self._file = StringIO()
        self._colour = colour
        self._ascii_only = ascii_only
        # Everything is pinned: the same reports give the same text whatever the terminal and its variables.
        self._console = Console(
            file=self._file,
            width=width,
            height=100,
            force_terminal=colour,
            force_jupyter=False,
            color_system="standard" if colour else None,
            no_color=not colour,
            legacy_windows=False,
            markup=False,
            emoji=False,
            highlight=False,
        )

    def plain(self, text: str) -> str:
        """``text`` with nothing invisible in it, in the character set asked for."""
        if self._ascii_only:
            text = text.replace("±", "+/-").encode("ascii", "backslashreplace").decode("ascii")
        return visible(text).expandtabs(4)

    def show(self, renderable: RenderableType) -> None:
        self._console.print(renderable)

    def line(self, text: str, style: str = "") -> None:
        self.show(Text(self.plain(text), style=style, overflow="fold"))

    def unbroken(self, text: str) -> None:
        """A line that may be pasted: never wrapped, never cut."""
        self._console.print(Text(self.plain(text), style="dim"), soft_wrap=True)

    def item(self, text: str, style: str = "", mark: str = "-") -> None:
        """A paragraph that hangs behind its mark."""
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(Text("  " + mark), Text(self.plain(text), style=style))
        self.show(grid)

    def text(self) -> str:
        lines = self._file.getvalue().split("\n")
        return "\n".join(line if self._colour else line.rstrip() for line in lines)


def _overview(reports: Sequence[AuditReport], plain: Callable[[str], str]) -> Table:
    """One line a mechanism; a further data set or an unexpected verdict takes a second one."""
    table = Table(box=_RULED, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=True)
    expected = any(report.expected for report in reports)
    table.add_column("mechanism", overflow="fold", min_width=12, max_width=30)
    table.add_column("verdict", no_wrap=True)
    if expected:
        table.add_column("expected", no_wrap=True)
    for name in ("target", "reported", "replayed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("accuracy % (runs)", overflow="fold", min_width=14)
    for report in reports:
        verdict = Text(report.verdict.value + (" BROKEN" if report.broken else ""))
        verdict.stylize(_VERDICT_STYLE[report.verdict])
        cells: list[Text] = [Text(plain(one_line(report.mechanism))), verdict]
        if expected:
            cells.append(Text({None: "-", True: "yes", False: "NO"}[report.as_expected]))
        cells += [
            Text(nearest(report.epsilon.target)),
            Text(or_missing(report.epsilon.reported, "-")),
            Text(bracket_text(report.epsilon.replayed, MISSING)),
            Text(plain("\n".join(map(_accuracy, report.accuracy)) or "-")),
        ]
        table.add_row(*cells)
    return table


def _accuracy(row: AccuracyRow) -> str:
    spread = "" if row.std is None else f"±{row.std:.2f}"
    return f"{one_line(row.dataset)} {row.mean:.2f}{spread} ({row.runs})"


def _counts(reports: Sequence[AuditReport]) -> str:
    counts = [f"{sum(r.verdict is verdict for r in reports)} {verdict.value}" for verdict in Verdict]
    broken = sum(report.broken for report in reports)
    counts += [f"{broken} of them BROKEN"] if broken else []
    code = fold_exit_code(reports)
    return f"{', '.join(counts)}. Exit code {code.value} ({code.name.lower().replace('_', ' ')})."


def _details(page: _Page, report: AuditReport) -> None:
    """What stands behind one line of the table."""
    page.line("")
    page.line(f"{one_line(report.mechanism)}: {report.verdict}", style="bold")
    if report.broken:
        page.item(BROKEN, style="red", mark="!")
    if report.as_expected is not None:
        page.item(
            expectation(report), style="" if report.as_expected else "red", mark="=" if report.as_expected else "!"
        )
    for reason in report.reasons or (NO_REASON,):
        page.item(shortened(reason))
    if honest_noise(report):
        page.item(honest_noise(report))
    _numbers(page, report)
    for finding in report.findings:
        _finding(page, finding)
    _list(page, "could not have detected:", report.blind_spots)
    _list(page, "assumes:", report.assumptions)
    if report.command:
        page.line("  again:")
        page.unbroken(f"    {visible(report.command, lines=False)}")


def _numbers(page: _Page, report: AuditReport) -> None:
    for line in _number_lines(report):
        page.item(line)


def _number_lines(report: AuditReport) -> Iterator[str]:
    """The numbers that the table has no room for, with cell and delta."""
    epsilon = report.epsilon
    yield f"run {report.config.name}, cell {report.config.cell}, delta {nearest(epsilon.delta)}"
    if epsilon.reported_bracket is not None:
        yield f"epsilon of the reported schedule under valid accounting {bracket_text(epsilon.reported_bracket, MISSING)}"
    if epsilon.empirical_lower is not None:
        yield f"attack: epsilon at least {lower_end(epsilon.empirical_lower)}"
    yield f"smallest effective noise multiplier {bracket_text(report.sigma.effective, MISSING)}"
    for record in report.layers:
        state = f"{record.outcome} in {duration_text(record.seconds)}" if record.ran else "not run"
        yield f"layer {record.layer}: {state}. {shortened(record.summary)}".rstrip()


def _finding(page: _Page, finding: Finding) -> None:
    """``RULE severity/strength file:line message``, and the command that shows it again."""
    place = one_line(finding.file, limit=200) + ("" if finding.line is None else f":{finding.line}")
    head = f"{finding.rule} {finding.severity}/{finding.strength} {place}"
    page.item(f"{head} {shortened(finding.message)}", style=_SEVERITY_STYLE[finding.severity], mark="*")
    if finding.rerun:
        page.unbroken(f"      rerun: {visible(finding.rerun, lines=False)}")


def _list(page: _Page, title: str, texts: Sequence[str]) -> None:
    page.line(f"  {title}" if texts else f"  {title} nothing recorded")
    for text in texts:
        page.item(shortened(text), mark="  -")
