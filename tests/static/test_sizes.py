"""Numbers read from shapes: sizes to cut and view by are free; formulas that come out alike at small shapes alone are not."""

import pytest
import torch

from dpaudit.contract import Cell, Relation, Rows, RunConfig, Sampler
from dpaudit.static.analysis import Candidate, analyse_source

SHAPES = ((6, 3, 4), (6,), (4, 6, 5))
SOURCE = """
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


class DPMechanism:
    def __init__(self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon,
                 target_delta):
        self.C, self.sigma, self.B, self.m = max_grad_norm, noise_multiplier, batch_size, None

    def clip_and_noise(self, G, step, epoch):
"""
CLIP = "w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)\n"


def build(body: str) -> str:
    lines = [line.removeprefix("        ") for line in body.strip("\n").splitlines()]
    return SOURCE + "\n".join("        " + line for line in lines) + "\n"


def analyse(body: str, rows: Rows = Rows.SAMPLED, relation: Relation = Relation.ADD_REMOVE, shapes=SHAPES):
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
            relation=relation,
            rows=rows,
        ),
        parameter_shapes=shapes,
    )
    return analyse_source(Candidate(source=build(body), filename="sizes.py"), config)


ATTACKS = {
    "list by n//": """
        n = G[0][0].numel()
        w = w * [1.0, 1e4][n // 60]
        return noisy(G, w, self.sigma * self.C, self.B)
    """,
    "size n//": """
        n = G[0][0].numel()
        w = w * (1 + 1e4 * torch.ones(n // 60).sum())
        return noisy(G, w, self.sigma * self.C, self.B)
    """,
    "place n%": """
        n = G[0][0].numel()
        s = torch.ones(n)
        s[0] = 1e-6
        k = n % 71 - 1
        return noisy(G, w, self.sigma * self.C * s[k:k+1].sum(), self.B)
    """,
    "place idx": """
        n = G[0][0].numel()
        s = torch.ones(n)
        s[0] = 1e-6
        k = n % 71 - 1
        return noisy(G, w, self.sigma * self.C * s[k], self.B)
    """,
    "store n%": """
        n = G[0][0].numel()
        s = torch.ones(n)
        s[n % 71 - 1] = 1e-6
        return noisy(G, w, self.sigma * self.C * s[0], self.B)
    """,
    "store slice": """
        n = G[0][0].numel()
        s = torch.ones(n)
        k = n % 71 - 1
        s[k:k+1] = 1e-6
        return noisy(G, w, self.sigma * self.C * s[0], self.B)
    """,
    "range n//": """
        n = G[0][0].numel()
        for _ in range(n // 60):
            w = w * 1e4
        return noisy(G, w, self.sigma * self.C, self.B)
    """,
    "list times n//": """
        n = G[0][0].numel()
        L = [1e4] * (n // 60) + [1.0]
        return noisy(G, w * L[0], self.sigma * self.C, self.B)
    """,
    "narrow": """
        n = G[0][0].numel()
        w1 = torch.tensor([1.0, 1e-6]).narrow(0, n // 60, 1)
        return noisy(G, w, self.sigma*self.C*w1[0], self.B)
    """,
    "cat order": """
        b = [g[0].numel() for g in G]
        v = torch.cat([torch.full((b[0],), 1e-6), torch.ones(b[1]), torch.ones(b[2])])
        k=v[b[1]:b[1]+1]
        return noisy(G, w, self.sigma*self.C*k[0], self.B)
    """,
    "select": """
        n = G[0][0].numel()
        w1 = torch.tensor([1.0, 1e-6]).select(0, n // 60)
        return noisy(G, w, self.sigma*self.C*w1, self.B)
    """,
    "repeat": """
        n = G[0][0].numel()
        w1 = 1+1e4*torch.tensor([1.0]).repeat(n // 60).sum()
        return noisy(G, w*w1, self.sigma*self.C, self.B)
    """,
    "sum dim": """
        n = G[0][0].numel()
        w1 = torch.tensor([[1.0, 1.0], [1e-6, 1e-6]]).sum(n // 60)
        return noisy(G, w, self.sigma*self.C*w1[1], self.B)
    """,
    "string": """
        n = G[0][0].numel()
        w1 = 'ab' * (n // 60)
        return noisy(G, w*(1+1e4*len(w1)), self.sigma*self.C, self.B)
    """,
    "flat": """
        n = G[0][0].numel()
        x={0:1.0,1:1e4}.get(n // 60)
        return noisy(G, w*x, self.sigma*self.C, self.B)
    """,
    "dict": """
        n = G[0][0].numel()
        x={0:1.0,1:1e4}[n // 60]
        return noisy(G, w*x, self.sigma*self.C, self.B)
    """,
    "arange": """
        n = G[0][0].numel()
        x=torch.arange(n // 60).numel()
        return noisy(G, w*(1+1e4*x), self.sigma*self.C, self.B)
    """,
    "int": """
        n = G[0][0].numel()
        x=int(str(n // 60))
        return noisy(G, w*(1+1e4*x), self.sigma*self.C, self.B)
    """,
    "pop": """
        n = G[0][0].numel()
        x=[1.0,1e4].pop(n // 60)
        return noisy(G, w*x, self.sigma*self.C, self.B)
    """,
    "np": """
        n = G[0][0].numel()
        x=np.array([1.0,1e4])[n // 60]
        return noisy(G, w*float(x), self.sigma*self.C, self.B)
    """,
    "np.take": """
        n = G[0][0].numel()
        x=np.take([1.0,1e4],n // 60)
        return noisy(G, w*float(x), self.sigma*self.C, self.B)
    """,
    "np.zeros": """
        n = G[0][0].numel()
        x=np.ones(n // 60).sum()
        return noisy(G, w*float(1+1e4*x), self.sigma*self.C, self.B)
    """,
    "enumerate": """
        n = G[0][0].numel()
        x=[b for a,b in enumerate([1.0,1e4]) if a == n // 60][0]
        return noisy(G, w*float(x), self.sigma*self.C, self.B)
    """,
    "set": """
        n = G[0][0].numel()
        x= 1e4 if (n//60) in {1} else 1.0
        return noisy(G, w*float(x), self.sigma*self.C, self.B)
    """,
    "slice list": """
        n = G[0][0].numel()
        x=[1.0,1e4][n // 60:][0]
        return noisy(G, w*x, self.sigma*self.C, self.B)
    """,
    "round": """
        n = G[0][0].numel()
        x=round(1.00005, 4 - 2*(n // 60))
        return noisy(G, w, self.sigma*self.C*(x-1), self.B)
    """,
    "islice": """
        import itertools
        n = G[0][0].numel()
        x=next(itertools.islice([1.0,1e4],n // 60,None))
        return noisy(G, w*x, self.sigma*self.C, self.B)
    """,
    "np.float64": """
        n = G[0][0].numel()
        x = np.float64(1.0) + n // 60
        return noisy(G, w*float(1e4**(x-1)), self.sigma*self.C, self.B)
    """,
    "set literal": """
        n = G[0][0].numel()
        x = len({n // 60, 1})
        return noisy(G, w*10**(4*(2-x)), self.sigma*self.C, self.B)
    """,
    "percent": """
        n = G[0][0].numel()
        x = int('%d' % (n // 60,))
        return noisy(G, w*10**(4*x), self.sigma*self.C, self.B)
    """,
    "dict get": """
        n = G[0][0].numel()
        x = {1: 1e4}.get(n // 60, 1.0)
        return noisy(G, w*x, self.sigma*self.C, self.B)
    """,
    "np slice": """
        n = G[0][0].numel()
        x = np.array([1.0, 1e4])[n // 60:][0]
        return noisy(G, w*float(x), self.sigma*self.C, self.B)
    """,
    "np tuple": """
        n = G[0][0].numel()
        x = np.array([[1.0, 1e4]])[0, n // 60]
        return noisy(G, w*float(x), self.sigma*self.C, self.B)
    """,
    "getattr": """
        n = G[0][0].numel()
        x = (n // 60).bit_length()
        return noisy(G, w*10**(4*x), self.sigma*self.C, self.B)
    """,
    "axis arg": """
        n = G[0][0].numel()
        x = torch.tensor([[1.0, 1e-6], [1.0, 1e-6]]).amin(dim=1 - n // 60)
        return noisy(G, w, self.sigma*self.C*x[1], self.B)
    """,
    "round digits": """
        n = G[0][0].numel()
        x = round(1.001, 3 - 2*(n // 60)) - 0.999999
        return noisy(G, w, self.sigma*self.C*x*1e3, self.B)
    """,
    "kept": """
        if self.m is None:
            self.m = G[0][0].numel() // 60
        w = w * [1.0, 1e4][self.m]
        return noisy(G, w, self.sigma*self.C, self.B)
    """,
    "accumulate": """
        import itertools
        n = G[0][0].numel()
        x = list(itertools.accumulate([n // 60, 1]))[0]
        return noisy(G, w*10**(4*x), self.sigma*self.C, self.B)
    """,
    "float of size tensor": """
        n = G[0][0].numel()
        x = torch.empty(n // 60).shape[0]
        return noisy(G, w*10**(4*x), self.sigma*self.C, self.B)
    """,
}
"""``numel // 60`` is 0 at both small shapes and 1 at the real one: there the clip or the noise is taken away."""

