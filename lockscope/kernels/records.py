"""Walk ring-buffer sub-buffers ("pages") and note where each event record lies.

Layout: include/linux/ring_buffer.h (enum ring_buffer_type) and kernel/trace/ring_buffer.c, v6.12; where readers differ
(a discarded event's time delta counts; a length is rounded up to 4) this follows libtraceevent's kbuffer-parse.c, so
that lockscope and ``trace-cmd report`` agree to the nanosecond.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from lockscope.kernels.memory import u16, u32, u64

PADDING, TIME_EXTEND, TIME_STAMP = 29, 30, 31
ABSOLUTE_BITS = 59  # a TIME_STAMP record carries 59 bits; the page's time gives the top five (TS_MSB, ring_buffer.c)
MISSED_EVENTS, MISSED_STORED, COMMIT_MASK = 1 << 31, 1 << 30, (1 << 27) - 1


@njit(nogil=True, cache=True)
def index_pages(
    data: Any,  # uint8[:]; the bytes
    starts: Any,  # int64[:]; where each page begins in ``data``
    page_size: int,
    data_offset: int,  # where records begin in a page: 16, or 12 on 32-bit kernels
    long_size: int,  # bytes of the commit field
    big: bool,
    id_offset: int,  # where common_type (two bytes) lies in a record
    wanted: Any,  # int32[65536]; by common_type: index of the event's format, -1 = leave out
    out_ts: Any,  # int64[:]
    out_at: Any,  # int64[:]; offset of the record in ``data``; for a loss how many events, -1 = unknown
    out_size: Any,  # int32[:]
    out_type: Any,  # int32[:]; index of the event's format, 0 = loss
    out_rows: Any,  # int64[pages + 1]; the first row of each page, then how many there are
    out_broken: Any,  # uint8[pages]; 1: the page holds what can't be a record
) -> None:
    """Fill the columns. A row with type 0 stands before the first event that follows a loss.

    What cannot be a record ends its page. Rows beyond the columns' length are left out.
    """
    n = 0
    limit = min(len(out_ts), len(out_at), len(out_size), len(out_type))
    for p in range(len(starts)):
        out_rows[p] = n
        start = starts[p]
        size = min(page_size, len(data) - start)
        if start < 0 or size < data_offset:
            out_broken[p] = 1
            continue
        ts = u64(data, start, big)
        page_ts = ts
        commit = u64(data, start + 8, big) if long_size == 8 else u32(data, start + 8, big)
        used = commit & COMMIT_MASK
        if used > size - data_offset:
            used = size - data_offset
            out_broken[p] = 1
        pos = start + data_offset
        end = pos + used
        missed = 0
        if commit & MISSED_EVENTS:
            missed = -1
            if commit & MISSED_STORED and used + data_offset + long_size <= size:
                missed = u64(data, end, big) if long_size == 8 else u32(data, end, big)
        while pos + 4 <= end:
            word = u32(data, pos, big)
            pos += 4
            if big:
                kind = word >> 27
                delta = word & 0x7FFFFFF
            else:
                kind = word & 31
                delta = word >> 5
            if kind == TIME_EXTEND or kind == TIME_STAMP:
                if pos + 4 > end:
                    out_broken[p] = 1
                    break
                delta += u32(data, pos, big) << 27
                pos += 4
                if kind == TIME_EXTEND:
                    ts += delta
                else:
                    top = page_ts >> ABSOLUTE_BITS << ABSOLUTE_BITS
                    ts = delta | top
                    if top != 0 and ts < page_ts:
                        ts += 1 << ABSOLUTE_BITS
                continue
            ts += delta
            if kind == PADDING:
                if delta == 0 or pos + 4 > end:
                    break
                pos += u32(data, pos, big)
                continue
            if kind == 0:
                if pos + 4 > end:
                    out_broken[p] = 1
                    break
                length = u32(data, pos, big) - 4
                length = (length + 3) & ~3
                pos += 4
            else:
                length = kind * 4
            if length <= 0 or length > end - pos or id_offset + 2 > length:
                out_broken[p] = 1
                break
            if missed != 0 and n < limit:
                out_ts[n], out_at[n], out_size[n], out_type[n] = ts, missed, 0, 0
                missed = 0
                n += 1
            kind_index = wanted[u16(data, pos + id_offset, big)]
            if kind_index >= 0 and n < limit:
                out_ts[n], out_at[n], out_size[n], out_type[n] = ts, pos, length, kind_index
                n += 1
            pos += length
    out_rows[len(starts)] = n


def most_records(used_bytes: int, pages: int) -> int:
    """How many rows ``index_pages`` can fill: no record is shorter than 8 bytes, and a page may open with a loss."""
    return used_bytes // 8 + pages + 1


def empty_columns(rows: int) -> tuple[Any, Any, Any, Any]:
    """The four output columns of ``index_pages``, not filled (untouched memory costs nothing)."""
    return np.empty(rows, np.int64), np.empty(rows, np.int64), np.empty(rows, np.int32), np.empty(rows, np.int32)


@njit(nogil=True, cache=True)
def first_not_before(ts: Any, until: int) -> int:
    """The first row at or after ``until``; the number of rows where there is none. Times may fall."""
    n = len(ts)
    for i in range(n):
        if ts[i] >= until:
            return i
    return n


@njit(nogil=True, cache=True)
def merge(
    begins: Any,  # int64[:]; stream s is rows begins[s]..ends[s]
    ends: Any,
    numbers: Any,  # int32[:]; the stream's number
    ts: Any,
    at: Any,
    size: Any,
    kind: Any,
    out_ts: Any,
    out_at: Any,
    out_size: Any,
    out_type: Any,
    out_stream: Any,  # int32[:]
) -> None:
    """Merge streams by time; a stream keeps its own order, equal times go by stream number.

    A binary heap of stream heads: 256 CPUs cost eight comparisons an event. While one stream stays the earliest (the
    common case: runs of one CPU) its rows are copied without touching the heap.
    """
    streams = len(begins)
    heads = begins.copy()
    heap = np.empty(streams, np.int64)
    held = 0
    for s in range(streams):
        if begins[s] < ends[s]:
            i = held
            held += 1
            heap[i] = s
            while i > 0:
                parent = (i - 1) // 2
                a, b = heap[parent], heap[i]
                ta, tb = ts[heads[a]], ts[heads[b]]
                if ta < tb or (ta == tb and a < b):
                    break
                heap[parent], heap[i] = b, a
                i = parent
    row = 0
    while held > 0:
        s = heap[0]
        i = heads[s]
        number = numbers[s]
        stop = ends[s]
        rival = -1
        if held > 1:
            rival = heap[1]
            if held > 2:
                other = heap[2]
                t1, t2 = ts[heads[rival]], ts[heads[other]]
                if t2 < t1 or (t2 == t1 and other < rival):
                    rival = other
        if rival < 0:
            while i < stop:
                out_ts[row], out_at[row], out_size[row], out_type[row], out_stream[row] = ts[i], at[i], size[i], kind[i], number
                row += 1
                i += 1
        else:
            until = ts[heads[rival]]
            while i < stop and (ts[i] < until or (ts[i] == until and s < rival)):
                out_ts[row], out_at[row], out_size[row], out_type[row], out_stream[row] = ts[i], at[i], size[i], kind[i], number
                row += 1
                i += 1
        heads[s] = i
        if i >= stop:
            held -= 1
            heap[0] = heap[held]
        i = 0
        while True:
            child = 2 * i + 1
            if child >= held:
                break
            if child + 1 < held:
                a, b = heap[child], heap[child + 1]
                ta, tb = ts[heads[a]], ts[heads[b]]
                if tb < ta or (ta == tb and b < a):
                    child += 1
            a, b = heap[i], heap[child]
            ta, tb = ts[heads[a]], ts[heads[b]]
            if ta < tb or (ta == tb and a < b):
                break
            heap[i], heap[child] = b, a
            i = child
