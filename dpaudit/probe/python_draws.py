"""Randomness outside torch: numpy, ``random`` and ``os.urandom``, led onto the tape.

:func:`install` changes the library functions of THIS process once, before a candidate is loaded. Without an active tape
they behave as before, except that ``os.urandom`` reads a replayable stream.
"""

import os
import random
from typing import Any

import numpy as np
import torch

from . import tape


class TapedGenerator(np.random.Generator):
    """A numpy generator whose normal draws are latents."""

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        identity = hash(str(self.bit_generator.state))
        return _taped(identity, super().normal(loc, scale, size), loc, scale)

    def standard_normal(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        identity = hash(str(self.bit_generator.state))
        return _taped(identity, super().standard_normal(size, dtype, out), 0.0, 1.0)


class TapedRandomState(np.random.RandomState):
    """A legacy numpy generator whose normal draws are latents."""

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        return _taped(_legacy_identity(self), super().normal(loc, scale, size), loc, scale)

    def standard_normal(self, size: Any = None) -> Any:
        return _taped(_legacy_identity(self), super().standard_normal(size), 0.0, 1.0)

    def randn(self, *shape: int) -> Any:
        return _taped(_legacy_identity(self), super().randn(*shape), 0.0, 1.0)


class EntropyStream:
    """What ``os.urandom`` reads while a candidate is watched: seeded, so that a call can be replayed."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)

    def read(self, size: int) -> bytes:
        """``size`` bytes; a public coin."""
        current = tape.active()
        if current is not None:
            current.note_coin()
        return self.source.randbytes(size)


ENTROPY = EntropyStream(0)
LEGACY: np.random.RandomState = np.random.mtrand._rand
"""The generator behind numpy's module-level functions."""


def install(seed: int) -> None:
    """Lead all randomness of this process that is not torch's onto the tape."""
    ENTROPY.source.seed(seed)
    for name in ("normal", "standard_normal", "randn"):
        setattr(np.random, name, _legacy(getattr(LEGACY, name), name))
    np.random.default_rng = _default_rng
    np.random.Generator = TapedGenerator  # type: ignore[misc]
    np.random.RandomState = TapedRandomState  # type: ignore[misc]
    for name in ("gauss", "normalvariate"):
        method = _python_draw(getattr(random.Random, name))
        setattr(random.Random, name, method)
        setattr(random, name, getattr(random._inst, name))
    os.urandom = ENTROPY.read
    random._urandom = ENTROPY.read  # type: ignore[attr-defined]


def _default_rng(seed: Any = None) -> TapedGenerator:
    if isinstance(seed, np.random.Generator):
        return TapedGenerator(seed.bit_generator)
    if isinstance(seed, np.random.BitGenerator):
        return TapedGenerator(seed)
    if seed is None:
        seed = int.from_bytes(ENTROPY.read(16), "little")
    return TapedGenerator(np.random.PCG64(seed))


def _legacy(draw: Any, name: str) -> Any:
    def normal(loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        return _taped(_legacy_identity(LEGACY), draw(loc, scale, size), loc, scale)

    def standard(*args: Any, **kwargs: Any) -> Any:
        return _taped(_legacy_identity(LEGACY), draw(*args, **kwargs), 0.0, 1.0)

    return normal if name == "normal" else standard


def _legacy_identity(source: Any) -> int:
    _, keys, position, has_gauss, cached = source.get_state()
    return hash((keys.tobytes(), position, has_gauss, cached))


def _python_draw(draw: Any) -> Any:
    def taped(self: random.Random, mu: float = 0.0, sigma: float = 1.0) -> Any:
        try:
            identity = hash(self.getstate())
        except NotImplementedError:  # SystemRandom has no state
            identity = hash(ENTROPY.read(16))
        return _taped(identity, draw(self, mu, sigma), mu, sigma)

    return taped


def _taped(identity: int, drawn: Any, mean: Any, std: Any) -> Any:
    """Pass a draw through the active tape, keeping its type (a float stays a float)."""
    current = tape.active()
    if current is None:
        return drawn
    array = np.asarray(drawn)
    # Tape code must not be watched by the tape itself.
    with torch.utils._python_dispatch._disable_current_modes():
        tensor = torch.from_numpy(np.array(array, dtype=np.float64, ndmin=1))
        values = current.gaussian(identity, tensor, _moment(mean, array), _moment(std, array))
    if values is None:
        return drawn
    result = values.numpy().reshape(array.shape).astype(array.dtype)
    return result if isinstance(drawn, np.ndarray) else type(drawn)(result)


def _moment(value: Any, like: np.ndarray[Any, Any]) -> Any:
    if np.ndim(value) == 0:
        return float(value)
    return torch.from_numpy(np.array(np.broadcast_to(np.asarray(value, dtype=np.float64), like.shape), ndmin=1))
