"""The analysis as a whole: relations, real shapes, schedules, certificates, the process border."""

import copy
import dataclasses
import json
import math
import time
from pathlib import Path

import pytest
import torch

from dpaudit.contract import Cell, Relation, Rows, RunConfig, Sampler
from dpaudit.static import (
    Candidate,
    CertificateError,
    analyse,
    analyse_source,
    carried_bounds,
    explain,
    explain_line,
    verify,
)
from dpaudit.static.process import decode, encode
from dpaudit.static.verify import digest

ROOT = Path(__file__).resolve().parents[2]
SMALL = ((3, 2), (2,), (2, 3))
MNIST = ((16, 1, 8, 8), (16,), (32, 16, 4, 4), (32,), (32, 512), (32,), (10, 32), (10,))

CLIP = """
import math
import torch
class DPMechanism:
    def __init__(self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon,
                 target_delta):
        self.C, self.sigma, self.B, self.steps = max_grad_norm, noise_multiplier, batch_size, epochs * 4
        self.m = None
    def clip_and_noise(self, G, step, epoch):
        n = torch.sqrt(sum(g.flatten(1).pow(2).sum(1) for g in G))
        w = torch.clamp(self.C / n.clamp(min=1e-12), max=1.0)
        out = []
        for g in G:
            s = torch.einsum("b,b...->...", w, g)
            out.append((s + {std} * torch.randn_like(s)) / {divisor})
        return out
"""
CENTRED = """
import torch
class DPMechanism:
    def __init__(self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon,
                 target_delta):
        self.C, self.sigma, self.B = max_grad_norm, noise_multiplier, batch_size
        self.m = None
    def clip_and_noise(self, G, step, epoch):
        if self.m is None:
            self.m = [torch.zeros_like(g[0]) for g in G]
        D = [g - m for g, m in zip(G, self.m)]
        n = torch.sqrt(sum(d.flatten(1).pow(2).sum(1) for d in D))
        w = torch.clamp(self.C / n.clamp(min=1e-12), max=1.0)
        out = []
        for d, m in zip(D, self.m):
            s = torch.einsum("b,b...->...", w, d)
            out.append((s + self.sigma * self.C * torch.randn_like(s)) / self.B + m)
        self.m = [0.9 * m + 0.1 * o for m, o in zip(self.m, out)]
        return out
"""


def clip(std="self.sigma * self.C", divisor="self.B"):
    return CLIP.replace("{std}", std).replace("{divisor}", divisor)


def config(shapes=SMALL, *, rows=Rows.SAMPLED, relation=Relation.ADD_REMOVE, steps=2, epochs=2) -> RunConfig:
    return RunConfig(
        dataset_size=60000,
        batch_size=256,
        expected_batch=180,
        epochs=epochs,
        steps_per_epoch=steps,
        max_grad_norm=1.0,
        target_epsilon=3.0,
        target_delta=1e-5,
        noise_multiplier=1.2,
        cell=Cell(
            sampler=Sampler.POISSON if rows is Rows.SAMPLED else Sampler.TRUNCATED_POISSON, relation=relation, rows=rows
        ),
        parameter_shapes=shapes,
    )


def bound(source, **options):
    torch.set_num_threads(1)
    return analyse_source(Candidate(source=source, filename="m.py"), config(**options))


@pytest.mark.parametrize("relation", list(Relation))
@pytest.mark.parametrize("rows", list(Rows))
def test_flat_clipping_is_the_same_in_every_relation(relation, rows):
    result = bound(clip(), relation=relation, rows=rows)
    assert result.refusal is None
    assert min(result.sigma_effective) == pytest.approx(1.2, rel=1e-5)


def test_centring_costs_twice_where_an_absent_row_is_a_zero_row():
    free = bound(CENTRED, relation=Relation.ADD_REMOVE, rows=Rows.SAMPLED)
    assert min(free.sigma_effective) == pytest.approx(1.2, rel=1e-5)
    for relation, rows in ((Relation.ZERO_OUT, Rows.SAMPLED), (Relation.ADD_REMOVE, Rows.CONSTANT)):
        zeroed = bound(CENTRED, relation=relation, rows=rows)
        assert zeroed.sigma_effective is None or max(zeroed.sigma_effective[1:]) <= 0.6


