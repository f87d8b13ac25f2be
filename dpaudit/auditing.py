"""The Python interface: ``dpaudit.audit``."""

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpaudit.contract import AuditReport, Layer, RunConfig, UsageError
from dpaudit.gate import audit as gate_audit
from dpaudit.gate import plan_layers
from dpaudit.gate.watch import PROBE


def audit(
    mechanism: str | os.PathLike[str] | type,
    config: RunConfig | str = "digits",
    *,
    layers: Sequence[Layer | str] | None = None,
    required_layers: Sequence[Layer | str] = (),
    time_limit: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AuditReport:
    """Audit one mechanism: does it keep the (epsilon, delta) budget that ``config`` claims?

    Guarantee: always returns a report with a verdict; what the candidate does (a crash, a hang, an exit) is a finding, and a
    fault of dpaudit itself never ends ACCEPTED. The candidate runs in worker processes, never in this one.

    Args:
        mechanism: path of a file that defines ``DPMechanism``, ``"file.py::ClassName"``, or a class that is defined at the
            top level of a file. A class is audited as its FILE says: changes made to the class object are not seen.
        config: name of a preset (``digits``, ``mnist``, ...), or a configuration, see :func:`run_config`.
        layers: which layers run; by default all that ACCEPTED needs. Add ``"empirical"`` for an attack.
        required_layers: further layers that ACCEPTED needs; they are run.
        time_limit: seconds for the probe; by default 120 and one more for every 20 steps.
        progress: called with steps done and steps in all, by the probe.

    Raises:
        UsageError: no such file, preset or layer; a class without a file; a cell that has no valid accounting.
    """
    chosen = run_config(config) if isinstance(config, str) else config
    required = _planned(required_layers) if required_layers else ()
    planned = _planned(layers) if layers is not None else (*plan_layers(None),)
    if layers is None:
        planned = (*planned, *(layer for layer in required if layer not in planned))
    watch = None if progress is None else _Probed(progress)
    return gate_audit(_spec(mechanism), chosen, layers=planned, required=required, time_limit=time_limit, watch=watch)


@dataclass(slots=True)
class _Probed:
    """Passes on the steps of the probe, and nothing of the other layers, which count other things."""

    progress: Callable[[int, int], None]
    probing: bool = False

    def begin(self, text: str) -> None:
        self.probing = text == PROBE

    def advance(self, done: int, total: int) -> None:
        if self.probing:
            self.progress(done, total)


def run_config(preset: str = "digits", **overrides: object) -> RunConfig:
    """The run configuration of a preset, with what is overridden.

    Args:
        preset: its name; an unknown one is an error that names the nearest.
        overrides: ``noise_multiplier``, ``calibration``, ``relation``, ``rows``, ``sampler``, ``nonfinite``, ``epochs``.
            Without ``noise_multiplier`` sigma is calibrated for exactly this cell, rounded up.

    Raises:
        UsageError: an unknown preset or word, or a cell that no accounting covers.
    """
    import harness

    known = set(inspect.signature(harness.run_config).parameters) - {"chosen"}
    for name in sorted(set(overrides) - known):
        raise UsageError(f"run_config: unknown setting {name!r}; known: {', '.join(sorted(known))}")
    return harness.run_config(preset, **overrides)  # type: ignore[arg-type]


def _planned(names: Sequence[Layer | str]) -> tuple[Layer, ...]:
    if isinstance(names, str):
        raise UsageError(f"layers: expected a list of names, got the text {names!r}")
    return plan_layers(",".join(str(name) for name in names))


def _spec(mechanism: str | os.PathLike[str] | type) -> str:
    if not isinstance(mechanism, type):
        return os.fspath(mechanism)
    try:
        file = inspect.getsourcefile(mechanism)
    except (OSError, TypeError):
        file = None
    if file is None or not Path(file).is_file():
        raise UsageError(
            f"audit: class {mechanism.__qualname__} is defined in no file (a notebook cell or an interpreter); write it to a "
            "file, for example with %%writefile, and give the path"
        )
    if mechanism.__qualname__ != mechanism.__name__:
        raise UsageError(f"audit: {mechanism.__qualname__} is not at the top level of {file}; move it there")
    return f"{file}::{mechanism.__name__}"
