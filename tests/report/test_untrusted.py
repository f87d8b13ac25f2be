"""Nothing invisible survives, and nothing that cannot be encoded."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from dpaudit.report.untrusted import one_line, shortened, visible

ANY_TEXT = st.text(alphabet=st.characters(codec=None))


@given(ANY_TEXT)
def test_visible_text_has_no_hidden_character_and_encodes(text: str) -> None:
    shown = visible(text)
    shown.encode("utf-8")
    assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in shown if c not in "\n\t")


@given(ANY_TEXT)
def test_one_line_is_one_short_line(text: str) -> None:
    assert "\n" not in one_line(text, limit=40)
    assert len(one_line(text, limit=40)) <= 40


def test_escapes_are_the_ones_a_programmer_knows() -> None:
    assert visible("a\x1b[31mb\u202ec\ud800\x85") == "a\\x1b[31mb\\u202ec\\ud800\\x85"


def test_ordinary_text_is_left_alone() -> None:
    text = "Größe 日本語 é ± [1, 2]\n\tx"
    assert visible(text) == text


def test_shortening_says_how_much_is_left_out() -> None:
    assert shortened("x" * 4001) == "x" * 4000 + " [1 more characters in report.json]"
    assert shortened("x" * 4000) == "x" * 4000
