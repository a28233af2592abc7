"""From perf's records to batches of events in time order, in bounded memory.

perf record writes what it finds in each CPU's buffer, one after another, and a mark behind each such round. What was
recorded before a round began is there when it ends; so at a round's end all up to the newest time of the round before
can go out in order (perf's own rule: tools/perf/util/ordered-events.c). The files of a recording with several threads
have no such marks: there each CPU's records are in order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from lockscope.core import perf_records as walk
from lockscope.formats.perf.layout import IdTable
from lockscope.formats.perf.source import Source
from lockscope.formats.trace_dat.pages import Arena
from lockscope.tables.events import LOSS, EventBatch, RecordLayout

_MOST_PENDING = 256 << 20  # bytes; where the recorder's buffers are larger than this, order is approximate
_ENDLESS = (1 << 63) - 1
_SMALLEST = 48  # bytes of a sample, about: steers how much room is made
_BYTES_A_ROW = 96  # of lock events; only steers how much is read for a batch
_TYPES: tuple[type[np.generic], ...] = (np.int64, np.int64, np.int32, np.int32, np.int32, np.int32)
_ALONE = 2  # references to an array that only its arena has: that one, and getrefcount's own
_SPARE = 12  # arenas kept: as many as batches are about at once
OnSide = Callable[[bytes], None]


class Plan:
    """How records are read: what ``walk`` wants to know beside the bytes.

    ``attrs`` int64[attrs, A_WIDTH]. ``wanted`` int32[65536 + attrs]. ``chains``: whether any event has callchains.
    ``preempt_at``: where records have a preempt count that is too high by one; -1: it is right.
    """

    def __init__(
        self,
        layout: RecordLayout,
        attrs: NDArray[np.int64],
        ids: IdTable,
        wanted: NDArray[np.int32],
        *,
        chains: bool,
        preempt_at: int = -1,
    ) -> None:
        self.layout, self.attrs, self.ids, self.wanted = layout, attrs, ids, wanted
        self.chains, self.preempt_at = chains, preempt_at


class Rows:
    """Rows that wait: the columns of ``walk``, with room to grow, and the bytes that they point into."""

    def __init__(self, arena: Arena, room: int) -> None:
        self.arena, self.n = arena, 0
        self.columns = [np.empty(room, t) for t in _TYPES]
        self.side = np.empty(1 << 10, np.int64)

    def make_room(self) -> None:
        """Room for a sample and the loss before it, if that is what is missing (``walk`` keeps two rows free)."""
        if self.n + 2 >= len(self.columns[0]):
            self.grow()

    def grow(self) -> None:
        """Twice the room, or what the arena's bytes may need."""
        room = max(2 * len(self.columns[0]), self.arena.used // _SMALLEST)
        for i, old in enumerate(self.columns):
            grown = np.empty(room, old.dtype)
            grown[: self.n] = old[: self.n]
            self.columns[i] = grown

    def add(self, *row: int) -> None:
        """One row more."""
        self.make_room()
        for column, value in zip(self.columns, row, strict=True):
            column[self.n] = value
        self.n += 1


class Arenas:
    """Arenas that nobody looks into any more are used again: the kernel clears fresh memory page by page, which took
    longer than the walk. A batch's bytes are a view, and a view holds its array.
    """

    def __init__(self) -> None:
        self._made: list[Arena] = []

    def take(self, room: int, busy: Arena) -> Arena:
        """An empty one with at least so much room, other than the busy one."""
        for arena in self._made:
            if arena is not busy and len(arena.data) >= room and sys.getrefcount(arena.data) <= _ALONE:
                arena.used = 0
                return arena
        self._made = [*self._made[1 - _SPARE :], Arena(room)]
        return self._made[-1]


class Feed:
    """One source, with what has been seen of it. ``cut``: of a record that the last block did not end.

    ``rounds``: whether it has marks. Before the second of them nothing is settled: the first round may be as long as
    all buffers together, one CPU's events behind another's.
    """

    def __init__(self, source: Source, *, rounds: bool) -> None:
        self.source, self._rounds = source, rounds
        self.cut = b""
        self.state = np.zeros(walk.S_WIDTH, np.int64)
        self.last = np.full(walk.MOST_CPUS, -1, np.int64)
        self.state[[walk.S_NEWEST, walk.S_NEXT, walk.S_SETTLED]] = -1

    @property
    def settled(self) -> int:
        """Up to which time everything has been read."""
        if self.source.done:
            return _ENDLESS
        if self._rounds or self.state[walk.S_ROUNDS]:
            return int(self.state[walk.S_SETTLED])
        seen = self.last[self.last >= 0]
        return int(seen.min()) - 1 if len(seen) else -1

    def read(self, rows: Rows, plan: Plan, on_side: OnSide) -> None:
        """A block more, walked."""
        arena, state, source = rows.arena, self.state, self.source
        begin = arena.used
        arena.reserve(len(self.cut))[:] = np.frombuffer(self.cut, np.uint8)
        self.cut = b""
        source.fill(arena)
        state[walk.S_POS] = begin
        while True:
            reason = self._walk(rows, plan)
            at = int(state[walk.S_POS])
            for place in rows.side[: int(state[walk.S_SIDE])].tolist():
                on_side(arena.data[place : place + 4096].tobytes())
            if reason == walk.FULL:  # of rows, or of side records alone: those have just been taken out
                rows.make_room()
            elif reason == walk.SPECIAL:
                at = source.special(arena, at)
                state[walk.S_POS] = at
                if at >= arena.used:
                    break
            else:
                break
        if reason == walk.BAD:
            source.stop("it holds what can't be a record")
        elif source.done and at < arena.used:
            source.stop(f"its last record is cut to {arena.used - at} bytes")
        else:
            self.cut = arena.data[at : arena.used].tobytes()
        arena.used = at
        if source.done and state[walk.S_LOST]:
            rows.add(*state[[walk.S_LOST_TS, walk.S_LOST]].tolist(), 0, LOSS, int(state[walk.S_LOST_CPU]), 0)
            state[walk.S_LOST] = 0

    def _walk(self, rows: Rows, plan: Plan) -> int:
        self.state[walk.S_ROWS], self.state[walk.S_SIDE] = rows.n, 0
        lay = plan.layout
        reason = walk.walk(
            rows.arena.data, rows.arena.used, lay.big, plan.attrs, plan.ids.table, plan.ids.owners, plan.ids.at,
            plan.ids.back, plan.chains, lay.type_at, plan.preempt_at, plan.wanted, self.state, self.last,
            *rows.columns, rows.side,
        )  # fmt: skip
        rows.n = int(self.state[walk.S_ROWS])
        return int(reason)


class Batcher:
    """Makes batches of about ``rows`` rows. ``on_side`` gets each record that is not the walk's business."""

    def __init__(self, feeds: list[Feed], plan: Plan, on_side: OnSide, *, rows: int) -> None:
        self.feeds, self.plan, self.on_side, self.most = feeds, plan, on_side, rows
        self.late = 0  # events that were older than what had gone out
        self.most_cpu = 0
        self._seq = 0
        self._until = -1
        self._arenas = Arenas()
        self._rows = Rows(Arena(1 << 20), 1 << 12)

    def batches(self) -> Iterator[EventBatch]:
        """The events, to the end."""
        while True:
            settled = self._read()
            self.most_cpu = max(int(f.state[walk.S_MOST_CPU]) for f in self.feeds)
            yield from self._out(settled)
            if settled == _ENDLESS:
                return

    def _read(self) -> int:
        """Read until enough can go out; returns up to which time."""
        rows = self._rows
        begin = rows.arena.used
        target = max(self.most * _BYTES_A_ROW, begin)  # what is carried over each time is never most of it
        while True:
            feed = min(self.feeds, key=lambda f: f.settled)
            settled = feed.settled
            if settled == _ENDLESS or (rows.arena.used - begin >= target and settled > self._until):
                return settled
            if rows.arena.used > max(_MOST_PENDING, 2 * target):
                return int(np.median(rows.columns[0][: rows.n])) if rows.n else _ENDLESS - 1
            feed.read(rows, self.plan, self.on_side)

    def _out(self, until: int) -> Iterator[EventBatch]:
        """What is not younger than ``until``, in order; the rest moves to a new arena."""
        rows = self._rows
        columns = [c[: rows.n] for c in rows.columns]
        ts = columns[0]
        due = np.arange(rows.n) if until == _ENDLESS else np.flatnonzero(ts <= until)
        self._keep(columns, due)
        if not len(due):
            return
        times = ts[due]
        falls = bool(np.any(times[1:] < times[:-1]))
        order = due[np.argsort(times, kind="stable")] if falls else due
        self.late += int(np.count_nonzero(times < self._until))
        self._until = max(self._until, int(times.max()))
        data = rows.arena.data[: rows.arena.used]
        run = not falls and int(due[-1]) - int(due[0]) + 1 == len(due)  # mostly: then nothing has to be copied
        for begin in range(0, len(order), self.most):
            part = order[begin : begin + self.most]
            picked = slice(int(part[0]), int(part[-1]) + 1) if run else part
            ts, at, size, kind, stream = (c[picked] for c in columns[:5])
            yield EventBatch(data, ts, at, size, kind, stream, self._seq, self.plan.layout)
            self._seq += len(part)

    def _keep(self, columns: list[NDArray[np.generic]], due: NDArray[np.int64]) -> None:
        """The rows that are not due, with their bytes, in a new arena."""
        old = self._rows
        left = np.ones(old.n, bool)
        left[due] = False
        kept = [c[left] for c in columns]
        bytes_kept = int((kept[2].astype(np.int64) + kept[5].astype(np.int64)).sum())
        room = bytes_kept + max(self.most * _BYTES_A_ROW, bytes_kept) * 5 // 4 + (8 << 20)
        fresh = Rows(self._arenas.take(1 << room.bit_length(), old.arena), len(old.columns[0]))
        fresh.n = len(kept[0])
        fresh.arena.used = walk.carry(old.arena.data, kept[1], kept[2], kept[3], kept[5], fresh.arena.data)
        for column, values in zip(fresh.columns, kept, strict=True):
            column[: fresh.n] = values
        self._rows = fresh
