"""What is installed is all there: the wheel, built and run without the source tree."""

import configparser
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dpaudit.contract import RULES

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="hatchling builds the wheel; it is part of dpaudit[test]")
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's files as an installer lays them out."""
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def run(installed: Path, folder: Path, *words: str) -> str:
    """``dpaudit`` of the installed files, far from the source tree."""
    code = (
        "import sys, dpaudit; assert dpaudit.__file__.startswith(sys.argv[1]), dpaudit.__file__; "
        "from dpaudit.cli import main; sys.exit(main(sys.argv[2:]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-P", "-c", code, str(installed), *words]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_file_that_the_program_reads_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        pages = {rule: archive.read(f"dpaudit/rule_pages/{rule}.md") for rule in RULES}
        (entry_points,) = (archive.read(name).decode() for name in held if name.endswith("entry_points.txt"))
    for rule, page in pages.items():
        assert page == (ROOT / "docs" / "rules" / f"{rule}.md").read_bytes()
    source = {path.relative_to(ROOT).as_posix() for path in (ROOT / "dpaudit").rglob("*") if path.is_file()}
    wanted = {name for name in source if "__pycache__" not in name}
    assert {"dpaudit/py.typed", "dpaudit/report/schema.json", "dpaudit/report/templates/style.css"} <= wanted
    assert wanted <= held, sorted(wanted - held)
    assert not [name for name in held if name.startswith(("tests/", "docs/", "benchmarks/", "reports/"))]
    points = configparser.ConfigParser()
    points.read_string(entry_points)
    assert points["console_scripts"]["dpaudit"] == "dpaudit.cli:main"
    assert points["pytest11"]["dpaudit"] == "dpaudit.pytest_plugin"


def test_pages_and_commands_work_without_the_source_tree(installed: Path, tmp_path: Path) -> None:
    assert run(installed, tmp_path, "rules", "DPA203") == (ROOT / "docs" / "rules" / "DPA203.md").read_text("utf-8")
    assert "DPA404" in run(installed, tmp_path, "rules")
    record = next(path for path in sorted((ROOT / "reports").rglob("report.json")))
    run(installed, tmp_path, "report", str(record), "--out", "pages")
    assert (tmp_path / "pages" / "index.html").read_text("utf-8").endswith("</html>\n")
