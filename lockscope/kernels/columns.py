"""Take fields out of indexed records: one column at a time, or many event types at once as fixed-width rows.

Nothing is read outside a record: a field that does not fit in its record reads as 0 (text: empty), and is counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from lockscope.kernels.memory import u8, u16, u32, u64

# How a slot of a row is filled (first number of its entry in ``plan``).
EMPTY, UNSIGNED, SIGNED, DATA_LOC, REL_LOC, TEXT, CONSTANT, TAIL = range(8)


@njit(nogil=True, cache=True, inline="never")
def read_int(data: Any, at: int, size: int, offset: int, width: int, signed: bool, big: bool) -> Any:
    """The integer of ``width`` bytes at ``offset`` of the record, as int64 (64-bit values keep their bits)."""
    if offset < 0 or offset + width > size:
        return 0
    pos = at + offset
    if width == 8:
        return u64(data, pos, big)
    if width == 4:
        v = u32(data, pos, big)
        return v - (1 << 32) if signed and v >> 31 else v
    if width == 2:
        v = u16(data, pos, big)
        return v - (1 << 16) if signed and v >> 15 else v
    if width == 1:
        v = u8(data, pos, big)
        return v - (1 << 8) if signed and v >> 7 else v
    return 0


@njit(nogil=True, cache=True, inline="never")
def span(data: Any, at: int, size: int, how: int, offset: int, width: int, big: bool) -> Any:
    """Where a variable part of a record lies: (first byte, bytes), clamped to the record; (at, 0) if outside.

    ``__data_loc`` counts from the record's start, ``__rel_loc`` from the end of the field itself
    (libtraceevent src/event-parse.c, get_field_val of dynamic arrays).
    """
    if how == DATA_LOC or how == REL_LOC:
        if offset < 0 or offset + 4 > size:
            return at, 0
        v = u32(data, at + offset, big)
        begin = v & 0xFFFF
        length = v >> 16
        if how == REL_LOC:
            begin += offset + 4
    elif how == TAIL:
        begin, length = offset, size - offset
    else:
        begin, length = offset, width
    if begin < 0 or begin >= size or length <= 0:
        return at, 0
    if begin + length > size:
        length = size - begin
    return at + begin, length


@njit(nogil=True, cache=True, inline="never")
def text_end(data: Any, begin: int, length: int) -> Any:
    """Bytes before the first NUL."""
    n = 0
    while n < length and data[begin + n] != 0:
        n += 1
    return n


@njit(nogil=True, cache=True, inline="never")
def intern(data: Any, begin: int, length: int, table: Any, pool: Any, ends: Any, state: Any) -> Any:
    """The number of a text, given a new one if it was not seen; -1 when the tables must grow first.

    ``table`` int32[power of two]: open addressing, number + 1. ``pool`` holds the texts one behind the other, ``ends``
    where each stops. ``state`` = [texts, pool bytes used].
    """
    h = np.int64(-3750763034362895579)
    for i in range(length):
        h = (h ^ np.int64(data[begin + i])) * np.int64(1099511628211)
    h ^= h >> 29
    mask = len(table) - 1
    slot = h & mask
    while table[slot] != 0:
        number = np.int64(table[slot]) - 1
        first = ends[number - 1] if number > 0 else np.int64(0)
        if ends[number] - first == length:
            i = 0
            while i < length and pool[first + i] == data[begin + i]:
                i += 1
            if i == length:
                return number
        slot = (slot + 1) & mask
    number = state[0]
    used = state[1]
    if number + 1 > len(ends) or 2 * (number + 1) > len(table) or used + length > len(pool):
        return -1
    for i in range(length):
        pool[used + i] = data[begin + i]
    ends[number] = used + length
    table[slot] = number + 1
    state[0] = number + 1
    state[1] = used + length
    return number


@njit(nogil=True, cache=True)
def project(
    data: Any,
    at: Any,
    size: Any,
    kind: Any,
    big: bool,
    common: Any,  # int64[4]: offsets of flags, preempt count, pid; bytes of the preempt count
    ops: Any,  # int64[formats]: what an event of this format is, 0 = leave out
    plan: Any,  # int64[formats, slots, 4]: how, offset (or the constant), width, signed
    begin: int,
    out_row: Any,  # int64[:]: row of the batch
    out_head: Any,  # int64[:, 4]: op, pid, flags, preempt count
    out_slots: Any,  # int64[:, slots]
    table: Any,
    pool: Any,
    ends: Any,
    state: Any,
    filled: int,
) -> Any:
    """Rows of fixed width for the events that some table wants, from row ``begin``; return (row reached, rows out).

    Stops early, to be called again, when the text tables are full.
    """
    n = filled
    slots = plan.shape[1]
    for i in range(begin, len(at)):
        op = ops[kind[i]]
        if op == 0:
            continue
        rec, length = at[i], np.int64(size[i])
        if kind[i] == 0:
            out_row[n] = i
            out_head[n, 0], out_head[n, 1], out_head[n, 2], out_head[n, 3] = op, 0, 0, 0
            out_slots[n, 0] = rec
            n += 1
            continue
        full = False
        for s in range(slots):
            how = plan[kind[i], s, 0]
            if how == EMPTY:
                out_slots[n, s] = 0
            elif how <= SIGNED:
                out_slots[n, s] = read_int(data, rec, length, plan[kind[i], s, 1], plan[kind[i], s, 2], how == SIGNED, big)
            elif how == CONSTANT:
                out_slots[n, s] = plan[kind[i], s, 1]
            else:
                where, extent = span(data, rec, length, how, plan[kind[i], s, 1], plan[kind[i], s, 2], big)
                number = intern(data, where, text_end(data, where, extent), table, pool, ends, state)
                if number < 0:
                    full = True
                    break
                out_slots[n, s] = number
        if full:
            return i, n
        out_row[n] = i
        out_head[n, 0] = op
        out_head[n, 1] = read_int(data, rec, length, common[2], 4, True, big)
        out_head[n, 2] = read_int(data, rec, length, common[0], 1, False, big)
        out_head[n, 3] = read_int(data, rec, length, common[1], common[3], False, big)
        n += 1
    return len(at), n


@njit(nogil=True, cache=True)
def partition(kind: Any, formats: int, order: Any, bounds: Any) -> None:
    """Rows by format, each in its order: format f has ``order[bounds[f]:bounds[f + 1]]`` (a counting sort)."""
    counts = np.zeros(formats + 1, np.int64)
    for i in range(len(kind)):
        counts[kind[i] + 1] += 1
    for f in range(formats):
        counts[f + 1] += counts[f]
    for f in range(formats + 1):
        bounds[f] = counts[f]
    for i in range(len(kind)):
        order[counts[kind[i]]] = i
        counts[kind[i]] += 1


@njit(nogil=True, cache=True)
def gather(data: Any, at: Any, size: Any, rows: Any, offset: int, width: int, big: bool, out: Any) -> Any:
    """An integer field of ``rows`` into ``out`` (unsigned, of the field's width); return how many did not fit."""
    short = 0
    for i in range(len(rows)):
        rec = at[rows[i]]
        if offset + width > size[rows[i]]:
            short += 1
            out[i] = 0
            continue
        pos = rec + offset
        if width == 8:
            out[i] = u64(data, pos, big)
        elif width == 4:
            out[i] = u32(data, pos, big)
        elif width == 2:
            out[i] = u16(data, pos, big)
        else:
            out[i] = u8(data, pos, big)
    return short


@njit(nogil=True, cache=True)
def gather_text(
    data: Any, at: Any, size: Any, rows: Any, how: int, offset: int, width: int, big: bool,
    begin: int, out: Any, table: Any, pool: Any, ends: Any, state: Any,
) -> int:  # fmt: skip
    """A text field of ``rows`` as numbers of the interner, from ``begin``; return where it stopped."""
    for i in range(begin, len(rows)):
        where, extent = span(data, at[rows[i]], np.int64(size[rows[i]]), how, offset, width, big)
        number = intern(data, where, text_end(data, where, extent), table, pool, ends, state)
        if number < 0:
            return i
        out[i] = number
    return len(rows)


@njit(nogil=True, cache=True)
def gather_spans(
    data: Any, at: Any, size: Any, rows: Any, how: int, offset: int, width: int, big: bool, begins: Any, lengths: Any
) -> None:
    """Where the variable part of each record lies: first byte and bytes, clamped to the record."""
    for i in range(len(rows)):
        begins[i], lengths[i] = span(data, at[rows[i]], np.int64(size[rows[i]]), how, offset, width, big)


@njit(nogil=True, cache=True)
def copy_spans(data: Any, begins: Any, lengths: Any, out: Any) -> None:
    """The bytes of all spans, one behind the other."""
    pos = 0
    for i in range(len(begins)):
        for j in range(lengths[i]):
            out[pos + j] = data[begins[i] + j]
        pos += lengths[i]
