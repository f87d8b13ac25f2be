"""Noise multipliers that are known in closed form are read to 1e-9, and honest idioms raise nothing."""

import math

import pytest

from dpaudit.contract import NoiseClass

SIGMA = 0.8  # noise_multiplier of every case; B = 8, four tensors

HONEST = {
    "randn_like": "return [m + self.noise(m) for m in self.mean(grads)]",
    "own generator": (
        "return [m + self.sigma * self.C / self.B * torch.randn(m.shape, generator=self.g) for m in self.mean(grads)]",
        "def setup(self):\n    self.g = torch.Generator().manual_seed(3)",
    ),
    "numpy legacy": """
        s = self.sigma * self.C / self.B
        return [m + torch.as_tensor(np.random.normal(0, s, m.shape)) for m in self.mean(grads)]
    """,
    "numpy generator": (
        """
        s = self.sigma * self.C / self.B
        return [m + torch.as_tensor(self.rng.standard_normal(m.shape)) * s for m in self.mean(grads)]
        """,
        "def setup(self):\n    self.rng = np.random.default_rng(4)",
    ),
    "distributions": """
        normal = torch.distributions.Normal(0.0, self.sigma * self.C / self.B)
        return [m + normal.sample(m.shape) for m in self.mean(grads)]
    """,
    "torch.normal": """
        return [m + torch.normal(0.0, self.sigma * self.C / self.B, size=m.shape) for m in self.mean(grads)]
    """,
    "normal about the mean": "return [torch.normal(m, self.sigma * self.C / self.B) for m in self.mean(grads)]",
    "in place": """
        out = self.mean(grads)
        for m in out:
            m.add_(torch.empty_like(m).normal_(0, self.sigma * self.C / self.B))
        return out
    """,
    "python random": """
        import random
        out = []
        for m in self.mean(grads):
            z = torch.tensor([random.gauss(0, 1) for _ in range(m.numel())], dtype=m.dtype).view(m.shape)
            out.append(m + z * self.sigma * self.C / self.B)
        return out
    """,
    "average of releases": """
        r = [m + self.noise(m) for m in self.mean(grads)]
        self.m = r if self.m is None else [0.5 * a + 0.5 * b for a, b in zip(self.m, r)]
        return [x.clone() for x in self.m]
    """,
    "momentum of releases, in place": """
        r = [m + self.noise(m) for m in self.mean(grads)]
        if self.m is None:
            self.m = [torch.zeros_like(x) for x in r]
        for a, b in zip(self.m, r):
            a.mul_(0.9).add_(b)
        return [x.clone() for x in self.m]
    """,
    "adam on releases": """
        r = [m + self.noise(m) for m in self.mean(grads)]
        if self.m is None:
            self.m = [torch.ones_like(x) for x in r]
        out = []
        for v, b in zip(self.m, r):
            out.append(b / (v.sqrt() + 1e-8))
            v.mul_(0.9).add_(0.1 * b * b)
        return out
    """,
    "per layer C/sqrt(L)": """
        C, out = self.C / math.sqrt(len(grads)), []
        for g in grads:
            m = torch.tensordot(C / g.flatten(1).norm(dim=1).clamp(min=C), g, dims=1) / self.B
            out.append(m + self.noise(m))
        return out
    """,
    "loop over samples": """
        total = [torch.zeros_like(g[0]) for g in grads]
        for i in range(grads[0].shape[0]):
            n = math.sqrt(sum(float(g[i].pow(2).sum()) for g in grads))
            for t, g in zip(total, grads):
                t += g[i] * min(1.0, self.C / (n + 1e-12))
        return [(t + torch.randn_like(t) * self.sigma * self.C) / self.B for t in total]
    """,
    "flattened and split": """
        flat = torch.cat([g.flatten(1) for g in grads], 1)
        w = self.C / flat.norm(dim=1).clamp(min=self.C)
        s = ((flat * w[:, None]).sum(0) + torch.randn(flat.shape[1]) * self.sigma * self.C) / self.B
        return [part.view(g.shape[1:]) for part, g in zip(s.split([g[0].numel() for g in grads]), grads)]
    """,
    "noise drawn in reverse order": """
        mean = self.mean(grads)
        noise = [self.noise(m) for m in reversed(mean)][::-1]
        return [m + z for m, z in zip(mean, noise)]
    """,
    "float32 inside": "return [m + self.noise(m) for m in self.mean([g.float() for g in grads])]",
    "private logs that nothing reads": (
        """
        self.log.append(float(self.norms(grads).mean()))
        self.last = grads
        return [m + self.noise(m) for m in self.mean(grads)]
        """,
        "def setup(self):\n    self.log = []",
    ),
    "divided by a constant number of rows": """
        B = grads[0].shape[0]
        w = self.C / self.norms(grads).clamp(min=self.C)
        return [(torch.tensordot(w, g, dims=1) + torch.randn_like(g[0]) * self.sigma * self.C) / B for g in grads]
    """,
}

