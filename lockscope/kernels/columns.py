"""Take fields out of indexed records: one column at a time, or many event types at once as fixed-width rows.

Nothing is read outside a record: a field that does not fit in its record reads as 0 (text: empty), and is counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from lockscope.kernels.inner import inner
from lockscope.kernels.interner import text_number
from lockscope.kernels.memory import BOOL, INT, address, prefetch, put8, put16, put32, put64, u8, u16, u32, u64
from lockscope.kernels.outer import outer
from lockscope.kernels.tape_rows import (
    H_CPU,
    H_FLAGS,
    H_KIND,
    H_OP,
    H_PID,
    H_PREEMPT,
    H_SEQ,
    H_SLOTS,
    H_STREAM,
    H_TS,
    HEAD_WIDTH,
)  # fmt: skip

# How a slot of a row is filled (first number of its entry in ``plan``).
EMPTY, UNSIGNED, SIGNED, DATA_LOC, REL_LOC, TEXT, CONSTANT, TAIL, BEFORE, CALLER = range(10)

BLOCK = 1024  # rows whose records stay in the cache while one column after another is taken out of them
_AHEAD = 64  # bytes behind a record's beginning that are asked for beside it
_GOLDEN = 0x61C8864680B583EB  # GOLDEN_RATIO_64, include/linux/hash.h
_LATER = 16  # rows ahead that are asked for


@inner(INT(INT, INT, INT, INT, BOOL, BOOL), always=True)
def read_int(record: int, size: int, offset: int, width: int, signed: bool, big: bool) -> Any:
    """The integer of ``width`` bytes at ``offset`` of the record, as int64 (64-bit values keep their bits)."""
    if offset < 0 or offset + width > size:
        return 0
    place = record + offset
    if width == 8:
        return u64(place, big)
    if width == 4:
        v = u32(place, big)
        return v - (1 << 32) if signed and v >> 31 else v
    if width == 2:
        v = u16(place, big)
        return v - (1 << 16) if signed and v >> 15 else v
    if width == 1:
        v = u8(place, big)
        return v - (1 << 8) if signed and v >> 7 else v
    return 0


@inner(types.void(INT, INT, INT), always=True)
def put(place: int, width: int, value: int) -> None:
    """Store the low ``width`` bytes of a value."""
    if width == 8:
        put64(place, value)
    elif width == 4:
        put32(place, value)
    elif width == 2:
        put16(place, value)
    else:
        put8(place, value)


@inner(types.UniTuple(INT, 2)(INT, INT, INT, INT, INT, BOOL), always=True)
def span(record: int, size: int, how: int, offset: int, width: int, big: bool) -> Any:
    """Where a variable part of a record lies: (offset in the record, bytes), clamped to it; (0, 0) if outside.

    ``__data_loc`` counts from the record's start, ``__rel_loc`` from the end of the field itself
    (libtraceevent src/event-parse.c, get_field_val of dynamic arrays). BEFORE: items of 8 bytes in front of the record,
    and between them and it their number in 4 bytes; the reader has checked that they are there.
    """
    begin, length = offset, width
    if how == BEFORE:
        length = 8 * u32(record - 4, big)
        return -4 - length, length
    if how == DATA_LOC or how == REL_LOC:
        if offset < 0 or offset + 4 > size:
            return 0, 0
        v = u32(record + offset, big)
        begin, length = v & 0xFFFF, v >> 16
        if how == REL_LOC:
            begin += offset + 4
    elif how == TAIL:
        length = size - offset
    if begin < 0 or begin >= size or length <= 0:
        return 0, 0
    return begin, min(length, size - begin)


@inner(BOOL(INT, INT, INT))
def within(ip: int, code: int, spans: int) -> Any:
    """Whether a span of ``code`` (int64[spans, 2], in order) holds an address."""
    low, high = np.int64(0), np.int64(spans)
    while low < high:
        middle = (low + high) >> 1
        if u64(code + 16 * middle, False) <= ip:
            low = middle + 1
        else:
            high = middle
    return low > 0 and ip < u64(code + 16 * low - 8, False)


@inner(INT(INT, INT, INT, INT, BOOL, INT, INT))
def caller(record: int, size: int, how: int, offset: int, big: bool, code: int, spans: int) -> Any:
    """The innermost address of a record's callchain that is not within ``code``; or 0. ``how`` it lies there: as in
    ``span``.
    """
    where, length = span(record, size, how, offset, 0, big)
    for k in range(length >> 3):
        ip = u64(record + where + 8 * k, big)
        if ip != 0 and not within(ip, code, spans):  # 0: the unwinder lost a frame (ppc64's traced functions)
            return ip
    return np.int64(0)


@outer(
    "UniTuple(i8, 3)(u1[::1], i8[::1], i4[::1], i4[::1], i8[::1], i4[::1], i8, b1, i8[::1], i4[::1], i8[::1], i8[::1], "
    "i8[:, :, ::1], i8[:, ::1], i8, i8, i8, i8[:, ::1], i8[::1], i4[::1], u1[::1], i8[::1], i8[::1])"
)
def project(
    data: Any,
    at: Any,
    size: Any,
    kind: Any,
    ts: Any,
    stream: Any,
    first_seq: int,
    big: bool,
    common: Any,  # int64[4]: offsets of flags, preempt count, pid; bytes of the preempt count
    cpu_of: Any,  # int32[streams]
    ops: Any,  # int64[formats]: what an event of this format is, 0 = leave out
    widths: Any,  # int64[formats]: how many slots its rows have
    plan: Any,  # int64[formats, slots, 4]: how, offset (or the constant), width, signed
    code: Any,  # int64[n, 2]: what takes locks for others, see tables.lock_code
    begin: int,
    filled: int,
    used: int,
    head: Any,  # int64[:, HEAD_WIDTH]
    slots: Any,  # int64[:]; one row's behind the other's
    table: Any,
    pool: Any,
    ends: Any,
    state: Any,
) -> Any:
    """Rows for the events that some table wants, from event ``begin``; return (event reached, rows, slots used).

    Stops early, to be called again, when the text tables are full. The caller has room for all rows and their slots.
    """
    n = filled
    base, tables, pools, stops, states = address(data), address(table), address(pool), address(ends), address(state)
    places, sizes, kinds, times, streams = address(at), address(size), address(kind), address(ts), address(stream)
    heads, values, plans = address(head), address(slots), address(plan)
    most = plan.shape[1]
    for i in range(begin, len(at)):
        what = u32(kinds + 4 * i, False)
        op = ops[what]
        if op == 0:
            continue
        row, first = heads + 8 * HEAD_WIDTH * n, values + 8 * used
        count, place = widths[what], u64(places + 8 * i, False)
        pid, flags, preempt = np.int64(0), np.int64(0), np.int64(0)
        if what == 0:
            put64(first, place)
        else:
            record, length = base + place, u32(sizes + 4 * i, False)
            for s in range(count):
                step = plans + 32 * (what * most + s)
                how, offset, width = u64(step, False), u64(step + 8, False), u64(step + 16, False)
                value = np.int64(0)
                if how == UNSIGNED or how == SIGNED:
                    value = read_int(record, length, offset, width, how == SIGNED, big)
                elif how == CONSTANT:
                    value = offset
                elif how == CALLER:
                    value = caller(record, length, width, offset, big, address(code), len(code))
                elif how != EMPTY:
                    where, extent = span(record, length, how, offset, width, big)
                    value = text_number(
                        record + where, extent, tables, len(table), pools, len(pool), stops, len(ends), states
                    )
                    if value < 0:
                        return i, n, used
                put64(first + 8 * s, value)
            pid = read_int(record, length, common[2], 4, True, big)
            flags = read_int(record, length, common[0], 1, False, big)
            preempt = read_int(record, length, common[1], common[3], False, big)
        put64(row + 8 * H_OP, op)
        put64(row + 8 * H_PID, pid)
        put64(row + 8 * H_FLAGS, flags)
        put64(row + 8 * H_PREEMPT, preempt)
        put64(row + 8 * H_TS, u64(times + 8 * i, False))
        put64(row + 8 * H_SEQ, first_seq + i)
        put64(row + 8 * H_CPU, cpu_of[stream[i]])
        put64(row + 8 * H_STREAM, u32(streams + 4 * i, False))
        put64(row + 8 * H_KIND, what)
        put64(row + 8 * H_SLOTS, used)
        used += count
        n += 1
    return len(at), n, used


@outer()
def perf_callers(
    data: Any, at: Any, size: Any, chained: Any, big: bool, code: Any, skip: int, deep: int, out: Any
) -> None:
    """What ``perf lock contention`` tells callers apart by (callchain_id(), lock_contention_caller() of
    tools/perf/builtin-lock.c, Linux 6.1): of the first ``deep`` addresses without the first ``skip`` and those of
    ``code``, a hash, and the innermost. ``chained`` int64[records, 2]: how a record's callchain lies there, as in
    ``span`` (-1: it has none), and its field's offset. ``out`` int64[records, 2].
    """
    base, spans, number_of = address(data), address(code), len(code)
    for i in range(len(at)):
        out[i, 0], out[i, 1] = 0, 0
        if chained[i, 0] < 0:
            continue
        record = base + at[i]
        where, length = span(record, size[i], chained[i, 0], chained[i, 1], 0, big)
        for k in range(skip, min(length >> 3, deep)):
            ip = u64(record + where + 8 * k, big)
            if within(ip, spans, number_of):
                continue
            out[i, 0] ^= ip * _GOLDEN
            if out[i, 1] == 0:
                out[i, 1] = ip


@outer("void(i8[:, ::1], i8[::1], i8[::1], i8[::1], i8[:, ::1], i8[:, ::1])")
def unpack(
    head: Any,
    slots: Any,
    widths: Any,  # int64[formats]
    rows: Any,  # int64[:]
    out: Any,  # int64[HEAD_WIDTH, rows]
    out_slots: Any,  # int64[rows, slots]
) -> None:
    """Some rows as columns, each with the same number of slots: what a row lacks is 0."""
    most = out_slots.shape[1]
    for i in range(len(rows)):
        row = rows[i]
        for k in range(HEAD_WIDTH):
            out[k, i] = head[row, k]
        first, width = head[row, H_SLOTS], widths[head[row, H_KIND]]
        for s in range(most):
            out_slots[i, s] = slots[first + s] if s < width else 0


@outer()
def partition(kind: Any, order: Any, bounds: Any, next_place: Any) -> None:
    """Rows by format, each in its order: format f has ``order[bounds[f]:bounds[f + 1]]`` (a counting sort).

    ``bounds`` int64[formats + 1], ``next_place`` int64[formats] scratch; every kind is below ``formats``.
    """
    formats = len(next_place)
    for f in range(formats):
        next_place[f] = 0
    for i in range(len(kind)):
        next_place[kind[i]] += 1
    total = 0
    for f in range(formats):
        bounds[f] = total
        total += next_place[f]
        next_place[f] = bounds[f]
    bounds[formats] = total
    for i in range(len(kind)):
        order[next_place[kind[i]]] = i
        next_place[kind[i]] += 1


@outer()
def gather_columns(
    data: Any,
    at: Any,
    size: Any,
    rows: Any,
    plan: Any,  # int64[columns, 3]: offset, width, where the column begins in ``out``
    big: bool,
    out: Any,  # uint8[:]; has room for every column
    records: Any,  # int64[BLOCK]; scratch
    sizes: Any,  # int64[BLOCK]; scratch
) -> int:
    """Integer fields of ``rows`` into one buffer, in the machine's byte order; return how many did not fit (0)."""
    short = 0
    base, columns = address(data), address(out)
    for begin in range(0, len(rows), BLOCK):
        n = min(BLOCK, len(rows) - begin)
        least = np.int64(1) << 62
        for i in range(n):
            row = rows[begin + i]
            records[i], sizes[i] = base + at[row], size[row]
            least = min(least, sizes[i])
            prefetch(records[i])
            prefetch(records[i] + _AHEAD)
        for c in range(len(plan)):
            offset, width = plan[c, 0], plan[c, 1]
            place = columns + plan[c, 2] + begin * width
            if big or offset < 0 or offset + width > least:
                for i in range(n):
                    short += offset + width > sizes[i]
                    put(place + i * width, width, read_int(records[i], sizes[i], offset, width, False, big))
            elif width == 8:
                for i in range(n):
                    put64(place + 8 * i, u64(records[i] + offset, False))
            elif width == 4:
                for i in range(n):
                    put32(place + 4 * i, u32(records[i] + offset, False))
            elif width == 2:
                for i in range(n):
                    put16(place + 2 * i, u16(records[i] + offset, False))
            else:
                for i in range(n):
                    put8(place + i, u8(records[i] + offset, False))
    return short


