"""Every thing that the source reading refuses has a broken mechanism with its line and an honest twin that is bounded."""

import ast
import inspect
import re
from dataclasses import dataclass

import pytest

from dpaudit.contract import Cell, Relation, Rows, RunConfig, Sampler
from dpaudit.static import lint as lint_module
from dpaudit.static.analysis import Candidate, analyse_source
from dpaudit.static.lint import lint

MECHANISM = """
import math
import torch
{imports}


class DPMechanism:
    def __init__(self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon,
                 target_delta):
        self.C, self.sigma, self.B, self.scale = max_grad_norm, noise_multiplier, batch_size, 1.0
{members}
    def clip_and_noise(self, G, step, epoch):
        scale = 1.0
{body}
        n = torch.sqrt(sum(g.flatten(1).pow(2).sum(1) for g in G))
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            out.append((s + scale * self.sigma * self.C * torch.randn_like(s)) / self.B)
        return out
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A broken mechanism, whose line is marked ``#!``, and its honest twin: what differs from the same clip and noise."""

    rule: str
    broken: str
    honest: str
    place: str = "body"
    use: str = ""
    """What the broken one does with its import: one that nothing uses is left out of the mechanism."""


PAIRS = {
    "a way out of finally": Pair(
        rule="DPA115",
        broken="for _ in range(1):\n    try:\n        scale = 1.0\n    finally:\n        break  #!",
        honest="try:\n    scale = 1.0\nfinally:\n    scale = scale * 1.0",
    ),
    "global": Pair(rule="DPA106", broken="global scale_of_all  #!", honest="scale_of_all = 1.0"),
    "nonlocal": Pair(
        rule="DPA106",
        broken="count = 0\ndef bump():\n    nonlocal count  #!\n    count += 1\nbump()",
        honest="def bump(count):\n    return count + 1\nbump(0)",
    ),
    "a store on the class": Pair(rule="DPA106", broken="DPMechanism.scale = step  #!", honest="self.scale = 1.0"),
    "a store on the type of self": Pair(rule="DPA106", broken="type(self).scale = step  #!", honest="self.scale = 1.0"),
    "a default that is changed": Pair(
        rule="DPA106",
        broken="def keep(x, store=[]):  #!\n    store.append(x)\n    return x\nkeep(1.0)",
        honest="def keep(x, store=()):\n    return x\nkeep(1.0)",
    ),
    "a cache": Pair(
        rule="DPA106",
        place="imports",
        use="scale = lru_cache(max)(1.0, 1.0)",
        broken="from functools import lru_cache  #!",
        honest="from functools import partial",
    ),
    "a cached attribute": Pair(
        rule="DPA116",
        place="members",
        broken="    import functools\n    f = functools.lru_cache(max)  #!",
        honest="    f = 1.0",
    ),
    "a forbidden name": Pair(rule="DPA116", broken='scale = eval("1.0")  #!', honest='scale = float("1.0")'),
    "a forbidden attribute": Pair(
        rule="DPA116", broken="scale = 1.0 + 0 * len(self.__dict__)  #!", honest="scale = 1.0 + 0 * self.scale"
    ),
    "a seed": Pair(rule="DPA112", broken="torch.manual_seed(step)  #!", honest="torch.zeros(1)"),
    "a generator": Pair(rule="DPA112", broken="own = torch.Generator()  #!", honest="own = torch.randn(1)"),
    "a coroutine": Pair(
        rule="DPA116",
        broken="def parts():\n    yield 1.0  #!\nscale = sum(parts())",
        honest="def parts():\n    return [1.0]\nscale = sum(parts())",
    ),
    "an iterator": Pair(rule="DPA116", broken="scale = next(iter([1.0]))  #!", honest="scale = [1.0][0]"),
    "a container that is consumed": Pair(rule="DPA116", broken="scale = [1.0].pop()  #!", honest="scale = [1.0][-1]"),
    "a special method": Pair(
        rule="DPA116",
        place="members",
        broken="    def __getattr__(self, name):  #!\n        return 1.0\n",
        honest="    def __len__(self):\n        return 1\n",
    ),
    "random": Pair(
        rule="DPA112",
        place="imports",
        use="scale = random.choice([1.0])",
        broken="import random  #!",
        honest="import itertools",
    ),
    "threads": Pair(
        rule="DPA116",
        place="imports",
        use="scale = float(threading.active_count())",
        broken="import threading  #!",
        honest="import functools",
    ),
    "internals of torch": Pair(
        rule="DPA116",
        place="imports",
        use="scale = 1.0",
        broken="import torch.overrides  #!",
        honest="import torch.nn.functional",
    ),
    "an unknown module": Pair(
        rule="DPA116",
        place="imports",
        use="scale = float(json.loads(str(1)))",
        broken="import json  #!",
        honest="import numpy",
    ),
    "a handler that swallows": Pair(
        rule="DPA115",
        broken="try:\n    scale = 1.0\nexcept Exception:  #!\n    scale = 1e-9",
        honest="try:\n    scale = 1.0\nexcept ValueError:\n    scale = 1.0",
    ),
    "a handler of what another machine raises": Pair(
        rule="DPA115",
        broken="try:\n    scale = 1.0\nexcept RuntimeError:  #!\n    scale = 1e-9",
        honest="try:\n    scale = 1.0\nexcept RuntimeError as error:\n    raise ValueError('no scale') from error",
    ),
    "a handler under another name": Pair(
        rule="DPA115",
        broken="KeyError = RuntimeError\ntry:\n    scale = 1.0\nexcept KeyError:  #!\n    scale = 1e-9",
        honest="try:\n    scale = 1.0\nexcept KeyError:\n    scale = 1.0",
    ),
    "a handler of everything": Pair(
        rule="DPA115",
        broken="try:\n    scale = 1.0\nexcept:  #!\n    scale = 1e-9",
        honest="try:\n    scale = 1.0\nexcept Exception as error:\n    raise ValueError from error",
    ),
}


