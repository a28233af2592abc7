"""Take fields out of indexed records: one column at a time, or many event types at once as fixed-width rows.

Nothing is read outside a record: a field that does not fit in its record reads as 0 (text: empty), and is counted.
"""

from __future__ import annotations

from lockscope.core.c_types import Buffer, Bytes, Cube, Grid, Halves, Ints, inline, loop, step
from lockscope.core.interner import text_number
from lockscope.core.machine import prefetch, put8, put16, put32, put64, times, u8, u16, u32, u64
from lockscope.core.tape_rows import (
    H_CPU, H_FLAGS, H_KIND, H_OP, H_PID, H_PREEMPT, H_SEQ, H_SLOTS, H_STREAM, H_TS, HEAD_WIDTH,
)  # fmt: skip

# How a slot of a row is filled (first number of its entry in ``plan``).
EMPTY, UNSIGNED, SIGNED, DATA_LOC, REL_LOC, TEXT, CONSTANT, TAIL, BEFORE, CALLER = range(10)

BLOCK = 1024  # rows whose records stay in the cache while one column after another is taken out of them
_AHEAD = 64  # bytes behind a record's beginning that are asked for beside it
_GOLDEN = 0x61C8864680B583EB  # GOLDEN_RATIO_64, include/linux/hash.h
_LATER = 16  # rows ahead that are asked for


@inline
def read_int(data: Bytes, record: int, size: int, offset: int, width: int, signed: bool, big: bool) -> int:
    """The integer of ``width`` bytes at ``offset`` of the record, as int64 (64-bit values keep their bits)."""
    if offset < 0 or offset + width > size:
        return 0
    place = record + offset
    if width == 8:
        return u64(data, place, big)
    if width == 4:
        v = u32(data, place, big)
        return v - (1 << 32) if signed and v >> 31 else v
    if width == 2:
        v = u16(data, place, big)
        return v - (1 << 16) if signed and v >> 15 else v
    if width == 1:
        v = u8(data, place, big)
        return v - (1 << 8) if signed and v >> 7 else v
    return 0


@inline
def put(data: Buffer, place: int, width: int, value: int) -> None:
    """Store the low ``width`` bytes of a value."""
    if width == 8:
        put64(data, place, value)
    elif width == 4:
        put32(data, place, value)
    elif width == 2:
        put16(data, place, value)
    else:
        put8(data, place, value)


@inline
def span(data: Bytes, record: int, size: int, how: int, offset: int, width: int, big: bool) -> int:
    """Where a variable part of a record lies, clamped to it: ``begin_of`` in the record, ``length_of`` in bytes; 0 if
    outside.

    ``__data_loc`` counts from the record's start, ``__rel_loc`` from the end of the field itself
    (libtraceevent src/event-parse.c, get_field_val of dynamic arrays). BEFORE: items of 8 bytes in front of the record,
    and between them and it their number in 4 bytes; the reader has checked that they are there.
    """
    begin, length = offset, width
    if how == BEFORE:
        length = 8 * u32(data, record - 4, big)
        return (length << 32) - 4 - length
    if how in (DATA_LOC, REL_LOC):
        if offset < 0 or offset + 4 > size:
            return 0
        v = u32(data, record + offset, big)
        begin, length = v & 0xFFFF, v >> 16
        if how == REL_LOC:
            begin += offset + 4
    elif how == TAIL:
        length = size - offset
    if begin < 0 or begin >= size or length <= 0:
        return 0
    return (min(length, size - begin) << 32) + begin


@inline
def length_of(found: int) -> int:
    """How long what ``span`` found is."""
    return (found + 0x80000000) >> 32


@inline
def begin_of(found: int) -> int:
    """Where it begins."""
    return found - (((found + 0x80000000) >> 32) << 32)


@step
def within(ip: int, code: Grid) -> bool:
    """Whether a span of ``code`` (int64[spans, 2], in order) holds an address."""
    low, high = 0, len(code)
    while low < high:
        middle = (low + high) >> 1
        if code[middle, 0] <= ip:
            low = middle + 1
        else:
            high = middle
    return low > 0 and ip < code[low - 1, 1]