EXACT = {
    "per layer, C each, four layers": (
        """
        out = []
        for g in grads:
            m = torch.tensordot(self.C / g.flatten(1).norm(dim=1).clamp(min=self.C), g, dims=1) / self.B
            out.append(m + self.noise(m))
        return out
        """,
        0.4,
    ),
    "noise over (i + 1)": ("return [m + self.noise(m, 1 / (i + 1)) for i, m in enumerate(self.mean(grads))]", 0.2),
    "noise divided by B twice": ("return [m + self.noise(m, 1 / self.B) for m in self.mean(grads)]", 0.1),
    "noise of the sum on the mean": ("return [m + self.noise(m, self.B) for m in self.mean(grads)]", 6.4),
    "weight exp(-N)": (
        """
        w = torch.exp(-self.norms(grads))
        return [torch.tensordot(w, g, dims=1) / self.B + self.noise(g[0]) for g in grads]
        """,
        0.8 * math.e,
    ),
    "groups of 0.6 and 0.8": (
        """
        out = []
        for i, g in enumerate(grads):
            C = 0.6 if i == 0 else 0.8 if i == 1 else 1e-9
            m = torch.tensordot(C / g.flatten(1).norm(dim=1).clamp(min=C), g, dims=1) / self.B
            out.append(m + self.noise(m))
        return out
        """,
        0.8,
    ),
    "private threshold after the release": (
        """
        out = [m + self.noise(m) for m in self.mean(grads)]
        votes = (self.norms(grads) <= self.C).double().sum().item() + 2.0 * torch.randn(()).item()
        self.C = self.C * math.exp(-0.2 * (votes / self.B - 0.5))
        return out
        """,
        (0.8**-2 + 2**-2) ** -0.5,
    ),
    "private threshold before the release": (
        """
        votes = (self.norms(grads) <= self.C).double().sum().item() + 2.0 * torch.randn(()).item()
        self.C = self.C * math.exp(-0.2 * (votes / self.B - 0.5))
        return [m + self.noise(m) for m in self.mean(grads)]
        """,
        (0.8**-2 + 2**-2) ** -0.5,
    ),
}


@pytest.fixture(scope="module")
def results(examine_all, mechanism, config):
    texts = {name: mechanism(*(code if isinstance(code, tuple) else (code,))) for name, code in HONEST.items()}
    texts |= {name: mechanism(code) for name, (code, _) in EXACT.items()}
    schedule = mechanism("return [m + self.noise(m, 1.5 - step / 12) for m in self.mean(grads)]")
    return examine_all({name: (text, config()) for name, text in (texts | {"schedule": schedule}).items()})


@pytest.mark.parametrize("name", list(HONEST))
def test_honest_idiom(name, results):
    result = results[name]
    assert set(result.classes) == {NoiseClass.CLEAN}
    tolerance = 1e-4 if name == "float32 inside" else 1e-9
    assert result.measured == pytest.approx([SIGMA] * 12, rel=tolerance)
    assert result.reported == (SIGMA,) * 12
    assert [problem for problem in result.problems if problem.rule != "DPA209"] == []
    assert result.demonstrated
    assert "zero_out: one row (row 4)" in result.pair


@pytest.mark.parametrize("name", list(EXACT))
def test_known_multiplier(name, results):
    result = results[name]
    assert set(result.classes) == {NoiseClass.CLEAN}
    # The refined norm of exp(-N) is searched; the internal threshold is solved for.
    assert result.measured == pytest.approx([EXACT[name][1]] * 12, rel=1e-6)
    assert result.demonstrated is ("threshold" not in name)


def test_a_schedule_by_step_is_read_at_every_step(results):
    expected = [SIGMA * (1.5 - step / 12) for step in range(12)]
    assert results["schedule"].measured == pytest.approx(expected, rel=1e-9)
    assert results["schedule"].demonstrated
