"""Where a buffer, or one CPU's part of it, ends long before the trace does.

``trace-cmd split -e N`` counts events by buffer and ``split -c`` by CPU (trace-cmd 3.4, tracecmd/trace-split.c), a
recorder that is killed flushes some buffers later than others, and the files of a merge need not reach equally far.
What follows in the other buffers was recorded, what this one would have said of it was not. A buffer may as well have
had nothing more to say, so that this counts only against what is found behind its end.

Buffers that have no time in common, or that name different clocks, cannot be put in order: trace-cmd writes the top
instance's clock for each instance, whatever its own is set to (get_clock() of lib/trace-cmd/trace-output.c, 3.1 to
3.3). Then only the one that tells most of locks is judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockscope.reconstruct.interruptions import FOREVER, Hole
from lockscope.tables.events import LOSS, EventBatch, Stream
from lockscope.units import duration, seconds

_ENOUGH = 256  # events: fewer have no usual distance, as for silences of all CPUs
_SHORTEST_NS, _SHORTEST_OF_FEW_NS = 50_000, 10_000_000
_APART_NS = 1_000_000_000
_ONE_CLOCK = "set one clock in every instance: trace-cmd record -C mono -B NAME -C mono"
_IDLE = 4  # times the longest silence before: one CPU of several often has nothing more to do


class End(NamedTuple):
    """A buffer, or a CPU of it, ends. ``hole``: from there on; ``locks``: events of locks or system calls were in it;
    ``what``: it in words; ``cpu``: None for the whole buffer; ``apart``: all of it is on another clock."""

    hole: Hole
    buffer: str
    cpu: int | None
    locks: bool
    what: str
    remedy: str = "split by time, not by events; let the recorder end by itself"
    apart: bool = False


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

    def apart_ns(self, other: _Reach) -> int:
        """The time between the two; below zero where they overlap."""
        return max(self.first_ns - other.last_ns, other.first_ns - self.last_ns)

    def goes_on_in(self, other: _Reach) -> bool:
        """Whether the other is the next piece of a recording that was split: where pieces meet, they may overlap."""
        overlap = (self.last_ns - self.first_ns) // 10
        return other.last_ns > self.last_ns and other.first_ns >= self.last_ns - overlap


@dataclass(slots=True)
class BufferEnds:
    """Follows where each buffer of each file, and each CPU's part of it, was last heard of."""

    _parts: dict[tuple[int, str, int], _Reach] = field(default_factory=dict)  # by file, buffer, CPU
    _buffers: dict[tuple[int, str], _Reach] = field(default_factory=dict)
    _kinds: dict[tuple[int, str], Counter[int]] = field(default_factory=dict)

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
            kinds, number = np.unique(batch.kind[rows], return_counts=True)
            self._kinds.setdefault(key, Counter()).update(dict(zip(kinds.tolist(), number.tolist(), strict=True)))

    def finish(self, end_ns: int, streams: Sequence[Stream], lock_kinds: Iterable[int]) -> tuple[End, ...]:
        """Where they end early. ``lock_kinds``: the indices of event formats that locks are followed by."""
        kinds = frozenset(lock_kinds)
        found = self._apart(streams, kinds)
        if found:
            return found
        return tuple(end for key in self._buffers for end in self._early(key, end_ns, streams, kinds))

    def _early(
        self, key: tuple[int, str], end_ns: int, streams: Sequence[Stream], lock_kinds: frozenset[int]
    ) -> Iterator[End]:
        (file, name), reach = key, self._buffers[key]
        if any(b == name and f != file and reach.goes_on_in(r) for (f, b), r in self._buffers.items()):
            return
        locks = bool(lock_kinds & self._kinds[key].keys())
        whole = _end(reach, end_ns, ()) if len(self._buffers) > 1 else None
        if whole is not None:
            yield End(whole, name, None, locks, _words(whole, name, None, end_ns))
            return
        at = [i for i, s in enumerate(streams) if (s.file, s.buffer) == key]
        for stream in at if len(at) > 1 else ():
            cpu = streams[stream].cpu
            part = self._parts.get((file, name, cpu))
            hole = _end(part, end_ns, (stream,)) if part is not None else None
            if hole is not None:
                yield End(hole, name, cpu, locks, _words(hole, name, cpu, end_ns))

    def _apart(self, streams: Sequence[Stream], lock_kinds: frozenset[int]) -> tuple[End, ...]:
        """The buffers that cannot be put in order with the one that tells most of locks."""

        def tells(key: tuple[int, str]) -> tuple[int, int]:
            return sum(n for kind, n in self._kinds[key].items() if kind in lock_kinds), self._buffers[key].number

        if len(self._buffers) < 2:
            return ()
        kept = max(self._buffers, key=tells)
        clocks = {(s.file, s.buffer): s.clock for s in streams if s.clock}
        found = []
        for key, reach in self._buffers.items():
            apart_ns = self._buffers[kept].apart_ns(reach)
            one, other = clocks.get(kept), clocks.get(key)
            if key[0] != kept[0]:
                continue  # whether files can be merged was asked before (formats.merged)
            its_name, kept_name = _called(key[1], None), _called(kept[1], None)
            if one and other and one != other:
                what = f"{its_name} is on the clock {other!r}, {kept_name} on {one!r}"
            elif apart_ns > _APART_NS:
                what = f"{its_name} is {duration(apart_ns)} away from {kept_name} (another clock?)"
            else:
                continue
            its = tuple(i for i, s in enumerate(streams) if (s.file, s.buffer) == key)
            hole, locks = Hole(reach.first_ns, FOREVER, 0, FOREVER, its), bool(lock_kinds & self._kinds[key].keys())
            found.append(End(hole, key[1], None, locks, f"{what}: left out", _ONE_CLOCK, apart=True))
        return tuple(found)


def _called(buffer: str, cpu: int | None) -> str:
    return f"buffer {buffer or 'top'}" + ("" if cpu is None else f", CPU {cpu}")


def _words(hole: Hole, buffer: str, cpu: int | None, end_ns: int) -> str:
    before = duration(end_ns - hole.start_ns)
    return f"{_called(buffer, cpu)} ends at {seconds(hole.start_ns)}, {before} before the others"


def _end(reach: _Reach, end_ns: int, streams: tuple[int, ...]) -> Hole | None:
    """The hole behind it, where it was never silent for so long before. ``streams``: of one CPU (empty: of all)."""
    least = max(reach.longest_ns, _SHORTEST_NS if reach.number >= _ENOUGH else _SHORTEST_OF_FEW_NS)
    if streams:
        least = max(_IDLE * reach.longest_ns, _SHORTEST_OF_FEW_NS) if reach.number >= _ENOUGH else FOREVER
    if end_ns - reach.last_ns <= least:
        return None
    return Hole(reach.last_ns, FOREVER, reach.last_seq + 1, reach.last_seq + 1, streams)
