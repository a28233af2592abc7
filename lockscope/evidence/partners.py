"""Events that come in pairs, and stretches in which one of a pair stopped: switched off half-way, or lost alone.

What takes without giving back (or the reverse) for longer than any number of tasks explains was not recorded whole:
from the last of the missing events to the next one, nothing that tasks hold can be known.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockscope.core.survey import Run, Stopped, runs
from lockscope.facts.interruptions import FOREVER, Hole
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


class Partners:
    """Follows all pairs of a trace."""

    def __init__(self, cpus: int = 1) -> None:
        self._most = _NESTED + _PER_CPU * cpus
        self._numbers: dict[str, int] = {}  # of a pair
        self._names: list[list[str]] = []  # of its events: giving, taking
        self._runs = Run.many(0)
        self._of: NDArray[np.int64] = np.zeros((0, 4), np.int64)  # by kind: two pairs, each with the side
        self._stopped: list[list[tuple[int, ...]]] = []

    def feed(self, batch: EventBatch, formats: Sequence[EventFormat]) -> None:
        """A batch's events. A loss ends what is going on: it explains what is missing."""
        self._learn(formats)
        out = Stopped.many(_MOST * len(self._numbers))
        made = runs(batch.ts_ns, batch.kind, batch.first_seq, self._of, self._runs, self._most, out)
        for row in out[:made].tolist():
            self._stop(row)

    def _stop(self, row: tuple[int, ...]) -> None:
        stopped = self._stopped[row[0]]
        if len(stopped) < _MOST:
            stopped.append(row)

    def _learn(self, formats: Sequence[EventFormat]) -> None:
        known = len(self._of)
        if known == len(formats):
            return
        self._of = np.concatenate((self._of, np.zeros((len(formats) - known, 4), np.int64)))
        for fmt in formats[known:]:
            if fmt.index == LOSS or "/" in fmt.system:
                continue
            for place, (pair, side) in enumerate(pairs_of(fmt.system, fmt.name)):
                number = self._numbers.setdefault(pair, len(self._numbers))
                if number == len(self._names):
                    self._names.append(["", ""])
                    self._stopped.append([])
                if side != _EITHER:
                    self._names[number][side] = self._names[number][side] or fmt.name
                self._of[fmt.index, 2 * place : 2 * place + 2] = number + 1, side
        self._runs = np.concatenate((self._runs, Run.many(len(self._numbers) - len(self._runs))))

    def finish(self) -> list[Stop]:
        """What stopped, and where."""
        for number, run in enumerate(self._runs.tolist()):
            of = dict(zip(Run.fields(), run, strict=True))
            if of["length"] > self._most:
                self._stop((number, of["takes"], of["length"], of["start_ns"], FOREVER, of["begin"], FOREVER))
        return [
            stop
            for pair, number in self._numbers.items()
            for row in self._stopped[number]
            if (stop := self._told(pair, number, row)) is not None
        ]

    def _told(self, pair: str, number: int, row: tuple[int, ...]) -> Stop | None:
        _, took, length, start_ns, end_ns, begin, seq = row
        came = int(self._runs["gave" if took else "took"][number])
        missing = self._names[number][not took]
        if not missing or (pair == "twins" and came == 0):
            return None  # one of the twins is enough
        if came == 0:
            return Stop(None, missing, length)
        return Stop(Hole(start_ns, end_ns, begin, seq), missing, length) if came >= _FEW else None


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