@step
def caller(data: Bytes, record: int, size: int, how: int, offset: int, big: bool, code: Grid) -> int:
    """The innermost address of a record's callchain that is not within ``code``; or 0. ``how`` it lies there: as in
    ``span``.
    """
    found = span(data, record, size, how, offset, 0, big)
    where = begin_of(found)
    for k in range(length_of(found) >> 3):
        ip = u64(data, record + where + 8 * k, big)
        if ip != 0 and not within(ip, code):  # 0: the unwinder lost a frame (ppc64's traced functions)
            return ip
    return 0


@loop
def project(
    data: Bytes,
    at: Ints,
    size: Halves,
    kind: Halves,
    ts: Ints,
    stream: Halves,
    first_seq: int,
    big: bool,
    common: Ints,  # [4]: offsets of flags, preempt count, pid; bytes of the preempt count
    cpu_of: Halves,  # [streams]
    ops: Ints,  # [formats]: what an event of this format is, 0 = leave out
    widths: Ints,  # [formats]: how many slots its rows have
    plan: Cube,  # [formats, slots, 4]: how, offset (or the constant), width, signed
    code: Grid,  # [n, 2]: what takes locks for others, see tables.lock_code
    begin: int,
    done: Ints,  # [2]: rows and slots filled so far; moved on
    head: Grid,  # [:, HEAD_WIDTH]
    slots: Ints,  # one row's behind the other's
    table: Halves,
    pool: Buffer,
    ends: Ints,
    state: Ints,
) -> int:
    """Rows for the events that some table wants, from event ``begin``; return the event reached.

    Stops early, to be called again, when the text tables are full. The caller has room for all rows and their slots.
    """
    n, used = done[0], done[1]
    for i in range(begin, len(at)):
        what = kind[i]
        op = ops[what]
        if op == 0:
            continue
        count, record = widths[what], at[i]
        pid, flags, preempt = 0, 0, 0
        if what == 0:
            slots[used] = record
        else:
            length = size[i]
            for s in range(count):
                how, offset, width = plan[what, s, 0], plan[what, s, 1], plan[what, s, 2]
                value = 0
                if how in (UNSIGNED, SIGNED):
                    value = read_int(data, record, length, offset, width, how == SIGNED, big)
                elif how == CONSTANT:
                    value = offset
                elif how == CALLER:
                    value = caller(data, record, length, width, offset, big, code)
                elif how != EMPTY:
                    found = span(data, record, length, how, offset, width, big)
                    value = text_number(data, record + begin_of(found), length_of(found), table, pool, ends, state)
                    if value < 0:
                        done[0], done[1] = n, used
                        return i
                slots[used + s] = value
            pid = read_int(data, record, length, common[2], 4, True, big)
            flags = read_int(data, record, length, common[0], 1, False, big)
            preempt = read_int(data, record, length, common[1], common[3], False, big)
        head[n, H_OP], head[n, H_PID], head[n, H_FLAGS], head[n, H_PREEMPT] = op, pid, flags, preempt
        head[n, H_TS], head[n, H_SEQ], head[n, H_CPU] = ts[i], first_seq + i, cpu_of[stream[i]]
        head[n, H_STREAM], head[n, H_KIND], head[n, H_SLOTS] = stream[i], what, used
        used += count
        n += 1
    done[0], done[1] = n, used
    return len(at)


@loop
def perf_callers(
    data: Bytes, at: Ints, size: Halves, chained: Grid, big: bool, code: Grid, skip: int, deep: int, out: Grid
) -> None:
    """What ``perf lock contention`` tells callers apart by (callchain_id(), lock_contention_caller() of
    tools/perf/builtin-lock.c, Linux 6.1): of the first ``deep`` addresses without the first ``skip`` and those of
    ``code``, a hash, and the innermost. ``chained`` int64[records, 2]: how a record's callchain lies there, as in
    ``span`` (-1: it has none), and its field's offset. ``out`` int64[records, 2].
    """
    for i in range(len(at)):
        out[i, 0], out[i, 1] = 0, 0
        if chained[i, 0] < 0:
            continue
        record = at[i]
        found = span(data, record, size[i], chained[i, 0], chained[i, 1], 0, big)
        where = begin_of(found)
        for k in range(skip, min(length_of(found) >> 3, deep)):
            ip = u64(data, record + where + 8 * k, big)
            if within(ip, code):
                continue
            out[i, 0] ^= times(ip, _GOLDEN)
            if out[i, 1] == 0:
                out[i, 1] = ip


