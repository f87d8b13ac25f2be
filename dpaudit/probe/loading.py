"""Execute a candidate's class in this process. Called in the worker only."""

import ast
import math
import sys
import traceback
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as functional

from dpaudit.contract.source_selection import select

MODULE_NAME = "candidate"


class CandidateError(Exception):
    """The candidate did something that ends or spoils its examination.

    Attributes:
        rule: id of the rule that is broken.
        line: where in the candidate's source, if known.
    """

    def __init__(self, rule: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.rule = rule
        self.line = line


@dataclass(frozen=True, slots=True)
class Candidate:
    """A loaded class with the namespace that it lives in."""

    path: str
    cls: type
    namespace: dict[str, Any]
    provided: frozenset[str]
    draws_outside_torch: bool


def load_candidate(text: str, path: str, class_name: str) -> Candidate:
    """Execute the statements that the class needs, with the benchmark's names at hand.

    Code objects carry the real path and lines, so that frames, tracebacks and findings name the original file.

    Raises:
        CandidateError: a statement raised, or what it defines is no mechanism.
    """
    module = ModuleType(MODULE_NAME)
    sys.modules[MODULE_NAME] = module
    namespace = module.__dict__
    namespace["__file__"] = path
    import scipy.optimize as sp_optimize

    namespace.update({"torch": torch, "math": math, "np": np, "sp_optimize": sp_optimize, "nn": nn, "F": functional})
    provided = frozenset(namespace)
    tree = select(ast.parse(text, filename=path), class_name)
    try:
        exec(compile(tree, path, "exec"), namespace)
    except BaseException as error:
        raise CandidateError("DPA011", f"executing the file raised {describe(error)}", line_of(error, path)) from error
    cls = namespace.get(class_name)
    if not isinstance(cls, type):
        raise CandidateError("DPA011", f"{class_name} is a {type(cls).__name__} after the file ran, not a class")
    if not callable(getattr(cls, "clip_and_noise", None)):
        raise CandidateError(
            "DPA011", f"class {class_name} has no method clip_and_noise(per_sample_grads, step, epoch)"
        )
    outside = any(word in text for word in ("random", "numpy", "np.", "scipy", "secrets", "uuid"))
    return Candidate(path=path, cls=cls, namespace=namespace, provided=provided, draws_outside_torch=outside)


def line_of(error: BaseException, path: str) -> int | None:
    """Line of the innermost frame of the candidate in an exception's traceback."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return lines[-1] if lines else None


def describe(error: BaseException, limit: int = 300) -> str:
    """``TypeName: text`` in one line, cut to ``limit`` characters."""
    try:
        text = " ".join(str(error).split())
    except BaseException:  # the text is the candidate's code too
        text = "(its text cannot be shown)"
    text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."
