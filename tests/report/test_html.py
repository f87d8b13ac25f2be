"""The web pages: what stands first, well formed, self-contained, and deaf to hostile text."""

import dataclasses
import math
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from dpaudit.contract import (
    AccuracyRow,
    AuditBrokenError,
    AuditReport,
    Layer,
    LayerRecord,
    Outcome,
    Severity,
    Verdict,
)
from dpaudit.report import to_html, to_index_html

VOID = {"meta", "br", "link", "img", "input", "hr"}
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=y>\"'`&{{7*7}}{%x%}\x1b[31m\u202e\x00" + "W" * 500 + " é日本😀\ud800"
)


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails where tags do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture
def hostile_report(data_dependent_report: AuditReport) -> AuditReport:
    finding = dataclasses.replace(
        data_dependent_report.findings[0], message=HOSTILE, file=HOSTILE, rerun=HOSTILE, evidence={HOSTILE: [HOSTILE]}
    )
    return dataclasses.replace(
        data_dependent_report,
        mechanism=HOSTILE,
        class_name=HOSTILE,
        source_sha256=HOSTILE,
        reasons=(HOSTILE, HOSTILE),
        layers=(LayerRecord(layer=Layer.STATIC, outcome=Outcome.VIOLATED, ran=True, summary=HOSTILE),),
        findings=(finding,),
        accuracy=(AccuracyRow(dataset=HOSTILE, mean=50.0, std=1.0, runs=3),),
        config=dataclasses.replace(data_dependent_report.config, name=HOSTILE),
        assumptions=(HOSTILE,),
        blind_spots=(HOSTILE,),
        command=HOSTILE,
        created=HOSTILE,
        versions={HOSTILE: HOSTILE},
        pair=HOSTILE,
    )


def test_verdict_comes_first_then_the_limits_then_the_rest(rejected_report: AuditReport) -> None:
    text = Page(to_html(rejected_report)).text
    order = [
        "✗ REJECTED",
        "The claim of epsilon 3 at delta 1e-05 does not hold.",
        "The reported schedule costs at least 86.1",
        "Multiply the noise by 2.73",
        "as expected (REJECTED)",
        "What this audit could not have detected",
        "The training run was not repeated",
        "The four layers",
        "DPA401 the claim's accountant is invalid",
        "Why it matters",
        "Remedy",
        "dpaudit check mechanisms/rejected/standard_dpsgd.py --rule DPA401 --seed 7",
        "Noise multiplier over the steps",
        "Every number, with what it means",
        "five Gaussian releases at 0.2385",
        "Run configuration",
        "How to run this audit again",
        "dpaudit audit mechanisms/standard_dpsgd.py",
    ]
    places = [text.find(part) for part in order]
    assert -1 not in places, order[places.index(-1)]
    assert [text.find(part, min(places)) for part in order] == sorted(places)


@pytest.mark.parametrize("index", range(5))
def test_page_is_well_formed_and_accessible(samples: tuple[AuditReport, ...], index: int) -> None:
    html = to_html(samples[index])
    page = Page(html)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set((attrs.get(name) or "").split()) <= set(ids)
        href = attrs.get("href")
        assert href is None or href.removeprefix("#") in ids
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(attrs.get("scope") in {"row", "col"} for attrs in page.all("th"))
    assert len(page.all("main")) == 1
    assert page.all("html")[0]["lang"] == "en"


def test_page_needs_no_network_and_no_script(samples: tuple[AuditReport, ...]) -> None:
    for html in (*map(to_html, samples), to_index_html(samples, ["a.html"] * len(samples))):
        page = Page(html)
        tags = {tag for tag, _ in page.tags}
        assert not tags & {"script", "link", "img", "iframe", "object", "form"}
        assert not any(name.startswith("on") or name == "src" for _, attrs in page.tags for name in attrs)
        assert "url(" not in html
        assert "http:" not in html
        assert "https:" not in html
        assert "default-src 'none'" in html


def test_hostile_text_is_only_text(hostile_report: AuditReport, rejected_report: AuditReport) -> None:
    page_html = to_html(hostile_report)
    index_html = to_index_html([hostile_report, rejected_report], ['a"b.html', "c.html"])
    for html in (page_html, index_html):
        page = Page(html)
        assert not {"script", "img"} & {tag for tag, _ in page.tags}
        assert not set(html) & {"\x1b", "\u202e", "\x00", "\ud800"}
        html.encode("utf-8")
        assert "{{7*7}}" in page.text
        assert "\\x1b[31m\\u202e\\x00" in page.text
    assert {tag for tag, _ in Page(page_html).tags} <= {tag for tag, _ in Page(to_html(rejected_report)).tags}
    assert 'href="a%22b.html"' in index_html


