"""What every worker of this layer is asked with."""

from dpaudit.contract import RunConfig
from dpaudit.probe import MechanismSource
from dpaudit.probe.messages import Request

MEMORY_MIB = 4096
"""Private memory that a worker may use."""


def request_of(source: MechanismSource, config: RunConfig, *, time_limit: float, seed: int = 0) -> Request:
    """The candidate and the run for a worker, which gets ``time_limit`` seconds of work."""
    return Request(
        text=source.text,
        path=source.path,
        class_name=source.class_name,
        config=config,
        seed=seed,
        time_limit=time_limit,
        memory_limit_mib=MEMORY_MIB,
    )
