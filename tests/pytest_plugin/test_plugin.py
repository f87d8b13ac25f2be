"""The plugin as a user of pytest meets it, in sessions of their own."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]
SOUND = ROOT / "mechanisms" / "accepted" / "standard_dpsgd.py"
UNSOUND = ROOT / "mechanisms" / "rejected" / "batch_mean_gamma.py"


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(test_own="def test_own():\n    pass\n")
    pytester.makepyprojecttoml('[tool.pytest.ini_options]\nfilterwarnings = ["error"]\naddopts = "--strict-markers"\n')
    return pytester


def test_without_its_option_the_plugin_does_nothing(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess("-v")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*dpaudit::*")


def test_a_sound_and_an_unsound_mechanism_with_junit_and_xdist(project: pytest.Pytester) -> None:
    """One session for both: an audit's quick profile is a proof, or the line that prevents one."""
    result = project.runpytest_subprocess(
        *("--dpaudit", str(SOUND), "--dpaudit", str(UNSOUND), "--dpaudit-profile", "quick"),
        *("-n", "1", "--dist", "loadgroup", "--junitxml", "junit.xml", "-rA"),
    )
    result.assert_outcomes(passed=2, failed=1)
    line = next(
        number
        for number, text in enumerate(UNSOUND.read_text().splitlines(), start=1)
        if "DPA103" in "\n".join(result.outlines) and f"{UNSOUND}:{number}:" in "\n".join(result.outlines) and text
    )
    assert line > 1
    root = ElementTree.parse(project.path / "junit.xml").getroot()
    cases = {case.get("name", ""): case for case in root.iter("testcase")}
    assert len(cases) >= 2
    words = [(item.get("name"), item.get("value")) for case in root.iter("testcase") for item in case.iter("property")]
    assert ("dpaudit_mechanism", str(SOUND)) in words
    assert any(name == "dpaudit_finding" and value.startswith("DPA103 major") for name, value in words if value)


def test_a_wrong_path_or_preset_is_a_usage_error(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess("--dpaudit", "no-such-file.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--dpaudit: no such file: 'no-such-file.py'*"])


def test_items_can_be_listed_and_deselected_without_an_audit(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess("--dpaudit", str(SOUND), "--collect-only", "-q")
    listed = [line for line in result.outlines if "dpaudit::" in line]
    assert [line.rpartition("::")[2] for line in listed] == ["static", "properties", "replay", "verdict"]
    deselected = project.runpytest_subprocess("--dpaudit", str(SOUND), "-m", "not dpaudit")
    deselected.assert_outcomes(passed=1, deselected=4)


def test_a_folder_gives_one_set_of_items_a_file(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess("--dpaudit", str(ROOT / "mechanisms" / "accepted"), "--collect-only", "-q")
    files = sorted((ROOT / "mechanisms" / "accepted").glob("*.py"))
    assert sum(line.endswith("::verdict") for line in result.outlines) == len(files) >= 3
