"""Checkpoints: everything that the rest of a run depends on, so that a resumed run is the same run bit by bit.

A checkpoint is private: it holds the mechanism's state and the generator states, from which the noise can be drawn again.
It is read only by the harness's own resume, which executes the same candidate code anyway; an audit never opens one.
"""

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from dpaudit.contract import DataError, UsageError

from .atomic_files import write_atomically
from .candidate import Mechanism

CHECKPOINT_FILE = "checkpoint.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The state of a run between two steps.

    Attributes:
        identity: what must agree for a resume: source hash, class, configuration, seed, device kind, torch, threads.
        steps_done: steps finished.
        seconds: wall time so far.
        epochs: what was logged after each finished epoch.
        parameters: the model's state.
        optimiser: its ``state_dict``.
        average: the weight average's state, or ``None`` without one.
        processes: of every process, the states of its sampler, augmentation and dropout.
        physical_batch: images in memory at once, which a resumed run keeps.
        noise: states of the global generators.
        mechanism: the pickled instance, or ``None`` where it could not be pickled.
        mechanism_problem: why not.
    """

    identity: dict[str, Any]
    steps_done: int
    seconds: float
    epochs: list[dict[str, float]]
    parameters: dict[str, Tensor]
    optimiser: dict[str, Any]
    average: dict[str, Tensor] | None
    processes: list[dict[str, Any]]
    physical_batch: int
    noise: dict[str, Any]
    mechanism: bytes | None
    mechanism_problem: str


def pickle_mechanism(mechanism: Mechanism) -> tuple[bytes | None, str]:
    """The instance as bytes, or ``None`` and the reason. A mechanism that cannot be pickled trains, but cannot resume."""
    try:
        return pickle.dumps(mechanism), ""
    except Exception as error:  # a candidate's own __reduce__ may raise anything
        return None, f"{type(error).__name__}: {error}"


def unpickle_mechanism(progress: Progress, expected: type) -> Mechanism:
    """The saved instance. Its class must have been loaded before.

    Raises:
        UsageError: it was not saved, or does not come back as an instance of ``expected``.
    """
    return unpickle_instance(progress.mechanism, expected, problem=progress.mechanism_problem)


def unpickle_instance(stored: bytes | None, expected: type, *, problem: str) -> Mechanism:
    """An instance from its bytes; ``problem`` says why there are none. Executes candidate code.

    Raises:
        UsageError: there is none, or it does not come back as an instance of ``expected``.
    """
    if stored is None:
        raise UsageError(
            f"resume: the mechanism's state could not be saved ({problem}); start the run again, or "
            "keep only values in the mechanism that pickle can store"
        )
    try:
        restored = pickle.loads(stored)
    except Exception as error:
        raise UsageError(
            f"resume: the mechanism's saved state cannot be read back ({type(error).__name__}: {error}); start again"
        ) from error
    if type(restored) is not expected:
        raise UsageError(f"resume: expected a saved {expected.__name__}, got {type(restored).__name__}; start again")
    return cast(Mechanism, restored)


def save_checkpoint(directory: Path, progress: Progress) -> None:
    """Write the checkpoint of ``directory``, replacing the one before.

    Raises:
        DataError: it cannot be written.
    """
    stream = io.BytesIO()
    torch.save({name: getattr(progress, name) for name in Progress.__dataclass_fields__}, stream)
    write_atomically(directory / CHECKPOINT_FILE, stream.getvalue())


def load_checkpoint(directory: Path, *, identity: dict[str, Any]) -> Progress:
    """The checkpoint of ``directory``, if it belongs to the run that ``identity`` describes.

    Raises:
        DataError: absent or damaged.
        UsageError: it belongs to another run.
    """
    path = directory / CHECKPOINT_FILE
    if not path.is_file():
        raise DataError(f"resume: expected a checkpoint in {path}, found none; start the run without resuming")
    try:
        progress = Progress(**torch.load(path, map_location="cpu", weights_only=True))
        if not isinstance(progress.identity, dict):
            raise TypeError("identity")
    except Exception as error:  # a damaged archive raises many kinds
        raise DataError(
            f"resume: {path} is damaged ({type(error).__name__}); start the run again in another folder"
        ) from error
    changed = sorted(name for name in identity if progress.identity.get(name) != identity[name])
    if changed:
        detail = "; ".join(
            f"{name} was {progress.identity.get(name)!r:.60}, is {identity[name]!r:.60}" for name in changed
        )
        raise UsageError(f"resume: {path} belongs to another run: {detail}; resume with the same, or start a new run")
    return progress
