"""The mechanisms of the public benchmark, written anew and small: what the probe must say of each."""

import math

import pytest

from dpaudit.contract import NoiseClass

STEPS, EPOCHS = 40, 4

AUTO = "[torch.tensordot(1 / (self.norms(grads) + 0.01), g, dims=1) / self.B for g in grads]"
ADAPT = "self.C = min(100.0, max(0.01, self.C * math.exp(0.2 * ((self.norms(grads) > self.C).double().mean().item() - 0.5))))"
MECHANISMS = {
    "standard_dpsgd": ("return [m + self.noise(m) for m in self.mean(grads)]", ""),
    "adaptive_clipping": (f"{ADAPT}\nreturn [m + self.noise(m) for m in self.mean(grads)]", ""),
    "automatic_clipping": (f"return [m + self.noise(m) for m in {AUTO}]", ""),
    "noise_decay": (
        """
        level = (epoch - 1) * 4 // self.epochs
        C = 0.85**level
        return [m + self.noise(m, C * self.f(epoch) * self.raised) for m in self.mean(grads, C)]
        """,
        """
        def f(self, epoch):
            return 0.8 ** ((epoch - 1) * 4 // self.epochs)

        def setup(self):
            self.epochs = 4
            self.raised = math.sqrt(sum(self.f(e) ** -2 for e in range(1, 5)) / 4)
        """,
    ),
    "centred_adaptive_clipping": (
        f"""
        if self.m is None:
            self.m = [torch.zeros_like(g[0]) for g in grads]
        grads = [g - m for g, m in zip(grads, self.m)]
        {ADAPT}
        r = [x + self.noise(x) + m for x, m in zip(self.mean(grads), self.m)]
        self.m = [0.9 * a + 0.1 * b for a, b in zip(self.m, r)]
        return r
        """,
        "",
    ),
    "cosine_released_averaging": (
        f"""
        f = 0.65 + 0.35 * (1 + math.cos(math.pi * step / 39)) / 2
        r = [m + self.noise(m, f) for m in {AUTO}]
        self.m = r if self.m is None else [0.5 * a + 0.5 * b for a, b in zip(self.m, r)]
        return [x.clone() for x in self.m]
        """,
        "",
    ),
    "lr_adaptive_noise": (
        f"""
        lr = max(0.05, (1 + math.cos(math.pi * (epoch - 1) / 4)) / 2)
        return [m + self.noise(m, min(4.0, lr**-0.5)) for m in {AUTO}]
        """,
        "",
    ),
    "per_layer_one_bound": (
        """
        out = []
        for g in grads:
            m = torch.tensordot(self.C / g.flatten(1).norm(dim=1).clamp(min=self.C), g, dims=1) / self.B
            out.append(m + self.noise(m))
        return out
        """,
        "",
    ),
    "raw_momentum": (
        """
        mean = self.mean(grads)
        self.m = mean if self.m is None else [0.9 * a + b for a, b in zip(self.m, mean)]
        return [m + self.noise(m) for m in self.m]
        """,
        "",
    ),
    "gamma_from_batch_mean": (
        """
        n = self.norms(grads)
        w = 1 / (n + 0.01 * n.mean() + 1e-12)
        return [torch.tensordot(w, g, dims=1) / self.B + self.noise(g[0]) for g in grads]
        """,
        "",
    ),
    "rescaled_report": (
        "C = self.C * 0.9**step\nreturn [m + self.noise(m, 0.9**step) for m in self.mean(grads, C)]",
        "def get_effective_sigma(self, step, epoch):\n    return self.sigma * 0.9**step",
    ),
}


@pytest.fixture(scope="module")
def results(examine_all, mechanism, config):
    run = config(epochs=EPOCHS, steps_per_epoch=STEPS // EPOCHS, dataset_size=80)
    return examine_all({name: (mechanism(*code), run) for name, code in MECHANISMS.items()})


def _rules(result):
    return {problem.rule for problem in result.problems} - {"DPA209"}


@pytest.mark.parametrize("name", ["standard_dpsgd", "automatic_clipping"])
def test_sound_mechanisms_are_clean(name, results):
    result = results[name]
    assert result.measured == pytest.approx(
        [0.8] * STEPS, rel=1e-7
    )  # AUTO-S reaches its bound up to gamma over the norm
    assert _rules(result) == set()
    assert result.demonstrated


@pytest.mark.parametrize("name", ["adaptive_clipping", "centred_adaptive_clipping"])
def test_private_thresholds_are_data_dependent(name, results):
    assert results[name].classes[0] is NoiseClass.DATA_DEPENDENT
    assert _rules(results[name]) == {"DPA202"}


def test_noise_decay_levels_are_read_whatever_is_reported(results):
    raised = math.sqrt(sum(0.8 ** (-2 * level) for level in range(4)) / 4)
    expected = [0.8 * raised * 0.8 ** (step // 10) for step in range(STEPS)]
    assert results["noise_decay"].measured == pytest.approx(expected, rel=1e-9)
    assert results["noise_decay"].reported == (0.8,) * STEPS


def test_released_averaging_leaves_the_cosine_schedule_visible(results):
    expected = [0.8 * (0.65 + 0.35 * (1 + math.cos(math.pi * step / 39)) / 2) for step in range(STEPS)]
    assert results["cosine_released_averaging"].measured == pytest.approx(expected, rel=1e-7)
    assert results["cosine_released_averaging"].demonstrated


def test_noise_by_learning_rate_is_read(results):
    rates = [(1 + math.cos(math.pi * (step // 10) / 4)) / 2 for step in range(STEPS)]
    assert results["lr_adaptive_noise"].measured == pytest.approx([0.8 * rate**-0.5 for rate in rates], rel=1e-7)


def test_four_layers_with_one_bound_halve_the_noise(results):
    assert results["per_layer_one_bound"].measured == pytest.approx([0.4] * STEPS, rel=1e-9)


def test_raw_momentum_leaks(results):
    assert set(results["raw_momentum"].classes[1:]) == {NoiseClass.LEAK}
    assert _rules(results["raw_momentum"]) == {"DPA203"}


def test_a_batch_mean_in_the_weights_shows_but_not_for_every_batch(results):
    result = results["gamma_from_batch_mean"]
    assert max(result.measured) < 0.6  # one huge row silences all others
    assert not result.demonstrated  # the others are drawn at random
    assert any("depends on the other rows" in note for note in result.notes)


def test_a_rescaled_report_is_read_beside_the_true_multiplier(results):
    result = results["rescaled_report"]
    assert result.measured == pytest.approx([0.8] * STEPS, rel=1e-9)
    assert result.reported == pytest.approx([0.8 * 0.9**step for step in range(STEPS)])
