"""What a run keeps for a later audit: released updates, parameters now and then, and whole states at sampled steps.

Nothing here looks at anything: tensors are copied as they are released, and states are stored as a checkpoint stores
them. Which steps have their state stored follows from the seed by a stream of its own. Files, in the folder ``recorded``
of the run directory: ``updates-STEP.npy`` float32 ``[steps, P]`` (released updates from STEP on), ``parameters-STEP.npy``
float32 ``[k, P]`` (before steps STEP, STEP + stride, ...), ``final.npy`` ``[P]``, and ``state-STEP.pt`` (private: from it
the step can be run again).
"""

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dpaudit.contract import DataError, RunConfig

from .array_files import read_array
from .atomic_files import make_directory, write_atomically
from .candidate import Mechanism
from .checkpoint import pickle_mechanism
from .generators import noise_states, stream_seed

RECORDED = "recorded"
SAMPLED_STATES = 8
"""Steps of a run whose whole state is stored."""
_WINDOWS = 100
"""About how often in a run the parameters are stored."""

Floats = NDArray[np.float32]


def parameter_stride(config: RunConfig) -> int:
    """Steps between two stored parameter vectors."""
    return max(1, config.total_steps // _WINDOWS)


def sampled_steps(config: RunConfig, *, seed: int) -> tuple[int, ...]:
    """The steps whose state is stored, in order."""
    generator = np.random.default_rng(stream_seed(seed, "recorded steps"))
    count = min(SAMPLED_STATES, config.total_steps)
    return tuple(sorted(int(step) for step in generator.choice(config.total_steps, size=count, replace=False)))


@dataclass(frozen=True, slots=True, kw_only=True)
class StepState:
    """One stored step, before it ran, and what it released.

    Attributes:
        indices: rows of the training set in the batch, in order; rows: how many the mechanism was given.
        noise: states of the global generators. mechanism: the pickled instance, ``None`` with ``problem``.
        parameters: of the model. released: what the mechanism returned, one tensor a parameter.
    """

    step: int
    epoch: int
    indices: Tensor
    rows: int
    noise: dict[str, Any]
    mechanism: bytes | None
    problem: str
    parameters: dict[str, Tensor]
    released: list[Tensor]


class Recorder:
    """Keeps a run's releases. ``before`` and ``after`` frame a step; ``flush`` belongs to saving a run."""

    def __init__(self, directory: Path, config: RunConfig, *, seed: int) -> None:
        self._folder = directory / RECORDED
        self._stride = parameter_stride(config)
        self._sampled = frozenset(sampled_steps(config, seed=seed))
        self._updates: list[Floats] = []
        self._parameters: list[tuple[int, Floats]] = []
        self._first = 0
        self._opened: dict[str, Any] | None = None

    def begin(self, steps_done: int) -> None:
        """Start, or go on after ``steps_done`` steps: what was kept of later steps is of no run and is dropped."""
        make_directory(self._folder)
        self._first = steps_done
        for path in self._folder.iterdir():
            found = re.fullmatch(r"(?:updates|parameters|state)-(\d+)\.(?:npy|pt)", path.name)
            if path.name == "final.npy" or (found is not None and int(found[1]) >= steps_done):
                path.unlink()

    def before(
        self, *, step: int, epoch: int, indices: Tensor, rows: int, model: nn.Module, mechanism: Mechanism
    ) -> None:
        """Keep the state in which the step begins, where it is one of the sampled ones."""
        if step % self._stride == 0:
            self._parameters.append((step, _flat(list(model.parameters()))))
        if step in self._sampled:
            pickled, problem = pickle_mechanism(mechanism)
            self._opened = {
                "step": step,
                "epoch": epoch,
                "indices": indices.cpu().clone(),
                "rows": rows,
                "noise": noise_states(),
                "mechanism": pickled,
                "problem": problem,
                "parameters": {name: value.detach().cpu().clone() for name, value in model.state_dict().items()},
            }

    def after(self, released: list[Tensor]) -> None:
        """Keep what the step released."""
        self._updates.append(_flat(released))
        if self._opened is not None:
            stream = io.BytesIO()
            torch.save({**self._opened, "released": [value.cpu().clone() for value in released]}, stream)
            write_atomically(self._folder / f"state-{self._opened['step']:07d}.pt", stream.getvalue())
            self._opened = None

    def flush(self, final: list[Tensor], *, completed: bool) -> None:
        """Write what was kept since the last time; ``final`` are the parameters that a completed run ends with.

        Raises:
            DataError: the disk is full or the folder cannot be written.
        """
        if self._updates:
            _write(self._folder / f"updates-{self._first:07d}.npy", np.stack(self._updates))
            self._first += len(self._updates)
            self._updates.clear()
        if self._parameters:
            stacked = np.stack([values for _, values in self._parameters])
            _write(self._folder / f"parameters-{self._parameters[0][0]:07d}.npy", stacked)
            self._parameters.clear()
        if completed:
            _write(self._folder / "final.npy", _flat(final))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Recording:
    """A complete recording, read back: ``updates [T, P]``, ``parameters [k, P]`` at steps 0, stride, ..., ``final [P]``."""

    updates: Floats
    parameters: Floats
    stride: int
    final: Floats


def read_recording(directory: Path, config: RunConfig) -> Recording:
    """The recording of a finished run.

    Raises:
        DataError: absent, incomplete or malformed.
    """
    folder, stride = directory / RECORDED, parameter_stride(config)
    updates = _read_parts(folder, "updates", rows=config.total_steps, columns=config.n_params, unit=1)
    windows = -(-config.total_steps // stride)
    parameters = _read_parts(folder, "parameters", rows=windows, columns=config.n_params, unit=stride)
    final = _load(folder / "final.npy")
    if final.shape != (config.n_params,):
        raise DataError(f"recording: {folder / 'final.npy'}: expected {config.n_params} numbers, got {final.shape}")
    return Recording(updates=updates, parameters=parameters, stride=stride, final=final)


def read_step_states(directory: Path) -> tuple[StepState, ...]:
    """Every stored step. Tensors and plain data only are read; the mechanism's pickle stays bytes.

    Raises:
        DataError: a file is damaged.
    """
    states = []
    for path in sorted((directory / RECORDED).glob("state-*.pt")):
        try:
            states.append(StepState(**torch.load(path, map_location="cpu", weights_only=True)))
        except Exception as error:  # a damaged archive raises many kinds
            raise DataError(f"recording: {path} is damaged ({type(error).__name__}); train again") from error
    return tuple(states)


def _flat(tensors: list[Tensor]) -> Floats:
    flat = torch.cat([tensor.detach().reshape(-1).float() for tensor in tensors]).cpu()
    return np.asarray(flat.numpy(), dtype=np.float32)


def _write(path: Path, values: Floats) -> None:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=False)
    write_atomically(path, stream.getvalue())


def _read_parts(folder: Path, name: str, *, rows: int, columns: int, unit: int) -> Floats:
    """The parts of one series joined; each part's name must be where the one before ended."""
    parts: list[Floats] = []
    done = 0
    for path in sorted(folder.glob(f"{name}-*.npy")):
        part = _load(path)
        if path.stem != f"{name}-{done * unit:07d}" or part.ndim != 2 or part.shape[1] != columns:
            raise DataError(f"recording: {path}: expected step {done * unit} and {columns} columns, got {part.shape}")
        parts.append(part)
        done += len(part)
    if done != rows:
        raise DataError(f"recording: {folder}: expected {name} of {rows} rows, got {done}; train with --canaries")
    return np.concatenate(parts)


def _load(path: Path) -> Floats:
    values = read_array(path, what="recording", remedy="train again")
    if values.dtype != np.float32:
        raise DataError(f"recording: {path}: expected float32, got {values.dtype}")
    return np.asarray(values)
