"""Which Gaussian draws are new: identities of all draws of a run."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .tape import Recording


@dataclass(frozen=True, slots=True)
class Freshness:
    """``fresh`` marks the latents never drawn at an earlier step; ``reused`` says in words what is not, if anything."""

    fresh: Tensor
    reused: str
    line: int | None


class DrawHistory:
    """The draws of the steps that ran, by identity."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, int]] = {}

    def take(self, recording: Recording, step: int) -> Freshness:
        """Compare a step's draws with those before it, and remember them."""
        fresh = torch.ones(recording.latents.numel(), dtype=torch.bool)
        reused, line = "", None
        for draw in recording.draws:
            first, length = self._known.get(draw.identity, (step, 0))
            if first != step and draw.numel:
                fresh[draw.offset : draw.offset + min(length, draw.numel)] = False
                if not reused:
                    reused, line = f"draws the same noise as step {first}", draw.line
        for draw in recording.draws:
            first, length = self._known.get(draw.identity, (step, 0))
            if first == step:
                self._known[draw.identity] = (step, max(length, draw.numel))
        shared = recording.shared()
        if shared is not None and not reused:
            reused, line = "draws the same noise twice", shared.line
        return Freshness(fresh, reused, line)