FIXED = {
    "slice step": """
f = torch.cat([g.flatten(1) for g in G], dim=1)
k = 100
n = f[:, :k + 0 * step].norm(dim=1)
w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "slice np": """
f = torch.cat([g.flatten(1) for g in G], dim=1)
k = 100
n = f[:, :np.int64(k)].norm(dim=1)
w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "slice shape": """
f = torch.cat([g.flatten(1) for g in G], dim=1)
k = 100
m = f.shape[1]
n = f[:, :m - m + k].norm(dim=1)
w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "slice tensor": """
f = torch.cat([g.flatten(1) for g in G], dim=1)
k = 100
n = f[:, :torch.tensor(k)].norm(dim=1)
w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "split step": """
f = torch.cat([g.flatten(1) for g in G], dim=1)
k = 100
n = f.split(k + 0 * step, dim=1)[0].norm(dim=1)
w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "split shape": """
f = torch.cat([g.flatten(1) for g in G], dim=1)
k = 100
m = f.shape[1]
n = f.split(m - m + k, dim=1)[0].norm(dim=1)
w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "split list": """
f = torch.cat([g.flatten(1) for g in G], dim=1)
k = 100
n = f.split([k, f.shape[1] - k], dim=1)[0].norm(dim=1)
w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "chunk step": """
f = torch.cat([g.flatten(1) for g in G], dim=1)
k = 100
n = f.chunk(2 + 0 * step, dim=1)[0].norm(dim=1)
w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "narrow shape": """
f = torch.cat([g.flatten(1) for g in G], dim=1)
k = 100
m = f.shape[1]
n = f.narrow(1, 0, min(m, k)).norm(dim=1)
w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "tensor_split": """
f = torch.cat([g.flatten(1) for g in G], dim=1)
k = 100
n = f.tensor_split((k,), dim=1)[0].norm(dim=1)
w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "split kw": """
f = torch.cat([g.flatten(1) for g in G], dim=1)
k = 100
n = torch.split(f, split_size_or_sections=k, dim=1)[0].norm(dim=1)
w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "split unsafe": """
f = torch.cat([g.flatten(1) for g in G], dim=1)
k = 100
n = f.unsafe_split(k, dim=1)[0].norm(dim=1)
w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "hsplit": """
f = torch.cat([g.flatten(1) for g in G], dim=1)
k = 100
n = f.hsplit((k,))[0].norm(dim=1)
w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "vsplit": """
f = torch.cat([g.flatten(1) for g in G], dim=1)
k = 100
n = f.t().vsplit((k,))[0].norm(dim=0)
w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "unsafe_chunk": """
f = torch.cat([g.flatten(1) for g in G], dim=1)
k = 100
n = f.unsafe_chunk(2, dim=1)[0].norm(dim=1)
w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "ellipsis": """
f = torch.cat([g.flatten(1) for g in G], dim=1)
k = 100
n = f[..., :k].norm(dim=1)
w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "none slice": """
f = torch.cat([g.flatten(1) for g in G], dim=1)
k = 100
n = f[:, None, :k].norm(dim=2)[:, 0]
w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "ellipsis step": """
f = torch.cat([g.flatten(1) for g in G], dim=1)
k = 100
n = f[..., :k + 0*step].norm(dim=1)
w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "step stride": """
f = torch.cat([g.flatten(1) for g in G], dim=1)
k = 100
n = f[:, ::k].norm(dim=1)
w = (self.C / n.clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "roll 2": """
w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
s = torch.full((G[0][0].numel(),), 1e-9)
s[0] = 1.0
return noisy(G, w, s.roll(36)[0] * self.sigma * self.C, self.B)
""",
    "chunks third": """
S = [torch.zeros_like(g[0]) for g in G]
k = 0
for chunk in zip(*[g.split(16) for g in G]):
    k += 1
    w = (self.C / flat_norms(chunk).clamp(min=1e-12)).clamp(max=1.0)
    if k > 2:
      w = torch.ones_like(w)
    S = [s + torch.tensordot(w, c, dims=1) for s, c in zip(S, chunk)]
return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B for s in S]
""",
    "chunks size": """
