"""The analysis in a process of its own, with limits and without inherited secrets.

The candidate's code runs during the analysis, so it runs there. What comes back is JSON; a process that hangs, dies or
answers nonsense is a refusal.
"""

import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dpaudit.contract import Cell, Finding, NonFinite, Relation, Rows, RunConfig, Sampler, Severity, Strength
from dpaudit.contract.guard import Guard
from dpaudit.contract.scratch import scratch_folder
from dpaudit.contract.static_result import StaticResult
from dpaudit.contract.words import Calibration
from dpaudit.probe import work_clock
from dpaudit.probe.isolated_process import START_LIMIT, IsolatedProcess
from dpaudit.probe.source import MechanismSource
from dpaudit.probe.work_clock import WorkBudget
from dpaudit.probe.worker import Answers, confine

from .analysis import DEFAULT_TIME_LIMIT, Candidate, analyse_source
from .tripwire import Tripwire


def analyse(source: MechanismSource, config: RunConfig, *, time_limit: float = DEFAULT_TIME_LIMIT) -> StaticResult:
    """Bound sigma of every step for all inputs; see :func:`dpaudit.static.analysis.analyse_source` for the guarantee.

    Args:
        source: the mechanism, loaded but not executed.
        config: the run; ``parameter_shapes`` must be those of the trained parameters.
        time_limit: seconds of work for the analysis itself (:mod:`dpaudit.probe.work_clock`).

    Never raises for what the candidate does: a crash, a hang or an exit is a refusal (DPA114, DPA117).
    """
    began = time.monotonic()
    request = {
        "source": source.text,
        "filename": source.path,
        "class_name": source.class_name,
        "config": asdict(config),
        "time_limit": time_limit,
    }
    with scratch_folder() as home:
        request_path = home / "request.json"
        request_path.write_text(json.dumps(request), encoding="utf-8")
        with IsolatedProcess("dpaudit.static.process", [str(request_path)], home / "work") as process:
            answer = process.answer(START_LIMIT)
            if answer is not None and "ready" in answer:
                answer = process.answer_by(WorkBudget(process.pid, time_limit + _GRACE))
            hung, exit_code = process.hung, process.stop()
    if hung:
        return _failed(source, "DPA114", f"the analysis did not end within {time_limit:g} s", began)
    try:
        return decode((answer or {})["result"], config.total_steps)
    except (ValueError, KeyError, TypeError) as error:
        message = f"the mechanism ended the process of the analysis (exit code {exit_code}, {type(error).__name__})"
        return _failed(source, "DPA117", message, began)


_MEMORY_MIB = 4096
_GRACE = 10.0
"""Seconds beyond the analysis's own time limit, in which it says itself that time is up."""


def _failed(source: MechanismSource, rule: str, message: str, began: float) -> StaticResult:
    finding = Finding(
        rule=rule, severity=Severity.MAJOR, strength=Strength.HEURISTIC, message=message, file=source.path, line=None
    )
    return StaticResult(sigma_effective=None, refusal=finding, findings=(finding,), seconds=time.monotonic() - began)


# ---- across the border ------------------------------------------------------------------------------------------------


def encode(result: StaticResult) -> dict[str, Any]:
    """A result as JSON-able data. An infinite sigma becomes the text ``inf``."""
    sigmas = result.sigma_effective
    return {
        "sigma_effective": None if sigmas is None else [repr(s) for s in sigmas],
        "refusal": None if result.refusal is None else _encode_finding(result.refusal),
        "findings": [_encode_finding(f) for f in result.findings],
        "certificate": dict(result.certificate),
        "assumptions": list(result.assumptions),
        "conditional": result.conditional,
        "flow": dict(result.flow),
        "seconds": result.seconds,
    }


def decode(data: dict[str, Any], total_steps: int) -> StaticResult:
    """The result that :func:`encode` wrote.

    Raises:
        ValueError, KeyError, TypeError: it is not one, or it is not for ``total_steps`` steps.
    """
    sigmas = data["sigma_effective"]
    if sigmas is not None and len(sigmas) != total_steps:
        raise ValueError(f"static result: expected {total_steps} steps, got {len(sigmas)}")
    return StaticResult(
        sigma_effective=None if sigmas is None else tuple(float(s) for s in sigmas),
        refusal=None if data["refusal"] is None else _decode_finding(data["refusal"]),
        findings=tuple(_decode_finding(f) for f in data["findings"]),
        certificate=data["certificate"],
        assumptions=tuple(str(a) for a in data["assumptions"]),
        conditional=str(data["conditional"]),
        flow={str(line): [str(text) for text in texts] for line, texts in data["flow"].items()},
        seconds=float(data["seconds"]),
    )


def _encode_finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "severity": str(finding.severity),
        "strength": str(finding.strength),
        "message": finding.message,
        "file": finding.file,
        "line": finding.line,
    }


def _decode_finding(data: dict[str, Any]) -> Finding:
    return Finding(
        rule=str(data["rule"]),
        severity=Severity(data["severity"]),
        strength=Strength(data["strength"]),
        message=str(data["message"]),
        file=str(data["file"]),
        line=None if data["line"] is None else int(data["line"]),
    )


def _decode_config(data: dict[str, Any]) -> RunConfig:
    cell = data.pop("cell")
    shapes = tuple(tuple(int(n) for n in shape) for shape in data.pop("parameter_shapes"))
    return RunConfig(
        **{**data, "calibration": Calibration(data["calibration"])},
        parameter_shapes=shapes,
        cell=Cell(
            sampler=Sampler(cell["sampler"]),
            relation=Relation(cell["relation"]),
            rows=Rows(cell["rows"]),
            nonfinite=NonFinite(cell["nonfinite"]),
        ),
    )


def main() -> None:
    """Analyse the request that the argument names and answer with one line."""
    answers = Answers()
    import torch

    work_clock.begin()
    torch.set_num_threads(1)
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    config = _decode_config(request["config"])
    candidate = Candidate(source=request["source"], filename=request["filename"], class_name=request["class_name"])
    guard = Guard(candidate.filename, Path.cwd())
    guard.install()
    confine(_MEMORY_MIB)
    answers.send({"ready": True})
    tripwire = Tripwire()
    result = analyse_source(candidate, config, time_limit=float(request["time_limit"]))
    guard.off()
    if (changed := tripwire.changed()) is not None:
        result = _tampered(candidate, changed)
    answers.send({"result": encode(replace(result, findings=(*result.findings, *_refused(guard, candidate))))})


def _tampered(candidate: Candidate, name: str) -> StaticResult:
    finding = Finding(
        rule="DPA116",
        severity=Severity.MAJOR,
        strength=Strength.HEURISTIC,
        message=f"{name} is another function after the analysis than before: the mechanism changed what it is analysed with",
        file=candidate.filename,
        line=None,
    )
    return StaticResult(sigma_effective=None, refusal=finding, findings=(finding,))


def _refused(guard: Guard, candidate: Candidate) -> tuple[Finding, ...]:
    """What the candidate tried to do and may not, also where it went on without."""
    return tuple(
        Finding(
            rule="DPA012",
            severity=Severity.MAJOR,
            strength=Strength.PROOF,
            message=f"the mechanism tried what it may not do: {attempt.action} (refused)",
            file=candidate.filename,
            line=attempt.line,
        )
        for attempt in guard.attempts
    )


if __name__ == "__main__":
    main()
