"""Texts of records as numbers: each text is kept once, and found again by its content."""

from __future__ import annotations

from lockscope.core.c_types import Buffer, Bytes, Halves, Ints, inline, loop, step
from lockscope.core.machine import put8, times, u8, u32, u64

# ``state`` of an interner: the texts it has, the pool bytes used, then what it saw last, by the text's ends: four
# numbers an entry (first eight bytes, last eight bytes, length, the text's number + 1).
MEMO, MEMO_ENTRIES = 2, 512
STATE_SIZE = MEMO + 4 * MEMO_ENTRIES

_LOW, _HIGH = 0x0101010101010101, -0x7F7F7F7F7F7F7F80  # of each byte: the lowest, the highest bit
_MIX = -7046029254386353131


@inline
def text_end(data: Bytes, text: int, length: int) -> int:
    """Bytes before the first NUL."""
    n = 0
    while n + 8 <= length:
        word = u64(data, text + n, False)
        if (word - _LOW) & ~word & _HIGH:
            break
        n += 8
    while n < length and u8(data, text + n, False) != 0:
        n += 1
    return n


@inline
def head_word(data: Bytes, text: int, length: int) -> int:
    """The first eight bytes, or all of fewer, as a number that tells texts of one length apart."""
    if length >= 8:
        return u64(data, text, False)
    if length >= 4:
        return u32(data, text, False) | u32(data, text + length - 4, False) << 32
    if length <= 0:
        return 0
    return u8(data, text, False) | u8(data, text + (length >> 1), False) << 8 | u8(data, text + length - 1, False) << 16


@inline
def same(data: Bytes, text: int, pool: Bytes, known: int, length: int) -> bool:
    """Whether a text equals one in the pool."""
    for i in range(0, length - 7, 8):
        if u64(data, text + i, False) != u64(pool, known + i, False):
            return False
    if length >= 8:
        return u64(data, text + length - 8, False) == u64(pool, known + length - 8, False)
    return head_word(data, text, length) == head_word(pool, known, length)


@step
def number_of(data: Bytes, text: int, length: int, table: Halves, pool: Buffer, ends: Ints, state: Ints) -> int:
    """The number of a text, given a new one if it was not seen; -1 when the tables must grow first.

    ``table`` (a power of two): open addressing, number + 1. ``pool`` holds the texts one behind the other, ``ends``
    where each stops. ``state`` begins with [texts, pool bytes used].
    """
    slots = len(table)
    h = length ^ head_word(data, text, length)
    for i in range(8, length - 7, 8):
        h = times(h ^ (h >> 29), _MIX) ^ u64(data, text + i, False)
    if length > 8:
        h = times(h ^ (h >> 29), _MIX) ^ u64(data, text + length - 8, False)
    h = times(h ^ (h >> 29), _MIX)
    slot = (h ^ (h >> 32)) & (slots - 1)
    while True:
        number = table[slot] - 1
        if number < 0:
            break
        first = ends[number - 1] if number > 0 else 0
        if ends[number] - first == length and same(data, text, pool, first, length):
            return number
        slot = (slot + 1) & (slots - 1)
    number, used = state[0], state[1]
    if number + 1 > len(ends) or 2 * (number + 1) > slots or used + length > len(pool):
        return -1
    for i in range(length):
        put8(pool, used + i, u8(data, text + i, False))
    ends[number] = used + length
    table[slot] = number + 1
    state[0] = number + 1
    state[1] = used + length
    return number


@inline
def text_number(data: Bytes, text: int, length: int, table: Halves, pool: Buffer, ends: Ints, state: Ints) -> int:
    """The number of the text in a stretch of bytes (up to its first NUL); -1 when the tables must grow first.

    A few texts make up nearly all of a trace: one that was met lately is known by its ends and its length, and by its
    middle where it is longer than both ends.
    """
    if length <= 0:
        return number_of(data, text, 0, table, pool, ends, state)
    head = head_word(data, text, length)
    tail = u64(data, text + length - 8, False) if length > 8 else 0
    h = times(times(head ^ (head >> 29), _MIX) ^ tail ^ length, _MIX)
    entry = MEMO + 4 * ((h >> 40) & (MEMO_ENTRIES - 1))
    if state[entry] == head and state[entry + 1] == tail and state[entry + 2] == length:
        number = state[entry + 3] - 1
        if length <= 16:
            return number
        first = ends[number - 1] if number > 0 else 0
        if same(data, text + 8, pool, first + 8, length - 16):
            return number
    whole = text_end(data, text, length)
    number = number_of(data, text, whole, table, pool, ends, state)
    # What lies behind the first NUL must not matter: only stretches that end with their text are remembered.
    if number >= 0 and whole >= length - 1:
        state[entry], state[entry + 1], state[entry + 2], state[entry + 3] = head, tail, length, number + 1
    return number


@loop
def intern(data: Bytes, begin: int, length: int, table: Halves, pool: Buffer, ends: Ints, state: Ints) -> int:
    """The number of ``data[begin:begin + length]``; -1 when the tables must grow first. See ``number_of``."""
    return number_of(data, begin, length, table, pool, ends, state)
