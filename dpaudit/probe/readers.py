"""Fresh mechanisms to read, at small and at real shapes."""

import math
from dataclasses import dataclass

import torch

from .candidates import Neighbours, shrink
from .coupling import Reader
from .loading import load_candidate
from .messages import Request
from .session import Constructor, Session

_SAMPLED_ROWS = 6
_FEW_ROWS = 8


@dataclass(slots=True)
class Readers:
    """Makes readers for one request. Each loads the candidate anew, so that nothing is shared between them.

    Attributes:
        quiet: the base rows are zero.
        few: constant batches are cut to a few rows, with dataset_size to match.
    """

    request: Request
    quiet: bool = False
    few: bool = False

    @property
    def rows(self) -> int:
        """Rows of the smaller batch at small shapes."""
        if self.request.config.realised_rows is None:
            return _SAMPLED_ROWS
        return _FEW_ROWS if self.few else self.request.config.realised_rows

    @property
    def real_rows(self) -> int:
        """Rows of a typical batch of the run."""
        return self.request.config.realised_rows or max(1, round(self.request.config.expected_batch))

    def shrink_batch(self) -> bool:
        """Cut constant batches to a few rows; False if that changes nothing."""
        rows = self.request.config.realised_rows
        self.few = rows is not None and rows > _FEW_ROWS
        return self.few

    def small(self, *, quiet: bool | None = None) -> Reader:
        """A mechanism at small shapes in float64, with the run's own numbers."""
        shapes = [shrink(shape) for shape in self.request.config.parameter_shapes]
        return self._reader(shapes, self.rows, torch.float64, 5, self.quiet if quiet is None else quiet, self.few)

    def real(self, *, quiet: bool) -> Reader:
        """A mechanism at the real shapes and batch in float32."""
        shapes = list(self.request.config.parameter_shapes)
        return self._reader(shapes, self.real_rows, torch.float32, 1, quiet, False)

    def _reader(
        self, shapes: list[tuple[int, ...]], rows: int, dtype: torch.dtype, bank: int, quiet: bool, few: bool
    ) -> Reader:
        request, config = self.request, self.request.config
        candidate = load_candidate(request.text, request.path, request.class_name)
        constructor = Constructor(
            max_grad_norm=config.max_grad_norm,
            noise_multiplier=config.noise_multiplier,
            n_params=sum(math.prod(shape) for shape in shapes),
            dataset_size=_dataset_for(rows, config.dataset_size, config.batch_size) if few else config.dataset_size,
            batch_size=rows if few else config.batch_size,
            epochs=config.epochs,
            target_epsilon=config.target_epsilon,
            target_delta=config.target_delta,
        )
        session = Session(candidate, constructor, shapes, dtype=dtype, seed=request.seed)
        neighbours = Neighbours(
            shapes,
            rows=rows,
            cell_rows=config.cell.rows,
            relation=config.cell.relation,
            max_grad_norm=config.max_grad_norm,
            dtype=dtype,
            seed=request.seed,
            bank=bank,
            quiet=quiet,
        )
        return Reader(session, neighbours, request.seed, [math.prod(shape) for shape in config.parameter_shapes])


def _dataset_for(rows: int, dataset_size: int, batch_size: int) -> int:
    """A data set that gives as many batches of ``rows``, whole and partial, as the real one does of its batch size."""
    whole, rest = divmod(dataset_size, batch_size)
    return whole * rows + (1 if rest else 0)
