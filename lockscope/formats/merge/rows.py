"""Batches of several readers as batches in one order of time, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from lockscope.formats.merge.twice import twice
from lockscope.tables.events import LOSS, EventBatch

_MOST_LEAD = 1 << 16  # bytes in front of a record that may belong to it (a callchain): no record of perf's is longer
Taken = tuple[NDArray[np.uint8], list[NDArray[np.generic]], tuple[int, ...]]  # bytes, columns, streams that are cut
Maps = Callable[[], tuple[NDArray[np.int32], NDArray[np.int32]]]


class Part:
    """One reader's batches. ``maps``: its formats' and streams' numbers in the whole, as far as they are known."""

    def __init__(self, batches: Iterator[EventBatch], maps: Maps) -> None:
        self._batches, self._maps = batches, maps
        self.batch: EventBatch | None = None
        self.at = 0
        self.newest = -(1 << 63)
        self.next()

    def next(self) -> None:
        """Go to the next batch that has rows."""
        self.at, self.batch = 0, None
        for batch in self._batches:
            if len(batch):
                # A reader's times may fall a little between batches; a merge needs that they do not.
                batch.ts_ns = np.maximum(batch.ts_ns, self.newest)
                self.newest = int(batch.ts_ns[-1])
                self.batch = batch
                return

    def take(self, until: int, base: int) -> Taken | None:
        """The rows up to a time, with their bytes, which will lie at ``base``; and the streams that are cut there."""
        batch = self.batch
        if batch is None:
            return None
        end = int(np.searchsorted(batch.ts_ns, until, side="right"))
        if end == self.at:
            return None
        here = slice(self.at, end)
        kinds, streams = self._maps()
        at, size, kind = batch.at[here], batch.size[here], batch.kind[here]
        real = kind != LOSS
        begin = max(int(at[real].min()) - _MOST_LEAD, 0) if real.any() else 0
        stop = int((at[real] + size[real]).max()) if real.any() else 0
        rows: list[NDArray[np.generic]] = [
            batch.ts_ns[here], np.where(real, at - begin + base, at), size, kinds[kind], streams[batch.stream[here]],
        ]  # fmt: skip
        data = batch.data[begin:stop]
        cut: tuple[int, ...] = ()
        self.at = end
        if end == len(batch):
            cut = tuple(int(streams[s]) for s in batch.cut_streams)
            self.next()
        return data, rows, cut


def merged_batches(
    parts: Sequence[Part],
    places: Callable[[], NDArray[np.int64]] | None = None,
    told_twice: Callable[[int], None] = lambda _: None,
) -> Iterator[EventBatch]:
    """The rows of all, by time; equal times by the order of the parts. An event that two parts have comes once.

    ``places``: by stream, a number for its CPU, buffer and guest; ``told_twice`` hears how many rows were left out.
    """
    layout = next((p.batch.layout for p in parts if p.batch is not None), None)
    seq = 0
    while layout is not None:
        ends = [int(p.batch.ts_ns[-1]) for p in parts if p.batch is not None]
        if not ends:
            return
        until, base = min(ends), 0
        taken = []
        for part in parts:
            found = part.take(until, base)
            if found is not None:
                taken.append(found)
                base += len(found[0])
        data = np.concatenate([d for d, _, _ in taken])
        ts, at, size, kind, stream = (np.concatenate(c) for c in zip(*(rows for _, rows, _ in taken), strict=True))
        order = np.argsort(ts, kind="stable")
        cut = tuple(s for _, _, streams in taken for s in streams)
        if places is not None and len(taken) > 1:
            place = np.where(kind[order] == LOSS, -1, places()[stream[order]])
            left_out = twice(data, ts[order], at[order], size[order], stream[order], place)
            order = np.delete(order, left_out)
            told_twice(len(left_out))
        yield EventBatch(
            data, ts[order], at[order], size[order], kind[order], stream[order], seq, layout, cut_streams=cut
        )
        seq += len(order)
