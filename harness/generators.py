"""One seed, several generators: sampling, initialisation and noise never share a stream.

Mechanisms draw noise from the global generators of torch, numpy and ``random``, so those belong to the mechanism during a
run: they are seeded at its start, nothing else draws from them, and their states are all of the noise's state.

A seed makes a run repeatable. For a release the seed is a secret: whoever knows it can subtract the noise.
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def stream_seed(seed: int, purpose: str) -> int:
    """A seed in [0, 2**63) for one purpose; different purposes give unrelated streams."""
    digest = hashlib.sha256(f"dpaudit/{purpose}/{seed}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def noise_states() -> dict[str, Any]:
    """States of all global generators, as plain data and tensors."""
    name, key, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002  # the mechanism may use it
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(name), [int(word) for word in key], int(position), int(has_gauss), float(cached)],
        "random": [version, list(words), gauss],
    }


def restore_noise_states(states: dict[str, Any]) -> None:
    """Set all global generators to states from :func:`noise_states`."""
    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
    name, key, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, np.array(key, dtype=np.uint32), position, has_gauss, cached))  # noqa: NPY002
    version, words, gauss = states["random"]
    random.setstate((version, tuple(words), gauss))


@contextmanager
def noise_generators(seed: int) -> Iterator[None]:
    """Seed the global generators for the mechanism's noise; the caller's states come back at the end."""
    before = noise_states()
    noise_seed = stream_seed(seed, "noise")
    torch.manual_seed(noise_seed)
    np.random.seed(noise_seed % 2**32)  # noqa: NPY002  # the generator that a mechanism may call
    random.seed(noise_seed)
    try:
        yield
    finally:
        restore_noise_states(before)
