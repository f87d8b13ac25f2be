"""Attacks: lower bounds on epsilon, each with its ceiling, level, counts, method, design and family."""

from .all_bounds import METHODS, NEEDS_TRACE, bounds_on
from .attack import attack
from .bound import Design, Family, LowerBound
from .effort import GATE, THOROUGH, Effort
from .forecast import Forecast, attack_model, forecast
from .planning import AttackPlan, ModePlan, make_plan
from .result import EmpiricalResult
from .scores import Scores, checked, read_csv, read_csv_pair, read_npz
from .thresholds import Bonferroni, Fixed, MultiSplit, Split

__all__ = [
    "GATE",
    "METHODS",
    "NEEDS_TRACE",
    "THOROUGH",
    "AttackPlan",
    "Bonferroni",
    "Design",
    "Effort",
    "EmpiricalResult",
    "Family",
    "Fixed",
    "Forecast",
    "LowerBound",
    "ModePlan",
    "MultiSplit",
    "Scores",
    "Split",
    "attack",
    "attack_model",
    "bounds_on",
    "checked",
    "forecast",
    "make_plan",
    "read_csv",
    "read_csv_pair",
    "read_npz",
]
