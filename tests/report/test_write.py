"""Files on disk: which, whole or not at all, and an error that names the path."""

import dataclasses
import math
import os
from pathlib import Path

import pytest

from dpaudit.contract import AuditBrokenError, AuditReport, UsageError
from dpaudit.report import from_json, to_html, to_text, write_reports
from dpaudit.report.write import page_names


def test_all_files_are_written(samples: tuple[AuditReport, ...], tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    paths = write_reports(samples, out)
    assert [path.name for path in paths] == [
        "report.json",
        "report.txt",
        "report.md",
        "report.sarif",
        "index.html",
        "standard_dpsgd.html",
        "automatic_clipping.html",
        "adaptive_clipping.html",
        "flat_dpsgd.html",
        "cosine_auto_s.html",
    ]
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in paths)
    assert from_json(paths[0].read_text(encoding="utf-8")) == samples
    assert paths[1].read_text(encoding="utf-8") == to_text(samples)
    assert paths[5].read_text(encoding="utf-8") == to_html(samples[0])


def test_same_reports_same_bytes(samples: tuple[AuditReport, ...], tmp_path: Path) -> None:
    one, two = write_reports(samples, tmp_path / "a"), write_reports(samples, tmp_path / "b")
    again = write_reports(samples, tmp_path / "a")
    assert again == one
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_links_of_the_index_lead_to_the_pages(accepted_report: AuditReport, tmp_path: Path) -> None:
    paths = write_reports([accepted_report, accepted_report], tmp_path)
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert [path.name for path in paths[5:]] == ["flat_dpsgd.html", "flat_dpsgd-2.html"]
    assert all(f'href="{path.name}"' in index for path in paths[5:])


def test_names_are_safe_and_unique() -> None:
    hostile = ["../../etc/passwd", "", "..", "Index", "report", "CON", "a/b", "a b", "A-B", "é" * 9, "x" * 400, "a-b-2"]
    names = page_names(hostile)
    assert len({name.lower() for name in names}) == len(hostile)
    for name in names:
        assert name == Path(name).name
        assert not name.startswith((".", "-"))
        assert name.isascii()
        assert len(name) <= 80
        assert name.lower() not in {"index.html", "report.html", "con.html"}


def test_nothing_audited_still_leaves_a_record(tmp_path: Path) -> None:
    write_reports([], tmp_path)
    assert from_json((tmp_path / "report.json").read_text(encoding="utf-8")) == ()


def test_a_file_in_the_place_of_the_folder(samples: tuple[AuditReport, ...], tmp_path: Path) -> None:
    place = tmp_path / "taken"
    place.write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match=r"cannot write the report: expected to create .*taken.*another folder"):
        write_reports(samples, place)
    assert place.read_text(encoding="utf-8") == "mine"


def test_a_folder_in_the_place_of_a_file(samples: tuple[AuditReport, ...], tmp_path: Path) -> None:
    (tmp_path / "index.html").mkdir()
    with pytest.raises(UsageError, match=r"index\.html"):
        write_reports(samples, tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_full_disk_leaves_the_old_file(
    samples: tuple[AuditReport, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "report.json"
    old.write_text("old", encoding="utf-8")

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UsageError, match=r"report\.json, got No space left on device"):
        write_reports(samples, tmp_path)
    assert old.read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_nothing_is_written_where_a_report_cannot_be_rendered(accepted_report: AuditReport, tmp_path: Path) -> None:
    odd = dataclasses.replace(accepted_report, seconds=math.nan)
    with pytest.raises(AuditBrokenError):
        write_reports([accepted_report, odd], tmp_path / "out")
    assert not (tmp_path / "out").exists()