@loop
def unpack(
    head: Grid,
    slots: Ints,
    widths: Ints,  # [formats]
    rows: Ints,
    out: Grid,  # [HEAD_WIDTH, rows]
    out_slots: Grid,  # [rows, slots]
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


@loop
def partition(kind: Halves, order: Ints, bounds: Ints, next_place: Ints) -> None:
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


@loop
def gather_columns(
    data: Bytes,
    at: Ints,
    size: Halves,
    rows: Ints,
    plan: Grid,  # [columns, 3]: offset, width, where the column begins in ``out``
    big: bool,
    out: Buffer,  # has room for every column
    records: Ints,  # [BLOCK]; scratch
    sizes: Ints,  # [BLOCK]; scratch
) -> int:
    """Integer fields of ``rows`` into one buffer, in the machine's byte order; return how many did not fit (0)."""
    missing = 0
    for begin in range(0, len(rows), BLOCK):
        n = min(BLOCK, len(rows) - begin)
        least = 1 << 62
        for i in range(n):
            row = rows[begin + i]
            records[i], sizes[i] = at[row], size[row]
            least = min(least, sizes[i])
            prefetch(data, records[i])
            prefetch(data, records[i] + _AHEAD)
        for c in range(len(plan)):
            offset, width = plan[c, 0], plan[c, 1]
            place = plan[c, 2] + begin * width
            if big or offset < 0 or offset + width > least:
                for i in range(n):
                    missing += offset + width > sizes[i]
                    put(out, place + i * width, width, read_int(data, records[i], sizes[i], offset, width, False, big))
            elif width == 8:
                for i in range(n):
                    put64(out, place + 8 * i, u64(data, records[i] + offset, False))
            elif width == 4:
                for i in range(n):
                    put32(out, place + 4 * i, u32(data, records[i] + offset, False))
            elif width == 2:
                for i in range(n):
                    put16(out, place + 2 * i, u16(data, records[i] + offset, False))
            else:
                for i in range(n):
                    put8(out, place + i, u8(data, records[i] + offset, False))
    return missing


@loop
def gather_place(
    ts: Ints, stream: Halves, cpu_of: Halves, rows: Ints, first: int, out_ts: Ints, out_seq: Ints, out_cpu: Halves,
    out_stream: Halves,
) -> None:  # fmt: skip
    """Time, sequence number (``first`` is that of row 0), CPU and stream of ``rows``."""
    for i in range(len(rows)):
        row = rows[i]
        out_ts[i], out_seq[i], out_cpu[i], out_stream[i] = ts[row], row + first, cpu_of[stream[row]], stream[row]


@loop
def gather_text(
    data: Bytes, at: Ints, size: Halves, rows: Ints, how: int, offset: int, width: int, big: bool,
    begin: int, out: Halves, table: Halves, pool: Buffer, ends: Ints, state: Ints,
) -> int:  # fmt: skip
    """A text field of ``rows`` as numbers of the interner, from ``begin``; return where it stopped."""
    for i in range(begin, len(rows)):
        if i + _LATER < len(rows):
            prefetch(data, at[rows[i + _LATER]])
            prefetch(data, at[rows[i + _LATER]] + _AHEAD)
        record = at[rows[i]]
        found = span(data, record, size[rows[i]], how, offset, width, big)
        number = text_number(data, record + begin_of(found), length_of(found), table, pool, ends, state)
        if number < 0:
            return i
        out[i] = number
    return len(rows)


@loop
def gather_spans(
    data: Bytes, at: Ints, size: Halves, rows: Ints, how: int, offset: int, width: int, big: bool, begins: Ints,
    lengths: Ints,
) -> None:  # fmt: skip
    """Where the variable part of each record lies: first byte and bytes, clamped to the record."""
    for i in range(len(rows)):
        found = span(data, at[rows[i]], size[rows[i]], how, offset, width, big)
        lengths[i] = length_of(found)
        begins[i] = at[rows[i]] + begin_of(found)


@loop
def copy_spans(data: Bytes, begins: Ints, lengths: Ints, out: Buffer) -> None:
    """The bytes of all spans, one behind the other."""
    pos = 0
    for i in range(len(begins)):
        for j in range(lengths[i]):
            out[pos + j] = data[begins[i] + j]
        pos += lengths[i]
