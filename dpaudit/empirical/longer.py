"""What a longer attack would add, in sentences: computed from what this one counted, before anybody pays for it."""

import math

from .planning import AttackPlan, Case
from .rectangle import Tally, gaussian_mu
from .result import Heard

TIMES = 10
"""How much longer the attack is that the sentences speak of."""


def longer(case: Case, plan: AttackPlan, heard: list[Heard], left_out: dict[str, float]) -> tuple[str, ...]:
    """One sentence for each mode that did not refute.

    Args:
        left_out: seconds that a mode would have taken which did not fit into the budget.
    """
    found = {item.mode.mode: item for item in heard}
    if any(item.confirmed for item in heard):
        return ()
    said = []
    for mode in plan.modes:
        if mode.mode in left_out:
            said.append(_left_out(mode.mode, mode.needed, left_out[mode.mode]))
        elif mode.mode in found and mode.mode == "step":
            said.append(_step(case, found["step"]))
        elif mode.mode in found:
            said.append(_run(found["run"]))
        elif mode.mode == "step" and not case.candidates:
            said.append("step: adds nothing, one step bounds no run where the cell has no common trade-off curve")
    return tuple(said)


def _left_out(mode: str, needed: int | None, seconds: float) -> str:
    if needed is None:
        return f"{mode}: not played, no number of trials could refute the claim"
    return (
        f"{mode}: not played; with {needed} pairs of runs, the least that could refute the claim, it would take about "
        f"{seconds:.0f} s (dpaudit attack --mode {mode} --seconds {math.ceil(2 * seconds / 10) * 10})"
    )


def _step(case: Case, found: Heard) -> str:
    tally = found.tallies[0]
    larger = scaled(tally, TIMES)
    level = found.mode.print_level
    now, then = (case.step_epsilon(gaussian_mu(one.rectangle(level)), found.step) for one in (tally, larger))
    seconds = 2 * larger.inside * found.seconds_per_call
    return (
        f"step: {larger.inside} trials in each world (about {seconds:.0f} s) would show epsilon >= {then:.3g} instead of "
        f"{now:.3g} if the error rates stay"
    )


def _run(found: Heard) -> str:
    pairs = found.tallies[0].inside
    seconds = 2 * TIMES * pairs * found.mode.calls * found.seconds_per_call
    needed = "no number could refute" if found.mode.needed is None else f"{found.mode.needed} could refute at best"
    return (
        f"run: {pairs} pairs of runs were played ({needed}); {TIMES * pairs} take about {seconds:.0f} s and see smaller "
        "excesses over the claim"
    )


def scaled(tally: Tally, times: int) -> Tally:
    """The same error rates in ``times`` as many trials."""
    return Tally(
        false_positives=tally.false_positives * times,
        outside=tally.outside * times,
        false_negatives=tally.false_negatives * times,
        inside=tally.inside * times,
    )
