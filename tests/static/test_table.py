"""The expected table: mechanisms in varied idioms, each with the number that must come out or the rule and line.

C = 1, noise multiplier 1.2, batch size 256. Every mechanism body below is the body of ``clip_and_noise(self, G, step, epoch)``
unless it starts with ``class``; the expected line is that of the marker ``#!``.
"""

import math
import textwrap

import pytest
import torch

from dpaudit.contract import Cell, Relation, Rows, RunConfig, Sampler
from dpaudit.static.analysis import Candidate, analyse_source

SHAPES = ((3, 2), (2,), (2, 3))
SIGMA = 1.2

HEADER = """
import math
import numpy as np
import torch
import torch.nn.functional as F


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
        self.C = max_grad_norm
        self.sigma = noise_multiplier
        self.B = batch_size
        self.epochs = epochs
        self.m = None
        self.t = 0
        self.tau = 1.0
"""


def build(body: str) -> str:
    body = textwrap.dedent(body).strip("\n")
    if "class DPMechanism" in body:
        return HEADER + body.replace("    #INIT", INIT.strip("\n")) + "\n"
    return (
        HEADER
        + "class DPMechanism:"
        + INIT
        + "\n    def clip_and_noise(self, G, step, epoch):\n"
        + textwrap.indent(body, " " * 8)
        + "\n"
    )


def config(
    shapes=SHAPES, *, rows=Rows.SAMPLED, relation=Relation.ADD_REMOVE, steps=3, epochs=2, batch_size=256
) -> RunConfig:
    sampler = Sampler.POISSON if rows is Rows.SAMPLED else Sampler.TRUNCATED_POISSON
    return RunConfig(
        dataset_size=60000,
        batch_size=batch_size,
        expected_batch=180,
        epochs=epochs,
        steps_per_epoch=steps,
        max_grad_norm=1.0,
        target_epsilon=3.0,
        target_delta=1e-5,
        noise_multiplier=SIGMA,
        cell=Cell(sampler=sampler, relation=relation, rows=rows),
        parameter_shapes=shapes,
    )


def analyse(body: str, **options):
    torch.set_num_threads(1)
    source = build(body)
    return source, analyse_source(Candidate(source=source, filename="mechanism.py"), config(**options))


