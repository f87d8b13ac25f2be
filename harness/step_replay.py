"""Run stored steps of a finished run again: did the mechanism do then what it does now, and how noisy was it?

Runs candidate code, so it belongs into a child process. For each stored step: the saved state releases an update that must
be the recorded one; then the noise is drawn afresh several times, and rows of the batch are left out one by one under
unchanged noise.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dpaudit.contract import DataError, NonFinite, RunRecord

from .canaries import CanaryRows, draw_canaries, read_canaries, with_canaries
from .candidate import Candidate, Mechanism, load_class
from .checkpoint import unpickle_instance
from .datasets import Dataset, load_dataset
from .generators import noise_generators, restore_noise_states, stream_seed
from .mechanism_step import noised_gradients
from .models import build_model
from .nonfinite import guard_nonfinite
from .per_sample import per_sample_gradients
from .presets import preset
from .recording import StepState, read_step_states

_REDRAWS = 24
_ROWS_LEFT_OUT = 12
_SAME = 1e-5
"""Relative gap between the recorded and the replayed update that rounding on another machine explains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedStep:
    """One stored step, run again.

    Attributes:
        reproduced: whether the recorded update came out, up to rounding.
        largest_contribution: the farthest that leaving one of the tried rows out moved the update (L2 norm).
        measured_noise: noise multiplier of the row that is hidden worst: (sum over parameters of (move / noise std)^2)^(-1/2).
            An upper bound on the step's noise multiplier up to about 1 %, as only rows of the real batch were tried;
            ``None`` where no row moved it, or the noise does not come from the global generators.
    """

    step: int
    reproduced: bool
    largest_contribution: float | None
    measured_noise: float | None


def replay_steps(
    record: RunRecord, candidate: Candidate, *, data_root: Path | str | None = None
) -> tuple[ReplayedStep, ...]:
    """Replay every stored step of the run.

    Raises:
        MechanismError: the candidate's code failed. DataError: the run cannot be read, or no state was stored.
        UsageError: a stored mechanism does not come back.
    """
    directory, config = Path(record.directory), record.config
    if record.source_sha256 != candidate.sha256 or record.class_name != candidate.class_name:
        raise DataError(f"replay: {directory} is a run of another source than {candidate.path}; train again")
    plan, _ = read_canaries(directory)
    data = load_dataset(preset(config.name).dataset, root=None if data_root is None else Path(data_root))
    canaries = draw_canaries(plan, config, data.train_labels, seed=record.seed)
    data = with_canaries(data, canaries, seed=record.seed)
    states = read_step_states(directory)
    if not states:
        raise DataError(f"replay: {directory} holds no stored step; train with --canaries")
    loaded = load_class(candidate)
    rows = CanaryRows(canaries, config)
    with noise_generators(stream_seed(record.seed, "replay")):
        return tuple(_Replayer(record, candidate.path, loaded, data, rows, state).run() for state in states)


class _Replayer:
    def __init__(
        self, record: RunRecord, file: str, loaded: type, data: Dataset, canaries: CanaryRows, state: StepState
    ) -> None:
        self._record, self._file, self._loaded, self._state = record, file, loaded, state
        settings = preset(record.config.name)
        model = build_model(settings.model, seed=0)
        model.load_state_dict(state.parameters)
        gradients = per_sample_gradients(model)
        images = data.normalised(data.train_images[state.indices])
        filled = gradients(images, data.train_labels[state.indices], rows=state.rows)
        canaries.inject(filled, state.indices)
        if record.config.cell.nonfinite is NonFinite.GUARDED:
            guard_nonfinite(filled)
        self._gradients = [values.clone() for values in filled]

    def run(self) -> ReplayedStep:
        base = self._release(self._gradients)
        scale = max(float(value.abs().max()) for value in self._state.released)
        gap = max(float((a - b).abs().max()) for a, b in zip(base, self._state.released, strict=True))
        reproduced = gap <= _SAME * scale
        moves = [self._move(base, row) for row in self._rows()]
        largest = max((float(torch.cat([m.flatten() for m in move]).norm()) for move in moves), default=0.0)
        return ReplayedStep(
            step=self._state.step,
            reproduced=reproduced,
            largest_contribution=largest if moves else None,
            measured_noise=self._multiplier(base, moves),
        )

    def _rows(self) -> list[int]:
        """Rows to leave out: those with the largest gradients, and the first ones."""
        present = len(self._state.indices)
        norms = sum(values[:present].flatten(1).square().sum(1) for values in self._gradients)
        if present == 0 or not isinstance(norms, Tensor):
            return []
        order = torch.argsort(norms, descending=True).tolist()
        return list(dict.fromkeys([*order[: _ROWS_LEFT_OUT // 2], *range(min(present, _ROWS_LEFT_OUT // 2))]))

    def _move(self, base: list[Tensor], row: int) -> list[Tensor]:
        """How far the update moves when one row becomes zero under the same noise: exact where the clip looks at rows apart."""
        without = [values.clone() for values in self._gradients]
        for values in without:
            values[row] = 0
        return [a - b for a, b in zip(base, self._release(without), strict=True)]

    def _multiplier(self, base: list[Tensor], moves: list[list[Tensor]]) -> float | None:
        drawn = [self._release(self._gradients, redraw=number) for number in range(_REDRAWS)]
        if not moves or all(torch.equal(a, b) for other in drawn for a, b in zip(base, other, strict=True)):
            return None
        # The same moves in every draw cancel in the variance over draws: one estimate a parameter tensor.
        stds = [
            float(torch.stack([other[index] for other in drawn]).double().var(dim=0).mean().sqrt())
            for index in range(len(base))
        ]
        worst = 0.0
        for move in moves:
            for part, std in zip(move, stds, strict=True):
                if std == 0.0 and bool((part != 0).any()):
                    return 0.0
            terms = [float(part.norm()) / std for part, std in zip(move, stds, strict=True) if std > 0]
            worst = max(worst, float(np.sqrt(sum(term * term for term in terms))))
        return 1.0 / worst if worst > 0 else None

    def _release(self, gradients: list[Tensor], redraw: int | None = None) -> list[Tensor]:
        """The step from its stored state; with fresh noise if ``redraw`` is a number."""
        state = self._state
        restore_noise_states(state.noise)
        mechanism: Mechanism = unpickle_instance(state.mechanism, self._loaded, problem=state.problem)
        if redraw is not None:
            fresh = stream_seed(self._record.seed, f"redraw {redraw} of step {state.step}")
            torch.manual_seed(fresh)
            np.random.seed(fresh % 2**32)  # noqa: NPY002  # the generator that a mechanism may call
        copies = [values.clone() for values in gradients]
        released = noised_gradients(mechanism, copies, step=state.step, epoch=state.epoch, file=self._file)
        return [value.clone() for value in released]
