"""Find the form of L once, and read its scale at every step."""

from collections.abc import Callable

import torch
from torch import Tensor

from .noise_map import Dense, Diagonal, NoiseMap, probe_matrix, structure_of

LATENT_LIMIT = 320
"""More latents than this are not probed one by one."""
INTERNAL_LIMIT = 16

Release = Callable[[Tensor], Tensor]
"""The release of the step on D for given latents, everything else as it was."""


class MapReader:
    """Remembers the form of L from step to step.

    ``internal`` are latents that no single released coordinate takes up: they may steer what the mechanism keeps.
    ``largest`` is the largest entry of L as it was read last.
    """

    def __init__(self) -> None:
        self.internal: Tensor | None = None
        self.largest = 0.0
        self._form: NoiseMap | None = None
        self._size = 0

    def still(self, nudge: Tensor) -> Tensor:
        """A move of latents with the internal ones left where they are."""
        if self.internal is not None and nudge.numel() == self._size:
            nudge[self.internal] = 0
        return nudge

    def form_at(self, sizes: list[int], others: list[int]) -> NoiseMap | None:
        """The form carried over to other shapes; ``None`` unless it goes tensor by tensor, in order."""
        return self._form.resized(sizes, others) if isinstance(self._form, Diagonal) else None

    def assume(self, form: NoiseMap) -> None:
        """Take a form as known, unless one is. Couplings still check it."""
        if self._form is None and isinstance(form, Diagonal):
            self._form, self._size = form, int(form.source.max()) + 1

    def read(
        self, at: Tensor, z: Tensor, nudge: Tensor, seen: Tensor, tolerance: float, release: Release
    ) -> NoiseMap | None:
        """L at a step: the known form with its scale read anew, else by single probes. ``None``: not affine.

        Args:
            at: the release for the latents ``z``.
            nudge: a move of the latents.
            seen: how the release changed with it.
            tolerance: absolute.
            release: to probe with.
        """
        found = self._read(at, z, nudge, seen, tolerance, release)
        if found is not None:
            entries = found.scale if isinstance(found, Diagonal) else found.matrix
            self.largest = float(entries.abs().max()) if entries.numel() else 0.0
        return found

    def _read(
        self, at: Tensor, z: Tensor, nudge: Tensor, seen: Tensor, tolerance: float, release: Release
    ) -> NoiseMap | None:
        match self._form:
            case Diagonal() as form if z.numel() == self._size and z.numel():
                scale = torch.where(form.source >= 0, seen / nudge[form.source.clamp_min(0)], 0.0)
                if bool((seen[form.source < 0].abs() <= tolerance).all()):
                    return Diagonal(form.source, scale)
            case Dense() as form if form.matrix.shape[1] == z.numel():
                expected = form.matrix @ nudge
                factor = float(expected @ seen) / max(float(expected @ expected), 1e-300)
                if bool(((factor * expected - seen).abs() <= 4 * tolerance).all()):
                    return Dense(factor * form.matrix)
            case _:
                pass
        return self._probe(at, z, nudge, seen, tolerance, release)

    def _probe(
        self, at: Tensor, z: Tensor, nudge: Tensor, seen: Tensor, tolerance: float, release: Release
    ) -> NoiseMap | None:
        """L by single probes; ``None`` if the release is not affine in the latents, or there are too many."""
        if z.numel() > LATENT_LIMIT:
            return None
        matrix = probe_matrix(release, z, at)
        used = matrix.abs() > tolerance
        if bool(((matrix @ nudge - seen).abs() <= 8 * tolerance).all()):
            self._form, self._size = structure_of(matrix, tolerance), z.numel()
            self._set_internal(torch.nonzero(~used.any(dim=0)).reshape(-1))
            return self._form
        return self._apart_from_internal(at, z, nudge, matrix, tolerance, release)

    def _apart_from_internal(
        self, at: Tensor, z: Tensor, nudge: Tensor, matrix: Tensor, tolerance: float, release: Release
    ) -> NoiseMap | None:
        """L for a step that is affine in most latents once a few, which serve no single coordinate, are held."""
        inner = torch.nonzero((matrix.abs() > tolerance).sum(dim=0) != 1).reshape(-1)
        held = matrix.clone()
        held[:, inner] = 0
        form = structure_of(held, tolerance)
        if not 0 < inner.numel() <= INTERNAL_LIMIT or not isinstance(form, Diagonal):
            return None
        nudge = nudge.clone()
        nudge[inner] = 0
        if not bool(((release(z + nudge) - at - held @ nudge).abs() <= 8 * tolerance).all()):
            return None
        self._form, self._size = form, z.numel()
        self._set_internal(inner)
        return form

    def _set_internal(self, inner: Tensor) -> None:
        self.internal = inner if 0 < inner.numel() <= INTERNAL_LIMIT else None
