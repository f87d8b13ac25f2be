"""Accounting: an event trace in, a bracket on epsilon out; calibration, trade-off curves and the benchmark's invalid formula."""

from .benchmark_formula import benchmark_calibrate, benchmark_epsilon
from .calibrate import CalibrationResult, calibrate_noise_multiplier, honest_noise_factor
from .epsilon import epsilon_bracket
from .renyi import rdp_epsilon

__all__ = [
    "CalibrationResult",
    "benchmark_calibrate",
    "benchmark_epsilon",
    "calibrate_noise_multiplier",
    "epsilon_bracket",
    "honest_noise_factor",
    "rdp_epsilon",
]
