"""The cell: which privacy question is asked."""

from dataclasses import dataclass

from .words import NonFinite, Relation, Rows, Sampler


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Sampler, neighbouring relation, rows and non-finite rule: an epsilon means nothing without them."""

    sampler: Sampler = Sampler.POISSON
    relation: Relation = Relation.ADD_REMOVE
    rows: Rows = Rows.SAMPLED
    nonfinite: NonFinite = NonFinite.GUARDED

    def __str__(self) -> str:
        return f"{self.sampler}/{self.relation}/rows {self.rows}/non-finite {self.nonfinite}"
