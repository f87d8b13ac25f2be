"""Search for a counterexample: hostile gradients, warmed-up states, directed search, statistics of the noise."""

from .layer import search
from .result import PropertyResult, WorstContribution

__all__ = ["PropertyResult", "WorstContribution", "search"]
