"""Which layers an audit runs."""

import difflib

from dpaudit.contract import Layer, UsageError

AVAILABLE_LAYERS = (Layer.STATIC, Layer.PROPERTIES, Layer.REPLAY)
"""The layers of this version, in the order in which they are reported."""


def plan_layers(names: str | None) -> tuple[Layer, ...]:
    """Parse ``--layers a,b``; ``None`` means all that are available.

    Raises:
        UsageError: an unknown or empty name, or a layer that this version does not have.
    """
    if names is None:
        return AVAILABLE_LAYERS
    chosen: list[Layer] = []
    for name in (part.strip() for part in names.split(",")):
        try:
            layer = Layer(name)
        except ValueError:
            close = difflib.get_close_matches(name, list(Layer), n=1)
            hint = f"; did you mean {str(close[0])!r}?" if close else ""
            raise UsageError(f"--layers: expected names among {', '.join(Layer)}, got {name!r}{hint}") from None
        if layer not in AVAILABLE_LAYERS:
            raise UsageError(
                f"--layers: the layer {layer} is not part of this version; available: {', '.join(AVAILABLE_LAYERS)}"
            )
        if layer not in chosen:
            chosen.append(layer)
    return tuple(chosen)
