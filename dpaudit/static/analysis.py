"""The static layer's front: a bound for all inputs, or a refusal that names its line."""

import ast
import functools
import importlib
import math
import sys
import time
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from dpaudit.contract import Finding, NonFinite, PlainData, Relation, Rows, RunConfig, Severity, Strength
from dpaudit.contract.source_selection import select
from dpaudit.contract.static_result import StaticResult
from dpaudit.probe.work_clock import worked

from . import certificate as certificates
from .execution import Execution
from .expressions import Table
from .flow import flow_until
from .hooks import Hooks
from .instrument import HOOK, instrument
from .lint import handled_exceptions, lint, reports_purely
from .refusal import Reason, Refusal
from .schedule import Schedule, ScheduleRunner
from .shapes import Shrinking
from .shared_state import shared_state
from .state import signature_after, snapshot
from .stepping import StepResult, StepSetting

DEFAULT_TIME_LIMIT = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Source of a mechanism: its text, the name under which findings quote it, and the class."""

    source: str
    filename: str
    class_name: str = "DPMechanism"


def analyse_source(candidate: Candidate, config: RunConfig, *, time_limit: float = DEFAULT_TIME_LIMIT) -> StaticResult:
    """Bound sigma of every step for all inputs, in this process.

    Guarantee: if ``sigma_effective`` is not ``None``, then under the assumptions that the result lists, for every input
    and every history of released values, step ``t`` is a Gaussian mechanism whose noise multiplier is at least
    ``sigma_effective[t]``. The argument is in ``docs/static.md``.

    Never raises for what the candidate does: that is a refusal.
    """
    began = time.monotonic()
    try:
        outcome = _analyse(candidate, config, worked() + time_limit)
    except Refusal as refusal:
        return _refused(candidate, config, refusal.reason, began, flow_until(refusal))
    except RecursionError:
        reason = Reason(rule="DPA114", line=None, message="the expressions are nested too deeply")
        return _refused(candidate, config, reason, began)
    schedule, setting, assumptions, remarks = outcome
    document = certificates.build(schedule, setting, config)
    return StaticResult(
        sigma_effective=tuple(schedule.sigmas),
        refusal=None,
        findings=tuple(_finding(candidate, r, Severity.MINOR) for r in remarks),
        certificate=document,
        assumptions=assumptions,
        seconds=time.monotonic() - began,
    )


def _analyse(
    candidate: Candidate, config: RunConfig, deadline: float
) -> tuple[Schedule, StepSetting, tuple[str, ...], list[Reason]]:
    blocking, remarks = lint(_selected(candidate))
    if blocking:
        raise Refusal(blocking[0])
    shrinking = Shrinking.first(config.parameter_shapes)
    schedule, setting = _run(candidate, config, shrinking, deadline)
    if any(result.public_values.chunks for _, result in schedule.results):
        shrinking = shrinking.in_chunks(2)
        schedule, setting = _run(candidate, config, shrinking, deadline)
    if not shrinking.is_real or config.cell.rows is Rows.SAMPLED or config.batch_size != shrinking.rows:
        _compare_shrinkings(candidate, config, shrinking, schedule, deadline)
    notes: dict[str, int | None] = {}
    for _, result in schedule.results:
        for note, line in result.session.notes.items():
            notes.setdefault(note, line)
        for line in result.session.table.divided_by_vanishing:
            notes.setdefault(
                "a division by a private value that can vanish is taken not to meet exactly 0; "
                "the properties layer plays rows of zeros (DPA216, DPA219)",
                line,
            )
        for line in result.session.table.overflowing:
            notes.setdefault(
                "no sum or product of one row's gradients is taken to overflow where that would make the update NaN",
                line,
            )
    return schedule, setting, _assumptions(config, notes), remarks


def _may_have(rows: int, config: RunConfig) -> bool:
    """Whether a batch of none or of one row has a chance above a thousandth of delta in the whole run."""
    q = config.sampling_probability
    if config.cell.rows is not Rows.SAMPLED:
        return config.batch_size == rows
    if q >= 1:
        return config.dataset_size == rows
    n = config.dataset_size
    chance = config.total_steps * math.exp((n - rows) * math.log1p(-q)) * (n * q if rows else 1.0)
    return not chance <= 1e-3 * config.target_delta


def _setting(
    candidate: Candidate, config: RunConfig, shrinking: Shrinking, hooks: Hooks, conditional: bool
) -> StepSetting:
    cell = config.cell
    return StepSetting(
        table=Table(
            more_rows=cell.rows is Rows.SAMPLED or config.batch_size != shrinking.rows,
            longer_axes=not shrinking.is_real,
        ),
        hooks=hooks,
        shrinking=shrinking,
        sampled=cell.rows is Rows.SAMPLED,
        real_rows=config.batch_size,
        subtract_absent=cell.rows is Rows.CONSTANT or cell.relation is Relation.ZERO_OUT,
        reports_purely=reports_purely(_selected(candidate), candidate.class_name),
        check_empty=_may_have(0, config) and not conditional,
        check_single=_may_have(1, config) and not conditional,
        conditional=conditional,
    )


def _run(
    candidate: Candidate,
    config: RunConfig,
    shrinking: Shrinking,
    deadline: float,
    only: Sequence[int] | None = None,
    conditional: bool = False,
) -> tuple[Schedule, StepSetting]:
    hooks = Hooks(_module_name(candidate), handled_exceptions(_selected(candidate)))
    setting = _setting(candidate, config, shrinking, hooks, conditional)
    code = _compiled(candidate, hooks)
    with _quiet():
        execution = Execution.begin(
            setting.table, hooks, shrinking, sampled=setting.sampled, real_rows=setting.real_rows
        )
        with execution.watched():
            namespace = _load(code, hooks, execution)
            watched = _construct(namespace, candidate, config, execution)
            initial, _ = signature_after(execution, watched)
            if execution.session.reasons:
                raise Refusal(execution.session.reasons[0])
            setting = replace(setting, shared=functools.partial(shared_state, namespace))
            setting.remember_shared()
        mechanism = snapshot(watched, hooks.filename)
        steps = [(t, config.epoch_of(t)) for t in range(config.total_steps)]
        if only is not None:
            steps = steps[: max(only) + 1]
        runner = ScheduleRunner(setting, mechanism, initial, steps, deadline)
        schedule = runner.run()
        setting.check_shared(execution.session)
    return schedule, setting


def _selected(candidate: Candidate) -> ast.Module:
    """The class and what it needs; the rest of a training script is left out, as in every other layer.

    Raises:
        Refusal: the source does not parse.
    """
    try:
        return select(ast.parse(candidate.source, candidate.filename), candidate.class_name)
    except SyntaxError as error:
        message = f"the source does not parse: {error.msg}"
        raise Refusal(Reason(rule="DPA117", line=error.lineno, message=message)) from error


def _compiled(candidate: Candidate, hooks: Hooks) -> types.CodeType:
    try:
        return instrument(_selected(candidate), hooks.filename)  # type: ignore[no-any-return]
    except SyntaxError as error:
        message = f"the source does not compile: {error.msg}"
        raise Refusal(Reason(rule="DPA117", line=error.lineno, message=message)) from error


def code_names(code: types.CodeType) -> set[str]:
    """Global names that a code object and the ones inside it mention."""
    found = set(code.co_names)
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            found |= code_names(part)
    return found


def _load(code: types.CodeType, hooks: Hooks, execution: Execution) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": hooks.filename, HOOK: hooks, "torch": torch, "math": math, "np": np}
    if any(name == "sp_optimize" for name in code_names(code)):
        namespace["sp_optimize"] = importlib.import_module("scipy.optimize")
    module = types.ModuleType(hooks.filename)
    module.__dict__.update(namespace)
    sys.modules[hooks.filename] = module
    try:
        exec(code, module.__dict__)
    except Exception as error:
        raise execution.session.refuse("DPA117", f"the source raised {type(error).__name__}: {error}") from error
    finally:
        sys.modules.pop(hooks.filename, None)
    return module.__dict__


def _construct(namespace: dict[str, Any], candidate: Candidate, config: RunConfig, execution: Execution) -> Any:
    kind = namespace.get(candidate.class_name)
    if not isinstance(kind, type):
        execution.session.refuse("DPA117", f"expected a class {candidate.class_name}, found none")
    assert isinstance(kind, type)
    try:
        return kind(
            max_grad_norm=config.max_grad_norm,
            noise_multiplier=config.noise_multiplier,
            n_params=config.n_params,
            dataset_size=config.dataset_size,
            batch_size=config.batch_size,
            epochs=config.epochs,
            target_epsilon=config.target_epsilon,
            target_delta=config.target_delta,
        )
    except Exception as error:
        raise execution.session.refuse("DPA117", f"the constructor raised {type(error).__name__}: {error}") from error


def _module_name(candidate: Candidate) -> str:
    return f"dpaudit_candidate:{candidate.filename}"


class _quiet:
    """Leave torch's generator and Python's as they were."""

    def __enter__(self) -> None:
        self.torch_state, self.numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002

    def __exit__(self, *_: object) -> None:
        torch.set_rng_state(self.torch_state)
        np.random.set_state(self.numpy_state)  # noqa: NPY002


# ---- two shrinkings ---------------------------------------------------------------------------------------------------


def _compare_shrinkings(
    candidate: Candidate, config: RunConfig, shrinking: Shrinking, schedule: Schedule, deadline: float
) -> None:
    """Run again at another small shape: at no analysed step may a public number differ, or the bound.

    Raises:
        Refusal: something depends on the shape that ran, so what was proved there need not hold at the real one.
    """
    another = shrinking.second()
    if any(result.public_values.chunks for _, result in schedule.results):
        another = another.in_chunks(3, shrinking)
    other, _ = _run(candidate, config, another, deadline)
    session = schedule.results[0][1].session
    session.table.line = None
    if [step for step, _ in schedule.results] != [step for step, _ in other.results]:
        session.refuse("DPA111", "which steps are alike depends on the small shape that ran")
    for (step, first), (_, second) in zip(schedule.results, other.results, strict=True):
        _agree(step, first, second)
    for step, (one, two) in enumerate(zip(schedule.sigmas, other.sigmas, strict=True)):
        if not abs(one - two) <= 1e-6 * one and one != two:
            session.refuse("DPA111", f"two small shapes give different bounds at step {step}: {one:.6g} and {two:.6g}")


def _agree(step: int, first: StepResult, second: StepResult) -> None:
    session = first.session
    found = first.public_values.difference(second.public_values)
    if found is not None:
        (line, what), numbers = found
        session.table.line = None
        shown = str(numbers) if len(str(numbers)) <= 160 else f"{str(numbers)[:160]} ..."
        session.refuse("DPA111", f"public numbers ({what}) depend on the small shape that ran: {shown}", line)
    if first.records != second.records:
        session.table.line = None
        session.refuse("DPA111", f"what step {step} makes of the step number depends on the small shape that ran")


# ---- words ------------------------------------------------------------------------------------------------------------


def _assumptions(config: RunConfig, notes: dict[str, int | None]) -> tuple[str, ...]:
    finite = (
        "gradients are finite: the harness zeroes rows that are not"
        if config.cell.nonfinite is NonFinite.GUARDED
        else "gradients are finite: what the mechanism does with others is for the properties layer to check"
    )
    fixed = (
        finite,
        "gradients are contiguous float32 tensors in a list, all on one device",
        "torch computes what the verified operations mean, to float32 rounding with pairwise or blocked sums",
        "Gaussian draws of torch are independent and standard normal (floating-point attacks on them are not covered)",
        "the schedule is the one that ran here: steps and epochs as the harness numbers them",
        "the candidate treats longer axes as the two small shapes that were run, up to every public number that it computes",
    )
    return fixed + tuple(f"{note} (line {line})" if line else note for note, line in notes.items())


def _finding(candidate: Candidate, reason: Reason, severity: Severity) -> Finding:
    return Finding(
        rule=reason.rule,
        severity=severity,
        strength=Strength.PROOF if severity is Severity.MINOR else Strength.HEURISTIC,
        message=reason.message,
        file=candidate.filename,
        line=reason.line,
    )


def _conditional(candidate: Candidate, config: RunConfig, reason: Reason) -> str:
    """What the first step would be worth if the private value that escapes were public. Never an acceptance."""
    if reason.rule not in {"DPA101", "DPA103", "DPA104", "DPA107"}:
        return ""
    try:
        shrinking = Shrinking.first(config.parameter_shapes)
        schedule, _ = _run(candidate, config, shrinking, worked() + 10.0, only=[0], conditional=True)
    except (Refusal, RecursionError):
        return ""
    lines = sorted({line for _, r in schedule.results for line in r.session.declassified.values() if line is not None})
    if not lines or not 0 < min(schedule.sigmas) < math.inf:
        return ""
    named = ", ".join(str(line) for line in lines)
    return (
        f"even if the private value at line {named} were public, "
        f"the noise multiplier of the first step would be at least {min(schedule.sigmas):.6g}"
    )


def _refused(
    candidate: Candidate,
    config: RunConfig,
    reason: Reason,
    began: float,
    flow: Mapping[str, PlainData] = types.MappingProxyType({}),
) -> StaticResult:
    finding = _finding(candidate, reason, Severity.MAJOR)
    return StaticResult(
        sigma_effective=None,
        refusal=finding,
        findings=(finding,),
        assumptions=_assumptions(config, {}),
        conditional=_conditional(candidate, config, reason),
        flow=dict(flow),
        seconds=time.monotonic() - began,
    )