def test_the_realised_divisor_is_public_where_rows_are_constant():
    constant = bound(clip(divisor="G[0].shape[0]"), rows=Rows.CONSTANT)
    assert min(constant.sigma_effective) == pytest.approx(1.2, rel=1e-5)
    sampled = bound(clip(divisor="G[0].shape[0]"), rows=Rows.SAMPLED)
    assert sampled.refusal.rule == "DPA108"


COUNT = """
import torch
class DPMechanism:
    def __init__(self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon,
                 target_delta):
        self.C, self.sigma, self.B = max_grad_norm, noise_multiplier, batch_size
        self.count = torch.tensor(float(batch_size))
    def clip_and_noise(self, G, step, epoch):
        n = torch.sqrt(sum(g.flatten(1).pow(2).sum(1) for g in G))
        w = torch.clamp(self.C / n.clamp(min=1e-12), max=1.0)
        S = [torch.einsum("b,b...->...", w, g) for g in G]
        out = [(s + self.sigma * self.C * torch.randn_like(s)) / self.count for s in S]
        count = {count} + {std} * torch.randn(())
        self.count = {kept}
        return out
"""


def counted(count="torch.ones_like(n).sum()", std=6.0, kept="count.clamp(min=1.0)", **more):
    return bound(COUNT.format(count=count, std=std, kept=kept), **more)


def test_a_noisy_count_of_rows_is_charged_like_any_other_release():
    """1/1.2^2 of the updates and (weight of a row)^2/36 of the count add up; under zero_out every row is there."""
    for count, weight in (("torch.ones_like(n).sum()", 1.0), ("2 * torch.ones_like(n).sum()", 2.0)):
        sigma = min(counted(count).sigma_effective)
        assert sigma == pytest.approx((1.2**-2 + (weight / 6) ** 2) ** -0.5, rel=1e-5)
    twice = min(counted(kept="count + torch.ones_like(n).sum()").sigma_effective)
    assert twice == pytest.approx((1.2**-2 + (2 / 6) ** 2) ** -0.5, rel=1e-5)
    assert min(counted(relation=Relation.ZERO_OUT).sigma_effective) == pytest.approx(1.2, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        ({"kept": "torch.ones_like(n).sum()"}, {"DPA106", "DPA101"}),
        ({"std": 0.0}, {"DPA106", "DPA101"}),
        ({"kept": "torch.stack([count, torch.ones_like(n).sum()]).amax()"}, {"DPA106", "DPA101"}),
        ({"count": "torch.ones_like(n).sum() ** 2"}, {"DPA103"}),
        ({"count": "torch.ones_like(n).sum().log()"}, {"DPA103"}),
        ({"std": "torch.ones_like(n).sum()"}, {"DPA104", "DPA103", "DPA106"}),
        ({"count": "torch.cat([torch.ones_like(n), torch.ones(1)]).sum()"}, {"DPA106", "DPA108", "DPA111"}),
        ({"count": "torch.ones(G[1].shape[1] + 1).sum()"}, {"DPA106", "DPA108", "DPA111"}),
    ],
)
def test_a_count_of_rows_without_its_own_noise_is_refused(change, rules):
    assert counted(**change).refusal.rule in rules


def test_a_divisor_that_counts_rows_is_refused_where_their_number_is_private():
    assert bound(clip(divisor="torch.ones_like(n).sum()"), rows=Rows.SAMPLED).sigma_effective is None
    assert min(bound(clip(divisor="torch.ones_like(n).mean()"), rows=Rows.SAMPLED).sigma_effective) == pytest.approx(
        1.2, rel=1e-5
    )


def test_a_mean_over_constant_rows_uses_the_real_number_of_rows():
    source = clip().replace(
        'torch.einsum("b,b...->...", w, g)', "(w.view(-1, *[1] * (g.dim() - 1)) * g).mean(0) * self.B"
    )
    assert min(bound(source, rows=Rows.CONSTANT).sigma_effective) == pytest.approx(1.2, rel=1e-5)


def test_elementwise_clipping_counts_the_real_coordinates():
    source = clip().replace(
        "s = torch.einsum", "g = g.clamp(-self.C, self.C); w = torch.ones_like(w); s = torch.einsum"
    )
    result = bound(source, shapes=MNIST)
    assert min(result.sigma_effective) == pytest.approx(1.2 / math.sqrt(26010), rel=1e-5)


