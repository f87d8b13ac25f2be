"""The author's own claim: parsed with clear errors, and held against what was measured."""

import math

import numpy as np
import pytest

from dpaudit.contract import Severity, Strength
from dpaudit.probe.claims import claimed_mu
from dpaudit.probe.privacy_events import InvalidClaim, parse_claim

PLAIN = "return [m + self.noise(m) for m in self.mean(grads)]"
BANDED = """
mean = self.mean(grads)
z = [self.noise(m) for m in mean]
last = self.m or [torch.zeros_like(x) for x in z]
self.m = z
return [a + b - 0.5 * c for a, b, c in zip(mean, z, last)]
"""
THRESHOLD = """
out = [m + self.noise(m) for m in self.mean(grads)]
votes = (self.norms(grads) <= self.C).double().sum().item() + 2.0 * torch.randn(()).item()
self.C = self.C * math.exp(-0.2 * (votes / self.B - 0.5))
return out
"""
BANDS = {"kind": "correlated_gaussian", "noise_multiplier": 0.8, "bands": [1, -0.5]}
CASES = {
    "right": (PLAIN, "[{'kind': 'gaussian', 'noise_multiplier': 0.8}]"),
    "too much at one step": (PLAIN, "[{'kind': 'gaussian', 'noise_multiplier': [0.8] * 11 + [0.9]}]"),
    "too little": (PLAIN, "[{'kind': 'gaussian', 'noise_multiplier': 0.7}]"),
    "unknown": (PLAIN, "[{'kind': 'laplace'}]"),
    "raises": (PLAIN, "1 / 0"),
    "threshold": (
        THRESHOLD,
        "[{'kind': 'gaussian', 'noise_multiplier': 0.8}, {'kind': 'private_threshold', 'noise_multiplier': 2.0}]",
    ),
    "threshold left out": (THRESHOLD, "[{'kind': 'gaussian', 'noise_multiplier': 0.8}]"),
    "banded": (BANDED, f"[{BANDS | {'min_separation': 3, 'max_participations': 2}!r}]"),
    "banded, other bands": (BANDED, f"[{BANDS | {'bands': [1, -0.25], 'noise_multiplier': 0.9}!r}]"),
    "banded, told as independent": (BANDED, "[{'kind': 'gaussian', 'noise_multiplier': 0.8}]"),
    "not banded, told as banded": (PLAIN, f"[{BANDS!r}]"),
}
AGREED = {"right", "threshold", "banded"}


@pytest.fixture(scope="module")
def results(examine_all, mechanism, config):
    cases = {
        name: (mechanism(code, f"def privacy_events(self):\n    return {claim}"), config())
        for name, (code, claim) in CASES.items()
    }
    return examine_all(cases | {"four steps": (mechanism(BANDED), config(epochs=1, steps_per_epoch=4))})


def _findings(result):
    return [problem for problem in result.problems if problem.rule == "DPA218"]


@pytest.mark.parametrize("name", sorted(AGREED))
def test_a_true_claim_raises_nothing(name, results):
    assert _findings(results[name]) == []


@pytest.mark.parametrize(
    ("name", "words", "severity"),
    [
        ("too much at one step", "claims noise multiplier 0.9 at step 11, measured was 0.8", Severity.MAJOR),
        ("too little", "less than there is", Severity.MINOR),
        ("unknown", "expected one of gaussian, private_threshold, correlated_gaussian, got 'laplace'", Severity.MAJOR),
        ("raises", "raised ZeroDivisionError", Severity.MAJOR),
        ("threshold left out", "claims noise multiplier 0.8 at step 0, measured was 0.742781", Severity.MAJOR),
        ("banded, other bands", "for a row that takes part at steps [0, 1, 2, 3, 4, 5, 6, 7]", Severity.MAJOR),
        ("banded, told as independent", "what was measured is correlated over steps", Severity.MAJOR),
        ("not banded, told as banded", "claims another correlation of the noise", Severity.MAJOR),
    ],
)
def test_a_claim_that_is_not_what_runs_is_a_finding_with_its_line(name, words, severity, results):
    found = _findings(results[name])
    assert [problem.severity for problem in found] == [severity]
    assert words in found[0].message
    assert found[0].line is not None
    assert found[0].severity is not Severity.CRITICAL