def test_long_text_is_shortened_with_a_note(accepted_report: AuditReport) -> None:
    report = dataclasses.replace(accepted_report, pair="x" * 1_000_000)
    html = to_html(report)
    assert len(html) < 100_000
    assert "996000 more characters in report.json" in html


def test_missing_numbers_are_said_not_hidden(data_dependent_report: AuditReport) -> None:
    bare = dataclasses.replace(
        data_dependent_report, reasons=(), layers=(), accuracy=(), assumptions=(), blind_spots=(), command=""
    )
    text = Page(to_html(bare)).text
    assert "[not proved, not proved]" in text
    assert text.count("There is no record of this layer.") == 4
    assert "The report gives no reason." in text
    assert text.count("None was recorded, which does not mean that there is none.") == 2
    assert "none at any of 1170 steps" in text
    assert "No command was recorded." in text
    assert "1 to 1169 data dependent" in text


def test_broken_audit_is_never_presented_as_a_pass(accepted_report: AuditReport) -> None:
    errored = dataclasses.replace(accepted_report.layers[0], outcome=Outcome.ERRORED, ran=False)
    broken = dataclasses.replace(accepted_report, layers=(errored,))
    text = Page(to_html(broken)).text
    assert "dpaudit itself failed in this audit" in text
    assert "spends at most" not in text
    assert "did not finish" in text
    index = Page(to_index_html([broken], ["a.html"])).text
    assert "No mechanism was shown to keep the budget here." in index
    assert "1 of them BROKEN" in index


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        (Verdict.ACCEPTED, "spends at most epsilon 3 at delta 1e-05, given the assumptions below"),
        (Verdict.REJECTED, "A witness against it is in this report"),
        (Verdict.INCONCLUSIVE, "This is not a pass"),
    ],
)
def test_every_verdict_says_what_it_means(accepted_report: AuditReport, verdict: Verdict, sentence: str) -> None:
    assert sentence in Page(to_html(dataclasses.replace(accepted_report, verdict=verdict))).text


def test_index_ranks_accepted_before_the_rest(samples: tuple[AuditReport, ...]) -> None:
    better = dataclasses.replace(
        samples[3],
        mechanism="better",
        accuracy=tuple(dataclasses.replace(row, mean=row.mean + 1) for row in samples[3].accuracy),
    )
    reports = (*samples, better)
    page = Page(to_index_html(reports, [f"{i}.html" for i in range(len(reports))]))
    text = page.text
    order = ["MNIST", "1 better", "2 flat_dpsgd", "automatic_clipping", "adaptive_clipping", "standard_dpsgd"]
    assert [text.find(part) for part in order] == sorted(text.find(part) for part in order)
    assert "1 better" in text
    assert "at most 83.1 (replayed)" in text
    assert "UNEXPECTED: ACCEPTED was expected" in text
    assert "No accuracy measured" in text
    assert {attrs["href"] for attrs in page.all("a")} >= {f"{i}.html" for i in range(len(reports))}


def test_empty_index() -> None:
    assert "Nothing was audited." in Page(to_index_html([], [])).text


def test_index_wants_a_link_for_every_report(accepted_report: AuditReport) -> None:
    with pytest.raises(ValueError, match="one link for each of 1 reports, got 0"):
        to_index_html([accepted_report], [])


def test_nan_is_refused(accepted_report: AuditReport) -> None:
    odd = dataclasses.replace(accepted_report, epsilon=dataclasses.replace(accepted_report.epsilon, reported=math.nan))
    with pytest.raises(AuditBrokenError, match="NaN"):
        to_html(odd)
    with pytest.raises(AuditBrokenError, match="NaN"):
        to_index_html([odd], ["a.html"])


def test_severity_is_a_word_as_well_as_a_colour(rejected_report: AuditReport) -> None:
    text = Page(to_html(rejected_report)).text
    assert f"{Severity.CRITICAL} proof" in text
    assert f"{Severity.MAJOR} proof" in text
