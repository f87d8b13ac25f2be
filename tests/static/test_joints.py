"""Cuts of joined axes: the honest idioms are bounded, and what is cut elsewhere in reality than at the small shape is refused."""

import pytest
import torch

from dpaudit.contract import Cell, Relation, Rows, RunConfig, Sampler
from dpaudit.static.analysis import Candidate, analyse_source
from dpaudit.static.expressions import Table
from dpaudit.static.joints import JointBook, regrouped
from dpaudit.static.refusal import Refusal
from dpaudit.static.session import Session

SHAPES = ((6, 3, 4), (6,), (4, 6, 5))
SOURCE = """
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


class DPMechanism:
    def __init__(self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon,
                 target_delta):
        self.C, self.sigma, self.B, self.m, self.n_params = max_grad_norm, noise_multiplier, batch_size, None, n_params
        self.scales = None

    def clip_and_noise(self, G, step, epoch):
        w = (self.C / flat_norms(G).clamp(min=1e-12)).clamp(max=1.0)
        c = [g[0].numel() for g in G]
        small, one = 1e-9, 1.0
"""
NOISE = "return noisy(G, w, self.sigma * self.C * x, self.B)"
JOINED = "v = torch.cat([torch.full((c[1],), small), torch.ones(c[0]), torch.ones(c[2])])\n"
"""The short part is short at every small shape (2 and 3 elements) and has 6 in reality: place 5 is inside it there alone."""


def build(body: str) -> str:
    return SOURCE + "\n".join("        " + line for line in body.strip("\n").splitlines()) + "\n"


def analyse(body: str, shapes=SHAPES):
    config = RunConfig(
        dataset_size=60000,
        batch_size=256,
        expected_batch=180,
        epochs=1,
        steps_per_epoch=3,
        max_grad_norm=1.0,
        target_epsilon=3.0,
        target_delta=1e-5,
        noise_multiplier=1.2,
        cell=Cell(sampler=Sampler.POISSON, relation=Relation.ADD_REMOVE, rows=Rows.SAMPLED),
        parameter_shapes=shapes,
    )
    return analyse_source(Candidate(source=build(body), filename="joints.py"), config)


