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

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockscope.core.survey import Reach, reaches
from lockscope.facts.interruptions import FOREVER, Hole
from lockscope.tables.events import EventBatch, Stream
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


class _Reach(NamedTuple):
    """How far the events of a buffer or of a CPU's part of it reach, and the longest time without one in between."""

    number: int
    first_ns: int
    last_ns: int
    last_seq: int
    longest_ns: int

    def apart_ns(self, other: _Reach) -> int:
        """The time between the two; below zero where they overlap."""
        return max(self.first_ns - other.last_ns, other.first_ns - self.last_ns)

    def goes_on_in(self, other: _Reach) -> bool:
        """Whether the other is the next piece of a recording that was split: where pieces meet, they may overlap."""
        overlap = (self.last_ns - self.first_ns) // 10
        return other.last_ns > self.last_ns and other.first_ns >= self.last_ns - overlap


class BufferEnds:
    """Follows where each buffer of each file, and each CPU's part of it, was last heard of."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, str], int] = {}  # of a file's buffer
        self._of: NDArray[np.int64] = np.zeros(0, np.int64)  # a stream's buffer
        self._parts, self._whole = Reach.many(0), Reach.many(0)
        self._by_kind: NDArray[np.int64] = np.zeros((0, 0), np.int64)
        self._buffers: dict[tuple[int, str], _Reach] = {}  # that an event came from; known at the end

    def feed(self, batch: EventBatch, streams: Sequence[Stream], kinds: int) -> None:
        """The events of a batch, in order of time. ``kinds``: how many there are."""
        for of in streams[len(self._of) :]:
            self._numbers.setdefault((of.file, of.buffer), len(self._numbers))
        self._of = np.array([self._numbers[s.file, s.buffer] for s in streams], np.int64)
        self._parts, self._whole = _longer(self._parts, len(streams)), _longer(self._whole, len(self._numbers))
        grown = np.zeros((len(self._numbers), kinds), np.int64)
        grown[: len(self._by_kind), : self._by_kind.shape[1]] = self._by_kind
        self._by_kind = grown
        reaches(batch.ts_ns, batch.stream, batch.kind, batch.first_seq, self._of, self._parts, self._whole, grown)

    def cpus(self, streams: Sequence[Stream]) -> frozenset[int]:
        """The CPUs that an event came from."""
        return frozenset(streams[i].cpu for i in np.flatnonzero(self._parts["number"]).tolist())

    def _tells(self, key: tuple[int, str], kinds: Iterable[int]) -> int:
        """How many of a buffer's events are of these kinds."""
        counts = self._by_kind[self._numbers[key]]
        return int(counts[[k for k in kinds if k < len(counts)]].sum())

    def finish(self, end_ns: int, streams: Sequence[Stream], lock_kinds: Iterable[int]) -> tuple[End, ...]:
        """Where they end early. ``lock_kinds``: the indices of event formats that locks are followed by."""
        kinds = frozenset(lock_kinds)
        every = {key: _Reach(*self._whole[n].tolist()) for key, n in self._numbers.items()}
        self._buffers = {key: reach for key, reach in every.items() if reach.number}
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
        locks = self._tells(key, lock_kinds) > 0
        whole = _end(reach, end_ns, ()) if len(self._buffers) > 1 else None
        if whole is not None:
            yield End(whole, name, None, locks, _words(whole, name, None, end_ns))
            return
        at = [i for i, s in enumerate(streams) if (s.file, s.buffer) == key]
        for stream in at if len(at) > 1 else ():
            cpu = streams[stream].cpu
            part = _Reach(*self._parts[stream].tolist()) if stream < len(self._parts) else None
            hole = _end(part, end_ns, (stream,)) if part is not None and part.number else None
            if hole is not None:
                yield End(hole, name, cpu, locks, _words(hole, name, cpu, end_ns))

    def _apart(self, streams: Sequence[Stream], lock_kinds: frozenset[int]) -> tuple[End, ...]:
        """The buffers that cannot be put in order with the one that tells most of locks."""

        def tells(key: tuple[int, str]) -> tuple[int, int]:
            return self._tells(key, lock_kinds), self._buffers[key].number

        if len(self._buffers) < 2:
            return ()
        kept = max(self._buffers, key=tells)
        clocks = {(s.file, s.buffer): s.clock for s in streams if s.clock}
        found = []
        for key, reach in self._buffers.items():
            apart_ns = self._buffers[kept].apart_ns(reach)
            one, other = clocks.get(kept), clocks.get(key)
            if key[0] != kept[0]:
                continue  # whether files can be merged was asked before (formats.merge.reader)
            its_name, kept_name = _called(key[1], None), _called(kept[1], None)
            if one and other and one != other:
                what = f"{its_name} is on the clock {other!r}, {kept_name} on {one!r}"
            elif apart_ns > _APART_NS:
                what = f"{its_name} is {duration(apart_ns)} away from {kept_name} (another clock?)"
            else:
                continue
            its = tuple(i for i, s in enumerate(streams) if (s.file, s.buffer) == key)
            hole, locks = Hole(reach.first_ns, FOREVER, 0, FOREVER, its), self._tells(key, lock_kinds) > 0
            found.append(End(hole, key[1], None, locks, f"{what}: left out", _ONE_CLOCK, apart=True))
        return tuple(found)


def _longer(rows: NDArray[Any], number: int) -> NDArray[Any]:
    return np.concatenate((rows, Reach.many(number - len(rows)))) if number > len(rows) else rows


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
