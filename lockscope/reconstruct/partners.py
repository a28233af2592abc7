"""Events that come in pairs, and stretches in which one of a pair stopped: switched off half-way, or lost alone.

What takes without giving back (or the reverse) for longer than any number of tasks explains was not recorded whole:
from the last of the missing events to the next one, nothing that tasks hold can be known.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockscope.reconstruct.interruptions import FOREVER, Hole
from lockscope.tables.events import LOSS, EventBatch, EventFormat

_NESTED = 64  # more than a task holds under lockdep (MAX_LOCK_DEPTH, 48)
_PER_CPU = 4
_FEW = 16  # of the missing events: with fewer, most of what gives back is inlined, and the rest says nothing
_MOST = 256  # stretches of one pair
_EITHER = 2  # a trylock: it may have taken, and what gives back then is not one too many
_SLACK = {"mutex": 6, "raw_read": 0, "raw_write": 0, "srcu_read": 4}  # held as the recording begins or ends, by kind
_SEMAPHORE = re.compile(r"(up|down)_(read|write)")


class Stop(NamedTuple):
    """A stretch in which ``missing`` did not come, while there were ``others`` of its partner. ``hole``: None where it
    never came at all."""

    hole: Hole | None
    missing: str
    others: int


class Uneven(NamedTuple):
    """Of lock functions of a ``kind`` ("mutex", "raw_write", "srcu_read" ...) one of a pair came much more often than
    the other. ``what`` says so."""

    kind: str
    what: str


def pairs_of(system: str, name: str) -> tuple[tuple[str, int], ...]:
    """The pairs that an event belongs to, and whether it takes: lock events, SRCU probes, probed lock functions.

    What spin_trylock_irqsave() or down_read_trylock() got is given back by the function of all others.
    """
    if name in ("lock_acquire", "lockdep_acquire", "lock_release"):
        twins = () if name == "lock_release" else (("twins", name == "lock_acquire"),)
        return (("lock", name != "lock_release"), *twins)
    if system == "lock" or name.startswith("lockdep"):
        return ()
    entry, plain = name.endswith("_entry"), name.removesuffix("_entry")
    tries = "trylock" in plain
    semaphore = _SEMAPHORE.match(plain)
    if semaphore is not None:
        kind, gives = semaphore[2], semaphore[1] == "up"
    elif "lock" in plain:
        before = plain.split("lock")[0]
        kind, gives = before.removesuffix("try" if tries else "un").strip("_"), before.endswith("un")
    else:
        return ()
    if tries:
        return () if entry else ((kind, _EITHER), (kind + " entry", _EITHER))
    if kind == "srcu_read":
        return ((kind + " entry", True),) if entry else ((kind, not gives), (kind + " entry", not gives))
    if gives:
        return ((kind, False), (kind + " entry", False))
    return ((kind + " entry", True), (kind + " call", True)) if entry else ((kind, True), (kind + " call", False))


@dataclass(slots=True)
class _Pair:
    """One pair: its names (giving, taking), how often each came, and the run of one side that is going on."""

    names: list[str] = field(default_factory=lambda: ["", ""])
    counts: list[int] = field(default_factory=lambda: [0, 0])
    takes: bool = False
    length: int = 0
    begin: int = 0  # seq of the first event behind the last one of the other side
    start_ns: int = 0
    stops: list[tuple[bool, Hole, int]] = field(default_factory=list)  # which side was missing

    def end(self, most: int, end_ns: int, seq: int) -> None:
        """The run is over."""
        if self.length > most and len(self.stops) < _MOST:
            self.stops.append((not self.takes, Hole(self.start_ns, end_ns, self.begin, seq), self.length))
        self.length = 0


class Partners:
    """Follows all pairs of a trace."""

    def __init__(self, cpus: int = 1) -> None:
        self._most = _NESTED + _PER_CPU * cpus
        self._pairs: dict[str, _Pair] = {}
        self._of_kind: list[list[tuple[int, int]]] = []  # by pair: the formats of it, and whether they take

    def feed(self, batch: EventBatch, formats: Sequence[EventFormat]) -> None:
        """A batch's events. A loss ends what is going on: it explains what is missing."""
        lost = batch.kind == LOSS
        side = np.full((len(self._learn(formats)), len(formats)), -1, np.int8)
        for number, kinds in enumerate(self._of_kind):
            for kind, takes in kinds:
                side[number, kind] = takes
        for number, pair in enumerate(self._pairs.values()):
            of = side[number][batch.kind]
            rows = np.flatnonzero((of >= 0) | lost)
            if len(rows):
                self._follow(pair, batch, rows, of[rows])

    def _learn(self, formats: Sequence[EventFormat]) -> dict[str, _Pair]:
        self._pairs, known = {}, self._pairs
        self._of_kind = []
        for fmt in formats:
            if fmt.index == LOSS or "/" in fmt.system:
                continue
            for kind, takes in pairs_of(fmt.system, fmt.name):
                if kind not in self._pairs:
                    self._pairs[kind] = known.get(kind, _Pair())
                    self._of_kind.append([])
                if takes != _EITHER:
                    self._pairs[kind].names[takes] = self._pairs[kind].names[takes] or fmt.name
                self._of_kind[list(self._pairs).index(kind)].append((fmt.index, takes))
        return self._pairs

    def _follow(self, pair: _Pair, batch: EventBatch, rows: NDArray[np.int64], side: NDArray[np.int8]) -> None:
        """Runs of one side; -1 in ``side`` is a loss. That and ``_EITHER`` end one."""
        for which in (0, 1):
            pair.counts[which] += int(np.count_nonzero(side == which))
        changes = np.flatnonzero(side[1:] != side[:-1]) + 1
        starts = np.concatenate(([0], changes))
        lengths = np.diff(np.concatenate((starts, [len(rows)])))
        # Only the first, the last and the long ones matter, and where these end.
        long = (lengths > self._most) | (starts == 0)
        told = np.flatnonzero(long | np.concatenate(([False], long[:-1])) | (starts == starts[-1]))
        for i in told.tolist():
            first, takes = int(rows[starts[i]]), int(side[starts[i]])
            one_side = takes in (0, 1)
            if not one_side or pair.length == 0 or bool(takes) != pair.takes or i > 0:
                before = int(rows[starts[i] - 1]) if i > 0 else first
                pair.end(self._most, int(batch.ts_ns[first]), batch.first_seq + first)
                if not one_side:
                    continue
                pair.takes, pair.length = bool(takes), 0
                pair.begin, pair.start_ns = batch.first_seq + before + (i > 0), int(batch.ts_ns[before])
            pair.length += int(lengths[i])

    def finish(self) -> list[Stop]:
        """What stopped, and where."""
        found = []
        for key, pair in self._pairs.items():
            pair.end(self._most, FOREVER, FOREVER)
            for missing, hole, others in pair.stops:
                if not pair.names[missing] or (key == "twins" and pair.counts[missing] == 0):
                    continue  # one of the twins is enough
                if pair.counts[missing] == 0:
                    found.append(Stop(None, pair.names[missing], others))
                elif pair.counts[missing] >= _FEW:
                    found.append(Stop(hole, pair.names[missing], others))
        return found


