"""A plain function and a recorded run: brought to the form of an audit, and refused with the place where they cannot be."""

import json
from pathlib import Path

import pytest

import harness
from dpaudit.adapters import function_subject, read_ledger
from dpaudit.contract import DataError, UsageError, Verdict
from dpaudit.gate import audit_record
from dpaudit.probe import load_source
from dpaudit.static import analyse

FUNCTION = """import torch

C, SIGMA, B = 1.0, {sigma}, 64


def step_update(grads, step):
    norms = torch.sqrt(sum(g.flatten(1).pow(2).sum(1) for g in grads)).clamp(min=1e-12)
    w = (C / norms).clamp(max=1.0)
    return [(torch.einsum("b,b...->...", w, g) + SIGMA * C * torch.randn_like(g[0])) / B for g in grads]
"""
FACTS = {
    "format": "dpaudit.ledger/1", "dataset_size": 1000, "batch_size": 50, "epochs": 1, "steps_per_epoch": 20,
    "max_grad_norm": 1.0, "target_epsilon": 1.5, "target_delta": 1e-5, "sampler": "poisson",
}  # fmt: skip


def test_a_function_is_bounded_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    config = harness.run_config("digits")
    path.write_text(FUNCTION.format(sigma=config.noise_multiplier))
    subject = function_subject(f"{path}:step_update", config, tmp_path / "out")
    result = analyse(load_source(subject.spec), config)
    assert result.sigma_effective is not None, result.refusal
    assert min(result.sigma_effective) == pytest.approx(config.noise_multiplier, rel=1e-4)
    assert subject.place(8) == (str(path), 8, "")
    assert subject.place(400) == (str(path), None, "the class around the function")


@pytest.mark.parametrize(
    ("spec", "message"),
    [("mine.py", "expected FILE.py:NAME"), ("no-such.py:f", "cannot read"), ("{path}:other", "found: step_update")],
)
def test_a_wrong_function_is_named(tmp_path: Path, spec: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(FUNCTION.format(sigma=1.0))
    with pytest.raises(UsageError, match=message):
        function_subject(spec.format(path=path), harness.run_config("digits", noise_multiplier=1.0), tmp_path)


def ledger(folder: Path, steps: list[dict[str, object]], **facts: object) -> Path:
    path = folder / "run.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ({**FACTS, **facts}, *steps)) + "\n")
    return path


def steps(sigma: float, **more: object) -> list[dict[str, object]]:
    return [{"step": step, "sigma": sigma, **more} for step in range(20)]


def test_a_recorded_run_is_never_accepted_and_rejected_by_its_own_report(tmp_path: Path) -> None:
    quiet = read_ledger(ledger(tmp_path, steps(2.0)))
    report = audit_record("run.jsonl", quiet.config, quiet.measurement)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.epsilon.reported_bracket is not None
    assert report.epsilon.reported_bracket.upper is not None
    assert report.epsilon.reported_bracket.upper < 1.5
    loud = read_ledger(ledger(tmp_path, steps(0.6)))
    report = audit_record("run.jsonl", loud.config, loud.measurement)
    assert report.verdict is Verdict.REJECTED
    assert [finding.rule for finding in report.findings] == ["DPA405"]


def test_less_noise_on_record_than_was_reported_is_a_finding(tmp_path: Path) -> None:
    record = read_ledger(ledger(tmp_path, steps(2.0, noise_std=1.0, max_contribution=1.0)))
    report = audit_record("run.jsonl", record.config, record.measurement)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert [(f.rule, f.evidence["steps"]) for f in report.findings] == [("DPA403", 20)]
    assert report.epsilon.replayed.lower is None


@pytest.mark.parametrize(
    ("rows", "facts", "message"),
    [
        (steps(1.0)[:-1], {}, "expected 20 steps"),
        ([*steps(1.0)[:5], *steps(1.0)[6:]], {}, "expected step 5, got 6"),
        ([{"step": 0, "sigma": -1}], {}, "line 2: sigma: expected a finite number"),
        ([{"step": 0, "sigmma": 1}], {}, "unknown key 'sigmma'"),
        ([], {"format": "x"}, "expected format 'dpaudit.ledger/1'"),
        ([], {"sampler": "bernoulli"}, "line 1: .*bernoulli"),
        ([], {"dataset_size": 1.5}, "expected a whole number"),
        ([], {"extra": 1}, "unknown key 'extra'"),
    ],
)
def test_a_malformed_ledger_names_its_line(
    tmp_path: Path, rows: list[dict[str, object]], facts: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_ledger(ledger(tmp_path, rows, **facts))
