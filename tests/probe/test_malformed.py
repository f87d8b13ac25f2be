"""Malformed releases and reports, and mechanisms that raise: rule, line and text."""

import pytest

from dpaudit.contract import NoiseClass, Severity

OUT = "[m + self.noise(m) for m in self.mean(grads)]"
RELEASES = {
    "a tensor": ("return torch.zeros(3)", "is a Tensor, expected a list of 4 tensors"),
    "too few": (f"return {OUT}[:3]", "has 3 tensors, expected 4"),
    "wrong shape": (f"return [x.reshape(-1) for x in {OUT}]", "has shape (4,) at position 0, expected (2, 1, 2, 1)"),
    "not a tensor": (f"return [x.tolist() for x in {OUT}]", "has a list at position 0, expected a tensor"),
    "integers": (f"return [x.long() for x in {OUT}]", "has dtype torch.int64 at position 0"),
    "NaN": (f"return [x / 0 * 0 for x in {OUT}]", "is not finite on finite gradients"),
    "nothing": ("pass", "is a NoneType, expected a list of 4 tensors"),
}
REPORTS = {
    "text": ("return 'high'", "returned 'high', expected a number >= 0"),
    "none": ("return None", "returned None, expected a number >= 0"),
    "nan": ("return float('nan')", "returned nan, expected a finite number >= 0"),
    "negative": ("return -1.0", "returned -1.0, expected a finite number >= 0"),
    "infinite": ("return math.inf", "returned inf, expected a finite number"),
    "raises": ("return 1 / 0", "get_effective_sigma raised ZeroDivisionError"),
}


@pytest.fixture(scope="module")
def results(examine_all, mechanism, config):
    cases = {name: mechanism(code) for name, (code, _) in RELEASES.items()}
    for name, (code, _) in REPORTS.items():
        cases["report " + name] = mechanism(f"return {OUT}", f"def get_effective_sigma(self, step, epoch):\n    {code}")
    cases["report missing"] = mechanism(f"return {OUT}").replace("def get_effective_sigma", "def another")
    cases["later exception"] = mechanism(f"if step == 3:\n    raise ValueError('step three')\nreturn {OUT}")
    cases["constructor"] = mechanism(f"return {OUT}", "def setup(self):\n    raise RuntimeError('no thanks')")
    cases["at load"] = "VALUE = 1 / 0\n" + mechanism(f"return [VALUE * x for x in {OUT}]")
    cases["tensor report"] = mechanism(
        f"return {OUT}", "def get_effective_sigma(self, step, epoch):\n    return torch.tensor(self.sigma)"
    )
    cases["only from step 0"] = mechanism(f"if step == 0:\n    self.k = 1.0\nreturn [self.k * x for x in {OUT}]")
    return examine_all({name: (text, config()) for name, text in cases.items()})


@pytest.mark.parametrize("name", list(RELEASES))
def test_release(name, results):
    (problem,) = results[name].problems
    assert problem.rule == "DPA014"
    assert RELEASES[name][1] in problem.message
    assert problem.line is not None
    assert problem.severity is Severity.MAJOR
    assert set(results[name].classes) == {NoiseClass.UNRESOLVED}


@pytest.mark.parametrize("name", list(REPORTS))
def test_report(name, results):
    result = results["report " + name]
    problem = next(p for p in result.problems if p.rule == "DPA015")
    assert problem.message.startswith("step 0: get_effective_sigma ")
    assert REPORTS[name][1] in problem.message
    assert problem.line is not None
    assert result.reported == (None,) * 12
    assert result.measured == pytest.approx([0.8] * 12)  # the noise is read all the same


def test_missing_report(results):
    problem = next(p for p in results["report missing"].problems if p.rule == "DPA015")
    assert "has no method get_effective_sigma(step, epoch)" in problem.message


def test_exception_in_a_later_step(results):
    result = results["later exception"]
    (problem,) = result.problems
    assert problem.rule == "DPA012"
    assert problem.message == "step 3: clip_and_noise raised ValueError: step three"
    assert result.measured[:3] == pytest.approx([0.8] * 3)
    assert result.measured[3:] == (None,) * 9
    assert set(result.classes[3:]) == {NoiseClass.UNRESOLVED}
    assert not result.demonstrated


def test_exception_in_the_constructor_and_at_load(results):
    (problem,) = results["constructor"].problems
    assert (problem.rule, problem.message) == ("DPA012", "the constructor raised RuntimeError: no thanks")
    (problem,) = results["at load"].problems
    assert problem.rule == "DPA011"
    assert problem.line == 1
    assert "ZeroDivisionError" in problem.message


def test_what_is_usable_is_taken(results):
    assert results["tensor report"].reported == (0.8,) * 12
    result = results["only from step 0"]
    assert result.measured == pytest.approx([0.8] * 12)
    assert {p.rule for p in result.problems} == {"DPA209"}
