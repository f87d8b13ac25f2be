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


def analyse(body: str, rows: Rows = Rows.SAMPLED, relation: Relation = Relation.ADD_REMOVE):
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
        parameter_shapes=SHAPES,
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


@pytest.mark.parametrize("name", HONEST)
def test_sizes_to_cut_and_view_by_are_free(name):
    result = analyse(HONEST[name])
    assert result.refusal is None, result.refusal
    assert min(result.sigma_effective) == pytest.approx(1.2, rel=1e-5)


def test_sizes_are_free_where_rows_are_constant():
    result = analyse(HONEST["split, g[0].numel()"], rows=Rows.CONSTANT)
    assert result.refusal is None, result.refusal
    assert min(result.sigma_effective) == pytest.approx(1.2, rel=1e-5)
