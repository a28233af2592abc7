"""Lock classes and instances, and the records that taking and releasing one leaves behind.

What a lock's events say: kernel/locking/lockdep.c and include/trace/events/lock.h. ``lock_acquire`` is the attempt,
``lockscope:lockdep_acquire`` the same instant in full, ``lock_acquired`` the success of a lock that can wait.
Preempt counts as recordings of 6.12 have them: a mutex is acquired with preemption off and released with it on, and the
probe's count is one higher than the tracepoint's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from lockscope.simulate.engine.tasks import IRQS_OFF, Task
from lockscope.simulate.trace.events import Event
from lockscope.simulate.trace.ring import Burst, burst

# Wait types (include/linux/lockdep_types.h): inner ones of what can be held; RCU also has an outer one.
FREE, SPINS, CONFIG, SLEEPS = 1, 2, 3, 4
_WAITS = {
    "mutex": (0, SLEEPS), "rwsem": (0, SLEEPS), "percpu_rwsem": (0, SLEEPS), "spinlock": (0, CONFIG),
    "rwlock": (0, CONFIG), "raw_spinlock": (0, SPINS), "rcu": (FREE, CONFIG), "srcu": (0, 0), "map": (0, 0),
}  # fmt: skip
_SLEEPING = ("mutex", "rwsem", "percpu_rwsem")
_SPINNING = ("spinlock", "rwlock", "raw_spinlock")
# From the lock to its lockdep_map, in a 6.12 kernel with PROVE_LOCKING and LOCK_STAT.
DEP_MAP = {"mutex": 112, "rwsem": 120, "percpu_rwsem": 96, "spinlock": 24, "rwlock": 24, "raw_spinlock": 24, "srcu": 16}

# GOT: acquired after all without waiting; MIGHT: might_lock(), which only tells lockdep; GIVES: others wait for it.
ACQUIRE, TRY, CONTENDED, ACQUIRED, RELEASE, GOT, MIGHT, GIVES = range(8)
_CONTENTION = {"spinlock": 1, "raw_spinlock": 1, "rwlock": 1, "mutex": 32, "rwsem": 0, "percpu_rwsem": 16}
_READ, _WRITE = 2, 4


@dataclass(frozen=True, slots=True)
class LockClass:
    """What lockdep tells apart: a name and a key. ``check``: False where lockdep draws no dependencies."""

    name: str
    kind: str
    key: int
    check: bool = True


@dataclass(slots=True)
class LockEvents:
    """The events that locks write; None where the recording has not got one. ``blind``: before 5.10 lock events always
    say that interrupts are off. ``made``: how many locks there have been.
    """

    acquire: Event | None
    detail: Event | None
    acquired: Event | None
    contended: Event | None
    release: Event | None
    begin: Event | None
    end: Event | None
    gives: Event | None
    probe_ip: int
    blind: bool = False
    made: int = 0


class Lock:
    """An instance. ``addr``: of its ``lockdep_map``. Who holds it, and who waits."""

    __slots__ = ("addr", "cls", "events", "owner", "readers", "serial", "subclass", "waiters")

    def __init__(self, cls: LockClass, addr: int, events: LockEvents, subclass: int = 0) -> None:
        self.cls, self.addr, self.events, self.subclass = cls, addr, events, subclass
        self.owner: Task | None = None
        self.readers = 0
        self.waiters: deque[tuple[Task, bool]] = deque()
        events.made += 1
        self.serial = events.made

    @property
    def base(self) -> int:
        """The lock's own address, which contention events name."""
        return self.addr - DEP_MAP.get(self.cls.kind, 0)

    def burst(self, t: Task, op: int, read: int = 0) -> Burst:
        """The records of an operation in the context that a task is in. ``read`` 1: shared, 2: recursive."""
        key = ((t.ip << 32 | self.serial) << 5 | op << 2 | read) << 16 | t.flags << 8 | t.pc
        b = t.bursts.get(key)
        return b if b is not None else t.remembered(key, lambda: self.make(t, op, read))

    def make(self, t: Task, op: int, read: int) -> Burst:
        """The same, made anew."""
        events, cls = self.events, self.cls
        flags = t.flags | IRQS_OFF if events.blind else t.flags
        pc = t.pc + (cls.kind == "mutex" and op != RELEASE)
        records: list[bytes] = []

        def add(event: Event | None, *values: object, more: int = 0, own: int | None = None) -> None:
            if event is not None:
                records.append(event.record(t.flags if own is None else own, pc + more, t.pid, *values))

        if op in (ACQUIRE, TRY, MIGHT):
            outer, inner = _WAITS[cls.kind]
            add(events.acquire, (op == TRY) | bool(read) << 1, cls.name, self.addr, own=flags)
            add(events.detail, events.probe_ip, self.addr, self.subclass, int(op == TRY), read, int(cls.check), 0, t.ip,
                cls.key, outer, inner, 0, cls.name, more=1)  # fmt: skip
            if cls.kind == "mutex" and op == ACQUIRE and events.acquire is not None:
                # CONFIG_DEBUG_MUTEXES: no fast path, so that every mutex_lock() passes through the slow one.
                add(events.begin, self.base, 33)
                add(events.end, self.base, 0)
        elif op == CONTENDED:
            kind = _CONTENTION.get(cls.kind, 0)
            add(events.contended, cls.name, self.addr)
            add(events.begin, self.base, kind | (_READ if read else _WRITE if cls.kind in ("rwlock", "rwsem") else 0))
        elif op == ACQUIRED:
            add(events.end, self.base, 0)
        if op == GIVES:
            add(events.gives, self.base)
        elif op == RELEASE:
            add(events.release, cls.name, self.addr, own=flags)
        elif op in (ACQUIRED, GOT) or (op == ACQUIRE and not self._waits_first(read)):
            add(events.acquired, cls.name, self.addr)
        gaps = [180 + (self.serial * 37 + i * 91) % 160 for i in range(len(records) - 1)]
        return burst(records, gaps, 150) if records else EMPTY

    def _waits_first(self, read: int) -> bool:
        """Whether the success is not part of the attempt's burst: it never shows (RCU, SRCU, maps), or comes later."""
        if self.cls.kind not in _SLEEPING and self.cls.kind not in _SPINNING:
            return True
        return self.taken(read)

    @property
    def tells(self) -> bool:
        """Whether giving it up has an event of its own now (contended_release): queued rwlocks have none."""
        return self.events.gives is not None and len(self.waiters) > 0 and self.cls.kind != "rwlock"

    def taken(self, read: int) -> bool:
        """Whether an attempt has to wait."""
        if read:
            return self.owner is not None or any(not shared for _, shared in self.waiters)
        return self.owner is not None or self.readers > 0


EMPTY = Burst(0, b"", 0, 0, 30, 0, ())
