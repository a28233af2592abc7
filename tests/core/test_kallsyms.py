"""Lines of kallsyms, against the regular expression that says what they are."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lockscope.core.kallsyms import S_WIDTH, symbols
from lockscope.tables.symbols import Symbols
from tests.builders.uncompiled import uncompiled

LINE = re.compile(rb"^([0-9a-fA-F]{1,16}) ([a-zA-Z?]) (\S+)(?:[ \t]+\[(\S+)\])?", re.MULTILINE)


def expected(text: bytes) -> list[tuple[int, bytes, bytes]]:
    return [(int(m[1], 16), m[3], m[4] or b"") for m in LINE.finditer(text)]


def found(text: bytes, call: object = symbols) -> list[tuple[int, bytes, bytes]]:
    rows = np.zeros((text.count(b"\n") + 1, S_WIDTH), np.int64)
    rows = rows[: call(np.frombuffer(text, np.uint8), rows)]
    return [(a & (1 << 64) - 1, text[b:e], text[m:n]) for a, b, e, m, n in rows.tolist()]


PARTS = st.sampled_from(
    [b"ffffffff81000000", b"0", b"g", b"12345678123456781", b" ", b"  ", b"\t", b"T", b"?", b"t", b"_text", b"a b",
     b"[", b"]", b"[kvm]", b"[kvm]x", b"[]", b"[a]]", b"\n", b"\r\n", b"\x0b", b"\xff", b"_stext", b"A"]
)  # fmt: skip


@given(st.lists(PARTS, max_size=40).map(b"".join))
def test_any_lines(text: bytes) -> None:
    assert found(text) == expected(text)


@given(st.lists(st.tuples(st.integers(0, (1 << 64) - 1), st.sampled_from(["a", "__sched_text_start", "b [kvm]"]))))
def test_lines_as_they_are(lines: list[tuple[int, str]]) -> None:
    text = "".join(f"{address:016x} T {name}\n" for address, name in lines).encode()
    assert found(text) == expected(text) == found(text)


def test_the_same_as_python() -> None:
    text = b"ffffffff81000000 T _text\nffffffffc0000000 t kvm_x\t[kvm]\nnothing\n0 ? a [b] c\n"
    with uncompiled() as load:
        assert found(text, load("kallsyms").symbols) == found(text) == expected(text)


def test_names_are_taken_out_when_asked_for() -> None:
    text = b"20 T two [m]\n10 T one\n10 T __sched_text_start\n30 T __lock_text_end\n20 T again\n"
    parsed = Symbols.parse(text)
    assert (list(parsed.names), parsed.addresses.tolist()) == ([b"one", b"two [m]", b"__lock_text_end"], [16, 32, 48])
    assert parsed.marks == {b"__sched_text_start": 16, b"__lock_text_end": 48}
    assert parsed.names[1:] == [b"two [m]", b"__lock_text_end"]
    assert parsed.name(0x25) == "two+0x5 [m]"