S = [torch.zeros_like(g[0]) for g in G]
for chunk in zip(*[g.split(16) for g in G]):
    w = (self.C / flat_norms(chunk).clamp(min=1e-12)).clamp(max=1.0)
    if len(w) > 10:
      w = torch.ones_like(w)
    S = [s + torch.tensordot(w, c, dims=1) for s, c in zip(S, chunk)]
return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B for s in S]
""",
    "chunks count": """
S = [torch.zeros_like(g[0]) for g in G]
parts = list(zip(*[g.split(16) for g in G]))
for chunk in parts:
    w = (self.C / flat_norms(chunk).clamp(min=1e-12)).clamp(max=1.0) * len(parts) / 3
    S = [s + torch.tensordot(w, c, dims=1) for s, c in zip(S, chunk)]
return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B for s in S]
""",
    "chunks doubling": """
S = [torch.zeros_like(g[0]) for g in G]
f = 1.0
for chunk in zip(*[g.split(16) for g in G]):
    w = (self.C / flat_norms(chunk).clamp(min=1e-12)).clamp(max=1.0) * f
    f = f * 4
    S = [s + torch.tensordot(w, c, dims=1) for s, c in zip(S, chunk)]
return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B for s in S]
""",
    "chunks norm of all": """
S = [torch.zeros_like(g[0]) for g in G]
n = flat_norms(G).split(16)[0]
for chunk in zip(*[g.split(16) for g in G]):
    w = (self.C / n[: len(chunk[0])].clamp(min=1e-12)).clamp(max=1.0)
    S = [s + torch.tensordot(w, c[: len(w)], dims=1) for s, c in zip(S, chunk)]
