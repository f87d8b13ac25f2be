"""Every kind of broken noise gets its class, its rule and its line; what cannot be read is never a witness."""

import pytest

from dpaudit.contract import NoiseClass, Severity, Strength

ADAPT = "self.C = min(100.0, max(0.01, self.C * math.exp(0.2 * ((self.norms(grads) > self.C).double().mean().item() - 0.5))))"
NOISED = "[m + self.noise(m) for m in self.mean(grads)]"

# name: (code, class of the last step, rule, words of the message)
PROVED = {
    "one noise for all tensors": (
        """
        mean = self.mean(grads)
        z = torch.randn(max(m.numel() for m in mean)) * self.sigma * self.C / self.B
        return [m + z[: m.numel()].view(m.shape) for m in mean]
        """,
        NoiseClass.NO_FRESH_NOISE, "DPA205", "share 4 Gaussian numbers",
    ),
    "reseeded for each tensor": (
        """
        out = []
        for m in self.mean(grads):
            torch.manual_seed(step)
            out.append(m + self.noise(m))
        return out
        """,
        NoiseClass.NO_FRESH_NOISE, "DPA205", "draws the same noise twice",
    ),
    "reseeded at each step": (
        f"torch.manual_seed(0)\nreturn {NOISED}",
        NoiseClass.NO_FRESH_NOISE, "DPA205", "step 1: draws the same noise as step 0",
    ),
    "cached": (
        """
        mean = self.mean(grads)
        if self.m is None:
            self.m = [self.noise(m) for m in mean]
        return [m + z for m, z in zip(mean, self.m)]
        """,
        NoiseClass.NO_FRESH_NOISE, "DPA205", "noise that an earlier step has released",
    ),
    "antithetic": (
        """
        mean = self.mean(grads)
        self.m = [self.noise(m) for m in mean] if step % 2 == 0 else [-z for z in self.m]
        return [m + z for m, z in zip(mean, self.m)]
        """,
        NoiseClass.NO_FRESH_NOISE, "DPA205", "noise that an earlier step has released",
    ),
    "one tensor without noise": (
        "return [m + self.noise(m) if i else m for i, m in enumerate(self.mean(grads))]",
        NoiseClass.NO_FRESH_NOISE, "DPA204", "4 of 14 released coordinates (in tensors [0])",
    ),
    "no noise": ("return self.mean(grads)", NoiseClass.NO_FRESH_NOISE, "DPA204", "14 of 14 released coordinates"),
    "momentum before the noise": (
        """
        mean = self.mean(grads)
        self.m = mean if self.m is None else [0.9 * a + 0.1 * b for a, b in zip(self.m, mean)]
        return [m + self.noise(m) for m in self.m]
        """,
        NoiseClass.LEAK, "DPA203", "(it is kept in self.m)",
    ),
    "momentum kept in a module global": (
        """
        global KEPT
        mean = self.mean(grads)
        KEPT = mean if KEPT is None else [0.9 * a + 0.1 * b for a, b in zip(KEPT, mean)]
        return [m + self.noise(m) for m in KEPT]
        """,
        NoiseClass.LEAK, "DPA203", "private data left the step",
    ),
    "threshold from an un-noised fraction, before": (
        f"{ADAPT}\nreturn {NOISED}", NoiseClass.DATA_DEPENDENT, "DPA202", "the noise scale changed by 2.53 %",
    ),
    "threshold from an un-noised fraction, after": (
        f"out = {NOISED}\n{ADAPT}\nreturn out", NoiseClass.DATA_DEPENDENT, "DPA202", "(it is kept in self.C)",
    ),
    "centred, adaptive threshold": (
        f"""
        if self.m is None:
            self.m = [torch.zeros_like(g[0]) for g in grads]
        grads = [g - m for g, m in zip(grads, self.m)]
        {ADAPT}
        r = [x + self.noise(x) + m for x, m in zip(self.mean(grads), self.m)]
        self.m = [0.9 * a + 0.1 * b for a, b in zip(self.m, r)]
        return r
        """,
        NoiseClass.DATA_DEPENDENT, "DPA202", "a threshold or schedule reads private data",
    ),
    "thresholds from batch means of norms": (
        """
        out = []
        for g in grads:
            n = g.flatten(1).norm(dim=1)
            C = n.mean()
            m = torch.tensordot(C / torch.maximum(n, C), g, dims=1) / self.B
            out.append(m + torch.randn_like(m) * self.sigma * C / self.B)
        return out
        """,
        NoiseClass.DATA_DEPENDENT, "DPA202", "took the place of a zero row",
    ),
    "std given to the draw depends on data": (
        "s = 0.1 * float(self.norms(grads).clamp(max=1).sum())\n"
        "return [m + torch.normal(0.0, s, size=m.shape) for m in self.mean(grads)]",
        NoiseClass.DATA_DEPENDENT, "DPA202", "the noise scale changed by",
    ),
    "more noise when a large row is seen": (
        "big = 1.1 if bool((self.norms(grads) > 1e3).any()) else 1.0\n"
        "return [m + self.noise(m, big) for m in self.mean(grads)]",
        NoiseClass.DATA_DEPENDENT, "DPA202", "the noise scale changed by 10 %",
    ),
    "momentum before the noise, released as signs": (
        """
        mean = self.mean(grads)
        self.m = mean if self.m is None else [0.9 * a + 0.1 * b for a, b in zip(self.m, mean)]
        return [(m + self.noise(m)).sign() for m in self.m]
        """,
        NoiseClass.LEAK, "DPA203", "(it is kept in self.m)",
    ),
    "rounded without noise": (
        "return [(8 * m).round() for m in self.mean(grads)]",
        NoiseClass.NO_FRESH_NOISE, "DPA204", "released coordinates",
    ),
    "a decision of the whole batch without noise": (
        "k = float((self.norms(grads) > 2).sum() > 3)\nreturn [m * 0 + k for m in self.mean(grads)]",
        NoiseClass.NO_FRESH_NOISE, "DPA204", "14 of 14 released coordinates carry no Gaussian noise",
    ),
    "cheats at one step": (
        "return self.mean(grads) if step == 11 else " + NOISED,
        NoiseClass.NO_FRESH_NOISE, "DPA204", "step 11: 14 of 14",
    ),
}  # fmt: skip