def uneven(
    formats: Sequence[EventFormat], counts: NDArray[np.int64], cpus: int, *, only_enabled: bool
) -> tuple[Uneven, ...]:
    """Functions of which one of a pair was not recorded whole, however few there are. ``counts``: by format.
    ``only_enabled``: what has a format was switched on, so that one that never came is missing.

    In real recordings of stock kernels (6.1 to 7.3, x86-64 and arm64) these counts differ by 3 at most, but for SRCU's,
    whose unlock is inlined in its own file on some builds (435 to 421). Losses leave out both alike.
    """
    number: Counter[str] = Counter()
    for fmt, count in zip(formats, counts.tolist(), strict=False):
        if "/" not in fmt.system and (count or only_enabled):
            number[fmt.name] += count
    slack = max(cpus, 1) + 1
    sides = [
        _Sides(kind, f"{name}_entry", number[f"{name}_entry"], name, number[name], slack)
        for name in number
        if f"{name}_entry" in number and (kind := _kind(name))
    ]
    for kind, more in _SLACK.items():
        takes, gives = [n for n in number if _kind(n) == kind], [n for n in number if _gives(n, kind)]
        if takes and gives:
            took, gave = sum(number[n] for n in takes), sum(number[n] for n in gives)
            sides.append(_Sides(kind, takes[0], took, gives[0], gave, slack + more + number[f"{kind}_trylock"]))
    lossy = bool(len(counts)) and int(counts[LOSS]) > 0
    inlined = not number["lock_acquire"] and not number["lockdep_acquire"]  # as seen on stock kernels alone
    return tuple(Uneven(s.kind, _WORDS.format(*s[1:5])) for s in sides if s.differ(lossy=lossy, inlined=inlined))


class _Sides(NamedTuple):
    kind: str
    one: str
    ones: int
    other: str
    others: int
    most: int

    def differ(self, *, lossy: bool, inlined: bool) -> bool:
        """Whether one side was not recorded whole."""
        few, many = min(self.ones, self.others), max(self.ones, self.others)
        if lossy:
            return 4 * many > 5 * few + 64
        calls = self.one == f"{self.other}_entry"  # what is held as a short recording ends was not released
        more = many // 20 if inlined and self.kind == "srcu_read" else 0
        return many - few > self.most + more or (calls and few == 0 and many > 1)


_WORDS = "one of a pair was not recorded whole: {} came {} times, {} {} times"


def _kind(name: str) -> str:
    """What kind of lock a function takes that waits for it; "" for others."""
    kind, lock, rest = name.partition("_lock")
    return kind if kind in _SLACK and lock and not rest.endswith("_entry") else ""


def _gives(name: str, kind: str) -> bool:
    return name.startswith(f"{kind}_unlock") and not name.endswith("_entry")
