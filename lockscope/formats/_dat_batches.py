"""From per-CPU pages to batches of events in time order, in bounded memory.

Pages of all CPUs are read side by side. A batch ends at the earliest time at which some CPU's next page begins: up to
there every event is known. Events of pages that straddle that time wait for the next batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from lockscope.formats._dat_pages import Indexed, PageStream
from lockscope.kernels import records
from lockscope.tables.events import LOSS, EventBatch, RecordLayout

_MOST_PENDING = 384 << 20  # streams so far apart in time that more would wait are merged as they are
_ENDLESS = (1 << 63) - 1
Clock = Callable[[NDArray[np.int64], PageStream], NDArray[np.int64]]


class Batcher:
    """Makes batches from page streams.

    ``wanted`` int32[65536]: common_type to catalogue index, -1 to leave out. ``clock`` turns raw times of a stream
    into nanoseconds; it must be monotonic.
    """

    def __init__(
        self, streams: list[PageStream], layout: RecordLayout, wanted: NDArray[np.int32], clock: Clock | None,
        *, target_bytes: int, pool: Executor,
    ) -> None:  # fmt: skip
        self.streams, self.layout, self.wanted, self.clock = streams, layout, wanted, clock
        self.target, self.pool = target_bytes, pool
        self.broken_pages = 0
        self.out_of_order = False
        self._seq = 0

    def _edge(self, s: PageStream) -> int:
        """The time before which all events of a stream are in its pending pages but the last."""
        if s.done:
            return _ENDLESS
        return self._time(s, s.blocks[-1][1][-1:]) if s.blocks else -_ENDLESS

    def _time(self, s: PageStream, ts: NDArray[np.int64]) -> int:
        return int((self.clock(ts, s) if self.clock else ts)[0])

    def _fill(self) -> None:
        """Read pages until the target is pending, always of the stream that lags behind."""
        pending = sum(s.pending for s in self.streams)
        while True:
            behind = min((s for s in self.streams if not s.done), key=self._edge, default=None)
            if behind is None or (pending >= self.target and behind.blocks):
                return
            if pending >= _MOST_PENDING:
                self.out_of_order = True
                return
            before = behind.pending
            behind.read_block()
            pending += behind.pending - before

    def _take(self, s: PageStream, until: int) -> list[NDArray[np.uint8]]:
        """The pending pages that begin before ``until``; of a stream that goes on, not the last one."""
        taken: list[NDArray[np.uint8]] = []
        while s.blocks:
            data, ts = s.blocks[0]
            times = self.clock(ts, s) if self.clock else ts
            n = int(np.searchsorted(times, until, side="left")) if until != _ENDLESS else len(ts)
            if not s.done and len(s.blocks) == 1 and until != _ENDLESS:
                n = min(n, len(ts) - 1)
            if n <= 0:
                break
            taken.append(data[: n * s.page_size])
            if n < len(ts):
                s.blocks[0] = (data[n * s.page_size :], ts[n:])
                break
            s.blocks.pop(0)
        return taken

    def _index(self, s: PageStream, arena: NDArray[np.uint8], begin: int, pages: int, base: int) -> Indexed:
        """Columns of a stream's records in the arena: carried ones (at ``base``), then those of the new pages."""
        starts = begin + np.arange(pages, dtype=np.int64) * s.page_size
        room = records.most_records(pages * s.page_size, pages)
        ts, at, size, kind = records.empty_columns(room)
        lay = self.layout
        n, broken = records.index_pages(
            arena, starts, np.full(pages, s.page_size, np.int64), s.head.data_offset, s.head.long_size, lay.big,
            lay.type_at, self.wanted, ts, at, size, kind,
        )  # fmt: skip
        self.broken_pages += broken
        times = self.clock(ts[:n], s) if self.clock else ts[:n]
        if s.carry is None:
            return Indexed(times, at[:n], size[:n], kind[:n], arena)
        c = s.carry
        return Indexed(
            np.concatenate((c.ts, times)), np.concatenate((np.where(c.kind == LOSS, c.at, c.at + base), at[:n])),
            np.concatenate((c.size, size[:n])), np.concatenate((c.kind, kind[:n])), arena,
        )  # fmt: skip

    def _split(self, s: PageStream, found: Indexed, until: int) -> int:
        """How many records belong to this batch; the rest is carried over, with the bytes it lies in."""
        s.carry = None
        n = len(found.ts)
        if until == _ENDLESS or n == 0 or found.ts[-1] < until and (n < 2 or int(found.ts.max()) < until):
            return n
        cut = int(np.searchsorted(np.maximum.accumulate(found.ts), until, side="left"))
        kind, at, size = found.kind[cut:], found.at[cut:], found.size[cut:]
        real = kind != LOSS
        if real.any():
            lo, hi = int(at[real].min()), int((at[real] + size[real]).max())
            data = found.data[lo:hi].copy()
            at = np.where(real, at - lo, at)
        else:
            data = np.empty(0, np.uint8)
        s.carry = Indexed(found.ts[cut:].copy(), at, size.copy(), kind.copy(), data)
        return cut

    def batches(self) -> Iterator[EventBatch]:
        """The events, to the end."""
        while True:
            self._fill()
            until = min((self._edge(s) for s in self.streams), default=_ENDLESS)
            if sum(s.pending for s in self.streams) >= _MOST_PENDING:
                until = _ENDLESS
            taken = [self._take(s, until) for s in self.streams]
            carried = [len(s.carry.data) if s.carry else 0 for s in self.streams]
            total = sum(len(b) for t in taken for b in t) + sum(carried)
            if total == 0 and not any(s.carry for s in self.streams):
                if all(s.done and not s.blocks for s in self.streams):
                    return
                self.target *= 2  # every stream stands at the same time: read on
                continue
            yield self._batch(taken, carried, total, until)

    def _batch(self, taken: list[list[NDArray[np.uint8]]], carried: list[int], total: int, until: int) -> EventBatch:
        arena = np.empty(total, np.uint8)
        places = []
        pos = 0
        for s, blocks, kept in zip(self.streams, taken, carried, strict=True):
            base = pos
            if s.carry is not None:
                arena[pos : pos + kept] = s.carry.data
            pos += kept
            begin = pos
            for b in blocks:
                arena[pos : pos + len(b)] = b
                pos += len(b)
            places.append((s, begin, (pos - begin) // s.page_size, base))
        found = list(self.pool.map(lambda p: self._index(p[0], arena, p[1], p[2], p[3]), places))
        cuts = [self._split(s, f, until) for s, f in zip(self.streams, found, strict=True)]
        return self._merge(arena, found, cuts)

    def _merge(self, arena: NDArray[np.uint8], found: list[Indexed], cuts: list[int]) -> EventBatch:
        bounds = np.concatenate(([0], np.cumsum(cuts))).astype(np.int64)
        n = int(bounds[-1])
        full = [i for i, c in enumerate(cuts) if c]
        if len(full) == 1:
            f, c = found[full[0]], cuts[full[0]]
            batch = EventBatch(arena, f.ts[:c], f.at[:c], f.size[:c], f.kind[:c], np.full(c, full[0], np.int32),
                               self._seq, self.layout)  # fmt: skip
        else:
            joined = [np.concatenate([getattr(f, name)[:c] for f, c in zip(found, cuts, strict=True)] or [np.empty(0)])
                      for name in ("ts", "at", "size", "kind")]  # fmt: skip
            out = (*records.empty_columns(n), np.empty(n, np.int32))
            if n:
                records.merge(bounds, *joined, *out)
            batch = EventBatch(arena, *out, self._seq, self.layout)
        self._seq += n
        return batch
