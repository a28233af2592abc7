"""Stretches of which a recording has no event though nothing counts them as lost, and what tells that there are some.

Who switches ``tracing_on`` off and on, takes a snapshot, or uses a traceoff trigger leaves no mark in the ring buffer
(kernel/trace/ring_buffer.c, ring_buffer_record_off(), v6.12): the next event has a later time, no more. While it was
off, locks were taken and released, tasks went to user space and back. Two things tell of it:

* a **contradiction**: a task enters a system call twice without an exit between, leaves one that it did not enter,
  enters a guest twice. No kernel does that; in between something is missing;
* a **silence**: no CPU has an event for much longer than this trace's events usually lie apart. By itself it says
  nothing, for hosts sleep; but what rests on both sides of it is only as good as the recording in between.

A stretch that is taken for missing is a ``Hole``: the reading that follows treats it as a counted loss of all CPUs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockscope.core.survey import silences
from lockscope.facts.fact import Making
from lockscope.tables.ops import Op
from lockscope.tables.tape import TapeBatch

FOREVER = 1 << 62
_MOST_WITHIN = 32  # that may explain one finding
_MOST = 4096  # silences that are remembered: the longest
_FAR = 10  # times the median distance of events: what is shorter says nothing
_SHORTEST_NS = 50_000  # writing to tracing_on twice takes longer
_SHORTEST_OF_FEW_NS = 10_000_000  # in a trace of so few events that they have no usual distance
_ENOUGH = 256  # events
_RARE = 8  # the timer's tick alone makes more silences of a length (guests run for 4 ms at HZ=250)
_MOST_CONTRADICTIONS = 4096
_NO_SYSCALL = -1  # sys_exit of rt_sigreturn: orig_ax is -1 by then (arch/x86/kernel/signal_64.c, restore_sigcontext())


class Hole(NamedTuple):
    """Events are missing between two times; ``seq``: of the first event behind, and ``begin`` of the first that is left
    out (the same where none is). ``streams``: of which ones (empty: of all)."""

    start_ns: int
    end_ns: int
    begin: int
    seq: int
    streams: tuple[int, ...] = ()


class Contradiction(NamedTuple):
    """Between these times an event of a task is missing."""

    since_ns: int
    ts_ns: int
    pid: int
    what: str


@dataclass(slots=True)
class Silences:
    """The longest times without any event."""

    _start: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    _end: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    _seq: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    _counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(64, np.int64))  # by the distance's bits
    _last: int | None = None

    def feed(self, ts_ns: NDArray[np.int64], first_seq: int) -> None:
        """The times of a batch's events."""
        if not len(ts_ns):
            return
        last = int(ts_ns[0]) if self._last is None else self._last
        kept = np.sort(self._end - self._start)[-_MOST] if len(self._end) >= _MOST else 0
        rows = np.empty(len(ts_ns), np.int64)
        rows = rows[: silences(ts_ns, last, max(int(kept), _SHORTEST_NS), self._counts, rows)]
        self._last = int(ts_ns[-1])
        self._start = np.concatenate((self._start, np.where(rows > 0, ts_ns[rows - 1], last)))
        self._end = np.concatenate((self._end, ts_ns[rows]))
        self._seq = np.concatenate((self._seq, rows + first_seq))
        if len(self._end) > _MOST:
            longest = np.sort(np.argsort(self._end - self._start)[-_MOST:])
            self._start, self._end, self._seq = self._start[longest], self._end[longest], self._seq[longest]

    @property
    def significant_ns(self) -> int:
        """From which length on a silence is out of the ordinary: far more than the median distance of two events."""
        number = int(self._counts.sum())
        half = int(np.searchsorted(np.cumsum(self._counts), (number + 1) // 2))
        return max(_SHORTEST_NS if number >= _ENOUGH else _SHORTEST_OF_FEW_NS, _FAR * (1 << half))

    @property
    def rare_ns(self) -> int:
        """From which length on silences are so few that none is a part of how this host ran."""
        lengths = np.sort(self._end - self._start)
        return max(self.significant_ns, 2 * int(lengths[-_RARE]) if len(lengths) >= _RARE else 0)

    def longest_in(self, since_ns: int, until_ns: int, least_ns: int = 0) -> Hole | None:
        """The longest silence between these times that is out of the ordinary, and as long as that."""
        inside = np.flatnonzero((self._start >= since_ns) & (self._end <= until_ns))
        if not len(inside):
            return None
        i = int(inside[np.argmax((self._end - self._start)[inside])])
        found = self._hole(i)
        return found if found.end_ns - found.start_ns >= max(self.significant_ns, least_ns) else None

    def within(self, since_ns: int, until_ns: int, least_ns: int = 0) -> list[Hole]:
        """The silences between these times that are out of the ordinary and as long as that, longest first."""
        inside = np.flatnonzero((self._start >= since_ns) & (self._end <= until_ns))
        apart = (self._end - self._start)[inside]
        order = np.argsort(-apart, kind="stable")[:_MOST_WITHIN]
        least = max(self.significant_ns, least_ns)
        return [self._hole(int(inside[i])) for i in order if apart[i] >= least]

    def all(self) -> list[Hole]:
        """Every silence out of the ordinary, as far as remembered."""
        return [self._hole(int(i)) for i in np.flatnonzero(self._end - self._start >= self.significant_ns)]

    def _hole(self, i: int) -> Hole:
        seq = int(self._seq[i])
        return Hole(int(self._start[i]), int(self._end[i]), seq, seq)


_TURNS = (
    (Op.SYS_ENTER, Op.SYS_EXIT, "enters a system call twice without leaving it"),
    (Op.SYS_EXIT, Op.SYS_ENTER, "leaves a system call twice without entering it"),
    (Op.KVM_ENTRY, Op.KVM_EXIT, "enters a guest twice without leaving it"),
)


class Continuity:
    """``evidence.facts["continuity"]``: the contradictions between a task's events, in the order of their ends."""

    name: ClassVar[str] = "continuity"
    ops: ClassVar[frozenset[Op]] = frozenset(
        {Op.SYS_ENTER, Op.SYS_EXIT, Op.KVM_ENTRY, Op.KVM_EXIT, Op.TASK_EXIT, Op.LOSS, Op.GAP}
    )
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, making: Making) -> None:
        self._same_number = (
            making.info.machine != "s390x"
        )  # a restarted call has another there (arch/s390/kernel/signal.c)
        self._rest: dict[bool, NDArray[np.int64]] = {}
        self._losses = 0
        self._seen: set[int] = set()
        self.found: list[Contradiction] = []

    def feed(self, batch: TapeBatch) -> None:
        """A batch's rows."""
        self._seen.update(np.unique(batch.op).tolist())
        lost = np.cumsum((batch.op == Op.LOSS) | (batch.op == Op.GAP)) + self._losses
        self._losses = int(lost[-1]) if len(lost) else self._losses
        for guest, ops in (
            (False, (Op.SYS_ENTER, Op.SYS_EXIT, Op.TASK_EXIT)),
            (True, (Op.KVM_ENTRY, Op.KVM_EXIT, Op.TASK_EXIT)),
        ):
            rows = batch.of(*ops)
            number = np.where(guest, 0, batch.slots[rows, 0])
            now = np.stack((batch.pid[rows], batch.ts_ns[rows], batch.op[rows], number, lost[rows]), axis=1)
            before = self._rest.get(guest)
            now = now if before is None else np.concatenate((before, now))
            now = now[np.argsort(now[:, 0], kind="stable")]
            same = now[1:, 0] == now[:-1, 0]
            self._judge(now[:-1][same & (now[1:, 4] == now[:-1, 4])], now[1:][same & (now[1:, 4] == now[:-1, 4])])
            self._rest[guest] = now[np.flatnonzero(np.append(~same, True))] if len(now) else now

    def _judge(self, was: NDArray[np.int64], now: NDArray[np.int64]) -> None:
        """Neighbouring rows of one task."""
        for first, other, what in _TURNS:
            if other in self._seen:
                self._note(was, now, (was[:, 2] == first) & (now[:, 2] == first), what)
        entered = (was[:, 2] == Op.SYS_ENTER) & (now[:, 2] == Op.SYS_EXIT)
        another = self._same_number & entered & (was[:, 3] != now[:, 3]) & (now[:, 3] != _NO_SYSCALL)
        self._note(was, now, another, "leaves another system call than it entered")

    def _note(self, was: NDArray[np.int64], now: NDArray[np.int64], odd: NDArray[np.bool_], what: str) -> None:
        for i in np.flatnonzero(odd)[: max(0, _MOST_CONTRADICTIONS - len(self.found))].tolist():
            self.found.append(Contradiction(int(was[i, 1]), int(now[i, 1]), int(now[i, 0]), what))

    def finish(self) -> tuple[Contradiction, ...]:
        """What was found."""
        return tuple(sorted(self.found, key=lambda c: (c.ts_ns, c.pid)))


FACT = Continuity
