"""Text that hides, turns or moves something is spelled out, in words and in JSON."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest

from lockscope.harmless import cell, json_text, printable

# An escape, a C1, what turns text round, what has no width, a tag letter, line separators, a lone surrogate.
HIDDEN = "\x1b\x9b\u202e\u200b\u2060\ufeff\U000e0041\u2028\x7f\ud800\n"


def test_nothing_that_shows_nothing_is_left() -> None:
    spelled = r"\x1b\x9b\u202e\u200b\u2060\ufeff\U000e0041\u2028\x7f\ud800\n"
    assert printable(f"a{HIDDEN}b") == f"a{spelled}b"
    assert cell(HIDDEN) == spelled
    assert printable("&kvm->lock, naïve, 日本, a b") == "&kvm->lock, naïve, 日本, a b"


def test_every_letter_of_unicode() -> None:
    """By its category, as a terminal goes by it."""
    for number in range(sys.maxunicode + 1):
        letter = chr(number)
        hidden = unicodedata.category(letter)[0] in "CZ" and letter != " "
        assert (printable(letter) != letter) == hidden, hex(number)


@pytest.mark.parametrize("indent", [None, 2])
def test_json_says_the_same_and_shows_nothing_hidden(indent: int | None) -> None:
    value = {f"key{HIDDEN}": [f"日本{HIDDEN}", 1, None]}
    text = json_text(value, indent=indent)
    assert json.loads(text) == value
    assert [c for c in text if not c.isprintable()] == ["\n"] * text.count("\n")
    assert "日本" in text
