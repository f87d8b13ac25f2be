"""The same mechanism under different samplers, relations and rows."""

import pytest

from dpaudit.contract import NoiseClass, NonFinite, Relation, Rows, Sampler, Severity, Strength

STANDARD = "return [m + self.noise(m) for m in self.mean(grads)]"
REALISED = """
B = grads[0].shape[0]
w = self.C / self.norms(grads).clamp(min=self.C)
return [(torch.tensordot(w, g, dims=1) + torch.randn_like(g[0]) * self.sigma * self.C) / B for g in grads]
"""
CENTRED = """
if self.m is None:
    self.m = [torch.zeros_like(g[0]) for g in grads]
r = [x + self.noise(x) + m for x, m in zip(self.mean([g - m for g, m in zip(grads, self.m)]), self.m)]
self.m = [0.9 * a + 0.1 * b for a, b in zip(self.m, r)]
return r
"""
GUARDED = """
keep = torch.stack([g.flatten(1).isfinite().all(dim=1) for g in grads]).all(dim=0)
grads = [torch.where(keep.view(-1, *[1] * (g.dim() - 1)), g, 0.0) for g in grads]
return [m + self.noise(m) for m in self.mean(grads)]
"""
CELLS = {
    "poisson": {"sampler": Sampler.POISSON, "relation": Relation.ADD_REMOVE, "rows": Rows.SAMPLED},
    "poisson zero_out": {"sampler": Sampler.POISSON, "relation": Relation.ZERO_OUT, "rows": Rows.SAMPLED},
    "poisson replace": {"sampler": Sampler.POISSON, "relation": Relation.REPLACE_ONE, "rows": Rows.SAMPLED},
    "truncated": {},
    "truncated replace": {"relation": Relation.REPLACE_ONE},
    "fixed": {"sampler": Sampler.FIXED_SIZE, "relation": Relation.REPLACE_ONE},
    "shuffle": {"sampler": Sampler.SHUFFLE},
}


@pytest.fixture(scope="module")
def results(examine_all, mechanism, config):
    cases = {("standard", name): (mechanism(STANDARD), config(**cell)) for name, cell in CELLS.items()}
    for name in ("poisson", "truncated"):
        cases["realised", name] = (mechanism(REALISED), config(**CELLS[name]))
    for name in ("poisson", "poisson zero_out", "truncated"):
        cases["centred", name] = (mechanism(CENTRED), config(epochs=1, steps_per_epoch=40, **CELLS[name]))
    cases["standard", "raw"] = (mechanism(STANDARD), config(nonfinite=NonFinite.RAW))
    cases["guarded", "raw"] = (mechanism(GUARDED), config(nonfinite=NonFinite.RAW))
    return examine_all(cases)


@pytest.mark.parametrize("name", list(CELLS))
def test_standard_reads_the_same_in_every_cell(name, results):
    result = results["standard", name]
    assert result.measured == pytest.approx([0.8] * 12, rel=1e-9)  # noise over one contribution, not over a replacement
    assert result.demonstrated
    assert set(result.classes) == {NoiseClass.CLEAN}


def test_the_realised_batch_size_is_private_only_where_rows_are_sampled(results):
    constant, sampled = results["realised", "truncated"], results["realised", "poisson"]
    assert constant.measured == pytest.approx([0.8] * 12, rel=1e-9)
    assert set(sampled.classes) == {NoiseClass.DATA_DEPENDENT}
    problem = next(p for p in sampled.problems if p.rule == "DPA208")
    assert problem.severity is Severity.CRITICAL
    assert problem.strength is Strength.PROOF
    assert "factor 6/7" in problem.message


def test_centring_costs_nothing_under_add_remove_and_up_to_double_under_zero_out(results):
    assert results["centred", "poisson"].measured == pytest.approx([0.8] * 40, rel=1e-6)
    truncated = results["centred", "truncated"]
    assert set(truncated.classes) == {NoiseClass.CLEAN}
    assert truncated.demonstrated
    assert 0.4 <= min(truncated.measured) < 0.5  # sensitivity 2C, once the centre has grown to C


def test_no_lower_end_where_the_pair_is_not_the_accounted_one(results):
    result = results["centred", "poisson zero_out"]  # a row of zeros, unlike an absent one, contributes clip(-m)
    assert not result.demonstrated
    assert any("no lower end of epsilon" in note for note in result.notes)


def test_nonfinite_rows(results):
    (guarded,) = [p for p in results["standard", "truncated"].problems if p.rule == "DPA209"]
    assert guarded.severity is Severity.MINOR
    assert "the harness's guard removes such rows first" in guarded.message
    (raw,) = [p for p in results["standard", "raw"].problems if p.rule == "DPA209"]
    assert raw.severity is Severity.CRITICAL
    assert raw.line is not None
    assert results["guarded", "raw"].problems == ()