def test_a_formula_of_the_number_of_coordinates_is_taken_at_the_real_shape():
    source = clip(std="self.sigma * self.C * math.sqrt(g[0].numel()) / math.sqrt(g[0].numel())")
    assert min(bound(source, shapes=MNIST).sigma_effective) == pytest.approx(1.2, rel=1e-5)
    small = clip(std="self.sigma * self.C * 16 / math.sqrt(sum(g[0].numel() for g in G))")
    found = min(bound(small, shapes=MNIST).sigma_effective)
    assert found == pytest.approx(1.2 * 16 / math.sqrt(26010), rel=1e-5)


def test_a_decision_on_a_size_that_differs_is_refused():
    source = clip(std="self.sigma * self.C * (1.0 if g[0].numel() > 100 else 0.1)")
    assert bound(source, shapes=MNIST).refusal.rule == "DPA111"


def test_per_row_clipping_of_a_matrix_counts_the_real_rows():
    source = """
import torch
class DPMechanism:
    def __init__(self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon,
                 target_delta):
        self.C, self.sigma, self.B = max_grad_norm, noise_multiplier, batch_size
    def clip_and_noise(self, G, step, epoch):
        out = []
        for g in G:
            n = g.norm(dim=-1, keepdim=True)
            s = (g * torch.clamp(self.C / n, max=1.0)).sum(0)
            out.append((s + self.sigma * self.C * torch.randn_like(s)) / self.B)
        return out
"""
    result = bound(source, shapes=((32, 512),))
    assert min(result.sigma_effective) == pytest.approx(1.2 / math.sqrt(32), rel=1e-5)


@pytest.mark.parametrize("name", sorted(p.name for p in (ROOT / "mechanisms" / "accepted").glob("*.py")))
def test_every_accepted_mechanism_keeps_its_noise(name):
    source = (ROOT / "mechanisms" / "accepted" / name).read_text()
    for rows in Rows:
        result = bound(source, shapes=MNIST, rows=rows)
        if name == "centred_clipping.py" and rows is Rows.CONSTANT:
            # An absent row contributes clip(-m) there: the mechanism's own analysis covers sampled rows only.
            assert result.refusal is not None or min(result.sigma_effective) < 1.2 * (1 - 1e-5)
            continue
        assert result.refusal is None, result.refusal
        if name == "private_adaptive_threshold.py" and rows is Rows.CONSTANT:
            # An absent row votes there, and its bit moves by 1 instead of by 1/2: its analysis covers sampled rows only.
            count_std = 256 / 20
            gradient = 1.2**-2 - (2 * count_std) ** -2
            assert min(result.sigma_effective) == pytest.approx((gradient + count_std**-2) ** -0.5, rel=1e-5)
            continue
        assert min(result.sigma_effective) >= 1.2 * (1 - 1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "adaptive_clipping",
        "batch_mean_gamma",
        "centred_adaptive_clipping",
        "per_layer_mean_threshold",
        "raw_momentum",
    ],
)
def test_the_rejected_mechanisms_with_private_state_are_refused(name):
    source = (ROOT / "mechanisms" / "rejected" / f"{name}.py").read_text()
    for rows in Rows:
        result = bound(source, shapes=MNIST, rows=rows)
        assert result.sigma_effective is None
        assert result.refusal.line is not None


def test_the_public_schedules_are_read_step_by_step():
    source = clip(std="self.sigma * self.C * (1.0 + 0.5 * math.cos(math.pi * step / self.steps))")
    result = bound(source, shapes=MNIST, steps=4, epochs=10)
    for step, sigma in enumerate(result.sigma_effective):
        assert sigma == pytest.approx(1.2 * (1 + 0.5 * math.cos(math.pi * step / 40)), rel=1e-5)
    assert len(result.certificate["steps"]) <= 5, "numbers that change are analysed once, as variables"


def test_plateaus_change_the_bound_where_they_change_the_noise():
    source = clip(std="self.sigma * self.C * (0.5 if epoch >= 3 else 1.0)")
    result = bound(source, steps=3, epochs=4)
    assert result.sigma_effective[:6] == pytest.approx([1.2] * 6, rel=1e-5)
    assert result.sigma_effective[6:] == pytest.approx([0.6] * 6, rel=1e-5)


