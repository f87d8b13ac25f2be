"""Search for a counterexample: hostile gradients, warmed-up states, directed search, statistics of the noise."""

from .layer import search
from .pair import PairReading, measure_pair
from .result import PropertyResult, WorstContribution

__all__ = ["PairReading", "PropertyResult", "WorstContribution", "measure_pair", "search"]
