"""Ready-made tests of a mechanism for a user's own pytest run.

``assert_bounded_contribution`` and its companions check one promise each; :class:`MechanismConformance` bundles them as a
test class to inherit from. The strategies generate hostile gradients and run configurations for own Hypothesis tests.
Everything runs in the calling process: use it on code that you trust enough to import.
"""

from .assertions import (
    assert_bounded_contribution,
    assert_finite_release,
    assert_fresh_noise,
    assert_input_unchanged,
    assert_noise_ignores_data,
    assert_order_ignored,
)
from .conformance import MechanismConformance
from .contributions import Contribution, contribution_of
from .loading import load_mechanism, other_rows, same_noise
from .strategies import RowPattern, gradient_rows, per_sample_gradients, row_patterns, run_configs

__all__ = [
    "Contribution",
    "MechanismConformance",
    "RowPattern",
    "assert_bounded_contribution",
    "assert_finite_release",
    "assert_fresh_noise",
    "assert_input_unchanged",
    "assert_noise_ignores_data",
    "assert_order_ignored",
    "contribution_of",
    "gradient_rows",
    "load_mechanism",
    "other_rows",
    "per_sample_gradients",
    "row_patterns",
    "run_configs",
    "same_noise",
]
