"""Which layers an audit runs."""

import difflib

from dpaudit.contract import Layer, UsageError

DEFAULT_LAYERS = tuple(Layer)
"""The layers that an audit runs unless told otherwise: all. ACCEPTED needs those of ``decision.REQUIRED_LAYERS``."""


def plan_layers(names: str | None) -> tuple[Layer, ...]:
    """Parse ``--layers a,b``; ``None`` means :data:`DEFAULT_LAYERS`.

    Raises:
        UsageError: an unknown or empty name.
    """
    if names is None:
        return DEFAULT_LAYERS
    chosen: list[Layer] = []
    for name in (part.strip() for part in names.split(",")):
        try:
            layer = Layer(name)
        except ValueError:
            close = difflib.get_close_matches(name, list(Layer), n=1)
            hint = f"; did you mean {str(close[0])!r}?" if close else ""
            raise UsageError(f"--layers: expected names among {', '.join(Layer)}, got {name!r}{hint}") from None
        if layer not in chosen:
            chosen.append(layer)
    return tuple(chosen)
