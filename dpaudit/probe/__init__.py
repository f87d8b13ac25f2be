"""Run mechanism code under observation and read its true noise out of it."""

from .measurement import measure
from .source import MechanismSource, SourceError, benchmark_imports, load_source

__all__ = ["MechanismSource", "SourceError", "benchmark_imports", "load_source", "measure"]
