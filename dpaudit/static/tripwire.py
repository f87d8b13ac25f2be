"""Whether an analysis left the functions of torch, NumPy, the standard library and dpaudit as they were.

The reading before the run (:mod:`dpaudit.static.reach`) leaves no way to change them that is known.
This looks whether it was right.
"""

import sys
from types import ModuleType

import torch

from .reach import MODULES


class Tripwire:
    """Remembers what the modules in question offer when it is made."""

    def __init__(self) -> None:
        self._before = _offered()

    def changed(self) -> str | None:
        """Name of a function or class that is another one now, or gone; ``None`` if there is none."""
        now = _offered()
        return next((name for name, value in self._before.items() if now.get(name) is not value), None)


def _offered() -> dict[str, object]:
    spaces: dict[str, dict[str, object]] = {"torch.Tensor": dict(vars(torch.Tensor))}
    for name, module in tuple(sys.modules.items()):
        if isinstance(module, ModuleType) and (name in MODULES or name.partition(".")[0] == "dpaudit"):
            spaces[name] = dict(vars(module))
    return {
        f"{space}.{name}": value for space, names in spaces.items() for name, value in names.items() if callable(value)
    }
