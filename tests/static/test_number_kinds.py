"""Integers, truth values, NaN, and numbers that float32 cannot hold: where the laws of real numbers are not those of a tensor.

Every attack was once bounded at 1.2; each is shown to move far more than its clip.
"""

import pytest

from dpaudit.contract import Cell, Relation, Rows, RunConfig, Sampler
from dpaudit.static.analysis import Candidate, analyse_source

from .attack_forms import CLIP, at_last, by_rows, contribution, mechanism, play, rows_of, stateful, summed, weighted
from .test_attacks import SMALL, analyse, build

LAYER = ((64, 128),)
COARSE = "w = (self.C / (m * 1e3 + 1e-6)).clamp(max=1.0)"
ATTACKS = {
    "any over no axes": weighted("q = torch.any(torch.stack([n > 9, n >= 0]), dim=[])\nw = torch.where(q[0], 50.0, w)"),
    "a sum in integers": weighted(f"m = (n * 1e-3)[:, None].sum(1, dtype=torch.int64)\n{COARSE}"),
    "a sum into integers": weighted(
        f"m = torch.zeros(len(n), dtype=torch.int64)\ntorch.sum((n * 1e-3)[:, None], 1, out=m)\n{COARSE}"
    ),
    "a running sum in integers": weighted(f"m = (n * 1e-3)[:, None].cumsum(1, dtype=torch.int64)[:, 0]\n{COARSE}"),
    "a product in integers": weighted(f"m = (n * 1e-3)[:, None].prod(1, dtype=torch.int64)\n{COARSE}"),
    "integers filled": weighted(
        f"m = torch.zeros(len(n), dtype=torch.int64)\nfor i in range(len(n)):\n    m[i].fill_(n[i] * 1e-3)\n{COARSE}"
    ),
    "an integer made full": weighted(
        f"m = torch.stack([torch.full((), n[i] * 1e-3, dtype=torch.int64) for i in range(len(n))])\n{COARSE}"
    ),
    "an integer array": weighted(f"m = torch.from_numpy(np.asarray(n.numpy() * 1e-3, dtype=np.int64))\n{COARSE}"),
    "below zero in bytes": weighted("t = ((n > 1e6).to(torch.uint8) - 1).float()\nw = w * (1 + torch.relu(t - 1))"),
    "beyond 127 in bytes": weighted(
        "m = (n > 1).to(torch.int8)\nt = (m * 100 + m * 100).float()\nw = w * (1 + torch.relu(-t))"
    ),
    "a square beyond 63 bits": weighted("k = (first * 8e8).long()\nk = k * k\nw = torch.where(k >= 0, w, 50.0)"),
    "truth values added": weighted(
        "a = n > 1\ns = (a + a + a + a + a + a + a + a).float()\nw = w * (1 + 4 * (10 * a.float() - s))"
    ),
    "counts copied into truth values": weighted(
        "b = torch.zeros(len(n), dtype=torch.bool)\nb.copy_((n > 1).long() * 50)\n"
        "w = w * (1 + torch.relu(50 * (n > 1) - b.float()))"
    ),
    "a mean of squares": weighted("r = G[0].flatten(1).pow(2).mean(1).sqrt()\nw = torch.maximum(w, self.C / (10 * r))"),
    "a floor just below 1": weighted("w = w * (1 + 49 * torch.floor(n.clamp(max=0.99999999)))"),
    "a number below float32": weighted("t = (first - 5.0).abs().clamp(min=1e-50)\nw = torch.where(t > 0, w, 50.0)"),
    "a number above float32": weighted("w = torch.where(n**8 >= 1e300, 1e17 / n**2, w)"),
    "a power that vanishes": weighted("w = torch.where((n * n) ** 4 <= 0, 1e7, w)"),
    "a step that divides by zero": weighted("try:\n    k = 1 / (step - 5)\nexcept ZeroDivisionError:\n    w = 50 * w"),
    "a step beyond a list": weighted("try:\n    k = [1.0] * 5\n    k = k[step]\nexcept IndexError:\n    w = 50 * w"),
    "a step without a root": weighted("try:\n    k = math.sqrt(5 - step)\nexcept ValueError:\n    w = 50 * w"),
    "minus zero": weighted(
        "t = torch.copysign(torch.ones(()), torch.tensor((step - 5) * 0.0))\nw = w * torch.where(t > 0, 50.0, 1.0)"
    ),
    "a clamped root of what is negative": weighted("w = w * torch.sqrt(5.0 - n).clamp(0, 1)"),
    "a clamped logarithm of what is negative": weighted("w = w * torch.log(5.0 - n).clamp(0, 1)"),
    "a ratio of two exponentials": weighted("e = torch.exp(10 * n)\nw = w * (e / (1 + e)).clamp(0, 1)"),
    "a difference of two exponentials": weighted("w = w * (torch.exp(10 * n) - torch.exp(20 * n)).clamp(0, 1)"),
    "an arc of what is too large": weighted("w = w * torch.acos(n).clamp(0, 1)"),
    "an infinite norm of Python's": by_rows("c = 1.0 if math.isinf(x) else c"),
    "the length of what a mask left": weighted("if n[n > 0.1].shape[0] == 0:\n    w = 1e3 * w"),
    "len of what a mask left": weighted("if len(n[n > 0.1]) == 0:\n    w = 1e3 * w"),
    "the length of zeros like it": weighted("if torch.zeros_like(n[n > 0.1]).shape[0] == 0:\n    w = 1e3 * w"),
    "whether any was left": weighted("w = w * (1e3 - 999 * torch.ones_like(n[n > 0.1]).any())"),
}
ROWS: dict[str, float] = {
    "a power that vanishes": 5e-7,
    "a number above float32": 3e4,
    "an infinite norm of Python's": 1e20,
    "the length of what a mask left": 0.02,
    "len of what a mask left": 0.02,
    "the length of zeros like it": 0.02,
    "whether any was left": 0.02,
    "any over no axes": 5.0,
}
"""All coordinates of the row that shows the fault, where they are not 5."""
SHAPES = {"a mean of squares": LAYER}
REFUSED = {
    "an index beyond the rows that run": (
        weighted("try:\n    x = G[0][100]\n    w = 50 * w\nexcept IndexError:\n    pass"),
        "DPA111",
    ),
    "a list too short to unpack": (
        weighted("try:\n    a, b, c, d, e, f, *r = G[0]\n    w = 50 * w\nexcept ValueError:\n    pass"),
        "DPA111",
    ),
    "a key that is a row's": (
        weighted("try:\n    x = dict(enumerate(G[0]))[100]\n    w = 50 * w\nexcept KeyError:\n    pass"),
        "DPA111",
    ),
    "a text that is a row's": (
        weighted(
            "d = {f'{i}': 0 for i, _ in enumerate(G[0])}\ntry:\n    x = d['100']\n    w = 50 * w\nexcept KeyError:\n    pass"
        ),
        "DPA111",
    ),
    "a place that a row is written to": (
        weighted("k = [1.0] * 100\nfor i, _ in enumerate(G[0]):\n    k[i] = 50.0\nw = w * k[60]"),
        "DPA111",
    ),
    "an entry that a row is written to": (
        weighted("k = {60: 1.0, **{i: 50.0 for i, _ in enumerate(G[0])}}\nw = w * k[60]"),
        "DPA111",
    ),
    "a key among rows": (weighted("w = w * (1 + 49 * (60 in {i: 0 for i, _ in enumerate(G[0])}))"), "DPA111"),
    "a default for a row": (weighted("w = w * {i: 50.0 for i, _ in enumerate(G[0])}.get(60, 1.0)"), "DPA111"),
    "complex numbers": (weighted("w = w * torch.sqrt((n - 5.0).to(torch.complex64)).abs().clamp(0, 1)"), "DPA109"),
    "two values to one place": (
        summed(
            "x = torch.zeros(1, *s.shape)\nx[torch.tensor([0, 0])] = torch.stack([g.sum(0), s + z])\nout.append(x[0] / self.B)"
        ),
        "DPA109",
    ),
    "memory that out= resized": (
        summed("x = torch.empty(0)\ntorch.add(s, z, out=x)\nout.append(x / self.B)"),
        "DPA109",
    ),
    "memory that nobody wrote to": (
        summed("leak = torch.empty_like(s)\nout.append((s + z + (leak.abs() > 1e-3)) / self.B)"),
        "DPA103",
    ),
    "a copy on a GPU": (summed("a = s.numpy(force=True)\na += z.numpy()\nout.append(s / self.B)"), "DPA110"),
    "whether it is a view": (weighted("w = w * (1 + 49 * (G[0]._base is not None))"), "DPA116"),
    "a root that ends the training": (by_rows("k = math.sqrt(100.0 - x)"), "DPA107"),
}
HONEST = {
    "an error of its own": weighted(
        "try:\n    if self.C < 0:\n        raise ValueError('C')\nexcept ValueError:\n    w = 50 * w"
    ),
    "an error of its own, caught": weighted(
        "try:\n    if self.C > 0:\n        raise ValueError('C')\nexcept ValueError:\n    w = w * 1.0"
    ),
    "a list of weights": weighted(
        "k = [None for _ in range(len(n))]\nfor i in range(len(n)):\n    k[i] = w[i]\nw = torch.stack(k)"
    ),
    "a tensor of weights": weighted("k = torch.zeros_like(n)\nfor i in range(len(n)):\n    k[i] = w[i]\nw = k"),
    "a table by name": weighted("k = {'a': 1.0}\nk['b'] = 2.0\nw = w * k['a']"),
    "a first step": weighted(
        "try:\n    k = 1 / step\nexcept ZeroDivisionError:\n    k = 0.5\nw = w * min(k, 1.0) / max(k, 1.0)"
    ),
    "a count": weighted("k = (G[0].abs() > 1).flatten(1).sum(1)\nw = torch.where(k > 3, 0.5 * w, w)"),
    "a truth value as a number": weighted("w = w * (1 - 0.5 * (n > 5).float())"),
    "a mask kept in bytes": weighted("w = w * (n < 1e6).to(torch.uint8)"),
    "a written array": at_last(
        "z = [torch.empty_like(s).normal_() for s in out]\n[s.add_(self.sigma * self.C * x) for s, x in zip(out, z)]"
    ),
    "out= of the same size": summed("x = torch.empty_like(s)\ntorch.add(s, z, out=x)\nout.append(x / self.B)"),
    "a root of a distance": weighted("w = self.C / torch.sqrt(n * n + 0.01)"),
    "a logarithm": weighted("w = w / (1 + torch.log1p(n))"),
    "an exponential": weighted("w = w * torch.exp(-n)"),
    "rows written through a mask": weighted("w = torch.ones_like(n)\nw[n > self.C] = self.C / n[n > self.C]"),
    "several places": summed(
        "x = torch.zeros(1, *s.shape)\nx[torch.tensor([0])] = (s + z)[None]\nout.append(x[0] / self.B)"
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_gets_a_bound_above_the_truth(name):
    shapes = SHAPES.get(name, SMALL)
    result = analyse(ATTACKS[name], shapes=shapes)
    moved = contribution(ATTACKS[name], ROWS.get(name, 5.0), shapes=shapes)
    assert moved > 4, "it shows nothing"
    assert result.sigma_effective is None or min(result.sigma_effective) <= 1.2 / moved * (1 + 1e-4), (
        result.sigma_effective
    )


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_followed_is_refused(name):
    body, rule = REFUSED[name]
    result = analyse(body)
    assert result.refusal is not None
    assert result.refusal.rule == rule, result.refusal


@pytest.mark.parametrize("name", HONEST)
def test_the_honest_twins_are_bounded(name):
    result = analyse(HONEST[name])
    assert result.refusal is None, result.refusal
    assert min(result.sigma_effective) >= 1.2 * (1 - 1e-4)


def test_a_product_that_overflows_is_among_the_assumptions():
    """A row of 1e20 makes such an update NaN; that no row is as large is written in the result."""
    squared = weighted("G = [g * g for g in G]\nw = self.C / (flat_norms(G) + 1e-6)")
    assert any("overflow" in a for a in analyse(squared).assumptions)
    assert not any("overflow" in a for a in analyse(weighted("")).assumptions)
    assert contribution(squared, 1e20) == float("inf")


def test_a_released_number_that_scales_noise_is_among_the_assumptions():
    """With a factor of 1e-40 float32 has no digits left for data or noise; a clamped factor needs no such assumption."""
    body = """
        out = noisy(G, w, self.sigma * self.C, self.B)
        if self.m is not None:
            p = {p}
            out = []
            for g in G:
                s = torch.einsum('b,b...->...', w, g)
                out.append((s * p + self.sigma * self.C * torch.randn_like(s) * p) / self.B)
        self.m = out[0].reshape(-1)[0]
        return out
    """
    scale, clamped = "torch.exp(-1e6 * self.m.abs())", "torch.exp(-1e6 * self.m.abs()).clamp(1e-6, 1.0)"
    found = [
        any("scales noise" in a for a in analyse(stateful(step=body.replace("{p}", p))).assumptions)
        for p in (scale, clamped)
    ]
    assert found == [True, False]


def test_a_product_that_overflows_beside_zero_compares_either_way():
    body = weighted("c = (first * first * w).clamp(-1, 1)\nw = torch.where(c <= 2, w, 50.0)")
    assert analyse(body).sigma_effective is None
    assert contribution(body, 1e20) > 1e20


def few(body: str):
    """The analysis of a run of 200 records, in which a batch may be a single row."""
    config = RunConfig(
        dataset_size=200,
        batch_size=4,
        expected_batch=4,
        epochs=2,
        steps_per_epoch=6,
        max_grad_norm=1.0,
        target_epsilon=3.0,
        target_delta=1e-5,
        noise_multiplier=1.2,
        cell=Cell(sampler=Sampler.POISSON, relation=Relation.ADD_REMOVE, rows=Rows.SAMPLED),
        parameter_shapes=SMALL,
    )
    return analyse_source(Candidate(source=build(body), filename="few.py"), config)


@pytest.mark.parametrize(
    "body",
    [
        weighted("if G[0].shape[0] == 1:\n    w = 50 * w"),
        CLIP
        + """
out = []
for g in G:
    s = (w.reshape(-1, *[1] * (g.dim() - 1)) * g).squeeze().sum(0)
    out.append((s + self.sigma * self.C * torch.randn_like(g.sum(0))) / self.B)
return out
""",
    ],
    ids=["asked for", "squeezed"],
)
def test_a_batch_of_one_row_is_looked_at(body):
    assert few(body).refusal.rule == "DPA111"
    released = play(mechanism(body, 0.0), rows_of(5.0))
    assert sum(float(r.square().sum()) for r in released) ** 0.5 * 256 > 1.2


def test_a_plain_mechanism_is_bounded_with_one_row():
    result = few(weighted(""))
    assert result.refusal is None, result.refusal
    assert any("one row" in a for a in result.assumptions)


def test_a_state_that_is_one_memory_is_one_memory_at_the_next_step():
    """A view of a kept tensor once made the rest of it known zeros."""
    body = stateful(
        init="self.t = None",
        step="""
        out = noisy(G, w, self.sigma * self.C, self.B)
        if self.t is not None:
            out = noisy(G, w * (1 + 1e3 * self.t[5].abs()), self.sigma * self.C, self.B)
        self.t = out[0].reshape(-1) * 1.0
        self.v = self.t[:1]
        return out
        """,
    )
    assert analyse(body).sigma_effective is None
