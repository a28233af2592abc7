"""Texts of records as numbers: each text is kept once, and found again by its content."""

from __future__ import annotations

from typing import Any

import numpy as np

from lockscope.kernels import wait
from lockscope.kernels.inner import inner
from lockscope.kernels.memory import BOOL, INT, address, put8, put32, put64, u8, u32, u64
from lockscope.kernels.outer import outer

wait()

# ``state`` of an interner: the texts it has, the pool bytes used, then what it saw last, by the text's ends: four
# numbers an entry (first eight bytes, last eight bytes, length, the text's number + 1).
MEMO, MEMO_ENTRIES = 2, 512
STATE_SIZE = MEMO + 4 * MEMO_ENTRIES

_LOW, _HIGH = 0x0101010101010101, -0x7F7F7F7F7F7F7F80  # of each byte: the lowest, the highest bit
_MIX = -7046029254386353131


@inner(INT(INT, INT), always=True)
def text_end(text: int, length: int) -> Any:
    """Bytes before the first NUL."""
    n = 0
    while n + 8 <= length:
        word = u64(text + n, False)
        if (word - _LOW) & ~word & _HIGH:
            break
        n += 8
    while n < length and u8(text + n, False) != 0:
        n += 1
    return n


@inner(INT(INT, INT), always=True)
def head_word(text: int, length: int) -> Any:
    """The first eight bytes, or all of fewer, as a number that tells texts of one length apart."""
    if length >= 8:
        return u64(text, False)
    if length >= 4:
        return u32(text, False) | u32(text + length - 4, False) << 32
    if length <= 0:
        return 0
    return u8(text, False) | u8(text + (length >> 1), False) << 8 | u8(text + length - 1, False) << 16


@inner(BOOL(INT, INT, INT), always=True)
def same(one: int, other: int, length: int) -> Any:
    """Whether two texts are equal."""
    for i in range(0, length - 7, 8):
        if u64(one + i, False) != u64(other + i, False):
            return False
    if length >= 8:
        return u64(one + length - 8, False) == u64(other + length - 8, False)
    return head_word(one, length) == head_word(other, length)


@inner(INT(INT, INT, INT, INT, INT, INT, INT, INT, INT))
def number_of(
    text: int, length: int, table: int, slots: int, pool: int, room: int, ends: int, most: int, state: int
) -> Any:
    """The number of a text, given a new one if it was not seen; -1 when the tables must grow first.

    ``table`` int32[slots, a power of two]: open addressing, number + 1. ``pool`` (``room`` bytes) holds the texts one
    behind the other, ``ends`` int64[most] where each stops. ``state`` begins with [texts, pool bytes used].
    """
    h = np.int64(length) ^ head_word(text, length)
    for i in range(8, length - 7, 8):
        h = (h ^ (h >> 29)) * _MIX ^ u64(text + i, False)
    if length > 8:
        h = (h ^ (h >> 29)) * _MIX ^ u64(text + length - 8, False)
    h = (h ^ (h >> 29)) * _MIX
    slot = (h ^ (h >> 32)) & (slots - 1)
    while True:
        number = u32(table + 4 * slot, False) - 1
        if number < 0:
            break
        first = u64(ends + 8 * number - 8, False) if number > 0 else np.int64(0)
        if u64(ends + 8 * number, False) - first == length and same(text, pool + first, length):
            return number
        slot = (slot + 1) & (slots - 1)
    number, used = u64(state, False), u64(state + 8, False)
    if number + 1 > most or 2 * (number + 1) > slots or used + length > room:
        return -1
    for i in range(length):
        put8(pool + used + i, u8(text + i, False))
    put64(ends + 8 * number, used + length)
    put32(table + 4 * slot, number + 1)
    put64(state, number + 1)
    put64(state + 8, used + length)
    return number


@inner(INT(INT, INT, INT, INT, INT, INT, INT, INT, INT), always=True)
def text_number(
    text: int, length: int, table: int, slots: int, pool: int, room: int, ends: int, most: int, state: int
) -> Any:
    """The number of the text in a stretch of bytes (up to its first NUL); -1 when the tables must grow first.

    A few texts make up nearly all of a trace: one that was met lately is known by its ends and its length, and by its
    middle where it is longer than both ends.
    """
    if length <= 0:
        return number_of(text, 0, table, slots, pool, room, ends, most, state)
    head = head_word(text, length)
    tail = u64(text + length - 8, False) if length > 8 else 0
    h = ((head ^ (head >> 29)) * _MIX ^ tail ^ length) * _MIX
    entry = state + 8 * (MEMO + 4 * ((h >> 40) & (MEMO_ENTRIES - 1)))
    if u64(entry, False) == head and u64(entry + 8, False) == tail and u64(entry + 16, False) == length:
        number = u64(entry + 24, False) - 1
        if length <= 16:
            return number
        first = u64(ends + 8 * number - 8, False) if number > 0 else np.int64(0)
        if same(text + 8, pool + first + 8, length - 16):
            return number
    whole = text_end(text, length)
    number = number_of(text, whole, table, slots, pool, room, ends, most, state)
    # What lies behind the first NUL must not matter: only stretches that end with their text are remembered.
    if number >= 0 and whole >= length - 1:
        put64(entry, head)
        put64(entry + 8, tail)
        put64(entry + 16, length)
        put64(entry + 24, number + 1)
    return number


@outer()
def intern(data: Any, begin: int, length: int, table: Any, pool: Any, ends: Any, state: Any) -> int:
    """The number of ``data[begin:begin + length]``; -1 when the tables must grow first. See ``number_of``."""
    return number_of(address(data) + begin, length, address(table), len(table), address(pool), len(pool), address(ends),
                     len(ends), address(state))  # fmt: skip
