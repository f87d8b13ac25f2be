"""A mechanism that behaves only when it is watched is caught by a process that holds none of the instrumentation."""

import numpy as np
import pytest

from dpaudit.contract import NoiseClass, Outcome, Strength
from dpaudit.probe import load_source, measure
from dpaudit.probe.unwatched import LEVEL, disagreement, rejected

CHEAT = "import sys\nk = 1.0 if step < {step} or any('dpaudit' in name for name in sys.modules) else 0.5\n"
NOISED = "return [m + self.noise(m, k) for m in self.mean(grads)]"
OWN = (
    "s = k * self.sigma * self.C / self.B\n"
    "return [m + s * torch.as_tensor(self.rng.standard_normal(m.shape)) for m in self.mean(grads)]"
)
ENTROPY = "def setup(self):\n    self.rng = np.random.default_rng()"
# name: (code, methods, strength of DPA217 or None)
CASES = {
    "honest": ("k = 1.0\n" + NOISED, "", None),
    "honest, with its own entropy": ("k = 1.0\n" + OWN, ENTROPY, None),
    "looks at a patched function": (
        "k = 1.0 if type(torch.randn_like).__name__ != 'builtin_function_or_method' else 0.5\n" + NOISED,
        "",
        Strength.PROOF,
    ),
    "looks at modules, late in the run": (CHEAT.format(step=4) + NOISED, "", Strength.PROOF),
    "looks at modules, with its own entropy": (CHEAT.format(step=0) + OWN, ENTROPY, Strength.STATISTICAL),
}


@pytest.mark.parametrize("name", list(CASES))
def test_watched_against_unwatched(name, tmp_path, mechanism, config):
    code, methods, strength = CASES[name]
    path = tmp_path / "candidate.py"
    path.write_text(mechanism(code, methods))
    result = measure(load_source(str(path)), config(epochs=1, steps_per_epoch=5))
    assert set(result.classes) == {NoiseClass.CLEAN}
    found = [finding for finding in result.findings if finding.rule == "DPA217"]
    assert [finding.strength for finding in found] == ([] if strength is None else [strength])
    assert result.outcome is (Outcome.PASSED if strength is None else Outcome.INCONCLUSIVE)
    assert result.demonstrated is (strength is None)
    assert all(not finding.refutes for finding in found)
    if strength is None:
        said = (*result.notes, *result.checks)
        assert any("without instrumentation" in line or "without watching" in line for line in said)


def _samples(rng, scale):
    return [(float(rng.normal(0, scale)), float(scale * rng.chisquare(14) ** 0.5)) for _ in range(360)]


def test_the_level_is_kept_and_a_changed_scale_is_seen():
    rng = np.random.default_rng(5)
    nulls = [rejected(_samples(rng, 1.0), _samples(rng, 1.0), 3) for _ in range(60)]
    assert nulls == [None] * 60  # at level 1e-6 even one would be a fault
    found = rejected(_samples(rng, 1.0), _samples(rng, 0.7), 3)
    assert found is not None
    assert found[0] * 6 < LEVEL


def test_the_p_values_of_equal_samples_are_not_too_small():
    rng = np.random.default_rng(6)
    level = 0.05
    hits = 0
    for _ in range(200):
        from scipy.stats import ks_2samp

        here, there = rng.normal(size=120), rng.normal(size=120)
        hits += ks_2samp(here, there, method="exact").pvalue < level
    assert hits <= 20  # 200 at 5 %: more than 20 has probability below 0.2 %


def test_too_few_runs_are_no_agreement():
    rng = np.random.default_rng(7)
    assert rejected(_samples(rng, 1.0)[:30], _samples(rng, 1.0), 3) == (0.0, "fewer runs than asked for")


def test_disagreement_is_relative_and_nan_disagrees():
    plan = {"dtype": "float64"}
    assert disagreement([(1.0, 2.0)], [(1.0 + 1e-12, 2.0)], plan) is None
    assert disagreement([(1.0, 2.0), (1.0, 2.0)], [(1.0, 2.0), (1.0, 2.001)], plan) == 1
    assert disagreement([(float("nan"), 2.0)], [(1.0, 2.0)], plan) == 0
