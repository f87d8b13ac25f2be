"""Whoever passes the reading holds nothing by which the analysis, which runs in the same process, could be changed."""

import ast
import math
import textwrap
from pathlib import Path

import pytest
import torch

from dpaudit.contract.source_selection import select
from dpaudit.static import Candidate, analyse_source
from dpaudit.static.lint import lint
from dpaudit.static.reach import MODULES
from dpaudit.static.tripwire import Tripwire
from tests.corpus.run import FOLDER, specimens

from .test_analysis import config

ROOT = Path(__file__).resolve().parents[2]
SOUND = {
    **{path.name: path for path in sorted((ROOT / "mechanisms" / "accepted").glob("*.py"))},
    **{specimen.path: FOLDER / "mechanisms" / specimen.path for specimen in specimens() if specimen.sound},
}
WAYS = {
    "the builtins by name": "__builtins__['exec']('x = 1')",
    "the analysis by name": "print(__dpaudit__)",
    "a name joined together": "getattr(torch, '_' + 'C')",
    "a name written out": "getattr(self.clip_and_noise, '__globals__')",
    "whether there is one": "hasattr(torch, name)",
    "the lookup as a value": "functools.reduce(getattr, ['nn', 'init'], self)",
    "a lookup of operator": "operator.attrgetter('__globals__')(self.f)",
    "a module of a module": "torch.serialization.os.getpid()",
    "a module of the standard library's": "warnings.sys.path",
    "the table of modules": "getattr(warnings.sys, 'modules')",
    "a module passed on": "self.keep(torch)",
    "a module renamed": "t = torch",
    "a submodule renamed": "t = torch.nn.functional",
    "a submodule in a list": "[torch.nn]",
    "the class of a call": "type(self).state = 1",
    "an unpickled file": "np.load('x', allow_pickle=True)",
    "torch's unpickling": "torch.load('x', weights_only=False)",
    "a native library": "torch.ops.load_library('x.so')",
    "evaluated annotations": "typing.get_type_hints(self.f)",
    "a kernel replaced": "torch.library.Library('aten', 'IMPL')",
    "a mode of torch's": "torch.overrides.TorchFunctionMode",
    "attributes copied over": "functools.update_wrapper(self.f, self.g)",
    "the warnings' own module": "warnings.catch_warnings(module=x)",
    "a file of bytes": "x.numpy().tofile('f')",
    "something private": "np._core",
}
PATCHES = {
    "a class patched": "T = torch.Tensor\nT.norm = len",
    "a class patched by its instance": "t = type(x[0])\nt.norm = len",
    "a module behind a name": "for m in [math]:\n    m.pi = 3",
    "a class behind an attribute": "self.t = torch.Tensor\nself.t.norm = len",
    "a class in a loop": "for T in [torch.Tensor]:\n    T.norm = len",
    "a class by several targets": "T = torch.Tensor\nT.norm, k = len, 1",
}
"""What a plain name holds is known only when it is written to; each of these is then refused."""
HEAD = "import functools, operator, typing, warnings\nimport numpy as np\nimport torch\n\n\n"


def _reasons(statements: str) -> list[str]:
    body = "\n".join("        " + line for line in statements.splitlines())
    text = f"{HEAD}class DPMechanism:\n    def clip_and_noise(self, x, step, epoch, name=''):\n{body}\n"
    return [reason.rule for reason in lint(text)[0]]


@pytest.mark.parametrize("name", list(WAYS))
def test_a_way_out_is_refused(name):
    assert {"DPA116", "DPA106"} & set(_reasons(WAYS[name]))


@pytest.mark.parametrize("name", list(PATCHES))
@pytest.mark.parametrize("place", ["__init__", "clip_and_noise"])
def test_a_class_or_module_is_not_written_to(name, place):
    """In a step, and in the constructor, which no shadow watches."""
    before, pi = torch.Tensor.norm, math.pi
    patch = textwrap.indent(PATCHES[name].replace("x[0]", "torch.ones(1)"), " " * 8)
    text = (
        "import math\nimport torch\nclass DPMechanism:\n"
        "    def __init__(self, max_grad_norm, *a, **k):\n        self.C = max_grad_norm\n"
        f"{patch if place == '__init__' else ''}\n    def clip_and_noise(self, x, step, epoch):\n"
        f"{patch if place == 'clip_and_noise' else ''}\n        return x\n"
    )
    result = analyse_source(Candidate(source=text, filename="patch.py"), config())
    assert result.refusal.rule in {"DPA106", "DPA116"}
    assert torch.Tensor.norm is before
    assert math.pi == pi


@pytest.mark.parametrize(
    "line",
    [
        "import torch.utils.data", "from torch import overrides", "from torch import *", "from torch._C import x",
        "import numpy.ctypeslib", "from logging import config", "import torch.utils.cpp_extension as c", "import logging.config",
        "from numpy import load", "from operator import attrgetter", "import os.path", "import dpaudit.static",
    ],
)  # fmt: skip
def test_an_import_that_leads_out_is_refused(line):
    assert [reason.rule for reason in lint(line)[0]][:1] == ["DPA116"]


@pytest.mark.parametrize(
    "statements",
    [
        "return getattr(self, 'memory', None)", "self.norms.bound = 1.0",
        "x.grad = x.clone()", "return torch._foreach_mul(x, 2.0)",
        "return torch.nn.functional.relu(x)", "return np.linalg.norm(x)", "return self.load",
        "from torch import nn\nreturn nn.ReLU()",
    ],
)  # fmt: skip
def test_what_people_write_passes(statements):
    assert _reasons(statements) == []


@pytest.mark.parametrize("name", list(SOUND))
def test_no_sound_mechanism_is_refused(name):
    text = SOUND[name].read_text(encoding="utf-8")
    assert lint(select(ast.parse(text), "DPMechanism"))[0] == []


def test_the_listed_modules_exist():
    import importlib

    for name in MODULES:
        assert importlib.import_module(name).__name__ == name


def test_the_tripwire_sees_a_patch_and_its_withdrawal():
    import torch

    wire = Tripwire()
    assert wire.changed() is None
    original = torch.Tensor.norm
    try:
        torch.Tensor.norm = lambda self: 0
        assert wire.changed() == "torch.Tensor.norm"
    finally:
        torch.Tensor.norm = original
    assert wire.changed() is None
