"""Bring a mechanism, rows and noise into a test or a snippet."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpaudit.contract import Relation, Rows
from dpaudit.probe import load_source
from dpaudit.probe.loading import load_candidate
from dpaudit.properties.batches import Beside, Geometry


def load_mechanism(path: str, class_name: str = "DPMechanism") -> type[Any]:
    """The class of a mechanism file, in THIS process. Of a whole training script only what the class needs is executed.

    Raises:
        UsageError: no such file.
        SourceError: it defines no such class.
        CandidateError: executing it raised.
    """
    source = load_source(f"{path}::{class_name}")
    return load_candidate(source.text, source.path, source.class_name).cls


def other_rows(content: str, count: int, shapes: Sequence[Sequence[int]], *, max_grad_norm: float = 1.0) -> Tensor:
    """The rows beside the differing one, flat: [count, coordinates], in torch's default type.

    Args:
        content: ``zeros``, ``mixed`` (random directions, norms around C) or ``aligned`` (20 C, all in one direction).
    """
    sizes = tuple(tuple(shape) for shape in shapes)
    geometry = Geometry(sizes, max_grad_norm, Relation.ADD_REMOVE, Rows.SAMPLED, max(1, count))
    return geometry.others(Beside(content=content, count=count)).to(torch.get_default_dtype())


@contextmanager
def same_noise(seed: int) -> Iterator[None]:
    """Seed the global generators of torch, numpy and ``random`` inside the block; put them back after it.

    A generator that the mechanism keeps for itself is not touched: copy the mechanism for each call.
    """
    state = np.random.get_state()  # noqa: NPY002 - mechanisms may draw from the global generator
    python = random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002
            random.setstate(python)
