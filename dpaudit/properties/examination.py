"""The whole search on one candidate, in the child process: what is tried, in which order, within which time."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch

from dpaudit.contract import NonFinite, Rows, Severity, Strength
from dpaudit.contract.guard import Attempt
from dpaudit.probe.candidates import shrink
from dpaudit.probe.loading import CandidateError
from dpaudit.probe.messages import Request
from dpaudit.probe.problem import Problem
from dpaudit.probe.session import Session
from dpaudit.probe.work_clock import worked
from dpaudit.probe.world import UncopyableState

from . import checks_conduct, checks_effect, checks_noise, checks_precision
from .batches import Beside, Geometry
from .demonstration import Demonstration, demonstrate
from .directed import directed_search
from .explorer import SINGLE_TOLERANCE, TOLERANCE, Example, Explorer, Fault, OutOfTime
from .histories import make_session, moments_of
from .moments import Moment
from .readings import Unreadable
from .report import Report
from .rounded_noise import zeros_beside
from .uniform_noise import bounded_uniform_noise
from .wording import (
    contribution_problem,
    counterexample,
    failed,
    noise_problem,
    not_finite_problem,
    pair_in_words,
    with_worst,
)

_SHRINK_EXAMPLES = 100
_RANDOM_EXAMPLES = 80
_CLIMB_CALLS = 100
_DEMONSTRATION_SECONDS = 5.0
_EMPTY_SECONDS = 10.0
_HISTORY_SHARE = 0.04
_MILD = 1e-6


class Examination:
    """One candidate's search.

    Args:
        request: the candidate and the run; ``time_limit`` seconds are shared out among the checks.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.config = request.config
        self.deadline = worked() + 0.85 * request.time_limit
        self.geometry = Geometry.of(request.config, [shrink(shape) for shape in request.config.parameter_shapes])
        self.typical = Beside(count=self.geometry.counts()[0])
        self.problems: list[Problem] = []
        self.incomplete: list[str] = []
        self.notes: list[str] = []
        self.demonstrated = Demonstration({}, others_matter=False)
        self.beside_others = Demonstration({}, others_matter=True)
        self.raw = request.config.cell.nonfinite is NonFinite.RAW

    def run(self, attempts: Sequence[Attempt]) -> Report:
        """Search everything. Faults of the candidate are problems of the report; what could not be done is named in it."""
        double = self._explorer(torch.float64, TOLERANCE, ("mixed", "aligned"))
        single = self._explorer(torch.float32, TOLERANCE if double is None else SINGLE_TOLERANCE, ("mixed",))
        main = double or single
        if main is not None:
            self._attempt("the search for a contribution above the bound", lambda: self._contributions(main, single))
            for words, check in self._checks(main, single or main):
                self._attempt(words, check)
        for attempt in attempts:
            message = f"the mechanism tried what it may not do: {attempt.action} (refused)"
            self._add(failed(CandidateError("DPA012", message, attempt.line)))
        worst = None if main is None else main.worst
        return Report(
            problems=tuple(self.problems),
            worst=None if worst is None else worst[0],
            worst_reported=None if worst is None or main is None else main.reported(worst[1]),
            worst_pair="" if worst is None or main is None else pair_in_words(main, worst[1]),
            demonstrated=tuple(sorted(self.demonstrated.steps.items())),
            beside_others=tuple(sorted(self.beside_others.steps.items())),
            incomplete=tuple(dict.fromkeys(self.incomplete)),
            tried=0 if main is None else main.tried + (single.tried if single and single is not main else 0),
            notes=tuple(self.notes),
        )

    def _explorer(self, dtype: torch.dtype, tolerance: float, histories: tuple[str, ...]) -> Explorer | None:
        """The moments of some histories in one precision; ``None`` if the mechanism cannot run in it."""
        moments: list[Moment] = []
        try:
            # The first step is the simplest place to show a fault at; there is no history yet.
            moments.append(self._opened(dtype))
            forms = moments[0].forms
            moments[0].reading(self.typical)
            for history in histories:
                seconds = _HISTORY_SHARE * self.request.time_limit
                found = moments_of(self.session(dtype), self.config, self.geometry, history, seconds, forms)
                if found[-1].step != self.config.total_steps - 1:
                    self.notes.append(
                        f"a history of {found[-1].step} steps was tried; the run has {self.config.total_steps}"
                    )
                moments += found[1:]
        except CandidateError as error:
            if dtype is torch.float32:
                self._add(failed(error))
                self.incomplete.append(f"the mechanism cannot be run: {error}")
            return None
        except (Unreadable, UncopyableState) as error:
            if dtype is torch.float32:
                self.incomplete.append(f"the noise cannot be read: {error}")
                self._attempt("the test for uniform noise", self._uniform)
                self._attempt("the test of the noise's shape", lambda: self._shape(unread=True))
                self._attempt("the precision of the noise", lambda: self._coarse(self._opened(dtype)))
            return None
        return Explorer(moments, tolerance, self.deadline, self.request.seed)

    def session(self, dtype: torch.dtype, seed: int | None = None) -> Session:
        """A fresh mechanism in a module of its own, at small shapes."""
        return make_session(self.request, self.geometry, dtype, self.request.seed if seed is None else seed)

    def _contributions(self, main: Explorer, single: Explorer | None) -> None:
        """Sweep, climb, draw at random; shrink what is found. First in float64, then what float32 alone shows."""
        found = main.sweep(brief=False)
        if main.worst is not None and Fault.CONTRIBUTION not in found:
            climbed = directed_search(main, main.worst[1], _CLIMB_CALLS)
            found |= dict.fromkeys(main.faults(climbed) - set(found), climbed)
        found = found or self._random(main)
        self._report(main, found, single_only=False)
        if single is not None and single is not main:
            more = single.sweep(brief=True) or self._random(single)
            # Noise is judged in float64 alone: in float32 the rounding of a large release moves it too.
            more = {fault: example for fault, example in more.items() if fault not in {*found, Fault.NOISE_MOVES}}
            self._report(single, more, single_only=True)
        for explorer in (main, single):
            if explorer is not None and explorer.timed_out:
                self.incomplete.append("time was up before every row was tried")
            if explorer is not None and explorer.unreadable and not found:
                self.incomplete += [f"{count} rows not judged: {why}" for why, count in explorer.unreadable.items()]
        if any(moment.reading(self.typical).reported is None for moment in main.moments):
            self.incomplete.append("the mechanism reports no usable sigma, so no contribution can be judged against it")

    @staticmethod
    def _random(explorer: Explorer) -> dict[Fault, Example]:
        random = explorer.random(None, _RANDOM_EXAMPLES)
        return {} if random is None else dict.fromkeys(explorer.faults(random), random)

    def _report(self, explorer: Explorer, found: dict[Fault, Example], *, single_only: bool) -> None:
        for fault, example in found.items():
            shrunk = explorer.simplify(explorer.random(fault, _SHRINK_EXAMPLES) or example, fault)
            effect = explorer.effect(shrunk)
            if isinstance(effect, CandidateError):
                self._add(failed(effect))
            elif effect is not None and fault is Fault.NOT_FINITE:
                self._add(not_finite_problem(explorer, shrunk, raw=self.raw))
            elif effect is not None and fault is Fault.NOISE_MOVES:
                self._add(noise_problem(explorer, shrunk, effect))
            elif effect is not None:
                # The simplest row shows the fault; the worst one says how bad it is.
                problem = contribution_problem(explorer, shrunk, effect, single_only=single_only)
                if not single_only:
                    # What values before post-processing show bounds no epsilon of the release.
                    if all(moment.inside is None for moment in explorer.moments):
                        self._demonstrate(explorer, shrunk)
                    problem = with_worst(explorer, problem)
                self._add(problem)

    def _demonstrate(self, explorer: Explorer, shrunk: Example) -> None:
        """Follow the worst pairs along a run, for what their steps cost: first one that bounds epsilon, then any other.

        One that rounding does not blur is preferred.
        """
        assert explorer.worst is not None
        directed_search(explorer, explorer.worst[1], _CLIMB_CALLS)
        alone = (explorer.worst_above(_MILD, content="zeros"), explorer.worst_above(0.0, content="zeros"))
        beside = (explorer.worst_above(_MILD), shrunk, explorer.worst[1])
        for example in (one for one in dict.fromkeys((*alone, *beside)) if one is not None):
            known = self.demonstrated if example.beside.content == "zeros" else self.beside_others
            worst_alone = min(self.demonstrated.steps.values(), default=math.inf)
            if known.steps or worst_alone <= explorer.worst[0] * (1 + TOLERANCE):
                continue
            followed = demonstrate(
                self.session(explorer.moments[0].session.dtype),
                self.config,
                self.geometry,
                example.beside,
                example.pattern,
                min(self.deadline, worked() + _DEMONSTRATION_SECONDS),
            )
            if followed.others_matter:
                self.beside_others = self.beside_others if self.beside_others.steps else followed
            else:
                self.demonstrated = followed

    def _checks(self, main: Explorer, single: Explorer) -> Iterator[tuple[str, Callable[[], None]]]:
        first, typical = main.moments[0], self.typical
        mixed = replace(typical, content="mixed")
        late = main.moments[-1]

        def keep(problem: Problem | None) -> None:
            if problem is not None:
                self._add(problem)

        def keep_all(problems: Iterator[Problem]) -> None:
            for problem in problems:
                self._add(problem)

        yield "the check of in-place changes", lambda: keep(checks_conduct.input_changed(single.moments[0], mixed))
        yield "the check of row order", lambda: keep(checks_conduct.order_matters(late, mixed))
        if self.config.cell.rows is Rows.SAMPLED:
            yield "the check of zero rows", lambda: keep(checks_conduct.zero_row_counts(first, mixed))
            yield "the check of empty batches", lambda: self._empty(first, late)
        yield "the check for parts without effect", lambda: keep_all(checks_effect.no_effect(main.moments, mixed))
        yield "the check for bounded noise", lambda: self._bounded(main)
        yield "the precision of the noise", lambda: self._coarse(single.moments[0])
        yield "the check of seeds", lambda: keep(checks_noise.fixed_seed(self.session, self.geometry, mixed))
        yield "the statistical test of the noise", lambda: self._statistics(main)
        yield "rows with a NaN or an Inf", lambda: self._nonfinite(single)
        if not {problem.rule for problem in self.problems} & {"DPA201", "DPA204", "DPA205", "DPA206"}:
            yield (
                "half precision",
                lambda: keep_all(checks_precision.half_precision(self._opened, typical, self.config)),
            )

    def _coarse(self, first: Moment) -> None:
        problem = checks_noise.coarse_noise(first, self.typical, self.config)
        if problem is not None:
            self._add(problem)

    def _empty(self, first: Moment, late: Moment) -> None:
        """An empty batch at the first and at the last step; where it shows, at how many steps of a run it would."""
        for moment in (first, late):
            problem = checks_conduct.empty_batch(moment, self.config, self.typical)
            if problem is None:
                continue
            if problem.severity is not Severity.MINOR:
                deadline = min(self.deadline, worked() + _EMPTY_SECONDS)
                session = self.session(torch.float64)
                try:
                    steps = checks_conduct.visibly_empty_steps(
                        session, self.config, self.geometry, self.typical, deadline
                    )
                except CandidateError:
                    steps = 0  # one that cannot run on it is judged by the finding alone
                problem = replace(problem, evidence={**problem.evidence, "visible_steps": steps})
            self._add(problem)
            return

    def _bounded(self, main: Explorer) -> None:
        sigma = main.worst[0] if main.worst is not None else math.inf
        for moment in (main.moments[0], main.moments[-1]):
            problem = checks_noise.bounded_noise(moment, self.typical, self.config, sigma)
            if problem is not None:
                self._add(problem)
                return

    def _statistics(self, main: Explorer) -> None:
        """Two batteries with fresh seeds. Noise without identified latents is judged by its shape alone."""
        reading = main.moments[0].reading(self.typical)
        if not reading.latents or reading.recording.coins:
            self._uniform()
            self._shape()
        if not reading.latents:
            return
        dtype = main.moments[0].session.dtype
        mixed = replace(self.typical, content="mixed")
        first, second = (
            checks_noise.noise_statistics(
                lambda seed: self.session(dtype, seed),
                self.config,
                self.geometry,
                mixed,
                self.deadline,
                seed,
                main.moments[0].inside,
            )
            for seed in (self.request.seed + 101, self.request.seed + 202)
        )
        problem = checks_noise.refuted(first, second, reading.line, reading.reported)
        if problem is not None:
            self._add(problem)

    def _uniform(self) -> None:
        """Uniform draws: bounded noise, if nothing else is added."""
        beside = replace(self.typical, content="zeros")
        problem = bounded_uniform_noise(self._opened(torch.float32), beside, self.config)
        if problem is not None:
            self._add(problem)

    def _shape(self, *, unread: bool = False) -> None:
        """The shape of the releases. Where Gaussian draws were recorded but not read, post-processing may explain it."""
        moment = self._opened(torch.float32)
        first, second = (checks_noise.shape_statistics(moment, self.typical, seed) for seed in (1, 2))
        line = moment.coin_line(zeros_beside(moment, self.typical))
        problem = checks_noise.refuted(first, second, line, None)
        if problem is not None and unread and moment.latent_count(zeros_beside(moment, self.typical)):
            message = f"{problem.message}; the release is no affine function of the Gaussian draws, and this may be why"
            problem = replace(problem, strength=Strength.HEURISTIC, message=message)
        if problem is not None:
            self._add(problem)

    def _nonfinite(self, single: Explorer) -> None:
        """Under ``raw`` only: with the guard on, the probe's MINOR finding says all there is to say."""
        if not self.raw:
            return
        for problem, moment, row in checks_precision.nonfinite_rows(single.moments, self.typical):
            found = counterexample(moment, Example(beside=self.typical), row)
            self._add(replace(problem, evidence={**problem.evidence, "counterexample": found.plain()}))

    def _opened(self, dtype: torch.dtype) -> Moment:
        session = self.session(dtype)
        return Moment(session, self.geometry, session.snapshot(), 0, 1, "at the first step", "zeros", None)

    def _attempt(self, words: str, check: Callable[[], None]) -> None:
        """Run one check; what stops it is named, and costs the layer its PASSED."""
        if worked() > self.deadline:
            self.incomplete.append(f"{words}: time was up")
            return
        try:
            check()
        except OutOfTime as error:
            self.incomplete.append(f"{words}: {error}")
        except (Unreadable, UncopyableState) as error:
            self.incomplete.append(f"{words}: {error}")
        except CandidateError as error:
            self._add(failed(error))
            self.incomplete.append(f"{words}: {error}")

    def _add(self, problem: Problem) -> None:
        """Keep the first problem of each rule and line."""
        if all(problem.key != other.key for other in self.problems):
            self.problems.append(problem)
