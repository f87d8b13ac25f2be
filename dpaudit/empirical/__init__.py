"""Attacks: lower bounds on epsilon, each with its ceiling, level, counts, method, design and family."""

from .all_bounds import METHODS, NEEDS_TRACE, bounds_on
from .attack import attack
from .attack_curves import attack_curves
from .bound import Design, Family, LowerBound
from .effort import GATE, THOROUGH, Effort
from .forecast import Forecast, attack_model, forecast, modelled, simulates
from .one_run_planning import CanaryPlan, canaries_needed, plan_canaries
from .planning import GATE_LEVEL, PRINT_LEVEL, AttackPlan, Case, ModePlan, make_plan
from .result import EmpiricalResult
from .scores import Scores, checked, read_csv, read_csv_pair, read_npz
from .thresholds import Bonferroni, Fixed, MultiSplit, Split

__all__ = [
    "GATE",
    "GATE_LEVEL",
    "METHODS",
    "NEEDS_TRACE",
    "PRINT_LEVEL",
    "THOROUGH",
    "AttackPlan",
    "Bonferroni",
    "CanaryPlan",
    "Case",
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
    "attack_curves",
    "attack_model",
    "bounds_on",
    "canaries_needed",
    "checked",
    "forecast",
    "make_plan",
    "modelled",
    "plan_canaries",
    "read_csv",
    "read_csv_pair",
    "read_npz",
    "simulates",
]
