"""The documented examples run as they stand, and fail on a mechanism that breaks its promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def blocks(page: str) -> list[str]:
    """The Python programs on a page."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)


def run_pytest(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's project: the mechanism of docs/properties.md, its tests, and those of the README."""
    mechanism, tests = blocks("docs/properties.md")
    (readme,) = (block for block in blocks("README.md") if "MechanismConformance" in block)
    (tmp_path / "my_package.py").write_text(mechanism)
    (tmp_path / "test_mine.py").write_text(tests)
    (tmp_path / "test_readme.py").write_text(readme)
    return tmp_path


def test_the_examples_pass(folder: Path) -> None:
    done = run_pytest(folder, "test_mine.py")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "9 passed" in done.stdout
    done = run_pytest(folder, "test_readme.py", "-k", "has_a_subject or noise_ignores or input")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "3 passed" in done.stdout


def test_the_examples_fail_on_a_mechanism_with_half_the_noise(folder: Path) -> None:
    text = (folder / "my_package.py").read_text()
    halved = text.replace("noise_std * torch.randn_like", "0.5 * noise_std * torch.randn_like")
    assert halved != text
    (folder / "my_package.py").write_text(halved)
    done = run_pytest(folder, "test_mine.py", "-k", "test_contribution_is_bounded")
    assert done.returncode == 1
    assert "expected noise of scale 1.1" in done.stdout
