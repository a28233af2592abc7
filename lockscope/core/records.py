"""Walk ring-buffer sub-buffers ("pages") and note where each event record lies.

Layout: include/linux/ring_buffer.h (enum ring_buffer_type) and kernel/trace/ring_buffer.c, v6.12; where readers differ
(a discarded event's time delta counts; a length is rounded up to 4) this follows libtraceevent's kbuffer-parse.c, so
that lockscope and ``trace-cmd report`` agree to the nanosecond.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockscope.core.c_types import Buffer, Bytes, Halves, Ints, inline, loop
from lockscope.core.machine import plus, u16, u32, u64

PADDING, TIME_EXTEND, TIME_STAMP = 29, 30, 31
ABSOLUTE_BITS = 59  # a TIME_STAMP record carries 59 bits; the page's time gives the top five (TS_MSB, ring_buffer.c)
MISSED_EVENTS, MISSED_STORED, COMMIT_MASK = 1 << 31, 1 << 30, (1 << 27) - 1


@loop
def index_pages(
    data: Bytes,
    starts: Ints,  # where each page begins in ``data``
    page_size: int,
    data_offset: int,  # where records begin in a page: 16, or 12 on 32-bit kernels
    long_size: int,  # bytes of the commit field
    big: bool,
    id_offset: int,  # where common_type (two bytes) lies in a record
    wanted: Halves,  # [65536]; by common_type: index of the event's format, -1 = leave out
    out_ts: Ints,
    out_at: Ints,  # offset of the record in ``data``; for a loss how many events, -1 = unknown
    out_size: Halves,
    out_type: Halves,  # index of the event's format, 0 = loss
    out_rows: Ints,  # [pages + 1]; the first row of each page, then how many there are
    out_broken: Buffer,  # [pages]; 1: the page holds what can't be a record
) -> None:
    """Fill the columns. A row with type 0 stands before the first event that follows a loss.

    What cannot be a record ends its page. Rows beyond the columns' length are left out.
    """
    n = 0
    limit = min(len(out_ts), len(out_at), len(out_size), len(out_type))
    for p in range(len(starts)):
        out_rows[p] = n
        size = min(page_size, len(data) - starts[p])
        if starts[p] < 0 or size < data_offset:
            out_broken[p] = 1
            continue
        page = starts[p]
        ts = u64(data, page, big)
        page_ts = ts
        commit = u64(data, page + 8, big) if long_size == 8 else u32(data, page + 8, big)
        used = commit & COMMIT_MASK
        if used > size - data_offset:
            used = size - data_offset
            out_broken[p] = 1
        pos = page + data_offset
        end = pos + used
        missed = 0
        if commit & MISSED_EVENTS:
            missed = -1
            if commit & MISSED_STORED and used + data_offset + long_size <= size:
                missed = max(u64(data, end, big) if long_size == 8 else u32(data, end, big), -1)
        while pos + 4 <= end:
            word = u32(data, pos, big)
            pos += 4
            kind = word >> 27 if big else word & 31
            delta = word & 0x7FFFFFF if big else word >> 5
            if kind >= PADDING or kind == 0:
                # All of these go on with another word; a padding without a time delta is the end of the page.
                if pos + 4 > end:
                    if kind != PADDING:
                        out_broken[p] = 1
                    break
                length = u32(data, pos, big)
                if kind == PADDING:
                    if delta == 0:
                        break
                    ts = plus(ts, delta)
                    pos += length
                    continue
                pos += 4
                if kind == TIME_EXTEND:
                    ts = plus(ts, delta + (length << 27))
                    continue
                if kind == TIME_STAMP:
                    top = page_ts >> ABSOLUTE_BITS << ABSOLUTE_BITS
                    ts = delta + (length << 27) | top
                    if top != 0 and ts < page_ts:
                        ts = plus(ts, 1 << ABSOLUTE_BITS)
                    continue
                length = (length - 1) & ~3  # it counts itself, and is rounded up to 4
            else:
                length = kind * 4
            ts = plus(ts, delta)
            if length <= 0 or length > end - pos or id_offset + 2 > length:
                out_broken[p] = 1
                break
            index = wanted[u16(data, pos + id_offset, big)]
            if missed != 0 and n < limit:
                out_ts[n] = ts
                out_at[n] = missed
                out_size[n] = 0
                out_type[n] = 0
                missed = 0
                n += 1
            if index >= 0 and n < limit:
                out_ts[n] = ts
                out_at[n] = pos
                out_size[n] = length
                out_type[n] = index
                n += 1
            pos += length
    out_rows[len(starts)] = n


def most_records(used_bytes: int, pages: int) -> int:
    """How many rows ``index_pages`` can fill: no record is shorter than 8 bytes, and a page may open with a loss."""
    return used_bytes // 8 + pages + 1


def empty_columns(rows: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The four output columns of ``index_pages``, not filled (untouched memory costs nothing)."""
    return np.empty(rows, np.int64), np.empty(rows, np.int64), np.empty(rows, np.int32), np.empty(rows, np.int32)