def build(pair: Pair, text: str) -> str:
    parts = {"imports": "", "members": "", "body": f"        {pair.use}" if text == pair.broken else ""}
    indent = {"imports": "", "members": "", "body": " " * 8}[pair.place]
    parts[pair.place] = "\n".join(indent + line for line in text.splitlines())
    return MECHANISM.format(**parts)


def analyse(source: str):
    config = RunConfig(
        dataset_size=60000,
        batch_size=256,
        expected_batch=180,
        epochs=1,
        steps_per_epoch=2,
        max_grad_norm=1.0,
        target_epsilon=3.0,
        target_delta=1e-5,
        noise_multiplier=1.2,
        cell=Cell(sampler=Sampler.POISSON, relation=Relation.ADD_REMOVE, rows=Rows.SAMPLED),
        parameter_shapes=((3, 2), (2,), (2, 3)),
    )
    return analyse_source(Candidate(source=source, filename="lint.py"), config)


def marked(source: str) -> int:
    return next(k for k, line in enumerate(source.splitlines(), 1) if "#!" in line)


@pytest.mark.parametrize("name", PAIRS)
def test_the_broken_one_is_refused_at_its_line(name):
    pair = PAIRS[name]
    source = build(pair, pair.broken)
    found, _ = lint(source)
    assert (pair.rule, marked(source)) in [(reason.rule, reason.line) for reason in found]
    assert analyse(source).sigma_effective is None


@pytest.mark.parametrize("name", PAIRS)
def test_the_honest_twin_is_bounded(name):
    pair = PAIRS[name]
    source = build(pair, pair.honest)
    assert lint(source) == ([], [])
    result = analyse(source)
    assert result.refusal is None, result.refusal
    assert min(result.sigma_effective) == pytest.approx(1.2, rel=1e-5)


def sentences() -> dict[str, tuple[str, str]]:
    """Every reason that the source reading can give, from its own source: ``rule at line`` -> (rule, pattern of the message)."""
    found = {}
    for node in ast.walk(ast.parse(inspect.getsource(lint_module))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_reason":
            rule, _, message = node.args
            parts = message.values if isinstance(message, ast.JoinedStr) else [message]
            pattern = "".join(re.escape(p.value) if isinstance(p, ast.Constant) else ".*" for p in parts)
            found[f"{rule.value} at {node.lineno}"] = rule.value, pattern
    return found


def test_every_reason_of_the_source_reading_has_a_pair():
    given = [(reason.rule, reason.message) for pair in PAIRS.values() for reason in lint(build(pair, pair.broken))[0]]
    assert len(sentences()) >= 12
    for place, (rule, pattern) in sentences().items():
        assert any(r == rule and re.fullmatch(pattern, message) for r, message in given), (
            f"no pair for {place}: {pattern}"
        )


TABLES = {
    "_FORBIDDEN_NAMES": ("DPA116", "x = {}"),
    "FORBIDDEN_ATTRIBUTES": ("DPA116", "x = y.{}"),
    "_RESEEDING": ("DPA112", "x.{}(0)"),
    "_GENERATORS": ("DPA112", "x = y.{}()"),
    "_TIME_LIKE": ("DPA116", "import {}"),
    "_RANDOM_IMPORTS": ("DPA112", "import {}"),
    "_FORBIDDEN_IMPORTS": ("DPA116", "import {}"),
}


@pytest.mark.parametrize("table", TABLES)
def test_every_entry_of_every_table_is_refused(table):
    rule, text = TABLES[table]
    names = getattr(lint_module, table)
    assert names
    for name in names:
        found, _ = lint(text.format(name))
        assert rule in {reason.rule for reason in found}, name


def test_every_module_that_is_allowed_may_be_imported():
    assert lint_module.ALLOWED_IMPORTS
    for name in lint_module.ALLOWED_IMPORTS:
        assert lint(f"import {name}" if name != "__future__" else "from __future__ import annotations") == ([], [])
