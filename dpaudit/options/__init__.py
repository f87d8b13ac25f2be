"""The command line's options: one module a command, none of which imports what the command needs to run."""

import argparse
from collections.abc import Callable

from .accounts import add_replay
from .attack import add_attack
from .bound import add_bound
from .calibrate import add_calibrate
from .common import EXIT_CODES, Commands
from .completion import add_completion
from .explain import add_explain
from .gate import add_gate
from .model import add_model
from .plan import add_plan
from .reports import add_diff, add_report, add_verify
from .rerun import add_rerun
from .rules import add_rules
from .sweep import add_sweep
from .table import add_table
from .training import add_train

COMMANDS: tuple[Callable[["Commands[argparse.ArgumentParser]"], None], ...] = (
    add_gate,
    add_train,
    add_sweep,
    add_table,
    add_replay,
    add_calibrate,
    add_report,
    add_diff,
    add_verify,
    add_rerun,
    add_explain,
    add_model,
    add_plan,
    add_attack,
    add_bound,
    add_rules,
    add_completion,
)
"""In the order in which ``dpaudit --help`` lists them."""

__all__ = ["COMMANDS", "EXIT_CODES"]
