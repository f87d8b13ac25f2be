"""The attack on running code: what it refutes, what it must not, and how it fails."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from dpaudit.contract import Cell, Measurement, NoiseClass, Outcome, Relation, Rows, RunConfig, Sampler, UsageError
from dpaudit.empirical import GATE, EmpiricalResult, Family, attack, make_plan
from dpaudit.empirical.effort import Effort
from dpaudit.empirical.model import REJECTS, simulate
from dpaudit.empirical.planning import Case
from dpaudit.probe import load_source

SIGMA = 1.0
HEAD = """
import torch

class DPMechanism:
    def __init__(self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta):
        self.C, self.sigma, self.B = max_grad_norm, noise_multiplier, batch_size
        self.kept = None

    def clip(self, grads):
        norms = torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0).sqrt()
        weights = (self.C / norms.clamp(min=1e-12)).clamp(max=1.0)
        return [torch.tensordot(weights, g, dims=1) for g in grads]

    def get_effective_sigma(self, step, epoch):
        return self.sigma

    def clip_and_noise(self, grads, step, epoch):
"""
HONEST = HEAD + "        return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B for s in self.clip(grads)]\n"
LITTLE = HONEST.replace("self.sigma * self.C *", "0.25 * self.sigma * self.C *")
RESEEDED = HONEST.replace("        return [(s", "        torch.manual_seed(step // 2)\n        return [(s")
REUSED = HEAD + (
    "        sums = self.clip(grads)\n"
    "        if self.kept is None:\n"
    "            self.kept = [torch.randn_like(s) for s in sums]\n"
    "        return [(s + self.sigma * self.C * z) / self.B for s, z in zip(sums, self.kept)]\n"
)
ADAPTIVE = HEAD + (
    "        norms = torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0).sqrt()\n"
    "        f = (norms > self.C).float().mean().item() if len(norms) else 0.5\n"
    "        self.C = min(100.0, max(0.01, self.C * 2.718281828 ** (0.2 * (f - 0.5))))\n"
    "        return [(s + self.sigma * self.C * torch.randn_like(s)) / self.B for s in self.clip(grads)]\n"
)


FEW = Effort(name="test", step_trials=500, run_pairs=120, only_if_planned=False)
"""Ends by its counts and not by the clock, so that a busy machine shows the same."""


def config(**changes: object) -> RunConfig:
    values: dict[str, object] = {
        "dataset_size": 2000,
        "batch_size": 40,
        "expected_batch": 40.0,
        "epochs": 1,
        "steps_per_epoch": 40,
        "max_grad_norm": 1.0,
        "target_epsilon": 3.0,
        "target_delta": 1e-5,
        "noise_multiplier": SIGMA,
        "parameter_shapes": ((4, 3), (4,)),
    }
    return RunConfig(**{**values, **changes})  # type: ignore[arg-type]


def measured(run: RunConfig, *, known: bool) -> Measurement:
    steps = run.total_steps
    return Measurement(
        outcome=Outcome.PASSED,
        reported=(run.noise_multiplier,) * steps,
        measured=((run.noise_multiplier if known else None),) * steps,
        classes=(NoiseClass.CLEAN if known else NoiseClass.UNRESOLVED,) * steps,
        demonstrated=known,
        pair="",
        findings=(),
        seconds=0.0,
    )


def attacked(
    folder: Path,
    text: str,
    run: RunConfig,
    *,
    known: bool = True,
    modes: Sequence[str] = ("step",),
) -> EmpiricalResult:
    path = folder / "mechanism.py"
    path.write_text(text, encoding="utf-8")
    return attack(
        load_source(str(path)), run, measured(run, known=known), seed=3, budget_seconds=90.0, modes=modes, effort=FEW
    )


def test_an_honest_mechanism_is_not_refuted_in_either_mode(tmp_path: Path) -> None:
    run = config(target_epsilon=2.0)
    result = attacked(tmp_path, HONEST, run, modes=("step", "run"))
    true_epsilon = Case.of(run, measured(run, known=True)).step_epsilon(1 / SIGMA, 0)
    assert result.outcome is Outcome.PASSED, result.summary
    assert not result.findings
    assert result.epsilon_lower is not None
    assert 0 < result.epsilon_lower <= true_epsilon * 1.02
    assert {bound.method for bound in result.bounds} >= {"per_step", "clopper_pearson", "accountant_family"}


@pytest.mark.parametrize(("text", "known"), [(LITTLE, True), (LITTLE, False), (RESEEDED, False), (REUSED, False)])
def test_too_little_reseeded_and_reused_noise_are_refuted(tmp_path: Path, text: str, known: bool) -> None:
    result = attacked(tmp_path, text, config(), known=known)
    assert result.outcome is Outcome.VIOLATED, result.summary
    (finding,) = result.findings
    assert finding.rule == "DPA301"
    assert finding.refutes
    assert finding.evidence["test"] != {}
    assert result.epsilon_lower is not None
    assert result.epsilon_lower > 3.0


def test_a_noise_scale_leak_is_seen_from_outputs_alone(tmp_path: Path) -> None:
    result = attacked(tmp_path, ADAPTIVE, config(), known=False)
    assert result.outcome is Outcome.VIOLATED, result.summary
    assert "noise scale" in str(result.findings[0].evidence["attack"])


def test_whole_runs_refute_too_little_noise(tmp_path: Path) -> None:
    result = attacked(tmp_path, LITTLE, config(dataset_size=400), modes=("run",))
    assert result.outcome is Outcome.VIOLATED, result.summary
    assert "run attack" in result.summary


def test_an_epsilon_of_the_declared_family_is_invalid_where_batches_are_drawn_otherwise(tmp_path: Path) -> None:
    # once for sure in five steps, where Poisson sampling leaves it out of a third of the runs
    run = config(dataset_size=200, epochs=1, steps_per_epoch=5, noise_multiplier=0.25)
    truth = Case.of(run, measured(run, known=True)).step_epsilon(1 / 0.25, 0)
    run = replace(run, target_epsilon=truth * 1.002)
    path = tmp_path / "mechanism.py"
    path.write_text(HONEST, encoding="utf-8")
    source, seen = load_source(str(path)), measured(run, known=True)
    shuffled = attack(source, run, seen, budget_seconds=4.0, modes=("run",), drawn=Sampler.SHUFFLE)
    assert not any(bound.valid for bound in shuffled.bounds if bound.family is Family.ACCOUNTANT)
    with pytest.raises(UsageError, match="mode run"):
        attack(source, run, seen, modes=("step",), drawn=Sampler.SHUFFLE)


def test_the_gates_effort_gives_up_whole_runs_that_cannot_refute_and_says_what_longer_adds(tmp_path: Path) -> None:
    path = tmp_path / "mechanism.py"
    path.write_text(HONEST, encoding="utf-8")
    run = config(target_epsilon=2.0)
    seen, said = measured(run, known=True), []
    result = attack(
        load_source(str(path)), run, seen, effort=GATE, progress=lambda what, spent, budget: said.append(what)
    )
    assert result.outcome is Outcome.PASSED, result.summary
    played = {bound.method: bound for bound in result.bounds}
    assert played["sequential_pairs"].counts["inside"] < GATE.run_pairs
    assert "accountant_family" not in played  # the number of runs depended on what they showed
    assert [line.split(":")[0] for line in result.longer] == ["step", "run"]
    assert {"step: pilot", "step: test", "run: pilot", "run: test"} <= set(said)
    short = attack(load_source(str(path)), run, seen, effort=GATE, budget_seconds=0.5)
    assert any(line.startswith("run: not played") for line in short.longer)


def test_a_false_report_that_the_probe_corrected_is_not_refuted(tmp_path: Path) -> None:
    # half the reported noise, but the probe read that, and the true schedule keeps the budget
    run = config(noise_multiplier=4.0)
    claim = measured(run, known=True)
    half = HONEST.replace("self.sigma * self.C *", "0.5 * self.sigma * self.C *")
    path = tmp_path / "mechanism.py"
    path.write_text(half, encoding="utf-8")
    seen = Measurement(
        outcome=claim.outcome, reported=claim.reported, measured=(2.0,) * run.total_steps, classes=claim.classes,
        demonstrated=True, pair="", findings=(), seconds=0.0,
    )  # fmt: skip
    result = attack(load_source(str(path)), run, seen, budget_seconds=4.0, modes=("step",))
    assert result.outcome is not Outcome.VIOLATED, result.summary


def test_an_underpowered_attack_is_inconclusive_and_says_what_it_needs(tmp_path: Path) -> None:
    result = attacked(tmp_path, HONEST, config(target_epsilon=1e6), modes=("run",))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "Needed: run" in result.summary


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("        raise ValueError('no')\n", "DPA012"),
        ("        import os; os._exit(0)\n", "DPA013"),
        ("        return [g.mean(0) * float('nan') for g in grads]\n", "DPA014"),
    ],
)
def test_a_candidate_that_fails_is_inconclusive_with_a_finding(tmp_path: Path, body: str, rule: str) -> None:
    result = attacked(tmp_path, HEAD + body, config())
    assert result.outcome is Outcome.INCONCLUSIVE
    assert rule in {finding.rule for finding in result.findings} | {"DPA012"}
    assert result.findings
    assert not any(finding.refutes for finding in result.findings)
    assert result.epsilon_lower is None


@pytest.mark.parametrize(
    "cell",
    [
        Cell(sampler=Sampler.TRUNCATED_POISSON, relation=Relation.ZERO_OUT, rows=Rows.CONSTANT),
        Cell(sampler=Sampler.POISSON, relation=Relation.REPLACE_ONE, rows=Rows.SAMPLED),
        Cell(sampler=Sampler.FIXED_SIZE, relation=Relation.REPLACE_ONE, rows=Rows.CONSTANT),
        Cell(sampler=Sampler.SHUFFLE, relation=Relation.ZERO_OUT, rows=Rows.CONSTANT),
    ],
)
def test_other_cells_are_played_and_honest_mechanisms_pass(tmp_path: Path, cell: Cell) -> None:
    capped = cell.sampler is Sampler.TRUNCATED_POISSON
    run = config(cell=cell, target_epsilon=8.0, batch_size=60 if capped else 40)
    result = attacked(tmp_path, HONEST, run, modes=("step", "run"))
    assert result.outcome in {Outcome.PASSED, Outcome.INCONCLUSIVE}, result.summary
    assert not result.findings


def test_the_plan_is_made_before_any_compute() -> None:
    run = config()
    plan = make_plan(run, measured(run, known=True), budget_seconds=30.0)
    step, whole = plan.modes
    assert step.gate_level + whole.gate_level == pytest.approx(1e-6)
    assert step.print_level + whole.print_level == pytest.approx(0.05)
    assert step.needed is not None
    assert whole.needed is not None
    assert whole.calls == run.total_steps
    with pytest.raises(UsageError, match="modes"):
        make_plan(run, measured(run, known=True), modes=("model",))
    with pytest.raises(UsageError, match="seconds"):
        make_plan(run, measured(run, known=True), budget_seconds=float("nan"))


def test_the_model_plans_power_and_rejects_nothing() -> None:
    run = config()
    trace = Case.of(run, measured(run, known=True)).candidates[0].trace
    quiet, loud = simulate(trace, runs=4000, seed=0), simulate(trace.scaled(0.25), runs=4000, seed=0)
    assert REJECTS is False
    assert quiet.fnr > loud.fnr
    assert loud.fpr == pytest.approx(0.02, abs=0.01)


COUNTING = (
    HONEST.replace("self.kept = None", "self.count = 0")
    .replace(
        "        return [(s",
        "        self.count += 1\n        sigma = self.sigma * (0.5 + self.count / 40)\n        return [(s",
    )
    .replace("self.sigma * self.C *", "sigma * self.C *")
)


def test_a_mechanism_that_counts_for_itself_is_judged_with_its_history(tmp_path: Path) -> None:
    # its noise grows with its own counter: shown the last step number without its past, it would look dishonest
    run = config(target_epsilon=4.0)
    claim = measured(run, known=True)
    schedule = tuple(SIGMA * (0.5 + (step + 1) / 40) for step in range(run.total_steps))
    path = tmp_path / "mechanism.py"
    path.write_text(COUNTING, encoding="utf-8")
    seen = Measurement(
        outcome=claim.outcome, reported=schedule, measured=schedule, classes=claim.classes, demonstrated=True,
        pair="", findings=(), seconds=0.0,
    )  # fmt: skip
    result = attack(load_source(str(path)), run, seen, budget_seconds=4.0, modes=("step",))
    assert not result.findings, result.summary
