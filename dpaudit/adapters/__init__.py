"""Adapters: code that was not written for dpaudit, brought to the form that an audit examines.

Each gives a :class:`Subject`: a mechanism file, the run that it claims, and what was found on the way.
"""

from .function import function_subject
from .ledger import Ledger, read_ledger, recorded_measurement
from .opacus_subject import opacus_subject
from .subject import Subject

__all__ = ["Ledger", "Subject", "function_subject", "opacus_subject", "read_ledger", "recorded_measurement"]
