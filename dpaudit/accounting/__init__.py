"""Accounting: an event trace in, a bracket on epsilon out; calibration, privacy curves and the benchmark's invalid formula."""

from .benchmark_formula import benchmark_calibrate, benchmark_epsilon
from .calibrate import CalibrationResult, calibrate_noise_multiplier, honest_noise_factor
from .epsilon import epsilon_bracket
from .expected_batch import rounded_expected_batch
from .renyi import rdp_epsilon
from .tradeoff import delta_at, tradeoff_curve

__all__ = [
    "CalibrationResult",
    "benchmark_calibrate",
    "benchmark_epsilon",
    "calibrate_noise_multiplier",
    "delta_at",
    "epsilon_bracket",
    "honest_noise_factor",
    "rdp_epsilon",
    "rounded_expected_batch",
    "tradeoff_curve",
]
