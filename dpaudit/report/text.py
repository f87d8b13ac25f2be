"""The reports for a terminal or a log: one table, then what stands behind each line of it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from io import StringIO
from pathlib import PurePath

from rich.box import Box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from dpaudit.contract import AccuracyRow, AuditReport, Finding, Severity, Verdict

from .attack_lines import attack_lines
from .figures import bracket_text, duration_text, lower_end, nearest, or_missing
from .untrusted import one_line, shortened, visible
from .wording import BROKEN, NOTHING_AUDITED, expectation, honest_noise, untold_reasons, verdict_meaning

MISSING = "?"
_RULED = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
_VERDICT_STYLE = {Verdict.ACCEPTED: "green", Verdict.REJECTED: "red", Verdict.INCONCLUSIVE: "yellow"}
_SEVERITY_STYLE = {Severity.CRITICAL: "red", Severity.MAJOR: "yellow", Severity.MINOR: ""}
_MIN_WIDTH = 60


def to_text(reports: Sequence[AuditReport], *, width: int = 120, colour: bool = False, ascii_only: bool = False) -> str:
    """A table with one line a mechanism, then reasons and findings of each, then blind spots and assumptions.

    What several audits could not have detected or take for granted alike is printed once, at the end.

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
    blind, taken = _shared(report.blind_spots for report in reports), _shared(report.assumptions for report in reports)
    for report in reports:
        _details(page, report, blind, taken)
    if reports:
        page.line("")
        whose = "Every audit above" if len(reports) > 1 else "This audit"
        _list(page, f"{whose} could not have detected:", blind)
        _list(page, f"{whose} assumes:", taken)
    return page.text()


def _shared(lists: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """The sentences that all lists have, in the order of the first."""
    lists = tuple(lists)
    return tuple(text for text in lists[0] if all(text in other for other in lists)) if lists else ()


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
    table.add_column("mechanism", overflow="fold", min_width=12, max_width=60)
    table.add_column("verdict", no_wrap=True)
    if expected:
        table.add_column("expected", no_wrap=True)
    for name in ("target", "reported", "replayed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("accuracy % (runs)", overflow="fold", min_width=14)
    for report, name in zip(reports, short_names(reports), strict=True):
        verdict = Text(report.verdict.value + (" BROKEN" if report.broken else ""))
        verdict.stylize(_VERDICT_STYLE[report.verdict])
        cells: list[Text] = [Text(plain(one_line(name))), verdict]
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
    return f"{', '.join(counts)}."


def short_names(reports: Sequence[AuditReport]) -> tuple[str, ...]:
    """Mechanism paths without the folders that all of them share; a single one keeps its file name only."""
    folders = [PurePath(report.mechanism).parent.parts for report in reports]
    shared = 0
    while folders and all(len(parts) > shared and parts[shared] == folders[0][shared] for parts in folders):
        shared += 1
    return tuple(str(PurePath(*PurePath(report.mechanism).parts[shared:])) for report in reports)


def _details(page: _Page, report: AuditReport, blind: Sequence[str], taken: Sequence[str]) -> None:
    """What stands behind one line of the table."""
    page.line("")
    page.line(f"{one_line(report.mechanism)}: {report.verdict}", style="bold")
    if report.broken:
        page.item(BROKEN, style="red", mark="!")
    else:
        page.item(verdict_meaning(report), mark=" ")
    if report.as_expected is not None:
        page.item(
            expectation(report), style="" if report.as_expected else "red", mark="=" if report.as_expected else "!"
        )
    for reason in untold_reasons(report):
        page.item(shortened(reason))
    if honest_noise(report):
        page.item(honest_noise(report))
    # What weighs comes before the numbers, what does not after them.
    for finding in report.findings:
        if finding.severity is not Severity.MINOR:
            _finding(page, finding, report.command)
    _numbers(page, report)
    for attack in report.attacks:
        for line in attack_lines(attack):
            page.item(line)
    for finding in report.findings:
        if finding.severity is Severity.MINOR:
            _finding(page, finding, report.command)
    _list(page, "also could not have detected:", [text for text in report.blind_spots if text not in blind])
    _list(page, "also assumes:", [text for text in report.assumptions if text not in taken])
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
        if record.ran:
            summary = shortened(record.summary)
            yield f"layer {record.layer}: {record.outcome} in {duration_text(record.seconds)}. {summary}".rstrip()
    absent = [record.layer.value for record in report.layers if not record.ran]
    if absent:
        yield f"layers that did not run: {', '.join(absent)}"


def _finding(page: _Page, finding: Finding, command: str) -> None:
    """``RULE severity/strength file:line message``, and its own command where it is not the whole audit's."""
    place = one_line(finding.file, limit=200) + ("" if finding.line is None else f":{finding.line}")
    head = f"{finding.rule} {finding.severity}/{finding.strength} {place}"
    page.item(f"{head} {shortened(finding.message)}", style=_SEVERITY_STYLE[finding.severity], mark="*")
    if finding.rerun and finding.rerun != command:
        page.unbroken(f"      rerun: {visible(finding.rerun, lines=False)}")


def _list(page: _Page, title: str, texts: Sequence[str]) -> None:
    if texts:
        page.line(f"  {title}")
    for text in texts:
        page.item(shortened(text), mark="  -")
