"""What is computed from a Gaussian release is free, whatever it is: the noise is read where it is added."""

import math

import pytest

from dpaudit.contract import NoiseClass, Relation, Rows, Sampler

NOISED = "[m + self.noise(m) for m in self.mean(grads)]"

# name: (code, noise multiplier)
FREE = {
    "sign": (f"return [x.sign() for x in {NOISED}]", 0.8),
    "sign of half the noise": ("return [(m + self.noise(m, 0.5)).sign() for m in self.mean(grads)]", 0.4),
    "upper half": (f"return [torch.where(x.abs() >= x.abs().median(), x, torch.zeros_like(x)) for x in {NOISED}]", 0.8),
    "top five of all": (
        f"""
        flat = torch.cat([x.flatten() for x in {NOISED}])
        kept = torch.topk(flat.abs(), 5).indices
        out = torch.zeros_like(flat)
        out[kept] = flat[kept]
        return [p.view(g.shape[1:]) for p, g in zip(out.split([g[0].numel() for g in grads]), grads)]
        """,
        0.8,
    ),
    "rounded": (f"return [(10 * x).round() / 10 for x in {NOISED}]", 0.8),
    "clamped": (f"return [x.clamp(-0.3, 0.3) for x in {NOISED}]", 0.8),
    "rescaled to norm 1": (
        f"""
        released = {NOISED}
        norm = torch.sqrt(sum(x.pow(2).sum() for x in released))
        return [x * min(1.0, 1.0 / float(norm)) for x in released]
        """,
        0.8,
    ),
    "RMSProp inside": (
        f"""
        released = {NOISED}
        self.m = [x * x for x in released] if self.m is None else [0.9 * v + 0.1 * x * x for v, x in zip(self.m, released)]
        return [x / (v.sqrt() + 1e-8) for x, v in zip(released, self.m)]
        """,
        0.8,
    ),
    "signs with error feedback": (
        f"""
        if self.m is None:
            self.m = [torch.zeros_like(g[0]) for g in grads]
        kept = [x + e for x, e in zip({NOISED}, self.m)]
        out = [x.sign() * x.abs().mean() for x in kept]
        self.m = [x - o for x, o in zip(kept, out)]
        return out
        """,
        0.8,
    ),
    "one tensor as signs": (f"return [x.sign() if i == 1 else x for i, x in enumerate({NOISED})]", 0.8),
    "in NumPy": (f"return [torch.as_tensor(np.sign(x.numpy())) for x in {NOISED}]", 0.8),
    "in plain Python": (
        f"return [torch.tensor([math.copysign(1, float(y)) for y in x.flatten()]).view(x.shape) for x in {NOISED}]",
        0.8,
    ),
    "signs of layers, C each": (
        """
        out = []
        for g in grads:
            m = torch.tensordot(self.C / g.flatten(1).norm(dim=1).clamp(min=self.C), g, dims=1) / self.B
            out.append((m + self.noise(m)).sign())
        return out
        """,
        0.4,
    ),
    "votes and sum, both as numbers": (
        """
        votes = (self.norms(grads) <= self.C).double().sum() + 2.0 * torch.randn((), dtype=torch.float64)
        self.C = self.C * math.exp(-0.2 * (votes.item() / self.B - 0.5))
        return [(m + self.noise(m)).sign() for m in self.mean(grads, 1.0)]
        """,
        math.nan,  # the noise of the sum follows the threshold, the clip does not: see below
    ),
}
POISSON = {"sampler": Sampler.POISSON, "relation": Relation.ADD_REMOVE, "rows": Rows.SAMPLED}


@pytest.fixture(scope="module")
def results(examine_all, mechanism, config):
    cases = {name: (mechanism(code), config()) for name, (code, _) in FREE.items()}
    poisson = {(name, "poisson"): (mechanism(FREE[name][0]), config(**POISSON)) for name in ("sign", "top five of all")}
    return examine_all(cases | poisson)


@pytest.mark.parametrize("name", [name for name, (_, sigma) in FREE.items() if math.isfinite(sigma)])
def test_the_multiplier_is_that_of_the_value_before(name, results):
    result = results[name]
    assert set(result.classes) == {NoiseClass.CLEAN}
    assert result.measured == pytest.approx([FREE[name][1]] * 12, rel=1e-9)
    assert [problem for problem in result.problems if problem.rule != "DPA209"] == []


@pytest.mark.parametrize("name", list(FREE))
def test_no_lower_end_follows_from_what_loses_information(name, results):
    result = results[name]
    assert not result.demonstrated
    if NoiseClass.CLEAN in result.classes:
        assert any("no lower end of epsilon follows" in note for note in result.notes)


@pytest.mark.parametrize("name", ["sign", "top five of all"])
def test_the_same_where_the_number_of_rows_is_private(name, results):
    result = results[name, "poisson"]
    assert set(result.classes) == {NoiseClass.CLEAN}
    assert result.measured == pytest.approx([0.8] * 12, rel=1e-9)
