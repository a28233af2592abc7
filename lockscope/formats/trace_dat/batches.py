"""From per-CPU pages to batches of events in time order, in bounded memory.

Pages of all CPUs are read side by side. A batch ends at the earliest time at which some CPU's next page begins: up to
there every event is known. A page that straddles that time is indexed again with the next batch, without the rows that
went out already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from heapq import heapify, heappop, heapreplace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lockscope.core import records
from lockscope.formats.trace_dat.pages import Arena, PageStream
from lockscope.tables.events import EventBatch, RecordLayout

_MOST_PENDING = 96 << 20  # streams so far apart in time that more would wait are merged as they are
_ENDLESS = (1 << 63) - 1
Clock = Callable[[NDArray[np.int64], PageStream], NDArray[np.int64]]
Span = tuple[int, int]


class Batcher:
    """Makes batches from page streams.

    ``wanted`` int32[65536]: common_type to catalogue index, -1 to leave out. ``clock`` turns raw times of a stream
    into nanoseconds; it must not fall where raw times rise.
    """

    def __init__(
        self, streams: list[PageStream], layout: RecordLayout, wanted: NDArray[np.int32], clock: Clock | None,
        *, target_bytes: int, pool: Executor,
    ) -> None:  # fmt: skip
        self.streams, self.layout, self.wanted, self.clock = streams, layout, wanted, clock
        self.target, self.pool = target_bytes, pool
        self.out_of_order = False
        self._cut: set[int] = set()  # streams whose end was told
        self._seq = 0
        self._until = -_ENDLESS  # where the last batch ended
        self._arena = Arena(0)
        self._scratch = records.empty_columns(0)  # kept from batch to batch: fresh memory costs more than filling it

    def batches(self) -> Iterator[EventBatch]:
        """The events, to the end."""
        for s in self.streams:
            s.prefetch()
        while True:
            self._carry_over()
            self._until = self._fill()
            if not any(s.runs for s in self.streams):
                return
            batch = self._batch(self._until)
            if len(batch):
                yield batch
            del batch

    def _carry_over(self) -> None:
        """A new arena, with the pages that the last one did not use up."""
        old = self._arena
        kept = sum(s.pages * s.page_size for s in self.streams if s.runs)
        arena = Arena(kept + self.target + (self.target >> 2))
        for s in self.streams:
            for run in s.runs:
                size = len(run.ts) * s.page_size
                arena.reserve(size)[:] = old.data[run.start : run.start + size]
                run.start = arena.used - size
        self._arena = arena

    def _times(self, s: PageStream, ts: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.clock(ts, s) if self.clock else ts

    def _edge(self, s: PageStream) -> int:
        """The time before which all events of a stream are in its waiting pages but the last."""
        return int(self._times(s, s.runs[-1].ts[-1:])[0]) if s.runs else -_ENDLESS

    def _fill(self) -> int:
        """Read about ``target`` bytes, always of the stream that lags behind; return the batch's end."""
        arena = self._arena
        goal = arena.used + self.target
        behind = [(self._edge(s), i) for i, s in enumerate(self.streams) if not s.done]
        heapify(behind)
        while behind:
            edge, i = behind[0]
            if arena.used >= goal and edge > self._until:
                return edge
            if arena.used >= max(_MOST_PENDING, 4 * self.target):
                self.out_of_order = True
                break
            s = self.streams[i]
            s.read(arena)
            if s.done:
                heappop(behind)
            else:
                heapreplace(behind, (self._edge(s), i))
        return _ENDLESS

    def _due(self, s: PageStream, until: int) -> int:
        """How many of a stream's waiting pages begin before ``until``."""
        if until == _ENDLESS:
            return s.pages
        n = 0
        for run in s.runs:
            here = int(np.searchsorted(self._times(s, run.ts), until, side="left"))
            n += here
            if here < len(run.ts):
                break
        return n

    def _batch(self, until: int) -> EventBatch:
        work: list[tuple[PageStream, NDArray[np.int64], int]] = []
        room = 0
        for s in self.streams:
            due = self._due(s, until) if s.runs else 0
            if due:
                starts = np.concatenate([r.start + np.arange(len(r.ts)) * s.page_size for r in s.runs])[:due]
                work.append((s, starts, room))
                room += records.most_records(due * s.page_size, due)
        if room > len(self._scratch[0]):
            self._scratch = records.empty_columns(room + (room >> 2))
        spans = list(self.pool.map(lambda w: self._index(w[0], w[1], w[2], until), work))
        batch = self._merge([w[0].index for w in work], spans)
        ended = [s.index for s in self.streams if s.damaged and s.done and not s.runs and s.index not in self._cut]
        self._cut.update(ended)  # the file breaks off in their data: all that would follow is missing
        gaps = [s.index for s in self.streams if s.runs and not s.skip and self._follows_a_gap(s)]
        batch.cut_streams = (*gaps, *ended)
        return batch

    def _follows_a_gap(self, s: PageStream) -> bool:
        """Whether events are missing before a stream's next page: its header says so."""
        at = s.runs[0].start + 8
        order: Literal["big", "little"] = "big" if self.layout.big else "little"
        commit = int.from_bytes(self._arena.data[at : at + s.head.long_size].tobytes(), order)
        return bool(commit & records.MISSED_EVENTS)

    def _index(self, s: PageStream, starts: NDArray[np.int64], begin: int, until: int) -> Span:
        """A stream's rows into the scratch columns from ``begin``: where those of this batch lie. Used-up pages go."""
        room = records.most_records(len(starts) * s.page_size, len(starts))
        ts, at, size, kind = (c[begin : begin + room] for c in self._scratch)
        rows, broken = np.zeros(len(starts) + 1, np.int64), np.zeros(len(starts), np.uint8)
        lay = self.layout
        records.index_pages(
            self._arena.data[: self._arena.used], starts, s.page_size, s.head.data_offset, s.head.long_size, lay.big,
            lay.type_at, self.wanted, ts, at, size, kind, rows, broken,
        )  # fmt: skip
        n = int(rows[-1])
        if self.clock:
            ts[:n] = self.clock(ts[:n], s)
        end = n if until == _ENDLESS else records.first_not_before(ts[:n], until)
        used = int(np.searchsorted(rows[1:], end, side="right"))
        skipped, s.skip = s.skip, end - int(rows[used]) if used < len(starts) else 0
        s.drop(used)
        s.broken += int(broken[:used].sum())
        return begin + skipped, begin + max(end, skipped)

    def _merge(self, numbers: list[int], spans: list[Span]) -> EventBatch:
        n = sum(end - begin for begin, end in spans)
        arena = self._arena.data[: self._arena.used]
        out = (*records.empty_columns(n), np.empty(n, np.int32))
        if len(spans) == 1:
            begin, end = spans[0]
            for fresh, scratch in zip(out, self._scratch, strict=False):
                fresh[:] = scratch[begin:end]
            out[4][:] = numbers[0]
        elif n:
            heads, ends = (np.array(b, np.int64) for b in zip(*spans, strict=True))
            heap = np.empty(len(spans), np.int64)
            records.merge(heads, ends, np.array(numbers, np.int32), heap, *self._scratch, *out)
        self._seq += n
        return EventBatch(arena, *out, self._seq - n, self.layout)
