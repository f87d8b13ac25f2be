"""Search for a counterexample: hostile gradients, warmed-up states, directed search, statistics of the noise."""

from .layer import DEFAULT_TIME_LIMIT, search
from .pair import PairReading, measure_pair
from .result import PropertyResult, WorstContribution

__all__ = ["DEFAULT_TIME_LIMIT", "PairReading", "PropertyResult", "WorstContribution", "measure_pair", "search"]