BOUNDED: dict[str, tuple[str, float]] = {
    "flat clip": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        1.2,
    ),
    "flat clip, torch.minimum": (
        """
        n = flat_norms(G)
        w = torch.minimum(torch.ones_like(n), self.C / (n + 1e-6))
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        1.2,
    ),
    "flat clip, max form": (
        """
        n = flat_norms(G)
        w = 1.0 / torch.clamp(n / self.C, min=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        1.2,
    ),
    "automatic clipping AUTO-S": (
        """
        return noisy(G, 1.0 / (flat_norms(G) + 0.01), self.sigma, self.B)
        """,
        1.2,
    ),
    "PSAC": (
        """
        n = flat_norms(G)
        w = self.C / (n + 0.1 / (n + 0.1))
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        1.2,
    ),
    "normalised": (
        """
        return noisy(G, self.C / flat_norms(G), self.sigma * self.C, self.B)
        """,
        1.2,
    ),
    "tanh of the norm": (
        """
        n = flat_norms(G)
        return noisy(G, torch.tanh(n) / n, self.sigma, self.B)
        """,
        1.2,
    ),
    "F.normalize": (
        """
        B = G[0].shape[0]
        flat = torch.cat([g.reshape(B, -1) for g in G], dim=1)
        unit = F.normalize(flat, dim=1) * self.C
        total = unit.sum(0)
        total = (total + self.sigma * self.C * torch.randn_like(total)) / self.B
        out, k = [], 0
        for g in G:
            d = g[0].numel()
            out.append(total[k:k + d].view(g.shape[1:]))
            k += d
        return out
        """,
        1.2,
    ),
    "renorm": (
        """
        B = G[0].shape[0]
        flat = torch.cat([g.reshape(B, -1) for g in G], dim=1)
        clipped = torch.renorm(flat, 2, 0, self.C)
        total = clipped.sum(0)
        total = (total + self.sigma * self.C * torch.randn_like(total)) / self.B
        sizes = [g[0].numel() for g in G]
        return [p.view(g.shape[1:]) for p, g in zip(total.split(sizes), G)]
        """,
        1.2,
    ),
    "where clip": (
        """
        n = flat_norms(G)
        w = torch.where(n > self.C, self.C / n, torch.ones_like(n))
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        1.2,
    ),
    "matmul": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in G:
            s = (w @ g.flatten(1)).view_as(g[0])
            out.append((s + torch.normal(0.0, self.sigma * self.C, size=s.shape)) / self.B)
        return out
        """,
        1.2,
    ),
    "tensordot": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in G:
            s = torch.tensordot(w, g, dims=([0], [0]))
            out.append((s + torch.empty_like(s).normal_(0, self.sigma * self.C)) / self.B)
        return out
        """,
        1.2,
    ),
    "vmap": (
        """
        def clip(*gs):
            n = torch.sqrt(sum((g ** 2).sum() for g in gs))
            w = torch.clamp(self.C / (n + 1e-6), max=1.0)
            return tuple(g * w for g in gs)
        clipped = torch.func.vmap(clip)(*G)
        return [(c.sum(0) + self.sigma * self.C * torch.randn(c.shape[1:])) / self.B for c in clipped]
        """,
        1.2,
    ),
    "foreach": (
        """
        flat = [g.flatten(1) for g in G]
        n = torch.stack(torch._foreach_norm([f.t().contiguous().t() for f in flat])) if False else flat_norms(G)
        w = (self.C / (n + 1e-6)).clamp(max=1.0)
        scaled = torch._foreach_mul(G, [w.view(-1, *[1] * (g.dim() - 1)) for g in G])
        sums = [s.sum(dim=0) for s in scaled]
        noise = torch._foreach_mul([torch.randn_like(s) for s in sums], self.sigma * self.C)
        torch._foreach_add_(sums, noise)
        torch._foreach_div_(sums, float(self.B))
        return sums
        """,
        1.2,
    ),
    "in place": (
        """
        n = flat_norms(G)
        w = n.clamp_(min=1e-12).reciprocal_().mul_(self.C).clamp_(max=1.0)
        out = []
        for g in G:
            g = g.clone()
            g.mul_(w.view(-1, *([1] * (g.dim() - 1))))
            s = g.sum(0)
            s.add_(torch.randn_like(s), alpha=self.sigma * self.C)
            s /= self.B
            out.append(s)
        return out
        """,
        1.2,
    ),
    "loop over samples": (
        """
        sums = [torch.zeros_like(g[0]) for g in G]
        for i in range(G[0].shape[0]):
            n = torch.sqrt(sum((g[i] ** 2).sum() for g in G))
            w = torch.clamp(self.C / (n + 1e-12), max=1.0)
            for s, g in zip(sums, G):
                s += w * g[i]
        return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B for s in sums]
        """,
        1.2,
    ),
    "list of floats": (
        """
        norms = []
        for i in range(len(G[0])):
            norms.append(math.sqrt(sum(float(g[i].pow(2).sum()) for g in G)))
        w = torch.tensor([min(1.0, self.C / max(n, 1e-12)) for n in norms])
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        1.2,
    ),
    "item and if": (
        """
        B = G[0].size(0)
        sums = [torch.zeros_like(g[0]) for g in G]
        for i in range(B):
            norm = torch.cat([g[i].reshape(-1) for g in G]).norm().item()
            scale = self.C / norm if norm > self.C else 1.0
            for k in range(len(G)):
                sums[k] = sums[k] + G[k][i] * scale
        return [(s + self.sigma * self.C * torch.randn(s.shape)) / self.B for s in sums]
        """,
        1.2,
    ),
    "tolist": (
        """
        ws = [min(1.0, self.C / (n + 1e-9)) for n in flat_norms(G).tolist()]
        w = torch.tensor(ws, dtype=G[0].dtype)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        1.2,
    ),
    "numpy round trip": (
        """
        n = flat_norms(G).cpu().numpy()
        w = np.minimum(1.0, self.C / np.maximum(n, 1e-12))
        return noisy(G, torch.from_numpy(w.astype(np.float32)), self.sigma * self.C, self.B)
        """,
        1.2,
    ),
    "numpy noise": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            noise = torch.from_numpy(np.random.normal(0.0, self.sigma * self.C, size=s.shape)).float()
            out.append((s + noise) / self.B)
        return out
        """,
        1.2,
    ),
    "distributions noise": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            out.append((s + torch.distributions.Normal(0.0, self.sigma * self.C).sample(s.shape)) / self.B)
        return out
        """,
        1.2,
    ),
    "boolean mask assignment": (
        """
        n = flat_norms(G)
        f = torch.ones_like(n)
        m = n > self.C
        f[m] = (self.C / n)[m]
        return noisy(G, f, self.sigma * self.C, self.B)
        """,
        1.2,
    ),
    "boolean mask, compressed arithmetic": (
        """
        n = flat_norms(G)
        f = torch.ones_like(n)
        m = n > self.C
        f[m] = self.C / n[m]
        return noisy(G, f, self.sigma * self.C, self.B)
        """,
        1.2,
    ),
    "masked_fill": (
        """
        n = flat_norms(G)
        w = (self.C / n).masked_fill(n <= self.C, 1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        1.2,
    ),
    "mask as number": (
        """
        n = flat_norms(G)
        big = (n > self.C).float()
        w = big * (self.C / n) + (1 - big)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        1.2,
    ),
    "linalg": (
        """
        n = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in G]), dim=0)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        1.2,
    ),
    "norm over several axes": (
        """
        squares = 0
        for g in G:
            squares = squares + g.norm(2, dim=tuple(range(1, g.dim()))) ** 2
        w = torch.clamp(self.C / squares.sqrt(), max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        1.2,
    ),
    "clip_grad_norm_ per sample": (
        """
        sums = [torch.zeros_like(g[0]) for g in G]
        for i in range(G[0].shape[0]):
            ps = [torch.nn.Parameter(torch.zeros_like(g[i])) for g in G]
            for p, g in zip(ps, G):
                p.grad = g[i].clone()
            torch.nn.utils.clip_grad_norm_(ps, self.C)
            for s, p in zip(sums, ps):
                s.add_(p.grad)
        return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B for s in sums]
        """,
        1.2,
    ),
    "weight N exp(-N)": (
        """
        n = flat_norms(G)
        return noisy(G, torch.exp(-n), self.sigma, self.B)
        """,
        1.2 * math.e,
    ),
    "a release in half precision": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        return [o.to(torch.bfloat16).float() for o in noisy(G, w, self.sigma * self.C, self.B)]
        """,
        1.2,
    ),
    "noise of torch.distributions": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        normal = torch.distributions.Normal(0.0, self.sigma * self.C)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            out.append((s + normal.sample(s.shape)) / self.B)
        return out
        """,
        1.2,
    ),
    "noise of torch.distributions with its own mean": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            out.append(torch.distributions.Normal(s, 0.5 * self.sigma * self.C).sample() / self.B)
        return out
        """,
        0.6,
    ),
    "half noise": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, 0.5 * self.sigma * self.C, self.B)
        """,
        0.6,
    ),
    "noise divided twice": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g) / self.B
            out.append(s + self.sigma * self.C / self.B / self.B * torch.randn_like(s))
        return out
        """,
        1.2 / 256,
    ),
    "noise of the sum on the mean": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g) / self.B
            out.append(s + self.sigma * self.C * torch.randn_like(s))
        return out
        """,
        1.2 * 256,
    ),
    "per layer C over sqrt(L)": (
        """
        c = self.C / math.sqrt(len(G))
        out = []
        for g in G:
            n = g.flatten(1).norm(dim=1)
            s = torch.einsum("b,b...->...", (c / n.clamp(min=1e-12)).clamp(max=1.0), g)
            out.append((s + self.sigma * self.C * torch.randn_like(s)) / self.B)
        return out
        """,
        1.2,
    ),
    "per layer C each": (
        """
        out = []
        for g in G:
            n = g.flatten(1).norm(dim=1)
            s = torch.einsum("b,b...->...", (self.C / n.clamp(min=1e-12)).clamp(max=1.0), g)
            out.append((s + self.sigma * self.C * torch.randn_like(s)) / self.B)
        return out
        """,
        1.2 / math.sqrt(3),
    ),
    "per layer C each, noise sqrt(L)": (
        """
        out = []
        for g in G:
            n = g.flatten(1).norm(dim=1)
            s = torch.einsum("b,b...->...", (self.C / n.clamp(min=1e-12)).clamp(max=1.0), g)
            out.append((s + self.sigma * self.C * math.sqrt(len(G)) * torch.randn_like(s)) / self.B)
        return out
        """,
        1.2,
    ),
    "two groups .6 and .8": (
        """
        groups = [(G[:1], 0.6), (G[1:], 0.8)]
        out = []
        for part, c in groups:
            w = (c / flat_norms(part).clamp(min=1e-12)).clamp(max=1.0)
            out += noisy(part, w, self.sigma, self.B)
        return out
        """,
        1.2,
    ),
    "per layer, heterogeneous noise": (
        """
        cs = [0.2, 0.5, 1.0]
        total = sum(cs)
        out = []
        for g, c in zip(G, cs):
            n = g.flatten(1).norm(dim=1)
            s = torch.einsum("b,b...->...", (c / n.clamp(min=1e-12)).clamp(max=1.0), g)
            std = self.sigma * math.sqrt(c * total)
            out.append((s + std * torch.randn_like(s)) / self.B)
        return out
        """,
        1.2,
    ),
    "flat clip, one layer with less noise": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for k, g in enumerate(G):
            s = torch.einsum("b,b...->...", w, g)
            out.append((s + self.sigma * self.C * (0.5 if k == 1 else 1.0) * torch.randn_like(s)) / self.B)
        return out
        """,
        0.6,
    ),
    "centred on an average of released outputs": (
        """
        if self.m is None:
            self.m = [torch.zeros_like(g[0]) for g in G]
        D = [g - m for g, m in zip(G, self.m)]
        w = (self.C / flat_norms(D).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for d, m in zip(D, self.m):
            s = torch.einsum("b,b...->...", w, d)
            out.append((s + self.sigma * self.C * torch.randn_like(s)) / self.B + m)
        self.m = [0.9 * m + 0.1 * o for m, o in zip(self.m, out)]
        return out
        """,
        1.2,
    ),
    "private threshold with noised count": (
        """
        n = flat_norms(G)
        w = torch.clamp(self.tau / n, max=1.0)
        out = noisy(G, w, self.sigma * self.tau, self.B)
        count = (n <= self.tau).float().sum() + 20.0 * torch.randn(())
        fraction = count.item() / self.B
        self.tau = self.tau * math.exp(-0.2 * (fraction - 0.5))
        return out
        """,
        (1 / 1.44 + 1 / 400) ** -0.5,
    ),
    "private threshold, centred bits": (
        """
        n = flat_norms(G)
        w = torch.clamp(self.tau / n, max=1.0)
        out = noisy(G, w, self.sigma * self.tau, self.B)
        count = ((n <= self.tau).float() - 0.5).sum() + 20.0 * torch.randn(())
        self.tau = self.tau * math.exp(-0.2 * count.item() / self.B)
        return out
        """,
        1.19946,
    ),
    "element-wise clamp": (
        """
        return [
            (g.clamp(-self.C, self.C).sum(0) + self.sigma * self.C * torch.randn_like(g[0])) / self.B for g in G
        ]
        """,
        1.2 / math.sqrt(14),
    ),
    "element-wise tanh": (
        """
        return [(torch.tanh(g).sum(0) + self.sigma * torch.randn_like(g[0])) / self.B for g in G]
        """,
        1.2 / math.sqrt(14),
    ),
    "momentum of released": (
        """
        out = noisy(G, (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0), self.sigma * self.C, self.B)
        self.m = out if self.m is None else [0.9 * m + o for m, o in zip(self.m, out)]
        return self.m
        """,
        1.2,
    ),
    "top-k of released": (
        """
        out = noisy(G, (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0), self.sigma * self.C, self.B)
        kept = []
        for o in out:
            flat = o.flatten()
            limit = flat.abs().kthvalue(flat.numel() - 1).values
            kept.append(torch.where(o.abs() >= limit, o, torch.zeros_like(o)))
        return kept
        """,
        1.2,
    ),
    "Wiener shrink of released": (
        """
        out = noisy(G, (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0), self.sigma * self.C, self.B)
        std = self.sigma * self.C / self.B
        return [o * torch.clamp(o.pow(2).mean() - std ** 2, min=0) / (o.pow(2).mean() + 1e-12) for o in out]
        """,
        1.2,
    ),
    "closure and helper": (
        """
        C = self.C
        def factor(n):
            return torch.clamp(C / (n + 1e-6), max=1.0)
        scale = lambda n: factor(n)
        return noisy(G, scale(flat_norms(G)), self.sigma * C, self.B)
        """,
        1.2,
    ),
    "dataclass and base class": (
        """
        from dataclasses import dataclass

        @dataclass
        class Settings:
            bound: float
            noise: float

        class Base:
            def weights(self, n):
                return (self.settings.bound / n.clamp(min=1e-12)).clamp(max=1.0)

        class DPMechanism(Base):
            def __init__(self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs,
                         target_epsilon, target_delta):
                self.settings = Settings(bound=max_grad_norm, noise=noise_multiplier)
                self.B = batch_size

            def clip_and_noise(self, G, step, epoch):
                s = self.settings
                return noisy(G, self.weights(flat_norms(G)), s.bound * s.noise, self.B)
        """,
        1.2,
    ),
    "two-level clip": (
        """
        H = []
        for g in G:
            n = g.flatten(1).norm(dim=1)
            w = (0.8 / n.clamp(min=1e-12)).clamp(max=1.0)
            H.append(g * w.view(-1, *[1] * (g.dim() - 1)))
        w = (self.C / flat_norms(H).clamp(min=1e-12)).clamp(max=1.0)
        return noisy(H, w, self.sigma * self.C, self.B)
        """,
        1.2,
    ),
    "double release": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        a = noisy(G, w, self.sigma * self.C, self.B)
        b = noisy(G, w, self.sigma * self.C, self.B)
        return [(x + y) / 2 for x, y in zip(a, b)]
        """,
        1.2 / math.sqrt(2),
    ),
    "float64 inside": (
        """
        H = [g.double() for g in G]
        w = (self.C / flat_norms(H).clamp(min=1e-12)).clamp(max=1.0)
        return [o.float() for o in noisy(H, w, self.sigma * self.C, self.B)]
        """,
        1.2,
    ),
    "step schedule": (
        """
        sigma = self.sigma * (2.0 if step < 2 else 1.0)
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, sigma * self.C, self.B)
        """,
        1.2,
    ),
    "a schedule as long as the rows that are run": (
        """
        rows = [3, 4, 5, 6, 7, 8]
        std = self.sigma * self.C
        for n in rows:
            table = torch.ones(n)
            table[2:] = 0.5
            std = std * table[min(step, 2)] ** (1 / 6)
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, std, self.B)
        """,
        0.6,
    ),
    "data of the tensor": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        return noisy([g.data.detach() for g in G], w, self.sigma * self.C, self.B)
        """,
        1.2,
    ),
    "unused private branch": (
        """
        n = flat_norms(G)
        if n.max() > 100:
            self.t += 0
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        1.2,
    ),
    "stacked and unbound": (
        """
        rows = [torch.cat([g[i].flatten() for g in G]) for i in range(G[0].shape[0])]
        clipped = [r * torch.clamp(self.C / r.norm(), max=1.0) for r in rows]
        total = torch.stack(clipped).sum(dim=0)
        total = (total + self.sigma * self.C * torch.randn_like(total)) / self.B
        out, k = [], 0
        for g in G:
            n = g[0].numel()
            out.append(total[k:k + n].reshape(g[0].shape))
            k += n
        return out
        """,
        1.2,
    ),
    "try and except that catches nothing": (
        """
        try:
            w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        except ValueError:
            raise
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        1.2,
    ),
    "nan_to_num guard": (
        """
        H = [torch.nan_to_num(g, nan=0.0, posinf=0.0, neginf=0.0) for g in G]
        w = (self.C / flat_norms(H).clamp(min=1e-12)).clamp(max=1.0)
        return noisy(H, w, self.sigma * self.C, self.B)
        """,
        1.2,
    ),
}

REFUSED: dict[str, tuple[str, str]] = {
    "average of the raw mean": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        S = [torch.einsum("b,b...->...", w, g) for g in G]  #!
        self.m = S if self.m is None else [0.9 * m + 0.1 * s for m, s in zip(self.m, S)]
        return [(m + self.sigma * self.C * torch.randn_like(m)) / self.B for m in self.m]
        """,
        "DPA106",
    ),
    "own-batch centring": (
        """
        D = [g - g.sum(0) / self.B for g in G]  #!
        w = (self.C / flat_norms(D).clamp(min=1e-12)).clamp(max=1.0)
        return noisy(D, w, self.sigma * self.C, self.B)
        """,
        "DPA103",
    ),
    "clip of the mean": (
        """
        M = [g.sum(0) / self.B for g in G]  #!
        n = torch.sqrt(sum((m ** 2).sum() for m in M))
        w = torch.clamp(self.C / n, max=1.0)
        return [w * m + self.sigma * self.C / self.B * torch.randn_like(m) for m in M]
        """,
        "DPA103",
    ),
    "quantile as threshold": (
        """
        n = flat_norms(G)
        c = torch.quantile(n, 0.5)  #!
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        "DPA103",
    ),
    "un-noised fraction as threshold": (
        """
        n = flat_norms(G)
        fraction = (n > self.tau).float().sum() / self.B
        tau = self.tau * torch.exp(0.2 * (fraction - 0.5))  #!
        w = (tau / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        "DPA103",
    ),
    "noise scaled by a private fraction": (
        """
        n = flat_norms(G)
        fraction = (n > self.tau).float().sum() / self.B
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            out.append((s + self.sigma * self.C * (1 + fraction) * torch.randn_like(s)) / self.B)  #!
        return out
        """,
        "DPA104",
    ),
    "raw momentum": (
        """
        S = [g.sum(0) / self.B for g in G]  #!
        self.m = S
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        "DPA106",
    ),
    "noise missing on one layer": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        out = noisy(G, w, self.sigma * self.C, self.B)
        out[1] = torch.einsum("b,b...->...", w, G[1]) / self.B  #!
        return out
        """,
        "DPA101",
    ),
    "no clip": (
        """
        w = torch.ones(G[0].shape[0])
        out = []
        for g in G:
            s = g.sum(0)
            out.append((s + self.sigma * self.C * torch.randn_like(s)) / self.B)  #!
        return out
        """,
        "DPA102",
    ),
    "noise reused across layers": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        z = torch.randn(6)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            out.append((s + self.sigma * self.C * z[: s.numel()].view(s.shape)) / self.B)  #!
        return out
        """,
        "DPA105",
    ),
    "noise expanded": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            out.append((s + self.sigma * self.C * torch.randn(1)) / self.B)  #!
        return out
        """,
        "DPA105",
    ),
    "clips one layer by another's norm": (
        """
        w = (self.C / G[0].flatten(1).norm(dim=1).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            out.append((s + self.sigma * self.C * torch.randn_like(s)) / self.B)  #!
        return out
        """,
        "DPA102",
    ),
    "divides by the realised batch size": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        S = [torch.einsum("b,b...->...", w, g) for g in G]
        return [(s + self.sigma * self.C * torch.randn_like(s)) / G[0].shape[0] for s in S]  #!
        """,
        "DPA108",
    ),
    "mean over rows": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in G:
            s = (g * w.view(-1, *[1] * (g.dim() - 1))).mean(0)  #!
            out.append(s + self.sigma * self.C / self.B * torch.randn_like(s))
        return out
        """,
        "DPA108",
    ),
    "no clip at a late step": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        if step == 5:
            w = torch.ones_like(w)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            out.append((s + self.sigma * self.C * torch.randn_like(s)) / self.B)  #!
        return out
        """,
        "DPA102",
    ),
    "no clip at a late call, by its own counter": (
        """
        self.t += 1
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        w = w if self.t % 6 else torch.ones_like(w)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            out.append((s + self.sigma * self.C * torch.randn_like(s)) / self.B)  #!
        return out
        """,
        "DPA102",
    ),
    "no noise in the last epoch": (
        """
        std = self.sigma * self.C * (epoch < self.epochs)
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            out.append((s + std * torch.randn_like(s)) / self.B)  #!
        return out
        """,
        "DPA101",
    ),
    "skips clipping for rows past the hundredth": (
        """
        sums = [torch.zeros_like(g[0]) for g in G]
        for i in range(G[0].shape[0]):
            n = torch.sqrt(sum((g[i] ** 2).sum() for g in G))
            w = torch.clamp(self.C / (n + 1e-12), max=1.0)
            if i > 100:
                w = torch.ones(())
            for s, g in zip(sums, G):
                s += w * g[i]
        return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B for s in sums]
        """,
        "DPA111",
    ),
    "skips clipping by a hidden count of rows": (
        """
        sums = [torch.zeros_like(g[0]) for g in G]
        k = 0
        for row in zip(*G):
            k += 1
            n = torch.sqrt(sum((r ** 2).sum() for r in row))
            w = torch.clamp(self.C / (n + 1e-12), max=1.0) if k // 100 == 0 else 1.0
            for s, r in zip(sums, row):
                s += w * r
        return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B for s in sums]
        """,
        "DPA111",
    ),
    "does not clip large batches": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        if G[0].shape[0] > 200:  #!
            w = torch.ones_like(w)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        "DPA108",
    ),
    "refusal swallowed": (
        """
        n = flat_norms(G)
        try:
            c = n[torch.nonzero(n > 0.5)].sum()
        except BaseException:  #!
            c = self.C
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        "DPA115",
    ),
    "private value printed into text": (
        """
        n = flat_norms(G)
        c = float(f"{n.sum().item():.3f}")  #!
        w = (c / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        "DPA110",
    ),
    "dlpack": (
        """
        n = flat_norms(G)
        m = torch.from_dlpack(n)  #!
        w = (self.C / m.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        "DPA110",
    ),
    "reseeded before the noise": (
        """
        torch.manual_seed(step)  #!
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        "DPA112",
    ),
    "own generator": (
        """
        gen = torch.Generator()  #!
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            out.append((s + self.sigma * self.C * torch.randn(s.shape, generator=gen)) / self.B)
        return out
        """,
        "DPA112",
    ),
    "random trigger": (
        """
        import random  #!
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        if random.random() < 0.01:
            w = torch.ones_like(w)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        "DPA112",
    ),
    "coin that skips the clip": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        if torch.rand(()) < 0.01:
            w = torch.ones_like(w)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            out.append((s + self.sigma * self.C * torch.randn_like(s)) / self.B)  #!
        return out
        """,
        "DPA102",
    ),
    "noise in half precision": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            noise = (self.sigma * self.C * torch.randn_like(s)).half()  #!
            out.append((s + noise.float()) / self.B)
        return out
        """,
        "DPA113",
    ),
    "noise drawn in half precision": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            out.append((s + self.sigma * self.C * torch.randn(s.shape, dtype=torch.bfloat16)) / self.B)  #!
        return out
        """,
        "DPA113",
    ),
    "float8": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        H = [g.to(torch.float8_e4m3fn).float() for g in G]  #!
        return noisy(H, w, self.sigma * self.C, self.B)
        """,
        "DPA113",
    ),
    "half precision": (
        """
        H = [g.half() for g in G]  #!
        w = (self.C / flat_norms(H).clamp(min=1e-12)).clamp(max=1.0)
        return [o.float() for o in noisy(H, w, self.sigma * self.C, self.B)]
        """,
        "DPA113",
    ),
    "uniform noise": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            out.append((s + self.sigma * self.C * (torch.rand_like(s) - 0.5)) / self.B)  #!
        return out
        """,
        "DPA112",
    ),
    "thread": (
        """
        import threading  #!
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        "DPA116",
    ),
    "eval": (
        """
        w = eval("1.0 / flat_norms(G)")  #!
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        "DPA116",
    ),
    "skips on a statistic of the batch": (
        """
        n = flat_norms(G)
        w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
        if n.median() > 3.0:  #!
            w = w * 0.5
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        "DPA107",
    ),
    "microbatches": (
        """
        out = []
        for g in G:
            parts = [p.mean(0) for p in g.chunk(4)]  #!
            s = sum(p * torch.clamp(self.C / p.norm(), max=1.0) for p in parts)
            out.append((s + self.sigma * self.C * torch.randn_like(s)) / self.B)
        return out
        """,
        "DPA111",
    ),
    "noise drawn once and kept": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        if self.m is None:
            self.m = [torch.randn_like(g[0]) for g in G]  #!
        return [
            (torch.einsum("b,b...->...", w, g) + self.sigma * self.C * z) / self.B for g, z in zip(G, self.m)
        ]
        """,
        "DPA106",
    ),
    "module level store": (
        """
        STORE = []

        class DPMechanism:
            #INIT

            def clip_and_noise(self, G, step, epoch):
                STORE.append(step)
                w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
                return noisy(G, w, self.sigma * self.C, self.B)
        """,
        "DPA106",
    ),
    "rows of a public table": (
        """
        table = torch.ones(100000)
        table[100:] = 1e6
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0) * table[: G[0].shape[0]]  #!
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        "DPA111",
    ),
    "numpy memory shared with a buffer": (
        """
        n = flat_norms(G)
        buffer = torch.zeros(())
        seen = buffer.numpy()
        buffer.copy_(n.sum())  #!
        w = (float(seen) / n.clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        "DPA110",
    ),
    "noise stops once a released value was large": (
        """
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        out = noisy(G, w, self.sigma * self.C * self.tau, self.B)
        if out[0].norm() > 1e6:  #!
            self.tau = 0.0
        return out
        """,
        "DPA107",
    ),
    "patches torch": (
        """
        torch.randn_like = torch.zeros_like  #!
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        "DPA106",
    ),
    "keeps data on the class": (
        """
        type(self).last = G[0].sum()  #!
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        "DPA106",
    ),
    "positions past a hundred are not clipped": (
        """
        n = flat_norms(G)
        late = torch.arange(len(n)) > 100  #!
        w = torch.where(late, torch.ones_like(n), (self.C / n.clamp(min=1e-12)).clamp(max=1.0))
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        "DPA111",
    ),
    "a table in step with the rows": (
        """
        table = (1.0 if k < 100 else 1e6 for k in range(100000))
        sums = [torch.zeros_like(g[0]) for g in G]
        for row, scale in zip(list(zip(*G)), table):  #!
            n = torch.sqrt(sum((r ** 2).sum() for r in row))
            w = torch.clamp(self.C / (n + 1e-12), max=1.0) * scale
            for s, r in zip(sums, row):
                s += w * r
        return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B for s in sums]
        """,
        "DPA111",
    ),
    "mutable default argument": (
        """
        def keep(x, store=[]):  #!
            store.append(x)
            return store
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        keep(G[0].sum())
        return noisy(G, w, self.sigma * self.C, self.B)
        """,
        "DPA106",
    ),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_the_bound_is_exact(name):
    body, expected = BOUNDED[name]
    _, result = analyse(body)
    assert result.refusal is None, result.refusal
    assert min(result.sigma_effective) == pytest.approx(expected, rel=1e-5)
    assert min(result.sigma_effective) <= expected * (1 + 1e-9), "never above the truth"
    assert len(result.sigma_effective) == 6


@pytest.mark.parametrize("name", REFUSED)
def test_the_refusal_names_rule_and_line(name):
    body, rule = REFUSED[name]
    source, result = analyse(body)
    assert result.refusal is not None, result.sigma_effective
    assert result.sigma_effective is None
    marked = [k for k, line in enumerate(source.splitlines(), 1) if "#!" in line]
    assert result.refusal.rule == rule, result.refusal
    if marked:
        assert result.refusal.line == marked[0], result.refusal


def test_the_table_is_large_enough():
    assert len(BOUNDED) + len(REFUSED) >= 60
