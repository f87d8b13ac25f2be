"""Attacks on the analysis: mechanisms that overspend in ways that an analysis may miss. None may get a bound above the truth.

Each was written against the analysis, and many were once accepted. The truth of all that are not given otherwise is next to no
protection: the attack takes the clip away, or shows data without noise, at some step, shape or input.
"""

import textwrap
from typing import Any

import pytest
import torch

from dpaudit.contract import Cell, Relation, Rows, RunConfig, Sampler
from dpaudit.static.analysis import Candidate, analyse_source

SMALL = ((3, 2), (2,), (2, 3))
MNIST = ((16, 1, 8, 8), (16,), (32, 16, 4, 4), (32,), (32, 512), (32,), (10, 32), (10,))
NEXT_TO_NOTHING = 1e-3
HEADER = """
import math
import numpy as np
import torch


def flat_norms(G):
    return torch.sqrt(sum(g.flatten(1).pow(2).sum(1) for g in G))


def noisy(G, weights, std, B):
    out = []
    for g in G:
        s = torch.einsum("b,b...->...", weights, g)
        out.append((s + std * torch.randn_like(s)) / B)
    return out


"""
INIT = """
    def __init__(self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon,
                 target_delta):
        self.C, self.sigma, self.B, self.epochs = max_grad_norm, noise_multiplier, batch_size, epochs
        self.m, self.t, self.tau = None, 0, 1.0
"""


def build(body: str) -> str:
    body = textwrap.dedent(body).strip("\n")
    if "class DPMechanism" in body:
        return HEADER + body.replace("    #INIT", INIT.strip("\n")) + "\n"
    step = "\n    def clip_and_noise(self, G, step, epoch):\n" + textwrap.indent(body, " " * 8) + "\n"
    return HEADER + "class DPMechanism:" + INIT + step


def analyse(body: str, shapes=SMALL, rows=Rows.SAMPLED):
    torch.set_num_threads(1)
    config = RunConfig(
        dataset_size=60000,
        batch_size=256,
        expected_batch=180,
        epochs=2,
        steps_per_epoch=6,
        max_grad_norm=1.0,
        target_epsilon=3.0,
        target_delta=1e-5,
        noise_multiplier=1.2,
        cell=Cell(
            sampler=Sampler.POISSON if rows is Rows.SAMPLED else Sampler.TRUNCATED_POISSON,
            relation=Relation.ADD_REMOVE,
            rows=rows,
        ),
        parameter_shapes=shapes,
    )
    return analyse_source(Candidate(source=build(body), filename="attack.py"), config)


CLIP = "w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)\n"
TRUTHS = {
    "sum of a list repeated": 0.12,
    "stack of a list repeated": 0.12,
    "shift shape": 1.2 / 33,
    "magic sample": 1.2 / 123.456,
}
"""The true noise multiplier, where it is not next to nothing."""

