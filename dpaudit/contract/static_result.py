"""StaticResult: what the static layer proved for all inputs, or the line that prevented it. Plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .finding import Finding, PlainData


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticResult:
    """A for-all-inputs bound on contribution and noise together, or a refusal.

    Attributes:
        sigma_effective: for every step of the run, a lower bound of the noise multiplier: the standard deviation of the
            noise over the largest distance between a row's contribution and that of an absent row (dimensionless, rounded
            down, with an allowance for float32). ``None`` after a refusal. It bounds a schedule that is public and fixed.
        refusal: the first thing that made a bound impossible, with its line; ``None`` if the bound holds.
        findings: everything found, the refusal among them; those of the lint too.
        certificate: JSON-able data from which ``dpaudit.static.verify`` re-checks the bound without running the candidate.
        assumptions: what the bound takes for granted.
        conditional: what would hold if the refused value were public; empty where nothing was refused. Never an acceptance.
        flow: after a refusal, by line of the source: what is private, noise and released there, as far as the analysis came.
        seconds: wall time.
    """

    sigma_effective: tuple[float, ...] | None
    refusal: Finding | None
    findings: tuple[Finding, ...] = ()
    certificate: Mapping[str, PlainData] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()
    conditional: str = ""
    flow: Mapping[str, PlainData] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if (self.sigma_effective is None) == (self.refusal is None):
            raise ValueError("static result: expected either a bound or a refusal, got both or neither")
        if self.sigma_effective is not None and not all(sigma >= 0 for sigma in self.sigma_effective):
            raise ValueError("static result: a bound must be a number >= 0 at every step")
