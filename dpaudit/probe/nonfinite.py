"""Rows with a NaN or an Inf: does the mechanism release them?"""

import math

import torch

from dpaudit.contract import NonFinite, RunConfig, Severity, Strength

from .candidates import HUGE, SPREAD, Canary
from .coupling import Reader
from .loading import CandidateError
from .problem import Problem
from .survey import Survey


def nonfinite_rows(config: RunConfig, reader: Reader, survey: Survey) -> None:
    """Give one row with a NaN, then one with an Inf, at the first step. A raised exception is no release, and is fine."""
    released = []
    line = None
    for name, value in (("NaN", math.nan), ("+Inf", math.inf), ("-Inf", -math.inf)):
        before = reader.session.snapshot()
        batch = [tensor.clone() for tensor in reader.neighbours.pair(0, Canary(SPREAD, HUGE))[1]]
        batch[0][reader.neighbours.slot].view(-1)[0] = value
        try:
            run = reader.session.call(batch, 0, config.epoch_of(0))
        except CandidateError:
            reader.session.restore(before)
            continue
        line = line or next((draw.line for draw in run.recording.draws), None)
        if not bool(torch.isfinite(run.release).all()):
            released.append(name)
        reader.session.restore(before)
    if not released:
        return
    raw = config.cell.nonfinite is NonFinite.RAW
    guard = "" if raw else "; the harness's guard removes such rows first"
    survey.add(
        Problem(
            "DPA209",
            Severity.CRITICAL if raw else Severity.MINOR,
            Strength.PROOF,
            f"step 0: one row with {' or '.join(released)} makes the released update non-finite{guard}",
            line,
            {"values": list(released)},
        )
    )
