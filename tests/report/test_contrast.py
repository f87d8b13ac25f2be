"""Text colours of the style sheet against their backgrounds: WCAG 2.1 level AA, both colour schemes."""

import re
from importlib.resources import files

import pytest

PAIRS = [
    *((text, ground) for text in ("ink", "soft", "link") for ground in ("page", "card")),
    ("ink", "code"),
    *((tone, ground) for tone in ("ok", "bad", "unk") for ground in (f"{tone}-bg", "card")),
]
MARKS = ["reported", "valid", "measured", "attack"]


def palettes() -> list[dict[str, str]]:
    css = (files("dpaudit.report") / "templates" / "style.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]
    return [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block)) for block in blocks]


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast(scheme: int) -> None:
    palette = palettes()[scheme]
    assert {"page", "card", "ink"} <= set(palette)
    for text, ground in PAIRS:
        assert contrast(palette[text], palette[ground]) >= 4.5, (text, ground)
    for mark in MARKS:
        assert contrast(palette[mark], palette["card"]) >= 3, mark