ATTACKS: dict[str, tuple[str, dict[str, Any]]] = {
    "inverted mask in a loop": (
        """
        n = flat_norms(G)
        m = n > self.C
        for _ in range(int(step == 5)):
            m = ~m
        w = torch.where(m, self.C / n.clamp(min=1e-12), torch.ones_like(n))
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "try getattr": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        one = torch.ones_like(w)
        try:
            getattr(self, {5: "B"}.get(step, "nothing"))
            w = one
        except AttributeError:
            pass
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "match statement": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        one = torch.ones_like(w)
        match step:
            case 5:
                w = one
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "foreign function by step": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        f = [torch.nan_to_num, torch.ones_like][int(step == 5)]
        w = f(w)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "partial by step": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        import functools
        p = functools.partial(torch.mul, other=[1.0, 1e6][int(step == 5)])
        w = p(w)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "methodcaller": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        import operator
        p = operator.methodcaller('mul', [1.0, 1e6][int(step == 5)])
        w = p(w)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "long list": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        t = torch.tensor([1.0] * 99 + [[1.0, 1e6][int(step == 5)]])
        w = w * t[-1]
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "numpy array": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        arr = np.ones(1) * (1.0 + 1e6 * (step == 5))
        w = w * torch.from_numpy(arr).float()
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "min with key over tensors": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        t = min([(0, torch.ones(())), (5, torch.full((), 1e6))], key=lambda p: abs(p[0] - step))[1]
        w = w * t
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "sorted key tensors": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        t = sorted([(0, torch.ones(())), (5, torch.full((), 1e6))], key=lambda p: abs(p[0] - step))[0][1]
        w = w * t
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "sort method": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        t = [(0, torch.ones(())), (5, torch.full((), 1e6))]
        t.sort(key=lambda p: abs(p[0] - step))
        w = w * t[0][1]
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "list of tracked by step": (
        """
        sums = [torch.zeros_like(g[0]) for g in G]
        for i in range(G[0].shape[0]):
            n = math.sqrt(sum((g[i] ** 2).sum().item() for g in G))
            c = [min(1.0, self.C / max(n, 1e-12)), n][int(step == 5)]
            for s, g in zip(sums, G):
                s += c * g[i]
        return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B for s in sums]
        """,
        {},
    ),
    "slice of a table": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        t = torch.tensor([1.0] * 5 + [1e6])
        w = w * t[step:step + 1]
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "store by step": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        t = torch.ones(6)
        t[step] = 1e6
        w = w * t[5]
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "aug store by step": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        t = torch.ones(6)
        t[step] *= 1e6
        w = w * t[5]
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "sum of a list repeated": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        w = sum([w] * (1 + 9 * int(step == 5)))
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "stack of a list repeated": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        w = torch.stack([w] * (1 + 9 * int(step == 5))).sum(0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "keyword by step": (
        """
        n = flat_norms(G)
        w = torch.clamp(self.C / n.clamp(min=1e-12), **{["max", "min"][int(step == 5)]: 1.0})
        w = torch.minimum(w, 1e3 * torch.ones_like(w))
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "f-string branch": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        one = torch.ones_like(w)
        f"{'' if step != 5 else [w := one][:0]}"
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "decorator branch": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        one = torch.ones_like(w)
        def good(x): return x
        @((lambda f: f) if step != 5 else (lambda f: torch.ones_like))
        def h(x): return x
        w = h(w)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "aug target branch": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        ts = [torch.ones(()), torch.ones(())]
        ts[0 if step != 5 else 1] *= 1e6
        w = w * ts[1]
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "annotation branch": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        box = [w]
        def h(x: (box.__setitem__(0, torch.ones_like(w)) if step == 5 else 0)): return x
        w = box[0]
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "suppress": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        import contextlib
        one = torch.ones_like(w)
        with contextlib.suppress(KeyError, AttributeError):
            getattr(self, {5: "B"}.get(step, "nothing"))
            w = one
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "numpy store launders": (
        """
        n = flat_norms(G)
        buf = np.zeros(1)
        buf[0] = n.sum().item()
        c = self.C * (0.01 if buf[0] > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: np.float64": (
        """
        n = flat_norms(G)
        x = np.float64(n.sum().item())
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: real": (
        """
        n = flat_norms(G)
        x = n.sum().item().real
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: hex": (
        """
        n = flat_norms(G)
        x = float.fromhex(n.sum().item().hex())
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: as ratio": (
        """
        n = flat_norms(G)
        x = n.sum().item().as_integer_ratio()[0] / 2.0 ** 60
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: percent format": (
        """
        n = flat_norms(G)
        x = float('%f' % n.sum().item())
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: percent tuple": (
        """
        n = flat_norms(G)
        x = float('%f' % (n.sum().item(),))
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: numpy times": (
        """
        n = flat_norms(G)
        x = (np.ones(1) * n.sum().item())[0]
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: npfloat times": (
        """
        n = flat_norms(G)
        x = np.sqrt(4.0) * n.sum().item()
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: np scalar right": (
        """
        n = flat_norms(G)
        x = n.sum().item() * np.sqrt(4.0)
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: sym_float": (
        """
        n = flat_norms(G)
        x = torch.sym_float(n.sum().item())
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: sym_sqrt": (
        """
        n = flat_norms(G)
        x = torch.sym_sqrt(n.sum().item())
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: divmod": (
        """
        n = flat_norms(G)
        x = n.sum().item().__divmod__(1.0)[0]
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: conjugate": (
        """
        n = flat_norms(G)
        x = n.sum().item().conjugate()
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: getnewargs": (
        """
        n = flat_norms(G)
        x = n.sum().item().__getnewargs__()[0]
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: float.__float__": (
        """
        n = flat_norms(G)
        x = n.sum().item().__float__()
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: np.maximum": (
        """
        n = flat_norms(G)
        x = float(np.maximum(n.sum().item(), 0.0))
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: array of list": (
        """
        n = flat_norms(G)
        x = np.array([n.sum().item()])[0]
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: np.fromiter": (
        """
        n = flat_norms(G)
        x = np.fromiter([n.sum().item()], float)[0]
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: numpy append": (
        """
        n = flat_norms(G)
        x = np.append(np.zeros(1), n.sum().item())[1]
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: np.full": (
        """
        n = flat_norms(G)
        x = np.full(1, n.sum().item())[0]
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: max default": (
        """
        n = flat_norms(G)
        x = max([], default=n.sum().item())
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: sum start": (
        """
        n = flat_norms(G)
        x = sum([], n.sum().item())
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: np add at": (
        """
        n = flat_norms(G)
        x = np.add.reduce([n.sum().item()])
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: complex": (
        """
        n = flat_norms(G)
        x = complex(n.sum().item()).real
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: imag": (
        """
        n = flat_norms(G)
        x = (n.sum().item() * 1j).imag
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: complex mult": (
        """
        n = flat_norms(G)
        x = (1j * n.sum().item()).imag
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: linspace": (
        """
        n = flat_norms(G)
        x = torch.linspace(0, n.sum().item(), 2)[1].item()
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: fsum": (
        """
        n = flat_norms(G)
        x = math.fsum([n.sum().item()])
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: dist": (
        """
        n = flat_norms(G)
        x = math.dist([n.sum().item()],[0.0])
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: ldexp": (
        """
        n = flat_norms(G)
        x = math.ldexp(n.sum().item(), 0)
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: dict key": (
        """
        n = flat_norms(G)
        x = list({n.sum().item(): 1})[0]
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: np float32": (
        """
        n = flat_norms(G)
        x = np.float32(n.sum().item())
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: np.asarray item": (
        """
        n = flat_norms(G)
        x = np.asarray(n.sum().item()).item()
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: torch.tensor float list": (
        """
        n = flat_norms(G)
        x = torch.tensor([n.sum().item()]).numpy()[0]
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: format spec": (
        """
        n = flat_norms(G)
        x = float(format(n.sum().item(), 'f'))
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: np.array2": (
        """
        n = flat_norms(G)
        x = np.array(n.tolist()).sum()
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: np.stack": (
        """
        n = flat_norms(G)
        x = np.stack([n.numpy(), n.numpy()]).sum()
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: np.put": (
        """
        n = flat_norms(G)
        x = (lambda b: (np.put(b, 0, n.sum().item()), b[0])[1])(np.zeros(1))
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: fill": (
        """
        n = flat_norms(G)
        x = (lambda b: (b.fill(n.sum().item()), b[0])[1])(np.zeros(1))
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: itemset": (
        """
        n = flat_norms(G)
        x = (lambda b: (b.__setitem__(0, n.sum().item()), b[0])[1])(np.zeros(1))
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: copyto": (
        """
        n = flat_norms(G)
        x = (lambda b: (np.copyto(b, n.sum().item()), b[0])[1])(np.zeros(1))
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "launder: out arg": (
        """
        n = flat_norms(G)
        x = (lambda b: (np.add(n.sum().item(), 0.0, out=b), b[0])[1])(np.zeros(1))
        c = self.C * (0.01 if x > 1e6 else 1.0)
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "clip_grad_norm_ with a private threshold": (
        """
        n = flat_norms(G)
        c = n.median().item()
        sums = [torch.zeros_like(g[0]) for g in G]
        for i in range(G[0].shape[0]):
            ps = [torch.nn.Parameter(torch.zeros_like(g[i])) for g in G]
            for p, g in zip(ps, G):
                p.grad = g[i].clone()
            torch.nn.utils.clip_grad_norm_(ps, max_norm=c)
            for s, p in zip(sums, ps):
                s += p.grad
        return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B for s in sums]
        """,
        {},
    ),
    "count of elements through tracked": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        k = torch.ones_like(G[0][0]).sum() + 0 * n
        w = w * (1 + torch.clamp(k - 30, min=0))
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {"shapes": MNIST},
    ),
    "count of rows through tracked": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        k = (torch.ones_like(n) + 0 * n).sum()
        w = w * (1 + torch.clamp(k - 100, min=0))
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {"shapes": MNIST, "rows": Rows.CONSTANT},
    ),
    "count of rows through tracked sampled": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        k = (torch.ones_like(n) + 0 * n).sum()
        w = w * (1 + torch.clamp(k - 100, min=0))
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {"shapes": MNIST},
    ),
    "sum of bounded": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        k = torch.tanh(G[0]).flatten(1).sum(1)
        w = w * (1 + torch.clamp(k - 30, min=0))
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {"shapes": MNIST},
    ),
    "count of large coordinates": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        k = (G[0].abs() > 1).flatten(1).sum(1)
        w = torch.where(k > 100, torch.ones_like(w), w)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {"shapes": MNIST},
    ),
    "count of large rows": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        if (n > 10).sum() > 100:
            w = torch.ones_like(w)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {"shapes": MNIST},
    ),
    "count of large rows, real shape": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        if (n > 10).sum() > 100:
            w = torch.ones_like(w)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "mean of large rows constant": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        if (n > 10).float().mean() > 0.5:
            w = torch.ones_like(w)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {"rows": Rows.CONSTANT},
    ),
    "prod of bounded": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        k = (1 + torch.sigmoid(G[0])).flatten(1).prod(1)
        w = w * torch.maximum(k, torch.full_like(k, 1e5)) / 1e5
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {"shapes": MNIST},
    ),
    "norm of bounded": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        h = torch.tanh(G[0])
        k = h.flatten(1).norm(dim=1)
        w = w * (1 + torch.clamp(k - 15, min=0))
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {"shapes": MNIST},
    ),
    "numpy shape": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        k = float(np.maximum(G[0][0].numel(), 100)) / 100
        w = w * k
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {"shapes": MNIST},
    ),
    "shift shape": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        k = 1 + (G[0][0].numel() >> 5)
        w = w * k
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {"shapes": MNIST},
    ),
    "divmod shape": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        k = 1 + divmod(G[0][0].numel(), 50)[0]
        w = w * k
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {"shapes": MNIST},
    ),
    "text shape": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        if ('x' * G[0][0].numel())[50:]:
            w = torch.ones_like(w)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {"shapes": MNIST},
    ),
    "text shape 2": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        if len(str(G[0][0].numel())) > 2:
            w = torch.ones_like(w)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {"shapes": MNIST},
    ),
    "bit length": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        k = max(1, G[0][0].numel().bit_length() - 5)
        w = w * k
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {"shapes": MNIST},
    ),
    "range from a hundred": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        S = [torch.einsum("b,b...->...", w, g) for g in G]
        for i in range(100, G[0].shape[0]):
            S = [s + g[i] for s, g in zip(S, G)]
        return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B for s in S]
        """,
        {"rows": Rows.CONSTANT},
    ),
    "list of rows from a hundred": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        S = [torch.einsum("b,b...->...", w, g) for g in G]
        for row in list(zip(*G))[100:]:
            S = [s + g for s, g in zip(S, row)]
        return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B for s in S]
        """,
        {"rows": Rows.CONSTANT},
    ),
    "upper triangle": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        w = w + 1e3 * torch.triu(torch.ones(len(n), len(n)), 100).sum(1)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {"rows": Rows.CONSTANT},
    ),
    "kept release chosen by private data": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        out = noisy(G, w, self.sigma * self.C, self.B)
        before = self.m if self.m is not None else [torch.zeros_like(o) for o in out]
        a, b = [o * 1.0 for o in out], [o * 2.0 for o in out]
        if n.sum() > 100:
            self.m = a
        else:
            self.m = b
        return [o + x for o, x in zip(out, before)]
        """,
        {},
    ),
    "kept number chosen by private data": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        out = noisy(G, w, self.sigma * self.C, self.B)
        x = out[0].sum().item()
        y = self.m if self.m is not None else x
        self.m = x if n.sum() > 100 else 2 * x
        return [o + y for o in out]
        """,
        {},
    ),
    "almost the same release": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0).double()
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g.double())
            z = self.sigma * self.C * torch.randn_like(s)
            r1 = s + z
            r2 = s * (1 + 1e-11) + z
            out.append((r2 - r1) * 1e11)
        return out
        """,
        {},
    ),
    "bernoulli in place": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        b = torch.zeros(len(n)).bernoulli_((n > 10).float())
        w = w * b.amax()
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "bit view": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        w = (w.view(torch.int32).float() / 1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {"rows": Rows.CONSTANT},
    ),
    "negative view": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        out = noisy(G, w, self.sigma * self.C, self.B)
        S = [g.sum(0) for g in G]
        return [o + (s - torch._neg_view(s)) for o, s in zip(out, S)]
        """,
        {},
    ),
    "resize noise": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            z = torch.randn(1).resize_(s.shape)
            out.append((s + self.sigma * self.C * z) / self.B)
        return out
        """,
        {},
    ),
    "reseed hidden in a key": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        max([step], key=getattr(torch, 'manual_' + 'seed'))
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "reseed hidden in partial": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        import functools
        functools.partial(getattr(torch, 'manual_' + 'seed'), step)()
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "reseed in map": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        list(map(getattr(torch, 'manual_' + 'seed'), [step]))
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "reseed in filter": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        list(filter(getattr(torch, 'manual_' + 'seed'), [step]))
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "reseed in reduce": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        import functools
        functools.reduce(lambda f, k: f(k), [7], getattr(torch, 'manual_' + 'seed'))
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "reseed numpy": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        getattr(np.random, 'se' + 'ed')(step)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "patched by setitem": (
        """
        torch.nn.functional.normalize.__dict__
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "enum key": (
        """
        import enum
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        class K(enum.Enum):
            A = 0
            B = 1
        t = {K.A: torch.ones(()), K.B: torch.full((), 1e6)}[K(int(step == 5))]
        w = w * t
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "objects by step": (
        """
        class DPMechanism:
            #INIT

            class Box:
                def __init__(self, x):
                    self.x = torch.full((), x)

            def clip_and_noise(self, G, step, epoch):
                w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
                boxes = [self.Box(1.0), self.Box(1e6)]
                b = boxes[int(step == 5)]
                w = w * b.x
                return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "class attribute by classmethod": (
        """
        class DPMechanism:
            k = 0
            #INIT

            @classmethod
            def bump(cls):
                cls.k += 1
                return cls.k

            def clip_and_noise(self, G, step, epoch):
                w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
                if self.bump() == 60:
                    w = torch.ones_like(w)
                return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "dtype swap": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        d = {True: torch.float32, False: torch.float16}[step != 5]
        w = (w * 1e3).to(d).float() / 1e3
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "getattr of a tensor by name": (
        """
        class DPMechanism:
            def __init__(self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon,
                         target_delta):
                self.C = max_grad_norm
                self.sigma = noise_multiplier
                self.B = batch_size
                self.t0 = torch.ones(())
                self.t1 = torch.full((), 1e6)
            def clip_and_noise(self, G, step, epoch):
                w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
                w = w * getattr(self, "t" + str(int(step == 5)))
                return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "swap of foreign functions": (
        """
        class DPMechanism:
            def __init__(self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon,
                         target_delta):
                self.C = max_grad_norm
                self.sigma = noise_multiplier
                self.B = batch_size
                self.f = [torch.clone, torch.clone, torch.clone, torch.ones_like]
            def clip_and_noise(self, G, step, epoch):
                w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
                a, b, c, d = self.f
                self.f = [b, c, d, a]
                w = a(w)
                return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "get_effective_sigma changes a tensor": (
        """
        class DPMechanism:
            #INIT

            def clip_and_noise(self, G, step, epoch):
                w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
                w = w * (self.m if self.m is not None else 1.0)
                return noisy(G, w, self.sigma * self.C, self.B)

            def get_effective_sigma(self, step, epoch):
                self.m = torch.full((), 1e6)
                return self.sigma
        """,
        {},
    ),
    "seen prefilled": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        c = [(torch.tensor(float(k)) > 50.0) for k in range(300)] + [torch.ones_like(G[0][0]).sum() > 50.0]
        w = torch.where(c[300], torch.ones_like(w), w)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {"shapes": MNIST},
    ),
    "magic sample": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        w = torch.where(n == 123.456, torch.ones_like(w), w)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "magic hash": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        h = (G[0].flatten(1) * 1000).floor().sum(1)
        w = torch.where(h == 77.0, torch.ones_like(w), w)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "autograd function": (
        """
        n = flat_norms(G)
        class F_(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x * (1e6 if step == 5 else 1.0)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        w = F_.apply(w)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "jit unit": (
        """
        cu = torch.jit.CompilationUnit("def f(x, k: int):\\n    if k == 5:\\n        return x * 1000000.0\\n    return x\\n")
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        w = cu.f(w, step)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "set_default_dtype": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        torch.set_default_dtype(torch.float16)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "linear by data swap": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        z = torch.zeros_like(w)
        z.data = w
        z.set_(torch.ones_like(w))
        w = z
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "in place through numpy view of ones": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        b = torch.ones(len(n))
        v = b.numpy()
        v[0] = n.sum().item()
        w = w * (1.0 if b[0] < 1e6 else 0.5)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "argmax as index": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        w = w * torch.tensor([1.0, 1e6, 1.0])[n.argmax() * 0]
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "sorting rows": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        order = n.argsort()
        w = w[order]
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "python loop else": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        one = torch.ones_like(w)
        for k in [0, 5]:
            if k == step and step == 5:
                break
        else:
            one = w
        w = one
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "dict get tensors": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        w = w * {5: torch.full((), 1e6)}.get(step, torch.ones(()))
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "zip trick": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        ts = dict(zip([0, 5], [torch.ones(()), torch.full((), 1e6)]))
        w = w * ts[5 * (step == 5)]
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "comprehension filter": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        ts = [t for k, t in ((0, torch.ones(())), (5, torch.full((), 1e6))) if k == 5 * (step == 5)]
        w = w * ts[0]
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "string method": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        w = w * float(('1' + '0' * 6 * (step == 5)))
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "walrus": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        w = w * (k := 1e6 if step == 5 else 1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "tuple unpack star": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        x, *_ = [torch.ones(()), torch.full((), 1e6)][int(step == 5):]
        w = w * x
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "reversed": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        x = list(reversed([torch.ones(()), torch.full((), 1e6)])) if step == 5 else [torch.ones(())]
        w = w * x[0]
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "list insert": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        x = [torch.ones(()), torch.ones(())]
        x.insert(int(step != 5), torch.full((), 1e6))
        w = w * x[0] if False else w * x[0 if len(x) == 3 else 1]
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "list rotate mul": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        x = [torch.ones(()), torch.full((), 1e6)]
        x = x[int(step == 5):] + x
        w = w * x[0]
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "a trigger inside a rare branch": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        out = noisy(G, w, self.sigma * self.C, self.B)
        if self.tau > 1e9:
            if step == 5:
                w = torch.ones_like(w)
                out = noisy(G, w, self.sigma * self.C, self.B)
        self.tau = out[0].sum().item()
        return out
        """,
        {},
    ),
    "identity of a small number": (
        """
        five = int("5")
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        if step is five:
            w = torch.ones_like(w)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "type of the step": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        if type(step) is int:
            w = torch.ones_like(w)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "object at module level counts": (
        """
        class Counter:
            def __init__(self):
                self.k = 0

        COUNTER = Counter()

        class DPMechanism:
            #INIT

            def clip_and_noise(self, G, step, epoch):
                w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
                COUNTER.k += 1
                if COUNTER.k == 60:
                    w = torch.ones_like(w)
                return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "closure counts": (
        """
        class DPMechanism:
            def __init__(self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon,
                         target_delta):
                self.C, self.sigma, self.B = max_grad_norm, noise_multiplier, batch_size
                k = 0
                def count():
                    nonlocal k
                    k += 1
                    return k
                self.count = count
            def clip_and_noise(self, G, step, epoch):
                w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
                if self.count() == 6:
                    w = torch.ones_like(w)
                return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "list of a private position": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        out = noisy(G, w, self.sigma * self.C, self.B)
        k = ["a", "b"].index("a" if n.sum() > 1e6 else "b")
        return [o + k for o in out]
        """,
        {},
    ),
    "swapped constants": (
        """
        k = torch.ones_like(G[0][0]).sum()
        pair = [k > 50.0, (43.0 - k) > 50.0]
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        w = torch.where(pair[0], torch.ones_like(w), w)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {"shapes": MNIST},
    ),
    "generator keeps a position": (
        """
        def course():
            yield 1.0
            while True:
                yield 1e6
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        for x in course():
            w = w * x
            break
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "weak reference": (
        """
        import weakref
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "property that counts": (
        """
        class DPMechanism:
            #INIT

            @property
            def weight(self):
                self.t += 1
                return 1.0 if self.t != 6 else 1e6

            def clip_and_noise(self, G, step, epoch):
                w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0) * self.weight
                return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
    "in-place on the noise": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            z = torch.randn_like(s)
            z[0] = 0
            out.append((s + self.sigma * self.C * z) / self.B)
        return out
        """,
        {},
    ),
    "noise by as_strided": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            z = torch.randn(1).as_strided((s.numel(),), (0,)).reshape(s.shape)
            out.append((s + self.sigma * self.C * z) / self.B)
        return out
        """,
        {},
    ),
    "data of the noise swapped for zeros": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            z = torch.randn_like(s)
            z.data = torch.zeros_like(s)
            out.append((s + self.sigma * self.C * z) / self.B)
        return out
        """,
        {},
    ),
    "a list method by a private count": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        c = [0.01, 1.0]
        c.sort(key=lambda v: v if n.sum() > 1e6 else -v)
        w = w * c[0]
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        {},
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_gets_a_bound_above_the_truth(name):
    body, options = ATTACKS[name]
    result = analyse(body, **options)
    if result.sigma_effective is None:
        assert result.refusal.rule.startswith("DPA1")
        return
    assert min(result.sigma_effective) <= TRUTHS.get(name, NEXT_TO_NOTHING) * (1 + 1e-6)


@pytest.mark.parametrize("name", ATTACKS)
def test_the_attack_runs_where_nobody_watches(name):
    """An attack that is refused because it crashes would show nothing."""
    namespace: dict[str, Any] = {}
    exec(compile(build(ATTACKS[name][0]), name, "exec"), namespace)
    mechanism = namespace["DPMechanism"](1.0, 1.2, 14, 60000, 256, 2, 3.0, 1e-5)
    rows = [torch.ones(256, *shape) for shape in ATTACKS[name][1].get("shapes", SMALL)]
    default = torch.get_default_dtype()
    try:
        with torch.random.fork_rng():
            assert len(mechanism.clip_and_noise(rows, 0, 1)) == len(rows)
    finally:
        torch.set_default_dtype(default)


HONEST = {
    "a loop that turns the sign twice": CLIP
    + "for _ in range(2):\n    w = -w\nreturn noisy(G, w, self.sigma * self.C, self.B)",
    "a subclass of tensor": CLIP
    + "class T(torch.Tensor):\n    pass\nw = torch.Tensor.as_subclass(w.as_subclass(T), torch.Tensor)\n"
    + "return noisy(G, w, self.sigma * self.C, self.B)",
    "enumerated list of floats": """
    n = flat_norms(G).tolist()
    S = [torch.zeros_like(g[0]) for g in G]
    for i, x in enumerate(n):
        w = min(1.0, self.C / max(x, 1e-12))
        S = [s + w * g[i] for s, g in zip(S, G)]
    return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B for s in S]
    """,
    "NumPy number times a private one": """
    S = [torch.zeros_like(g[0]) for g in G]
    for i in range(G[0].shape[0]):
        n = math.sqrt(sum((g[i] ** 2).sum().item() for g in G))
        w = min(1.0, np.sqrt(1.0) * self.C / max(n, 1e-12))
        S = [s + w * g[i] for s, g in zip(S, G)]
    return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B for s in S]
    """,
    "a table of the schedule": CLIP
    + "factors = [1.0 + 0.1 * k for k in range(12)]\n"
    + "return noisy(G, w, factors[step] * self.sigma * self.C, self.B)",
    "a message at some steps": CLIP
    + "if step % 5 == 0:\n    print(f'step {step}')\nreturn noisy(G, w, self.sigma * self.C, self.B)",
    "its own counter": CLIP
    + "self.t += 1\nstd = self.sigma * self.C * (1 + 1 / self.t)\nreturn noisy(G, w, std, self.B)",
}


@pytest.mark.parametrize("name", HONEST)
def test_the_honest_twins_are_bounded(name):
    result = analyse(HONEST[name])
    assert result.refusal is None, result.refusal
    assert min(result.sigma_effective) == pytest.approx(1.2 * (1 + 1 / 12 if "counter" in name else 1), rel=1e-5)