UNREAD = {
    "Laplace noise": (
        "return [m + torch.distributions.Laplace(0.0, 0.1).sample(m.shape) for m in self.mean(grads)]",
        NoiseClass.UNRESOLVED, "DPA206", "4 random draws that are not Gaussian",
    ),
    "Box-Muller by hand": (
        "return [m + (-2 * torch.rand_like(m).log()).sqrt() * torch.cos(6.283185307 * torch.rand_like(m)) * 0.1\n"
        "        for m in self.mean(grads)]",
        NoiseClass.UNRESOLVED, "DPA206", "not Gaussian",
    ),
    "scipy's normal": (
        "from scipy.stats import norm\n"
        "return [m + torch.as_tensor(norm.rvs(size=tuple(m.shape))) * 0.1 for m in self.mean(grads)]",
        NoiseClass.UNRESOLVED, "DPA207", "randomness escapes the tape",
    ),
    "noise that is clamped": (
        "return [m + self.noise(m).clamp(-0.1, 0.1) for m in self.mean(grads)]",
        NoiseClass.UNRESOLVED, "DPA207", "not an affine function",
    ),
    "sign, scaled by a private maximum": (
        f"s = 1.0 if float(self.norms(grads).max()) > 1e3 else 2.0\nreturn [x.sign() * s for x in {NOISED}]",
        NoiseClass.UNRESOLVED, "DPA207", "data passes beside these values",
    ),
    "sign, scaled by a private median": (
        f"s = 1.0 if float(self.norms(grads).median()) > 2 else 2.0\nreturn [x.sign() * s for x in {NOISED}]",
        NoiseClass.UNRESOLVED, "DPA207", "data passes beside",
    ),
    "sign, adaptive threshold": (
        f"{ADAPT}\nreturn [x.sign() for x in {NOISED}]", NoiseClass.UNRESOLVED, "DPA207", "no shift of the noise",
    ),
    "banded noise": (
        """
        mean = self.mean(grads)
        z = [self.noise(m) for m in mean]
        last = self.m or [torch.zeros_like(x) for x in z]
        self.m = z
        return [a + b - 0.5 * c for a, b, c in zip(mean, z, last)]
        """,
        NoiseClass.CORRELATED, "DPA207", "correlated noise needs joint accounting",
    ),
    "state that cannot be put back": (
        "if self.m is None:\n    self.m = (i for i in range(10**6))\nnext(self.m)\nreturn " + NOISED,
        NoiseClass.UNRESOLVED, "DPA207", "self.m is a generator, whose state cannot be saved",
    ),
    "behaves only when watched": (
        "from torch.utils._python_dispatch import _get_current_dispatch_mode_stack as modes\n"
        "k = 1.0 if modes() else 0.1\n"
        "return [m + self.noise(m, k) for m in self.mean(grads)]",
        NoiseClass.UNRESOLVED, "DPA207", "releases other values when it is not watched",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def sources(mechanism):
    texts = {name: mechanism(case[0]) for name, case in (PROVED | UNREAD).items()}
    texts["momentum kept in a module global"] += "\n\nKEPT = None\n"
    texts["public mask"] = mechanism("k = 1 + int(torch.rand(()) < 0.5)\nreturn [x * k for x in " + NOISED + "]")
    texts["seeded by step"] = mechanism("torch.manual_seed(step)\nreturn " + NOISED)
    texts["fewer numbers in large models"] = mechanism(
        "k = 1.0 if grads[0].numel() < 100 else 0.1\nreturn [m + self.noise(m, k) for m in self.mean(grads)]"
    )
    return texts


@pytest.fixture(scope="module")
def results(examine_all, sources, config):
    return examine_all({name: (text, config()) for name, text in sources.items()})


def _line(text, marker):
    return next(number for number, line in enumerate(text.splitlines(), 1) if marker in line)


@pytest.mark.parametrize("name", list(PROVED))
def test_a_witness_is_found(name, results):
    _, noise_class, rule, words = PROVED[name]
    result = results[name]
    assert result.classes[-1] is noise_class
    problem = next(p for p in result.problems if p.rule == rule and p.severity is Severity.CRITICAL)
    assert problem.strength is Strength.PROOF
    assert words in problem.message
    assert problem.line is not None
    if noise_class is NoiseClass.NO_FRESH_NOISE:
        assert result.measured[-1] == 0.0
    else:
        assert result.measured[-1] is None
        assert not result.demonstrated


@pytest.mark.parametrize("name", list(UNREAD))
def test_what_cannot_be_read_is_no_witness(name, results):
    _, noise_class, rule, words = UNREAD[name]
    result = results[name]
    assert result.classes[-1] is noise_class
    assert result.measured[-1] is None
    assert not result.demonstrated
    problem = next(p for p in result.problems if p.rule == rule)
    assert words in problem.message
    assert all(p.severity is not Severity.CRITICAL for p in result.problems)


def test_the_finding_names_the_line_of_the_draw(results, sources):
    name = "std given to the draw depends on data"
    assert results[name].problems[0].line == _line(sources[name], "torch.normal(0.0, s")
    name = "one noise for all tensors"
    assert results[name].problems[0].line == _line(sources[name], "z = torch.randn(")


def test_public_coins_are_held_fixed_and_void_the_lower_end(results):
    result = results["public mask"]
    assert result.measured == pytest.approx([0.8] * 12)
    assert not result.demonstrated
    assert {p.rule for p in result.problems} - {"DPA209"} == {"DPA206"}


def test_seeding_inside_a_step_is_a_heuristic_finding(results):
    problem = next(p for p in results["seeded by step"].problems if p.rule == "DPA205")
    assert problem.strength is Strength.HEURISTIC
    assert "seeded inside the step" in problem.message


def test_real_shapes_lower_the_reading(results):
    result = results["fewer numbers in large models"]
    assert result.measured[0] == pytest.approx(0.08)
    problem = next(p for p in result.problems if p.rule == "DPA207")
    assert "0.08 at the real shapes and 0.8 at small ones" in problem.message
    assert problem.strength is Strength.HEURISTIC