def test_a_thousand_steps_take_seconds():
    began = time.monotonic()
    result = bound(clip(), shapes=MNIST, steps=234, epochs=5)
    assert len(result.sigma_effective) == 1170
    assert time.monotonic() - began < 60, "generous: the machine may be shared"


def test_a_swallowed_refusal_is_still_a_refusal():
    # The lint refuses broad handlers; behind a class attribute trick the recorded refusal counts all the same.
    source = clip().replace(
        "        out = []\n",
        "        out = []\n        try:\n            n[torch.nonzero(n > 0.5)]\n        finally:\n            pass\n",
        1,
    )
    assert bound(source).refusal.rule == "DPA107"


def test_a_certificate_survives_json_and_verifies():
    result = bound(clip(std="self.sigma * self.C * (2.0 - step / 100)"), shapes=MNIST, steps=4, epochs=3)
    document = json.loads(json.dumps(result.certificate))
    assert verify(document) == result.sigma_effective
    text = explain(document, assumptions=result.assumptions)
    assert "min(1" in text
    assert "||g||" in text


def test_a_forged_certificate_is_caught():
    result = bound(clip(), shapes=MNIST)
    honest = json.loads(json.dumps(result.certificate))
    forged = copy.deepcopy(honest)
    forged["schedule"][0]["sigma"] *= 1.01
    forged["digest"] = digest(forged)
    with pytest.raises(CertificateError, match="claims sigma"):
        verify(forged)
    forged = copy.deepcopy(honest)
    forged["steps"][0]["parts"][0]["supremum_squared"] = 0.0
    forged["schedule"][0]["sigma"] = 100.0
    forged["digest"] = digest(forged)
    with pytest.raises(CertificateError, match="claims sigma"):
        verify(forged)
    with pytest.raises(CertificateError, match="format"):
        verify({"format": "other"})


def test_results_cross_the_process_border_unchanged():
    for source in (clip(), clip(divisor="G[0].shape[0]")):
        result = bound(source)
        again = decode(json.loads(json.dumps(encode(result))), 4)
        assert (again.sigma_effective, again.refusal, again.assumptions) == (
            result.sigma_effective,
            result.refusal,
            result.assumptions,
        )


def test_a_result_for_other_steps_is_not_taken():
    with pytest.raises(ValueError, match="expected 5 steps"):
        decode(json.loads(json.dumps(encode(bound(clip())))), 5)


def test_analyse_runs_in_a_process_of_its_own(tmp_path):
    from dpaudit.probe.source import load_source

    path = tmp_path / "mechanism.py"
    path.write_text(clip())
    result = analyse(load_source(str(path)), config(), time_limit=60)
    assert min(result.sigma_effective) == pytest.approx(1.2, rel=1e-5)


def test_the_bound_holds_for_sampled_pairs():
    """Heavy-tailed gradients never contribute more than the bound says, and come close to it."""
    generator = torch.Generator().manual_seed(5)
    limit = 1 / min(bound(clip()).sigma_effective)
    namespace: dict = {}
    exec(clip(std="0.0"), namespace)
    mechanism = namespace["DPMechanism"](1.0, 1.2, 14, 60000, 256, 2, 3.0, 1e-5)
    worst = 0.0
    for _ in range(100):
        rows = [
            torch.randn(1, *shape, generator=generator) * 10 ** float(torch.randn((), generator=generator) * 2)
            for shape in SMALL
        ]
        moved = torch.cat([o.flatten() for o in mechanism.clip_and_noise(rows, 0, 1)]) * 256
        worst = max(worst, float(moved.norm()) / 1.2)
    assert 0.98 * limit <= worst <= limit * (1 + 1e-6)


def test_the_conditional_bound_says_what_a_public_threshold_would_be_worth():
    source = clip().replace(
        "        w = torch.clamp(self.C / n.clamp(min=1e-12), max=1.0)\n",
        "        c = torch.quantile(n, 0.5).clamp(0.1, 2.0)\n        w = torch.clamp(c / n.clamp(min=1e-12), max=1.0)\n",
    )
    result = bound(source)
    assert result.sigma_effective is None
    assert result.refusal.rule == "DPA103"
    assert "at least 0.6" in result.conditional or "0.59999" in result.conditional


