"""SRCU: read sections with an index, grace periods that flip it and wait for the readers of the old one.

kernel/rcu/srcutree.c: a grace period first waits for readers that are left on the index not in use, flips, then waits
for those of the index that was. ``srcu_read_lock()`` counts before it tells lockdep, ``srcu_read_unlock()`` the other
way round; ``synchronize_srcu()`` leaves no lock event.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

from lockscope.simulate.engine.classes import ACQUIRE, RELEASE, Lock
from lockscope.simulate.engine.tasks import BLOCK, UNINTERRUPTIBLE, Task, Work
from lockscope.simulate.trace.events import Event
from lockscope.simulate.trace.ring import Burst, burst


@dataclass(frozen=True, slots=True)
class SrcuEvents:
    """The probes on SRCU; None where not recorded. ``entry``: before 6.9 a return probe does not see the argument."""

    lock: Event | None
    entry: Event | None
    unlock: Event | None
    sync: Event | None
    expedited: Event | None
    ip: int
    caller: int


@dataclass(slots=True)
class Srcu:
    """An srcu_struct: its address ``ssp``, its lockdep map, its index and who reads by which."""

    ssp: int
    map: Lock
    events: SrcuEvents
    index: int = 0
    readers: list[int] = field(default_factory=lambda: [0, 0])
    waiters: list[Task] = field(default_factory=list)
    grace_periods: int = 0
    syncing: bool = False


def _lock_burst(t: Task, s: Srcu, index: int) -> Burst:
    e = s.events
    records = []
    if e.entry is not None:
        records.append(e.entry.record(t.flags, t.pc, t.pid, e.ip, s.ssp))
    if e.lock is not None:
        values = (e.ip, t.ip or e.caller, index) if e.entry is not None else (e.ip, t.ip or e.caller, s.ssp, index)
        records.append(e.lock.record(t.flags, t.pc, t.pid, *values))
    return _joined(t, records, s.map.burst(t, ACQUIRE, 2), before=True)


def _unlock_burst(t: Task, s: Srcu, index: int) -> Burst:
    e = s.events
    records = [] if e.unlock is None else [e.unlock.record(t.flags, t.pc, t.pid, e.ip, s.ssp, index)]
    return _joined(t, records, s.map.burst(t, RELEASE), before=False)


def _joined(t: Task, records: list[bytes], b: Burst, *, before: bool) -> Burst:
    del t
    own = [p.tail if p.head else p.tail[4:] for _, p in b.pieces]
    gaps = [gap for gap, _ in b.pieces[1:]]
    both = [*records, *own] if before else [*own, *records]
    space = [210] * len(records)
    all_gaps = ([*space, *gaps] if before else [*gaps, *space]) if own else space[1:]
    return burst(both, all_gaps[: len(both) - 1], 140) if both else b


def read_lock(t: Task, s: Srcu) -> Generator[int, None, int]:
    """srcu_read_lock(): ``index = yield from read_lock(t, s)``."""
    if t.cpu.machine.exploring:
        t.point = ((s.map, t.pid),), f"enters {s.map.cls.name}"
        yield 0
    index = s.index
    s.readers[index] += 1
    key = (t.ip << 40 | s.map.serial << 4 | 8 | index) << 18 | 1 << 17 | t.flags << 8 | t.pc
    yield t.write(t.remembered(key, lambda: _lock_burst(t, s, index)))
    return index


def read_unlock(t: Task, s: Srcu, index: int) -> Work:
    """srcu_read_unlock()."""
    if t.cpu.machine.exploring:
        t.point = ((s.map, t.pid),), f"leaves {s.map.cls.name}"
        yield 0
    key = (t.ip << 40 | s.map.serial << 4 | 10 | index) << 18 | 1 << 17 | t.flags << 8 | t.pc
    yield t.write(t.remembered(key, lambda: _unlock_burst(t, s, index)))
    s.readers[index] -= 1
    if s.waiters and s.readers[index] <= 0:
        for waiter in s.waiters:
            t.cpu.machine.wake(waiter)
        s.waiters.clear()


def moment(t: Task, s: Srcu) -> list[bytes]:
    """The records of a section that is over at once, where nobody else comes in between."""
    index = s.index
    pieces = [*_lock_burst(t, s, index).pieces, *_unlock_burst(t, s, index).pieces]
    return [p.tail if p.head else p.tail[4:] for _, p in pieces]


def synchronize(t: Task, s: Srcu, *, expedited: bool = True) -> Work:
    """synchronize_srcu_expedited(), or synchronize_srcu(): waits for a grace period that begins now."""
    machine = t.cpu.machine
    if machine.exploring:  # it has to do with every reader; they have nothing to do with one another
        t.point = tuple((s.map, pid) for pid in machine.tasks), f"waits for readers of {s.map.cls.name}"
        yield 0
    yield t.event(s.events.expedited if expedited else s.events.sync, s.events.ip, s.ssp)
    while s.syncing:  # one grace period at a time
        yield from _sleep(t, s)
    s.syncing = True
    while s.readers[s.index ^ 1] > 0:
        yield from _sleep(t, s)
    s.index ^= 1
    delay = machine.rng.randrange(30_000, 200_000) if expedited else machine.rng.randrange(1_000_000, 4_000_000)
    machine.after(delay, lambda: machine.wake(t))
    t.state = UNINTERRUPTIBLE
    yield BLOCK
    while s.readers[s.index ^ 1] > 0:
        yield from _sleep(t, s)
    s.syncing = False
    s.grace_periods += 1
    for waiter in s.waiters:
        machine.wake(waiter)
    s.waiters.clear()
    t.state = 0


def _sleep(t: Task, s: Srcu) -> Work:
    s.waiters.append(t)
    t.state = UNINTERRUPTIBLE
    yield BLOCK
    t.state = 0
