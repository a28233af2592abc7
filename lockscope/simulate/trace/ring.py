"""One CPU's ring buffer: records into sub-buffers of 4 KiB, and what a recorder that is too slow loses.

Layout of a sub-buffer: include/linux/ring_buffer.h and kernel/trace/ring_buffer.c of 6.12 (see also
``lockscope.formats.trace_dat.pages``). A full buffer overwrites its oldest sub-buffer, as trace-cmd sets it up; the
reader
finds the number of events that it missed behind the next one's data, if there is room, or just that some are missing.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import BinaryIO, NamedTuple

PAGE = 4096
ROOM = PAGE - 16
_MOST_DELTA = 1 << 27
_EXTEND = 30
_MISSED, _MISSED_STORED = 1 << 31, 1 << 30
RECORDER_PERIOD_NS = 10_000_000  # a recorder sleeps, wakes up, takes everything


class Piece(NamedTuple):
    """A record as it lies in a sub-buffer: type_len of its first word, what follows that word, size with the word."""

    head: int
    tail: bytes
    size: int


class Burst(NamedTuple):
    """Records that follow one another at fixed distances: the first word's type_len, what follows it, size of all,
    ns from the first to the last record, ns until whatever comes next, how many, and each with its distance."""

    head: int
    tail: bytes
    size: int
    inner: int
    lasts: int
    events: int
    pieces: tuple[tuple[int, Piece], ...]


def piece(record: bytes) -> Piece:
    """A record (whole words) for the ring buffer."""
    size = len(record)
    if size <= 112:
        return Piece(size >> 2, record, size + 4)
    return Piece(0, struct.pack("<I", size + 4) + record, size + 8)


def burst(records: list[bytes], gaps: list[int], lasts: int) -> Burst:
    """``gaps``: ns before each record but the first. ``lasts``: ns from the last to the next thing."""
    pieces = [piece(record) for record in records]
    inner = sum(gaps)
    tail = pieces[0].tail + b"".join(
        (gap << 5 | p.head).to_bytes(4, "little") + p.tail for gap, p in zip(gaps, pieces[1:], strict=True)
    )
    placed = tuple(zip([0, *gaps], pieces, strict=True))
    return Burst(pieces[0].head, tail, sum(p.size for p in pieces), inner, inner + lasts, len(records), placed)


class Ring:
    """Takes records of one CPU in order of time, and writes whole sub-buffers to ``out``.

    ``capacity``: sub-buffers that it holds until the recorder comes by; None: the recorder is never late.
    """

    def __init__(self, out: BinaryIO, capacity: int | None = None) -> None:
        self._out = out
        self._capacity = capacity
        self._parts: list[bytes] = []
        self._used = self._count = 0
        self._begin = self.last = 0
        self._held: deque[tuple[int, int, bytes, int]] = deque()  # begin, count, body, used
        self._wakes = RECORDER_PERIOD_NS
        self._missed = 0
        self.events = self.lost = self.pages = 0

    def add(self, ts: int, b: Burst) -> None:
        """A burst, its first record at ``ts`` (never earlier than the last record)."""
        delta = ts - self.last
        used = self._used + b.size
        if used > ROOM or delta >= _MOST_DELTA or not self._parts or delta < 0:
            for gap, p in b.pieces:
                ts += gap
                self._one(ts, p)
            return
        self._parts.append((delta << 5 | b.head).to_bytes(4, "little"))
        self._parts.append(b.tail)
        self._used = used
        self.last = ts + b.inner
        self._count += b.events

    def put(self, ts: int, record: bytes) -> None:
        """One record."""
        delta = ts - self.last
        size = len(record)
        used = self._used + size + 4
        if used > ROOM or delta >= _MOST_DELTA or not self._parts or size > 112 or delta < 0:
            self._one(ts, piece(record))
            return
        self._parts.append((delta << 5 | size >> 2).to_bytes(4, "little"))
        self._parts.append(record)
        self._used = used
        self.last = ts
        self._count += 1

    def _one(self, ts: int, p: Piece) -> None:
        ts = max(ts, self.last)
        if self._used + p.size + 8 > ROOM:
            self._close()
        if not self._parts:
            self._begin = self.last = ts
        delta = ts - self.last
        if delta >= _MOST_DELTA:
            self._parts.append(struct.pack("<II", (delta & (_MOST_DELTA - 1)) << 5 | _EXTEND, delta >> 27))
            self._used += 8
            delta = 0
        self._parts.append((delta << 5 | p.head).to_bytes(4, "little"))
        self._parts.append(p.tail)
        self._used += p.size
        self._count += 1
        self.last = ts

    def _close(self) -> None:
        body = b"".join(self._parts)
        self._parts = []
        page = self._begin, self._count, body, self._used
        self._used = self._count = 0
        if self._capacity is None:
            self._write(page)
            return
        if self.last >= self._wakes:
            self._drain()
            self._wakes = self.last - self.last % RECORDER_PERIOD_NS + RECORDER_PERIOD_NS
        self._held.append(page)
        if len(self._held) > self._capacity:
            self._missed += self._held.popleft()[1]

    def _drain(self) -> None:
        while self._held:
            self._write(self._held.popleft())

    def _write(self, page: tuple[int, int, bytes, int]) -> None:
        begin, count, body, used = page
        commit = used
        if self._missed:
            commit |= _MISSED
            if used + 8 <= ROOM:
                commit |= _MISSED_STORED
                body += struct.pack("<Q", self._missed)
            self.lost += self._missed
            self._missed = 0
        self._out.write(struct.pack("<QQ", begin, commit) + body.ljust(ROOM, b"\0"))
        self.events += count
        self.pages += 1

    def flush(self) -> None:
        """The recording ends: the recorder takes what is left."""
        if self._parts:
            self._close()
        self._drain()