def test_the_lint_names_every_line_with_its_rule():
    from dpaudit.static.lint import lint

    source = "import ctypes\nimport random\ntry:\n    pass\nexcept Exception:\n    pass\nx = eval('1')\n"
    blocking, _ = lint(source)
    assert [(r.rule, r.line) for r in blocking] == [("DPA116", 1), ("DPA112", 2), ("DPA115", 5), ("DPA116", 7)]


EMPTY = {
    "sums": (clip(), None),
    "asks first": (
        clip().replace("        n = ", "        if G[0].shape[0] == 0:\n            pass\n        n = ", 1),
        None,
    ),
    "cannot run": (clip().replace("        out = []", "        biggest = n.amax(0)\n        out = []"), "DPA111"),
    "no noise for nobody": (
        clip().replace(
            "        n = ",
            "        if G[0].shape[0] == 0:\n            return [0 * g.sum(0) for g in G]\n        n = ",
            1,
        ),
        "DPA111",
    ),
    "less noise for nobody": (
        clip(std="scale * self.sigma * self.C").replace(
            "        n = ", "        scale = 0.5 if G[0].shape[0] == 0 else 1.0\n        n = ", 1
        ),
        "DPA111",
    ),
    "remembers an empty batch": (
        clip().replace(
            "        n = ", "        self.steps = self.steps + (1 if G[0].shape[0] == 0 else 0)\n        n = ", 1
        ),
        "DPA111",
    ),
}


@pytest.mark.parametrize("name", EMPTY)
def test_likely_empty_batches_are_analysed(name):
    source, rule = EMPTY[name]
    small = dataclasses.replace(config(), expected_batch=4.0)
    result = analyse_source(Candidate(source=source, filename="m.py"), small)
    if rule is None:
        assert min(result.sigma_effective) == pytest.approx(1.2, rel=1e-5)
        assert any("empty batch" in text for text in result.assumptions)
    else:
        assert result.refusal is not None
        assert result.refusal.rule == rule, result.refusal
        assert "empty" in result.refusal.message


def test_a_whole_training_script_is_analysed_by_its_mechanism():
    script = (
        "import os, sys, argparse, random\nimport torch\nimport math\n"
        + clip()
        + "\ndef main():\n    torch.manual_seed(int(sys.argv[1]))\n\nif __name__ == '__main__':\n    main()\n"
    )
    assert min(bound(script).sigma_effective) == pytest.approx(1.2, rel=1e-5)


@pytest.mark.parametrize(
    ("rule", "source", "limit"),
    [
        ("DPA109", clip(divisor="0"), 60.0),
        ("DPA114", clip(), 1e-9),
        ("DPA117", clip().replace("out = []", "raise ValueError('two tensors')"), 60.0),
    ],
)
def test_what_the_analysis_cannot_finish_is_named(rule: str, source: str, limit: float) -> None:
    result = analyse_source(Candidate(source=source, filename="m.py"), config(), time_limit=limit)
    assert result.sigma_effective is None
    assert result.refusal is not None
    assert result.refusal.rule == rule


def test_a_log_that_grows_is_refused_in_words_and_one_of_fixed_length_is_bounded():
    kept = clip().replace(
        "        out = []", "        self.log = [*getattr(self, 'log', []), self.sigma]\n        out = []"
    )
    result = bound(kept, steps=80, epochs=1)
    assert result.refusal is not None
    assert result.refusal.rule == "DPA106"
    assert "self.log." in result.refusal.message
    last = kept.replace("self.sigma]", "self.sigma][-3:]")
    assert min(bound(last, steps=80, epochs=1).sigma_effective) == pytest.approx(1.2, rel=1e-5)


ESCAPES = {
    "DPA101": clip().replace(
        "        return out", "        out[1] = torch.einsum('b,b...->...', w, G[1]) / self.B\n        return out"
    ),
    "DPA104": clip(std="self.sigma * self.C * (1 + (n > 1).float().sum() / self.B)"),
    "DPA107": clip().replace(
        "        out = []", "        if n.sum() > 100:\n            w = 0.5 * w\n        out = []"
    ),
}