return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B for s in S]
""",
    "chunks noise each": """
S = [torch.zeros_like(g[0]) for g in G]
for chunk in zip(*[g.split(16) for g in G]):
    w = (self.C / flat_norms(chunk).clamp(min=1e-12)).clamp(max=1.0)
    S = [s + torch.tensordot(w, c, dims=1) + 0.7 * self.sigma * self.C * torch.randn_like(s) for s, c in zip(S, chunk)]
return [s / self.B for s in S]
""",
    "chunks first noise": """
S = [torch.zeros_like(g[0]) for g in G]
T = torch.ones(())
for chunk in zip(*[g.split(16) for g in G]):
    w = (self.C / flat_norms(chunk).clamp(min=1e-12)).clamp(max=1.0)
    T = T * 0.5
    S = [s + torch.tensordot(w, c, dims=1) for s, c in zip(S, chunk)]
return [(s + T * self.sigma * self.C * torch.randn_like(s)) / self.B for s in S]
""",
    "pick then write": """
w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
out = noisy(G, w, self.sigma * self.C, self.B)
t = out[0].flatten().sort().values
c = t[t.numel() // 2]
t[:] = G[0].sum(0).flatten()
out[1] = out[1] + c
return out
""",
    "pick written": """
w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
out = noisy(G, w, self.sigma * self.C, self.B)
t = out[0].flatten().sort().values
c = t[t.numel() // 2]
c.add_(G[0].sum())
return out
""",
    "pick scale": """
w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
out = noisy(G, w, self.sigma * self.C, self.B)
t = torch.cat([torch.ones(5), out[0].flatten().sort().values])
c = t[G[0][0].numel() // 8].abs()
return [o + torch.einsum("b,b...->...", w, g) + c * self.sigma * self.C * torch.randn_like(o) for o, g in zip(out, G)]
""",
}
"""Cuts at a fixed place beyond every small shape, chunks that are counted or told apart, places that are written to."""

IN_PLACE = """
w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
t = torch.zeros(())
t.add_(torch.sigmoid(w.sum() + 10 * self.sigma * torch.randn(())))
return noisy(G, w, t * self.sigma * self.C, self.B)
"""
"""The scale of the noise comes as near to 0 as one likes; what ``t`` held in the small run is no lower bound of it."""


FLAT = """
flat = torch.cat([g.flatten(1) for g in G], dim=1)
w = (self.C / flat.norm(dim=1).clamp(min=1e-12)).clamp(max=1.0)
total = (w @ flat + self.sigma * self.C * torch.randn(flat.shape[1])) / self.B
sizes = {}
return [p.view(g.shape[1:]) for p, g in zip(total.split(sizes), G)]
"""
OFFSETS = """
flat = torch.cat([g.flatten(1) for g in G], dim=1)
w = (self.C / flat.norm(dim=1).clamp(min=1e-12)).clamp(max=1.0)
total = (w @ flat + self.sigma * self.C * torch.randn_like(flat[0])) / self.B
out, at = [], 0
for g in G:
    n = {}
    out.append(total[at : at + n].{})
    at += n
return out
"""
SIZES = (
    "g[:0].flatten(1).shape[1]",
    "g[0].numel()",
    "g.shape[1:].numel()",
    "math.prod(g.shape[1:])",
    "np.prod(g.shape[1:])",
    "g.flatten(1).size(1)",
    "g[:1].flatten(1).shape[1]",
    "g.numel() // len(g)",
)
HONEST = {f"split, {size}": FLAT.format(f"[{size} for g in G]") for size in SIZES[:-1]}
HONEST |= {
    "weights multiplied in place": """
w = torch.ones(len(G[0]))
w.mul_((self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0))
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "a square summed in place": """
S = [torch.zeros_like(g[0]) for g in G]
for i in range(len(G[0])):
    square = torch.tensor(0.0)
    for g in G:
     square += (g[i] ** 2).sum()
    w = min(1.0, self.C / (square.sqrt() + 1e-9))
    S = [s + w * g[i] for s, g in zip(S, G)]
return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B for s in S]
""",
    "rows in chunks": """
S = [torch.zeros_like(g[0]) for g in G]
for chunk in zip(*[g.split(16) for g in G]):
    w = (self.C / flat_norms(chunk).clamp(min=1e-12)).clamp(max=1.0)
    S = [s + torch.tensordot(w, c, dims=1) for s, c in zip(S, chunk)]
return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B for s in S]
""",
    "the largest half of what is released": """
w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
out = []
for s in noisy(G, w, self.sigma * self.C, self.B):
    cut = s.abs().flatten().sort().values[s.numel() // 2]
    out.append(torch.where(s.abs() >= cut, s, torch.zeros_like(s)))
return out
""",
    "NumPy with its own keywords": """
rows = [g.numpy() for g in G]
norms = np.linalg.norm(np.concatenate([r.reshape(len(r), -1) for r in rows], axis=1), axis=1, keepdims=False)
w = np.minimum(1.0, self.C / np.maximum(norms, 1e-12))
out = []
for r in rows:
    s = np.tensordot(w, r, axes=1)
    noise = np.random.normal(0.0, self.sigma * self.C, size=s.shape)
    out.append(torch.from_numpy(((s + noise) / self.B).astype(np.float32)))
return out
""",
    "sizes appended": FLAT.format("[]").replace(
        "sizes = []", "sizes = []\nfor g in G:\n    sizes.append(g[0].numel())"
    ),
    "offsets and view": OFFSETS.format("g[0].numel()", "view(g.shape[1:])"),
    "offsets and reshape": OFFSETS.format("math.prod(g.shape[1:])", "reshape(g[0].shape)"),
    "limit by the number of coordinates": """
count = sum(g[0].numel() for g in G)
limit = self.C / math.sqrt(count)
out = []
for g in G:
    s = g.clamp(-limit, limit).sum(0)
    out.append((s + self.sigma * self.C * torch.randn_like(s)) / self.B)
return out
""",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_formula_that_differs_at_the_real_shape_alone_is_refused(name):
    result = analyse(CLIP + ATTACKS[name])
    assert result.sigma_effective is None
    assert result.refusal.rule in {"DPA111", "DPA116"}


@pytest.mark.parametrize("name", ATTACKS)
def test_the_attack_takes_the_protection_away_at_the_real_shape(name):
    """The very same code, run on plain tensors, does run: a refusal for a crash would show nothing."""
    namespace = {}
    exec(compile(build(CLIP + ATTACKS[name]), name, "exec"), namespace)
    mechanism = namespace["DPMechanism"](1.0, 1.2, 198, 60000, 256, 2, 3.0, 1e-5)
    rows = [torch.full((4, *shape), 10.0) for shape in SHAPES]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flat = torch.cat([u.flatten() for u in mechanism.clip_and_noise(rows, 0, 1)]) * 256
    assert flat.mean() > 1e3 or flat.std() < 1e-2 * 1.2


@pytest.mark.parametrize("name", FIXED)
def test_what_is_fixed_beyond_the_small_shapes_is_refused(name):
    result = analyse(FIXED[name])
    assert result.sigma_effective is None
    assert result.refusal.rule in {"DPA102", "DPA105", "DPA110", "DPA111"}


def test_what_an_operation_in_place_overwrites_is_not_read_from_the_small_run():
    result = analyse(IN_PLACE)
    assert result.sigma_effective is None
    assert result.refusal.rule == "DPA102"


@pytest.mark.parametrize("name", HONEST)
def test_sizes_to_cut_and_view_by_are_free(name):
    result = analyse(HONEST[name])
    assert result.refusal is None, result.refusal
    assert min(result.sigma_effective) == pytest.approx(1.2, rel=1e-5)


def test_sizes_are_free_where_rows_are_constant():
    result = analyse(HONEST["split, g[0].numel()"], rows=Rows.CONSTANT)
    assert result.refusal is None, result.refusal
    assert min(result.sigma_effective) == pytest.approx(1.2, rel=1e-5)


@pytest.mark.parametrize(
    "norm",
    ["np.linalg.norm(flat, np.inf, 1)", "np.linalg.norm(flat, ord=np.inf, axis=1)", "np.max(np.abs(flat), axis=1)"],
)
def test_a_clip_by_another_norm_of_numpy_gets_no_bound_of_the_usual_one(norm):
    body = f"""
flat = torch.cat([g.flatten(1) for g in G], dim=1).numpy()
w = torch.from_numpy(np.minimum(1.0, self.C / np.maximum({norm}, 1e-12)))
return noisy(G, w, self.sigma * self.C, self.B)
"""
    result = analyse(body)
    assert result.sigma_effective is None or min(result.sigma_effective) <= 1.2 / 198**0.5 * (1 + 1e-6)


@pytest.mark.parametrize("shapes", [((500,), (3, 3, 2, 1)), ((72,), (3, 2, 2, 2))])
def test_a_cut_that_reaches_over_a_longer_part_at_the_real_shape_is_refused(shapes):
    """The long tensor is shorter than the other in the first small shape, so that a cut there would miss all of it."""
    body = """
w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
a, s = G[0][0].numel(), G[1][0].numel()
v = torch.cat([torch.full((a,), 1e-9), torch.ones(s)])
return noisy(G, w, v[s : s + a][0] * self.sigma * self.C, self.B)
"""
    result = analyse(body, shapes=shapes)
    assert result.sigma_effective is None
    assert result.refusal.rule == "DPA111"
