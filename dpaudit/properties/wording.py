"""Problems of the search, in words and with their counterexample."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from dpaudit.contract import PlainData, Relation, Severity, Strength
from dpaudit.probe.loading import CandidateError
from dpaudit.probe.problem import Problem

from .counterexample import Counterexample
from .explorer import Example, Explorer
from .inner import betrayed
from .moments import Moment
from .readings import Effect, Reading

_HAPPENS = {
    Relation.ADD_REMOVE: "is added",
    Relation.ZERO_OUT: "takes the place of a zero row",
    Relation.REPLACE_ONE: "is replaced by its opposite",
}
_HALF_ROUNDING = 0.02
BEFORE = "before_post_processing"
"""Evidence that a finding was read before post-processing, so that a program that compares releases does not show it."""


def pair_in_words(explorer: Explorer, example: Example) -> str:
    """The pair of an example, so that a person can build it again."""
    moment = explorer.moments[example.moment]
    history = f", after {moment.step} steps on {moment.history} rows" if moment.step else ""
    happens = _HAPPENS[moment.geometry.relation]
    return f"step {moment.step}{history}: one row ({example.pattern}) {happens} beside {example.beside}"


def contribution_problem(explorer: Explorer, example: Example, effect: Effect, *, single_only: bool) -> Problem:
    """A contribution above what the noise is scaled for, or a direction without noise."""
    moment = explorer.moments[example.moment]
    reading = moment.reading(example.beside)
    assert reading.reported is not None
    pair = pair_in_words(explorer, example)
    evidence: dict[str, PlainData] = {
        "noise_multiplier": effect.sigma,
        "reported": reading.reported,
        "contribution": _plain(effect.contribution),
        "step": moment.step,
        "counterexample": counterexample(moment, example, explorer.row(example)).plain(),
    }
    if moment.inside is not None:
        evidence[BEFORE] = True
    if effect.sigma == 0:
        bare = _bare(reading, pair, evidence)
        return bare if moment.inside is None else _bare_inside(moment, reading, example, explorer.row(example), bare)
    where = "" if moment.inside is None else "before post-processing "
    message = (
        f"{pair}: {where}the noise is {effect.sigma:.4g} times that row's contribution, reported are "
        f"{reading.reported:.4g} times"
    )
    half = (
        moment.inside is None
        and moment.session.rounding >= 1e-3
        and effect.sigma >= reading.reported * (1 - _HALF_ROUNDING)
    )
    if half or single_only:
        why = "rounding to half precision after the clip" if half else "float32 rounding or overflow (not in float64)"
        return Problem("DPA213", Severity.MAJOR, Strength.PROOF, f"{message}: {why}", reading.line, evidence)
    return Problem("DPA201", Severity.MAJOR, Strength.PROOF, message, reading.line, evidence)


def _bare_inside(moment: Moment, reading: Reading, example: Example, row: Tensor, bare: Problem) -> Problem:
    """No noise on a value that is post-processed: a witness only if the release shows it."""
    geometry = moment.geometry
    rows = geometry.without(example.beside, row), geometry.with_row(example.beside, row)
    shown = betrayed(moment, reading, rows)
    if shown.numel() and not reading.recording.coins:
        message = (
            f"{bare.message}; the release is post-processed, and {shown.numel()} of its coordinates are the same whatever the "
            "noise is, without the row and, otherwise, with it"
        )
        return replace(bare, message=message, evidence={**bare.evidence, "released_coordinates": shown.tolist()[:32]})
    return _hidden(bare)


def _hidden(problem: Problem) -> Problem:
    """What values before post-processing show is no witness by itself: a sign hides the scale, a top-k whole coordinates."""
    message = f"{problem.message} (before post-processing, which may hide it: this is no witness)"
    return replace(problem, severity=Severity.MAJOR, strength=Strength.HEURISTIC, message=message)


def with_worst(explorer: Explorer, problem: Problem) -> Problem:
    """A problem of a contribution with the worst pair that was found beside the simplest one."""
    if explorer.worst is None or problem.rule != "DPA201":
        return problem
    sigma, example = explorer.worst
    worst: dict[str, PlainData] = {
        "noise_multiplier": _plain(sigma),
        "pair": pair_in_words(explorer, example),
        "counterexample": counterexample(explorer.moments[example.moment], example, explorer.row(example)).plain(),
    }
    return replace(problem, evidence={**problem.evidence, "worst": worst})


def noise_problem(explorer: Explorer, example: Example, effect: Effect) -> Problem:
    """A noise scale that moves with one row."""
    moment = explorer.moments[example.moment]
    reading = moment.reading(example.beside)
    assert effect.noise_ratio is not None
    pair = pair_in_words(explorer, example)
    evidence: dict[str, PlainData] = {
        "relative_change": _plain(effect.noise_ratio - 1),
        "step": moment.step,
        "counterexample": counterexample(moment, example, explorer.row(example)).plain(),
    }
    if moment.inside is not None:
        evidence[BEFORE] = True
    rows = example.beside.count
    if moment.geometry.grows and rows and abs(effect.noise_ratio - rows / (rows + 1)) < 1e-4 * effect.noise_ratio:
        message = (
            f"{pair}: the noise shrinks by the factor {rows}/{rows + 1}; the update is divided by the realised number of "
            "rows"
        )
        problem = Problem("DPA208", Severity.CRITICAL, Strength.PROOF, message, reading.line, evidence)
        return problem if moment.inside is None else _hidden(problem)
    percent = 100 * abs(effect.noise_ratio - 1)
    how = f"changes by {percent:.3g} %" if percent > 1e-9 else "changes its shape"
    how = how if math.isfinite(percent) else "is zero without it, and is not with it"
    message = f"{pair}: the scale of the noise {how}; a threshold or schedule reads private data"
    problem = Problem("DPA202", Severity.CRITICAL, Strength.PROOF, message, reading.line, evidence)
    return problem if moment.inside is None else _hidden(problem)


def not_finite_problem(explorer: Explorer, example: Example, *, raw: bool) -> Problem:
    """A finite row that makes the release NaN or infinite."""
    moment = explorer.moments[example.moment]
    name = str(moment.session.dtype).removeprefix("torch.")
    message = f"{pair_in_words(explorer, example)} (finite, {name}): the released update is not finite"
    evidence: dict[str, PlainData] = {
        "step": moment.step,
        "counterexample": counterexample(moment, example, explorer.row(example)).plain(),
    }
    severity = Severity.CRITICAL if raw else Severity.MAJOR
    line = moment.reading(example.beside).line
    return Problem("DPA216", severity, Strength.PROOF, message, line, evidence)


def failed(error: CandidateError) -> Problem:
    """A failure of the candidate: certain, but no witness against its privacy."""
    return Problem(error.rule, Severity.MAJOR, Strength.PROOF, str(error), error.line)


def counterexample(moment: Moment, example: Example, row: Tensor) -> Counterexample:
    """An example's pair as plain data."""
    return Counterexample(
        step=moment.step,
        row=tuple(row.to(torch.float64).tolist()),
        content=example.beside.content,
        count=example.beside.count,
        history=moment.history,
        shapes=moment.geometry.shapes,
        dtype=str(moment.session.dtype).removeprefix("torch."),
    )


def _bare(reading: Reading, pair: str, evidence: dict[str, PlainData]) -> Problem:
    shared = reading.recording.shared()
    if shared is not None:
        message = f"{pair}: the release moves where one draw of noise is used twice; differences show the row exactly"
        return Problem("DPA205", Severity.CRITICAL, Strength.PROOF, message, shared.line, evidence)
    if reading.recording.coins:
        message = f"{pair}: the release moves beside {reading.recording.coins} random draws that are not Gaussian"
        return Problem("DPA206", Severity.MAJOR, Strength.HEURISTIC, message, reading.recording.coin_line, evidence)
    message = f"{pair}: the release moves in coordinates that carry no fresh Gaussian noise"
    return Problem("DPA204", Severity.CRITICAL, Strength.PROOF, message, reading.line, evidence)


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
