"""Where a buffer, or one CPU's part of it, ends long before the trace does.

``trace-cmd split -e N`` counts events by buffer and ``split -c`` by CPU (trace-cmd 3.4, tracecmd/trace-split.c), a
recorder that is killed flushes some buffers later than others, and the files of a merge need not reach equally far.
What follows in the other buffers was recorded, what this one would have said of it was not. A buffer may as well have
had nothing more to say, so that this counts only against what is found behind its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockscope.reconstruct.interruptions import FOREVER, Hole
from lockscope.tables.events import LOSS, EventBatch, Stream

_ENOUGH = 256  # events: fewer have no usual distance, as for silences of all CPUs
_SHORTEST_NS, _SHORTEST_OF_FEW_NS = 50_000, 10_000_000
_IDLE = 4  # times the longest silence before: one CPU of several often has nothing more to do


class End(NamedTuple):
    """A buffer, or a CPU of it, ends. ``hole``: from there on; ``locks``: events of locks or system calls were in it;
    ``before_ns``: how long before the trace; ``cpu``: None for the whole buffer."""

    hole: Hole
    buffer: str
    cpu: int | None
    before_ns: int
    locks: bool


@dataclass(slots=True)
class _Reach:
    """How far the events of a buffer or of a CPU's part of it reach, and the longest time without one in between."""

    first_ns: int = -1
    last_ns: int = -1
    last_seq: int = -1
    longest_ns: int = 0
    number: int = 0

    def feed(self, batch: EventBatch, rows: NDArray[np.intp]) -> None:
        """Its next events: these rows of a batch."""
        ts_ns = batch.ts_ns[rows]
        if self.last_ns < 0:
            self.first_ns = int(ts_ns[0])
        else:
            self.longest_ns = max(self.longest_ns, int(ts_ns[0]) - self.last_ns)
        if len(ts_ns) > 1:
            self.longest_ns = max(self.longest_ns, int(np.diff(ts_ns).max()))
        self.number += len(ts_ns)
        self.last_ns, self.last_seq = int(ts_ns[-1]), int(rows[-1]) + batch.first_seq

    def goes_on_in(self, other: _Reach) -> bool:
        """Whether the other is the next piece of a recording that was split: where pieces meet, they may overlap."""
        overlap = (self.last_ns - self.first_ns) // 10
        return other.last_ns > self.last_ns and other.first_ns >= self.last_ns - overlap


@dataclass(slots=True)
class BufferEnds:
    """Follows where each buffer of each file, and each CPU's part of it, was last heard of."""

    _parts: dict[tuple[int, str, int], _Reach] = field(default_factory=dict)  # by file, buffer, CPU
    _buffers: dict[tuple[int, str], _Reach] = field(default_factory=dict)
    _kinds: dict[tuple[int, str], set[int]] = field(default_factory=dict)

    def feed(self, batch: EventBatch, streams: Sequence[Stream]) -> None:
        """The events of a batch, in order of time."""
        real = batch.kind != LOSS
        buffers: dict[tuple[int, str], list[int]] = {}
        for stream in np.unique(batch.stream[real]).tolist():
            of = streams[stream]
            rows = np.flatnonzero(real & (batch.stream == stream))
            self._parts.setdefault((of.file, of.buffer, of.cpu), _Reach()).feed(batch, rows)
            buffers.setdefault((of.file, of.buffer), []).append(stream)
        for key, parts in buffers.items():
            rows = np.flatnonzero(real & np.isin(batch.stream, parts))
            self._buffers.setdefault(key, _Reach()).feed(batch, rows)
            self._kinds.setdefault(key, set()).update(np.unique(batch.kind[rows]).tolist())

    def finish(self, end_ns: int, streams: Sequence[Stream], lock_kinds: Iterable[int]) -> tuple[End, ...]:
        """Where they end early. ``lock_kinds``: the indices of event formats that locks are followed by."""
        kinds = frozenset(lock_kinds)
        found = []
        for (file, name), reach in self._buffers.items():
            if any(b == name and f != file and reach.goes_on_in(r) for (f, b), r in self._buffers.items()):
                continue
            locks = bool(kinds & self._kinds[file, name])
            at = [i for i, s in enumerate(streams) if (s.file, s.buffer) == (file, name)]
            whole = _end(reach, end_ns, ()) if len(self._buffers) > 1 else None
            if whole is not None:
                found.append(End(whole, name, None, end_ns - reach.last_ns, locks))
                continue
            for stream in at:
                part = self._parts.get((file, name, streams[stream].cpu))
                hole = _end(part, end_ns, (stream,)) if part is not None and len(at) > 1 else None
                if hole is not None:
                    found.append(End(hole, name, streams[stream].cpu, end_ns - hole.start_ns, locks))
        return tuple(found)


def _end(reach: _Reach, end_ns: int, streams: tuple[int, ...]) -> Hole | None:
    """The hole behind it, where it was never silent for so long before. ``streams``: of one CPU (empty: of all)."""
    least = max(reach.longest_ns, _SHORTEST_NS if reach.number >= _ENOUGH else _SHORTEST_OF_FEW_NS)
    if streams:
        least = max(_IDLE * reach.longest_ns, _SHORTEST_OF_FEW_NS) if reach.number >= _ENOUGH else FOREVER
    if end_ns - reach.last_ns <= least:
        return None
    return Hole(reach.last_ns, FOREVER, reach.last_seq + 1, reach.last_seq + 1, streams)