@pytest.mark.parametrize("rule", ESCAPES)
def test_other_escapes_have_a_conditional_bound_too(rule):
    result = bound(ESCAPES[rule])
    assert result.sigma_effective is None
    assert result.refusal.rule == rule
    assert result.conditional.startswith("even if the private value at line")
    worth = float(result.conditional.rsplit(" ", 1)[1])
    assert 0 < worth <= 1.2 * (1 + 1e-6) * (2 if rule == "DPA104" else 1)


def test_explain_says_what_a_line_holds():
    document = bound(clip()).certificate
    lines = clip().splitlines()
    released = next(k for k, text in enumerate(lines, 1) if "randn_like" in text)
    clipped = next(k for k, text in enumerate(lines, 1) if "torch.clamp" in text)
    assert "released as at step 0" in explain_line(document, released)
    assert "noise" in explain_line(document, released)
    assert "private, of one sample" in explain_line(document, clipped)
    assert "nothing private" in explain_line(document, 1)


@pytest.mark.parametrize(
    "std", ["self.sigma * self.C * (2.0 - step / 100)", "(self.sigma + 1 / (step + 1)) * self.C * math.sqrt(step + 1)"]
)
@pytest.mark.parametrize("clipped", ["self.C /", "self.C * (1 + step) /"])
def test_a_bound_that_is_scaled_is_the_one_that_is_searched_for_again(monkeypatch, std, clipped):
    source = clip(std=std).replace("self.C /", clipped)
    scaled = bound(source, steps=6).sigma_effective
    monkeypatch.setattr(carried_bounds, "_taken_out", lambda table, part, _: carried_bounds._Part(part=part, powers={}))
    assert len(set(scaled)) > 6
    assert scaled == pytest.approx(bound(source, steps=6).sigma_effective, rel=1e-7)


def test_explain_after_a_refusal_shows_the_flow_up_to_it():
    source = clip().replace("self.C /", "G[0].abs().max() * self.C /")
    result = bound(source)
    assert result.refusal is not None
    assert decode(encode(result), 12).flow == result.flow
    text = explain({}, "DPA103 here", flow=result.flow)
    lines = source.splitlines()
    norms = next(k for k, line in enumerate(lines, 1) if "torch.clamp" in line)
    assert f"  {norms}: private, of several samples" in text
    assert f"  {result.refusal.line}: REFUSED, {result.refusal.rule}" in text
    assert text.index("private, of one sample: ") < text.index("REFUSED")
    released = next(k for k, line in enumerate(lines, 1) if "randn_like" in line)
    assert f"  {released}: noise: " in text
    assert "released: " in text
    assert "||g||" in explain_line({"lines": result.flow}, norms)


def test_explain_says_where_nothing_ran():
    result = bound(clip().replace("import math", "import threading"))
    assert result.flow == {}
    assert "before anything ran" in explain({}, "DPA116", flow=result.flow)


def _numbers(node, path=()):
    if isinstance(node, dict | list):
        for key, part in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _numbers(part, (*path, key))
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield path


def _changed(document, path, factor):
    copied = copy.deepcopy(document)
    node = copied
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = node[path[-1]] * factor + (node[path[-1]] == 0)
    return copied


def test_a_change_of_any_number_is_noticed():
    source = clip(std="self.sigma * self.C * (2.0 - step / 100)")
    document = json.loads(json.dumps(bound(source, shapes=MNIST).certificate))
    paths = list(_numbers(document))
    assert len(paths) > 50
    for path in paths:
        for factor in (2, 0.5):
            with pytest.raises(CertificateError, match="digest"):
                verify(_changed(document, path, factor))


def test_arithmetic_that_does_not_follow_is_noticed_under_a_new_digest():
    document = json.loads(json.dumps(bound(clip(), shapes=MNIST).certificate))
    noticed = 0
    for path in _numbers(document):
        if path[0] not in {"steps", "schedule"} or path[-1] in {"releases", "step", "variable", "count"}:
            continue
        for factor in (4, 0.25):
            forged = _changed(document, path, factor)
            forged["digest"] = digest(forged)
            try:
                sigmas = verify(forged)
            except (CertificateError, IndexError, KeyError):
                noticed += 1
            else:
                assert max(sigmas) <= 1.2 * (1 + 1e-6), path
    assert noticed >= 5
