"""Load a candidate mechanism into this process for training.

Only the definitions that the class needs are executed (:mod:`dpaudit.contract.source_selection`), so that loading a
whole training script never starts its training, and the code that trains is the code that is audited.
"""

import ast
import hashlib
import math
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Protocol, cast

import numpy as np
import torch
from scipy import optimize
from torch import Tensor, nn
from torch.nn import functional

from dpaudit.contract import RunConfig, UsageError
from dpaudit.contract.source_selection import select

DEFAULT_CLASS = "DPMechanism"
MODULE_NAME = "candidate"


class Mechanism(Protocol):
    """What a submission provides; nothing is subclassed."""

    def clip_and_noise(self, per_sample_grads: list[Tensor], step: int, epoch: int) -> Sequence[Tensor]:
        """The noised average gradients ``[*shape]`` from per-sample ones ``[rows, *shape]``; step from 0, epoch from 1."""
        ...

    def get_effective_sigma(self, step: int, epoch: int) -> float:
        """The noise multiplier that the accountant is told for this step."""
        ...


class MechanismError(UsageError):
    """The candidate's own code failed.

    Attributes:
        file, line: the innermost place in the candidate's source; ``line`` is ``None`` where there is none.
    """

    def __init__(self, message: str, *, file: str, line: int | None) -> None:
        super().__init__(message)
        self.file = file
        self.line = line

    @classmethod
    def from_exception(cls, error: BaseException, *, file: str, doing: str) -> "MechanismError":
        """What the candidate raised while ``doing`` something, with the line in its own file."""
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == file and frame.lineno is not None]
        line = lines[-1] if lines else None
        place = f"{file}:{line}" if line else file
        kind = "it ended the process with" if isinstance(error, SystemExit) else "it raised"
        return cls(f"mechanism: {place}: {kind} {type(error).__name__}: {error} while {doing}", file=file, line=line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One candidate class, read but not executed.

    Attributes:
        spec: as it was given.
        path: the file, absolute; the name under which its code runs.
        class_name: the class in it.
        sha256: of the file's bytes.
        code: the class and the top-level definitions that it needs, on their own lines.
    """

    spec: str
    path: str
    class_name: str
    sha256: str
    code: CodeType


def read_candidate(spec: str) -> Candidate:
    """Read, parse and filter ``path.py`` or ``path.py::ClassName``, executing nothing.

    Raises:
        UsageError: no such file, not UTF-8, not Python, or no such class at its top level.
    """
    name, separator, class_name = spec.partition("::")
    class_name = class_name if separator else DEFAULT_CLASS
    if not name or not class_name.isidentifier():
        raise UsageError(f"candidate: expected PATH.py or PATH.py::ClassName, got {spec!r}")
    path = str(Path(name).resolve())
    try:
        data = Path(path).read_bytes()
        tree = ast.parse(data.decode("utf-8-sig"), filename=path)
    except OSError as error:
        raise UsageError(f"candidate: cannot read {path}: {error.strerror}; give a Python file") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"candidate: {path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = error.lineno if isinstance(error, SyntaxError) else None
        raise MechanismError(
            f"mechanism: {path}:{line or 0}: not valid Python: {error}", file=path, line=line
        ) from error
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    if class_name not in classes:
        found = ", ".join(classes) or "none"
        raise UsageError(
            f"candidate: expected a top-level class {class_name!r} in {path}, found {found}; name one by PATH.py::ClassName"
        )
    code = compile(select(tree, class_name), path, "exec", dont_inherit=True)
    return Candidate(spec=spec, path=path, class_name=class_name, sha256=hashlib.sha256(data).hexdigest(), code=code)


def load_class(candidate: Candidate) -> type:
    """Execute the candidate's definitions in a module of their own and return the class.

    torch (also ``nn`` and ``F``), math, numpy (``np``) and scipy.optimize (``sp_optimize``) are there without an import.
    The module is named and filled as it is for an audit, so that its name tells a candidate nothing about who runs it. It
    is registered, so that a saved instance can be read back by a later process that loads the same source.

    Raises:
        MechanismError: a definition raised, or the class lacks a method of the interface.
    """
    module = ModuleType(MODULE_NAME)
    module.__file__ = candidate.path
    vars(module).update(torch=torch, nn=nn, F=functional, math=math, np=np, sp_optimize=optimize)
    sys.modules[module.__name__] = module
    try:
        exec(candidate.code, vars(module))
    except (Exception, SystemExit) as error:
        raise MechanismError.from_exception(error, file=candidate.path, doing="its definitions ran") from error
    loaded = getattr(module, candidate.class_name, None)
    for method in ("clip_and_noise", "get_effective_sigma"):
        if not isinstance(loaded, type) or not callable(getattr(loaded, method, None)):
            raise MechanismError(
                f"mechanism: {candidate.path}: expected a class {candidate.class_name} with a method {method}, got "
                f"{type(loaded).__name__} without it; add it",
                file=candidate.path,
                line=candidate.code.co_firstlineno,
            )
    return cast(type, loaded)


def construct(loaded: type, config: RunConfig, *, file: str) -> Mechanism:
    """An instance for one run, with the eight arguments of the benchmark's interface, in its order.

    Raises:
        MechanismError: the constructor raised.
    """
    try:
        instance = loaded(
            config.max_grad_norm,
            config.noise_multiplier,
            config.n_params,
            config.dataset_size,
            config.batch_size,
            config.epochs,
            config.target_epsilon,
            config.target_delta,
        )
    except (Exception, SystemExit) as error:
        raise MechanismError.from_exception(error, file=file, doing="it was constructed") from error
    return cast(Mechanism, instance)
