"""SVG elements as text. Everything that is written into one is escaped here."""

from html import escape

from .untrusted import visible


def element(name: str, content: str = "", **attributes: str | float) -> str:
    """``<name a="1">content</name>``. ``content`` is SVG already; attribute values are escaped.

    ``class_`` becomes ``class``, other underscores become hyphens.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_value(value), quote=True)}"'
        for key, value in attributes.items()
    )
    return f"<{name}{written}>{content}</{name}>"


def label(text: str, x: float, y: float, *, anchor: str = "start", class_: str = "label") -> str:
    """A line of text at ``x`` percent and ``y`` pixels."""
    return element("text", escape(visible(text, lines=False)), x=f"{x:g}%", y=y, text_anchor=anchor, class_=class_)


def line(x1: float, x2: float, y1: float, y2: float, class_: str) -> str:
    """A straight line; x in percent, y in pixels."""
    return element("line", x1=f"{x1:g}%", x2=f"{x2:g}%", y1=y1, y2=y2, class_=class_)


def sign(path: str, x: float, y: float, class_: str) -> str:
    """A small shape drawn in pixels around the point at ``x`` percent and ``y`` pixels."""
    return element("svg", element("path", d=path), x=f"{x:g}%", y=y, overflow="visible", class_=class_)


def picture(name: str, title: str, description: str, height: int, content: str) -> str:
    """A whole plot: as wide as its place, ``height`` pixels high, named and described for those who cannot see it."""
    head = element("title", escape(visible(title, lines=False)), id=f"{name}-title")
    head += element("desc", escape(visible(description, lines=False)), id=f"{name}-desc")
    return element(
        "svg",
        head + content,
        class_="plot",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
        width="100%",
        height=height,
    )


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"