@outer()
def gather_place(
    ts: Any, stream: Any, cpu_of: Any, rows: Any, first: int, out_ts: Any, out_seq: Any, out_cpu: Any, out_stream: Any
) -> None:
    """Time, sequence number (``first`` is that of row 0), CPU and stream of ``rows``."""
    for i in range(len(rows)):
        row = rows[i]
        out_ts[i], out_seq[i], out_cpu[i], out_stream[i] = ts[row], row + first, cpu_of[stream[row]], stream[row]


@outer()
def gather_text(
    data: Any, at: Any, size: Any, rows: Any, how: int, offset: int, width: int, big: bool,
    begin: int, out: Any, table: Any, pool: Any, ends: Any, state: Any,
) -> int:  # fmt: skip
    """A text field of ``rows`` as numbers of the interner, from ``begin``; return where it stopped."""
    base = address(data)
    tables, pools, stops, states = address(table), address(pool), address(ends), address(state)
    for i in range(begin, len(rows)):
        if i + _LATER < len(rows):
            prefetch(base + at[rows[i + _LATER]])
            prefetch(base + at[rows[i + _LATER]] + _AHEAD)
        record = base + at[rows[i]]
        where, extent = span(record, np.int64(size[rows[i]]), how, offset, width, big)
        number = text_number(record + where, extent, tables, len(table), pools, len(pool), stops, len(ends), states)
        if number < 0:
            return i
        out[i] = number
    return len(rows)


@outer()
def gather_spans(
    data: Any, at: Any, size: Any, rows: Any, how: int, offset: int, width: int, big: bool, begins: Any, lengths: Any
) -> None:
    """Where the variable part of each record lies: first byte and bytes, clamped to the record."""
    base = address(data)
    for i in range(len(rows)):
        where, lengths[i] = span(base + at[rows[i]], np.int64(size[rows[i]]), how, offset, width, big)
        begins[i] = at[rows[i]] + where


@outer()
def copy_spans(data: Any, begins: Any, lengths: Any, out: Any) -> None:
    """The bytes of all spans, one behind the other."""
    pos = 0
    for i in range(len(begins)):
        for j in range(lengths[i]):
            out[pos + j] = data[begins[i] + j]
        pos += lengths[i]