@loop
def first_not_before(ts: Ints, until: int) -> int:
    """The first row at or after ``until``; the number of rows where there is none. Times may fall."""
    n = len(ts)
    for i in range(n):
        if ts[i] >= until:
            return i
    return n


@inline
def sift(heap: Ints, held: int, i: int, heads: Ints, times: Ints) -> None:
    """Move entry ``i`` of a heap of streams down: by the time of a stream's head, then by the stream's place."""
    s = heap[i]
    ts = times[heads[s]]
    while 2 * i + 1 < held:
        child = 2 * i + 1
        a = heap[child]
        ta = times[heads[a]]
        if child + 1 < held:
            b = heap[child + 1]
            tb = times[heads[b]]
            if tb < ta or (tb == ta and b < a):
                child, a, ta = child + 1, b, tb
        if ts < ta or (ts == ta and s < a):
            break
        heap[i] = a
        i = child
    heap[i] = s


@loop
def merge(
    heads: Ints,  # stream s is rows heads[s]..ends[s]; heads are moved on
    ends: Ints,
    numbers: Halves,  # the stream's number
    heap: Ints,  # [streams]; scratch
    ts: Ints,
    at: Ints,
    size: Halves,
    kind: Halves,
    out_ts: Ints,  # all out columns have room for all rows of the streams
    out_at: Ints,
    out_size: Halves,
    out_type: Halves,
    out_stream: Halves,
) -> None:
    """Merge streams by time; a stream keeps its own order, equal times go by the streams' order.

    A binary heap of stream heads: 256 CPUs cost eight comparisons an event. While one stream stays the earliest (the
    common case: runs of one CPU) its rows are copied without touching the heap.
    """
    held = 0
    for s in range(len(heads)):
        if heads[s] < ends[s]:
            heap[held] = s
            held += 1
    for i in range(held // 2 - 1, -1, -1):
        sift(heap, held, i, heads, ts)
    row = 0
    while held > 0:
        s = heap[0]
        i, stop, number = heads[s], ends[s], numbers[s]
        limit = 0x7FFFFFFFFFFFFFFF
        if held > 1:
            rival = heap[1]
            if held > 2:
                other = heap[2]
                t1, t2 = ts[heads[rival]], ts[heads[other]]
                if t2 < t1 or (t2 == t1 and other < rival):
                    rival = other
            limit = ts[heads[rival]] + (s < rival and ts[heads[rival]] < limit)
        while True:  # the first row goes out in any case: no other is before it
            out_ts[row], out_at[row], out_size[row], out_type[row] = ts[i], at[i], size[i], kind[i]
            out_stream[row] = number
            row += 1
            i += 1
            if i >= stop or ts[i] >= limit:
                break
        heads[s] = i
        if i >= stop:
            held -= 1
            heap[0] = heap[held]
        if held > 0:
            sift(heap, held, 0, heads, ts)
