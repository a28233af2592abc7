"""Texts that one thread adds to while another reads them."""

from __future__ import annotations

from lockscope.tables.texts import Texts


def test_a_list_that_was_handed_out_does_not_grow() -> None:
    """It grew between a length and a loop: "index 160 is out of bounds" now and then, on a busy machine."""
    texts = Texts()
    texts.number("one")
    texts.publish()
    texts.shared = True
    before = texts.all()
    texts.number("two")
    assert texts.all() == ["one"]  # not published yet
    texts.publish()
    assert (before, texts.all()) == (["one"], ["one", "two"])
    assert (texts[1], texts.number("two"), len(texts)) == ("two", 1, 2)
