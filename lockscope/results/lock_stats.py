"""What ``lockscope locks`` says, as plain values: statistics of locks, and chains of waits. Outputs know nothing else.

All times are nanoseconds of the trace's clock.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Times:
    """Waits, or holds: how many, and their sum, shortest, longest and percentiles (those of ``LockFigures``)."""

    number: int
    total_ns: int
    min_ns: int
    max_ns: int
    percentiles_ns: tuple[int, ...] = ()

    @property
    def average_ns(self) -> int:
        """0 where there are none."""
        return self.total_ns // self.number if self.number else 0


@dataclass(frozen=True, slots=True)
class LockRow:
    """One group of acquisitions.

    ``names``: what the group has in common, a value for each of ``LockFigures.columns`` (text, or a number). ``mode``:
    "read" or "write" (anything exclusive). ``acquired``: acquisitions, trylocks that failed not among them.
    ``contended``: those that found the lock taken. ``cut``: holds whose release was not seen.
    """

    names: tuple[str | int, ...]
    mode: str
    acquired: int
    trylocks: int
    contended: int
    cut: int
    wait: Times
    hold: Times


@dataclass(frozen=True, slots=True)
class LockFigures:
    """Statistics of one trace.

    ``columns``: names of the columns that tell groups apart. ``groups``: how many there are, before the limit, with
    ``acquired`` acquisitions, of which ``cut`` were not seen released.
    ``orphans``: releases of locks that were not seen taken. ``lost_events``: None where nobody knows. ``notes``: what
    the figures leave out or rest on.
    """

    path: str
    kernel: str | None
    start_ns: int
    end_ns: int
    columns: tuple[str, ...]
    percents: tuple[float, ...]
    rows: tuple[LockRow, ...]
    groups: int
    acquired: int = 0
    cut: int = 0
    orphans: int = 0
    lost_events: int | None = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WaitLink:
    """One wait of a chain, and who held the lock the longest while it lasted.

    ``depth``: 0 for the wait that is explained, 1 for what its owner waited for in turn, and so on. ``owner_pid`` is -1
    where nobody was seen to hold it. ``owned_ns``: how long of the wait that owner had the lock; ``owner_since_ns``:
    since when; ``owners``: how many had it meanwhile. ``owner_mode`` "": it is known by its release alone, at
    ``owner_caller``, and ``owned_ns`` begins with the release before that one or when somebody began to wait.
    """

    chain: int
    depth: int
    name: str
    lock: int
    mode: str
    pid: int
    comm: str
    cpu: int
    begin_ns: int
    end_ns: int
    caller: str
    owner_pid: int
    owner_comm: str
    owner_mode: str
    owner_since_ns: int
    owned_ns: int
    owner_caller: str
    owners: int


@dataclass(frozen=True, slots=True)
class WaitChains:
    """The slowest acquisitions of a trace, each with the waits behind it. ``waits``: how many there were in all."""

    path: str
    kernel: str | None
    links: tuple[WaitLink, ...]
    waits: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PerfRow:
    """One line of ``perf lock``. ``key``: the lock's address, the task, or 0; ``kind``: "mutex", "rwsem:R" ..."""

    name: str
    key: int
    kind: str
    acquired: int
    contended: int
    avg_ns: int
    total_ns: int
    max_ns: int
    min_ns: int
    broken: bool


@dataclass(frozen=True, slots=True)
class PerfFigures:
    """What ``perf lock report`` says, or ``perf lock contention`` where ``contention``.

    ``by``: instance, class, task or caller. ``bad`` of ``total`` keys had a sequence that makes no sense; ``broken``:
    how many keys by the event that first broke one.
    """

    path: str
    contention: bool
    by: str
    rows: tuple[PerfRow, ...]
    bad: int
    total: int
    broken: dict[str, int]