PLACES = {
    "index": "x = v[5]",
    "index by a tensor": "x = v[torch.tensor(5)]",
    "index by a list": "x = v[[5]]",
    "index by NumPy": "x = v[np.int64(5)]",
    "slice": "x = v[5:].min()",
    "short slice": "x = v[5:6]",
    "from behind": "x = v.flip(0)[-6]",
    "select": "x = v.select(0, 5)",
    "narrow": "x = v.narrow(0, 5, 1)",
    "take": "x = v.take(torch.tensor([5]))",
    "index_select": "x = v.index_select(0, torch.tensor([5]))",
    "gather": "x = v.gather(0, torch.tensor([5]))",
    "unbind": "x = v.unbind(0)[5]",
    "a list of it": "x = list(v)[5]",
    "tolist": "x = v.tolist()[5]",
    "NumPy": "x = float(v.numpy()[5])",
    "NumPy, sliced": "x = float(v.numpy()[5:].min())",
    "iteration": "x = 1.0\nfor k, y in enumerate(v):\n    x = y if k == 5 else x",
    "unfold": "x = v.unfold(0, 1, 5)[1]",
    "tensor_split": "x = v.tensor_split((5, 6))[1]",
    "operators below torch": "x = torch.ops.aten.slice.Tensor(v, 0, 5, 6)",
    "steps": "x = v[::5][1]",
    "as_strided": "x = v.as_strided((1,), (1,), 5)",
    "in two dimensions": "x = torch.stack([v, v])[1, 5]",
    "roll": "x = v.roll(1)[5]",
    "kthvalue": "x = v.kthvalue(5).values",
    "topk": "x = v.topk(5, largest=False).values[4]",
}
ATTACKS = {name: JOINED + body + "\n" + NOISE for name, body in PLACES.items()}
ATTACKS |= {
    "cut at a sum of counts, joined in another order": """
v = torch.cat([torch.full((c[2],), small), torch.ones(c[0] + c[1])])
x = v[: c[0] + c[1]].max()
"""
    + NOISE,
    "cut at a sum inside another part": """
v = torch.cat([torch.ones(c[0] + c[1]), torch.full((c[2],), small)])
x = v[c[2]]
"""
    + NOISE,
    "sizes in another order": """
flat = torch.cat([g.flatten(1) for g in G], dim=1)
part = flat.split([c[2], c[1], c[0]], dim=1)[0]
w = (self.C / part.norm(dim=1).clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "two joins of one size that do not fit": """
a = torch.cat([torch.full((c[0],), 1e9), torch.ones(c[2])])
b = torch.cat([torch.full((c[2],), 1e9), torch.ones(c[0])])
x = 1 / torch.minimum(a, b).max()
"""
    + NOISE,
    "joined by stores": """
v = torch.ones(sum(c))
v[: c[1]] = small
x = v[5]
"""
    + NOISE,
    "joined by a store from behind": """
v = torch.ones(sum(c))
v[-7:] = small
x = v.flip(0)[11]
v = torch.full((c[0],), small)
v[-7:] = one
x = v[11]
"""
    + NOISE,
    "joined at one step and cut at the next": """
if self.scales is None:
    self.scales = torch.cat([torch.full((c[1],), small), torch.ones(c[0])])
    x = self.scales.max()
else:
    x = self.scales[5]
"""
    + NOISE,
    "a list of numbers as long as the model": """
v = torch.tensor([one] * 100 + [small] * 98)
x = v[c[0] + c[1] : c[0] + c[1] + c[2]].min()
"""
    + NOISE,
    "a range as long as the model": """
v = torch.where(torch.arange(self.n_params) < 100, one, small)
x = v[c[0] + c[1] : c[0] + c[1] + c[2]].min()
"""
    + NOISE,
    "padded": """
v = F.pad(torch.full((c[1],), small), (0, c[2]), value=1.0)
x = v[5]
"""
    + NOISE,
    "a place of a view": """
v = torch.stack([torch.full((c[1],), small), torch.ones(c[1]), torch.ones(c[1]), torch.ones(c[1])]).flatten()
x = v[5]
"""
    + NOISE,
    "median of parts": """
v = torch.cat([torch.full((c[0],), one), torch.full((c[2],), small)])
x = v.median()
"""
    + NOISE,
    "mean of parts": """
v = torch.cat([torch.full((c[1],), one), torch.full((c[2],), -0.5)])
x = 1e-9 + v.mean().clamp(min=0)
v = torch.cat([torch.ones(c[0]), -torch.ones(c[2])])
x = 1e-9 + v.mean().clamp(min=0.0, max=1.0)
"""
    + NOISE,
    "a stride as an index": """
x = ([one] * 60 + [small] * 200)[G[0].stride(0)]
"""
    + NOISE,
    "a length as an index": """
x = ([one] * 60 + [small] * 200)[G[0][0].flatten().__len__()]
"""
    + NOISE,
    "a place in memory as an index": """
x = ([one] * 60 + [small] * 200)[G[0][1:].storage_offset()]
"""
    + NOISE,
}
"""At the real shape each draws next to no noise, or does not clip; at both small shapes it looks as it should."""

HONEST = {
    "reversed": """
flat = torch.cat([g.flatten(1) for g in reversed(G)], dim=1)
w = (self.C / flat.norm(dim=1).clamp(min=1e-12)).clamp(max=1.0)
s = ((flat * w[:, None]).sum(0) + self.sigma * self.C * torch.randn(sum(c))) / self.B
parts = s.split([g[0].numel() for g in reversed(G)])
return [p.view(g.shape[1:]) for p, g in zip(reversed(parts), G)]
""",
    "grouped by rank": """
order = [0, 2, 1]
flat = torch.cat([G[k].flatten(1) for k in order], dim=1)
w = (self.C / flat.norm(dim=1).clamp(min=1e-12)).clamp(max=1.0)
s = ((flat * w[:, None]).sum(0) + self.sigma * self.C * torch.randn_like(flat[0])) / self.B
out, at = {}, 0
for k in order:
    out[k] = s[at : at + c[k]].reshape(G[k].shape[1:])
    at += c[k]
return [out[0], out[1], out[2]]
""",
    "norms of the parts": """
flat = torch.cat([g.flatten(1) for g in G], dim=1)
squares = torch.stack([p.pow(2).sum(1) for p in flat.split(c, dim=1)], dim=1)
w = (self.C / squares.sum(1).sqrt().clamp(min=1e-12)).clamp(max=1.0)
s = ((flat * w[:, None]).sum(0) + self.sigma * self.C * torch.randn_like(flat[0])) / self.B
return [p.view(g.shape[1:]) for p, g in zip(s.split(c), G)]
""",
    "narrow": """
flat = torch.cat([g.flatten(1) for g in G], dim=1)
w = (self.C / flat.norm(dim=1).clamp(min=1e-12)).clamp(max=1.0)
s = ((w @ flat) + self.sigma * self.C * torch.randn_like(flat[0])) / self.B
out, at = [], 0
for g, n in zip(G, c):
    out.append(s.narrow(0, at, n).view(g.shape[1:]))
    at += n
return out
""",
    "stored part by part": """
total = torch.zeros(sum(c))
at = 0
for g, n in zip(G, c):
    total[at : at + n] = torch.einsum("b,b...->...", w, g).flatten()
    at += n
total = (total + self.sigma * self.C * torch.randn_like(total)) / self.B
out, at = [], 0
for g, n in zip(G, c):
    out.append(total[at : at + n].view(g.shape[1:]))
    at += n
return out
""",
    "noise drawn for the whole model": """
z = torch.randn(self.n_params)
out, at = [], 0
for g, n in zip(G, c):
    out.append((torch.einsum("b,b...->...", w, g) + self.sigma * self.C * z[at : at + n].view(g.shape[1:])) / self.B)
    at += n
return out
""",
    "torch's own parameter vectors": """
s = torch.nn.utils.parameters_to_vector([torch.einsum("b,b...->...", w, g) for g in G])
s = (s + self.sigma * self.C * torch.randn_like(s)) / self.B
out = [torch.zeros_like(g[0]) for g in G]
torch.nn.utils.vector_to_parameters(s, out)
return out
""",
    "scales by block": """
scale = torch.cat([torch.full((n,), 1.0 + k) for k, n in enumerate(c)])
flat = torch.cat([g.flatten(1) for g in G], dim=1)
s = w @ flat + self.sigma * self.C * torch.randn_like(scale) * scale
return [p.view(g.shape[1:]) / self.B for p, g in zip(s.split(c), G)]
""",
    "a list of norms": """
norms = [g.flatten(1).norm(dim=1) for g in G]
whole = torch.stack(norms, dim=1)
w = (self.C / torch.sqrt(sum(whole[:, k] ** 2 for k in range(len(G)))).clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
""",
    "the largest of what is released, in one vector": """
flat = torch.cat([s.flatten() for s in noisy(G, w, self.sigma * self.C, self.B)])
cut = flat.abs().sort().values[flat.numel() // 2]
kept = torch.where(flat.abs() >= cut, flat, torch.zeros_like(flat))
return [p.view(g.shape[1:]) for p, g in zip(kept.split(c), G)]
""",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_cut_that_lies_elsewhere_in_reality_is_refused(name):
    result = analyse(ATTACKS[name])
    assert result.sigma_effective is None or min(result.sigma_effective) < 1e-3
    if result.refusal is not None:
        assert result.refusal.rule in {"DPA111", "DPA116", "DPA109", "DPA110"}, result.refusal
        assert result.refusal.line is not None


@pytest.mark.parametrize("name", ATTACKS)
def test_the_attack_takes_the_protection_away_at_the_real_shape(name):
    """The very same code on plain tensors: a refusal for what is harmless, or does not run, would show nothing."""
    namespace = {}
    exec(compile(build(ATTACKS[name]), name, "exec"), namespace)
    mechanism = namespace["DPMechanism"](1.0, 1.2, 198, 60000, 256, 2, 3.0, 1e-5)
    rows = [torch.zeros(4, *shape) for shape in SHAPES]
    rows[2][:, -1, -1, -1] = 1e3
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for step in range(2):
            flat = torch.cat([u.flatten() for u in mechanism.clip_and_noise(rows, step, 1)]) * 256
    assert flat.std() < 0.5 or flat.abs().max() > 100


@pytest.mark.parametrize("name", HONEST)
def test_the_honest_idiom_is_bounded(name):
    result = analyse(HONEST[name])
    assert result.refusal is None, result.refusal
    assert min(result.sigma_effective) == pytest.approx(1.2, rel=1e-5)


@pytest.mark.parametrize(
    ("cut", "what"),
    [("c[0] + 1", "off by one"), ("c[0] - 1", "off by one"), ("12", "a constant"), ("c[2]", "the wrong count")],
)
def test_a_norm_over_the_wrong_part_is_refused_or_unbounded(cut, what):
    body = f"""
flat = torch.cat([g.flatten(1) for g in G], dim=1)
norms = torch.cat([flat[:, : {cut}], flat[:, c[0] + c[1] :]], dim=1).norm(dim=1)
w = (self.C / norms.clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
"""
    result = analyse(body)
    assert result.sigma_effective is None, what
    assert result.refusal.rule in {"DPA102", "DPA111"}


@pytest.mark.parametrize("part", ["flat[:, : c[0]]", "flat.split(c, dim=1)[0]", "flat.narrow(1, 0, c[0] + c[1])"])
def test_a_norm_over_some_of_the_blocks_is_unbounded(part):
    body = f"""
flat = torch.cat([g.flatten(1) for g in G], dim=1)
w = (self.C / ({part}).norm(dim=1).clamp(min=1e-12)).clamp(max=1.0)
return noisy(G, w, self.sigma * self.C, self.B)
"""
    result = analyse(body)
    assert result.refusal.rule == "DPA102"


def test_a_sum_of_public_numbers_may_have_more_terms_at_the_real_shape():
    """``q`` is at most 8 and 27 at the small shapes and at most 120 in reality, where the noise then shrinks to a quarter."""
    body = """
out = noisy(G, w, self.sigma * self.C, self.B)
q = torch.sigmoid(out[2]).sum()
return noisy(G, w, self.sigma * self.C / (q / 30).clamp(min=1.0), self.B)
"""
    result = analyse(body)
    assert result.sigma_effective is None or min(result.sigma_effective) <= 1.2 / 17**0.5


def test_a_mean_of_public_numbers_stays_between_them():
    result = analyse("return noisy(G, w, self.sigma * self.C * (2.0 - torch.rand(c[2]).mean()), self.B)")
    assert result.refusal is None, result.refusal
    assert min(result.sigma_effective) == pytest.approx(1.2, rel=1e-4)


# ---- the book ---------------------------------------------------------------------------------------------------------


def _session() -> Session:
    return Session(table=Table(), filename="none", sampled=True, real_rows=256, tiny_rows=3)


def test_places_in_one_order_are_kept_and_others_refused():
    book, session = JointBook(), _session()
    book.add(session, 22, [(12, 72), (14, 78), (22, 198)], "a join")
    book.add(session, 22, [(13, 75), (14, 78)], "a cut")
    assert book.is_joint(22, (13, 75))
    assert not book.is_joint(22, (13, 74))
    assert book.length(22) == 198
    for place in ((13, 72), (12, 73), (15, 77), (22, 197), (5, 100)):
        with pytest.raises(Refusal):
            book.add(session, 22, [place], "a cut")


@pytest.mark.parametrize("first", ["cut", "move"])
def test_an_axis_that_was_moved_about_is_not_cut_whichever_comes_first(first):
    book, session = JointBook(), _session()
    steps = [lambda: book.add(session, 22, [(12, 72)], "a cut"), lambda: book.disturb(session, 22, "moved by flip")]
    if first == "move":
        steps.reverse()
    steps[0]()
    with pytest.raises(Refusal) as caught:
        steps[1]()
    assert caught.value.reason.rule == "DPA111"


def test_a_joint_is_lost_where_axes_are_merged():
    book, session = JointBook(), _session()
    book.add(session, 3, [(1, 1), (2, 2), (3, 3)], "a join")
    book.relate(session, (4, 3), (12,), longer=frozenset({3, 4}))
    book.add(session, 12, [(12, 72)], "a cut")
    book.relate(session, (3, 12), (36,))
    with pytest.raises(Refusal):
        book.add(session, 36, [(12, 72)], "a cut")


def test_views_are_grouped_by_the_axes_that_they_merge():
    assert regrouped((4, 2, 3), (4, 6)) == [((2, 3), (6,))]
    assert regrouped((4, 6), (4, 2, 3)) == [((6,), (2, 3))]
    assert regrouped((4, 1, 6), (4, 6)) == []
    assert regrouped((2, 6), (3, 4)) == [((2, 6), (3, 4))]
    assert regrouped((), (1,)) == []
