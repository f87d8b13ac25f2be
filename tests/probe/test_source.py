"""Reading a candidate: bare classes and whole scripts, nothing executed, failures with their line."""

import hashlib

import pytest

from dpaudit.contract import Severity, UsageError
from dpaudit.probe import SourceError, benchmark_imports, load_source
from dpaudit.probe.loading import CandidateError, load_candidate

BARE = "class DPMechanism:\n    def clip_and_noise(self, grads, step, epoch):\n        return grads\n"

SCRIPT = '''"""A training script."""
import argparse
import math
import os

import a_package_that_is_not_installed
import torch
import torch.nn as nn
from scipy.optimize import brentq

os.environ["TRAINED"] = "1"
RATE = math.sqrt(0.25)
TABLE = {}
TABLE["half"] = RATE
parser = argparse.ArgumentParser()
args = parser.parse_args(["--no-such-flag"])
epoch = 1 / 0


def helper(grads):
    epoch = 3
    return [TABLE["half"] * g.sum(0) * epoch for g in grads]


class Net(nn.Module):
    pass


class DPMechanism:
    root = brentq(lambda x: x - 1, 0, 2)

    def clip_and_noise(self, grads, step, epoch):
        return helper(grads)


for _ in range(3):
    a_package_that_is_not_installed.train(DPMechanism())

if __name__ == "__main__":
    raise SystemExit(1)
'''


def _write(tmp_path, text, name="m.py"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_a_bare_class(tmp_path):
    path = _write(tmp_path, BARE)
    source = load_source(path)
    assert (source.path, source.class_name, source.text) == (path, "DPMechanism", BARE)
    assert source.sha256 == hashlib.sha256(BARE.encode()).hexdigest()
    assert source.display == path


def test_a_named_class(tmp_path):
    path = _write(tmp_path, BARE.replace("DPMechanism", "Mine"))
    source = load_source(path + "::Mine")
    assert source.class_name == "Mine"
    assert source.display == path + "::Mine"


def test_a_whole_script_is_loaded_without_its_training_part(tmp_path, monkeypatch):
    monkeypatch.delenv("TRAINED", raising=False)
    source = load_source(_write(tmp_path, SCRIPT))
    candidate = load_candidate(source.text, source.path, source.class_name)
    import os

    import torch

    assert "TRAINED" not in os.environ
    assert candidate.cls.root == pytest.approx(1.0)
    (out,) = candidate.cls().clip_and_noise([torch.ones(2, 3)], 0, 1)
    assert out.tolist() == [3.0, 3.0, 3.0]
    assert not {"Net", "parser", "args"} & set(candidate.namespace)
    code = candidate.cls.clip_and_noise.__code__
    assert code.co_filename == source.path
    assert code.co_firstlineno == SCRIPT[: SCRIPT.index("def clip_and_noise")].count("\n") + 1


def test_the_benchmarks_names_are_at_hand(tmp_path):
    text = (
        "class DPMechanism:\n    x = (torch.pi, math.pi, np.pi, sp_optimize.brentq, nn.Linear, F.relu)\n"
        "    def clip_and_noise(self, grads, step, epoch):\n        return grads\n"
    )
    assert load_candidate(text, "m.py", "DPMechanism").cls.x[0] == pytest.approx(3.14159265)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("class DPMechanism:\n    def f(:\n", 2, "does not parse"),
        ("class DPMechanism:\n    pass\nreturn 3\n", 3, "'return' outside function"),
        (b"# caf\xe9\nclass DPMechanism: pass\n", 1, "is not UTF-8 text: byte 0xe9 on line 1"),
        (
            "class Other:\n    pass\nclass Two:\n    pass\n",
            None,
            "defines no class DPMechanism at its top level; classes found: Other, Two",
        ),
        ("", None, "classes found: none"),
        ("x = '\0'\n", None, "does not parse"),
    ],
)
def test_what_cannot_be_loaded_is_a_finding(text, line, words, tmp_path):
    path = _write(tmp_path, text)
    with pytest.raises(SourceError) as caught:
        load_source(path)
    finding = caught.value.finding
    assert finding.rule == "DPA011"
    assert words in finding.message
    assert (finding.file, finding.line) == (path, line)
    assert not finding.refutes


def test_a_directory_and_a_missing_file(tmp_path):
    with pytest.raises(SourceError, match="is a directory"):
        load_source(str(tmp_path))
    with pytest.raises(UsageError, match="no such file"):
        load_source(str(tmp_path / "absent.py"))
    with pytest.raises(UsageError, match=r"expected PATH::ClassName, got 'a b' after '::'"):
        load_source(str(tmp_path / "m.py") + "::a b")
    with pytest.raises(UsageError, match="empty"):
        load_source("")


def test_a_class_without_the_method_is_refused_when_loaded():
    with pytest.raises(CandidateError, match="has no method clip_and_noise") as caught:
        load_candidate("class DPMechanism:\n    pass\n", "m.py", "DPMechanism")
    assert caught.value.rule == "DPA011"


def test_imports_beyond_the_benchmarks(tmp_path):
    text = (
        "import math, random\nfrom scipy import optimize, stats\nimport torch.nn as nn\nimport json\n"
        + BARE.replace("return grads", "random, stats, optimize, nn, math; return grads")
    )
    findings = benchmark_imports(load_source(_write(tmp_path, text)))
    assert [(finding.rule, finding.severity, finding.line) for finding in findings] == [
        ("DPA016", Severity.MINOR, 1),
        ("DPA016", Severity.MINOR, 2),
    ]
    assert "imports random;" in findings[0].message
    assert "imports scipy.stats;" in findings[1].message
    assert benchmark_imports(load_source(_write(tmp_path, SCRIPT, "s.py"))) == ()