def test_a_claim_never_replaces_the_measurement(results):
    assert results["too little"].measured == pytest.approx([0.8] * 12)
    proof = _findings(results["too much at one step"])[0]
    assert proof.strength is Strength.PROOF
    assert _findings(results["threshold left out"])[0].strength is Strength.HEURISTIC  # no pair was demonstrated


def test_banded_noise_is_accounted_jointly(results):
    note = next(note for note in results["four steps"].notes if "takes part at steps [0]," in note)
    assert "joint account of the first 4 steps" in note
    assert "not amplified by sampling: mu 1.44055 (" in note
    claim = parse_claim([BANDS], 4).correlated
    # Derived here: a row at step 0 moves the later noise by halves: 1/0.8 * sqrt(1 + 1/4 + 1/16 + 1/64).
    assert claimed_mu(claim, 4, (0,)) == pytest.approx(1.440554, rel=1e-6)
    assert claimed_mu(claim, 4, (0,)) == pytest.approx(math.sqrt(1.328125) / 0.8, rel=1e-12)


def test_the_claimed_distance_is_that_of_the_explicit_formula():
    claim = parse_claim([{**BANDS, "min_separation": 2, "max_participations": 3}], 7).correlated
    assert claim.pattern(7) == (0, 2, 4)
    change = np.isin(np.arange(7), claim.pattern(7)).astype(float)
    explicit = change @ np.linalg.inv(claim.matrix @ claim.matrix.T) @ change
    assert claimed_mu(claim, 7, claim.pattern(7)) == pytest.approx(math.sqrt(explicit), rel=1e-12)
    strategy = {"kind": "correlated_gaussian", "noise_multiplier": 0.8, "strategy": (claim.matrix / 0.8).tolist()}
    assert np.allclose(parse_claim([strategy], 7).correlated.matrix, claim.matrix)


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (None, "expected a list of at least one event, got None"),
        ([], "expected a list of at least one event"),
        ([3], "event 0: expected a dictionary, got 3"),
        ([{"kind": "gaussian"}], "event 0: noise_multiplier: expected a positive finite number, got None"),
        ([{"kind": "gaussian", "noise_multiplier": math.nan}], "expected a positive finite number, got nan"),
        ([{"kind": "gaussian", "noise_multiplier": True}], "expected a positive finite number, got True"),
        ([{"kind": "gaussian", "noise_multiplier": [1.0]}], "expected 4 numbers, one a step, got 1"),
        ([{"kind": "gaussian", "noise_multiplier": 1.0, "sigma": 1}], "unknown keys sigma"),
        ([{"kind": "private_threshold", "noise_multiplier": 1.0}], "expected exactly one event of kind gaussian"),
        ([{"kind": "gaussian", "noise_multiplier": 1.0}] * 2, "expected exactly one event of kind gaussian"),
        ([{"kind": "correlated_gaussian", "noise_multiplier": 1.0}], "expected either bands or strategy"),
        ([{**BANDS, "bands": []}], "bands: expected 1 to 4 numbers"),
        ([{**BANDS, "bands": ["x"]}], "bands: expected numbers"),
        ([{**BANDS, "bands": [0.0, 1.0]}], "a diagonal without zeros"),
        ([{**BANDS, "min_separation": 0}], "min_separation: expected a whole number >= 1"),
        ([BANDS, {"kind": "private_threshold", "noise_multiplier": 1.0}], "claim it alone"),
        (
            [{"kind": "correlated_gaussian", "noise_multiplier": 1.0, "strategy": [[1, 1], [0, 1]]}],
            "expected a lower-triangular 4 x 4 matrix",
        ),
    ],
)
def test_a_malformed_claim_says_what_was_expected(events, words):
    with pytest.raises(InvalidClaim, match=r"expected|unknown|claim") as error:
        parse_claim(events, 4)
    assert words in str(error.value)
