"""A small trace from a script: tasks that take locks, interrupts on top of them, losses, markers.

    s = Script()
    qemu = s.task("qemu", 100)
    qemu.take("&kvm->lock", 0x100).release("&kvm->lock", 0x100)
    s.reader()

Each event comes a microsecond after the one before, unless ``at`` says when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lockscope.evidence.gather import Gathered, GatherOptions, gather
from lockscope.rules.load import choose
from lockscope.tables.events import TraceInfo
from tests.builders.records import EVENTS, MemoryReader, Row, formats, save

IRQS_OFF, HARDIRQ, SOFTIRQ, NMI, BH_OFF = 0x01, 0x08, 0x10, 0x40, 0x80
STEP = 1_000
# Wait types by what a lock is: (outer, inner).
WAITS = {"spin": (0, 3), "raw": (0, 2), "mutex": (0, 4), "rcu": (1, 3), "map": (0, 0)}


class Script:
    """Events in the order in which they are written. ``events``: the events that the kernel has."""

    def __init__(
        self, kernel: str | None = "6.12.1", *, events: dict[str, str] | None = None, clock: str | None = "global"
    ):
        self.kernel, self.clock = kernel, clock
        self.events = EVENTS if events is None else events
        self.rows: list[Row] = []
        self.now = 1_000_000
        self.comms: dict[int, str] = {}

    def task(self, comm: str, pid: int, cpu: int = 0) -> Task:
        """A task, running on a CPU."""
        self.comms[pid] = comm
        return Task(self, comm, pid, cpu)

    def idle(self, cpu: int) -> Task:
        """The idle task of a CPU."""
        return Task(self, "swapper", 0, cpu)

    def add(self, row: Row) -> None:
        """A row, a step after the last."""
        self.rows.append(row)
        self.now = row.ts_ns + STEP

    def at(self, ts_ns: int) -> Script:
        """When the next event comes."""
        self.now = ts_ns
        return self

    def loss(self, cpu: int, count: int = -1, buffer: str = "") -> Script:
        """Events of a CPU are missing here."""
        self.add(Row("", self.now, cpu, values={"count": count}, buffer=buffer))
        return self

    def marker(self, text: str, cpu: int = 0) -> Script:
        """A write to trace_marker."""
        self.add(Row("ftrace:print", self.now, cpu, 1, values={"buf": text}))
        return self

    def reader(self) -> MemoryReader:
        """The trace, in memory."""
        info = TraceInfo("memory", "memory", self.kernel, "x86_64", "host", self.clock)
        info.comms = dict(self.comms)
        return MemoryReader(self.rows, info, formats(self.events))

    def save(self, path: Path, **sections: str) -> Path:
        """The trace as a trace.dat; ``sections``: kallsyms, printk."""
        save(self.reader(), path, **sections)
        return path

    def gathered(self, options: GatherOptions | None = None) -> Gathered:
        """What one reading of it finds."""
        return gather(self.reader(), choose(self.kernel)[0], options or GatherOptions())


class Task:
    """A task that runs on ``cpu`` with these irq context ``flags`` and ``preempt`` count."""

    def __init__(self, script: Script, comm: str, pid: int, cpu: int) -> None:
        self.script, self.comm, self.pid, self.cpu = script, comm, pid, cpu
        self.flags = self.preempt = 0

    def event(self, event: str, /, **values: Any) -> Task:
        """Any event; ``at`` says when."""
        ts = values.pop("at", self.script.now)
        self.script.add(Row(event, ts, self.cpu, self.pid, self.flags, self.preempt, values))
        return self

    def on(self, cpu: int) -> Task:
        """From here on on this CPU."""
        self.cpu = cpu
        return self

    def acquire(self, name: str, lock: int, *, trylock: bool = False, read: bool = False, **more: Any) -> Task:
        """lock:lock_acquire."""
        return self.event("lock:lock_acquire", flags=trylock | read << 1, name=name, lockdep_addr=lock, **more)

    def acquired(self, name: str, lock: int, **more: Any) -> Task:
        """lock:lock_acquired."""
        return self.event("lock:lock_acquired", name=name, lockdep_addr=lock, **more)

    def contended(self, name: str, lock: int, **more: Any) -> Task:
        """lock:lock_contended."""
        return self.event("lock:lock_contended", name=name, lockdep_addr=lock, **more)

    def release(self, name: str, lock: int, **more: Any) -> Task:
        """lock:lock_release."""
        return self.event("lock:lock_release", name=name, lockdep_addr=lock, **more)

    def take(self, name: str, lock: int, *, read: bool = False) -> Task:
        """Attempt and success of a lock that blocks."""
        return self.acquire(name, lock, read=read).acquired(name, lock)

    def detail(self, name: str, lock: int, *, key: int = 0, waits: str = "mutex", check: int = 1, **more: Any) -> Task:
        """lockscope:lockdep_acquire; ``more``: subclass, trylock, read, nest, ip."""
        outer, inner = WAITS[waits]
        key = key or 0x7000 + sum(name.encode())
        return self.event("lockscope:lockdep_acquire", lock=lock, key=key, check=check, wait_outer=outer,
                          wait_inner=inner, name=name, **more)  # fmt: skip

    def switch_to(self, other: Task, state: int = 1) -> Task:
        """Switched out for another task, which runs on this CPU from here on. ``state`` 0: preempted."""
        self.event("sched:sched_switch", prev_comm=self.comm, prev_pid=self.pid, prev_state=state,
                   next_comm=other.comm, next_pid=other.pid)  # fmt: skip
        other.cpu = self.cpu
        return other

    def sys_enter(self, number: int = 16, **more: Any) -> Task:
        """A system call begins."""
        return self.event("raw_syscalls:sys_enter", id=number, args=(0,) * 6, **more)

    def sys_exit(self, number: int = 16, ret: int = 0, **more: Any) -> Task:
        """Return to user space."""
        return self.event("raw_syscalls:sys_exit", id=number, ret=ret, **more)

    def exit(self) -> Task:
        """The task's end."""
        return self.event("sched:sched_process_exit", comm=self.comm, pid=self.pid)

    def do(self, what: Callable[[Task], object]) -> Task:
        """Part of a script that is a function."""
        what(self)
        return self

    @contextmanager
    def context(self, flags: int, preempt: int | None = None) -> Iterator[Task]:
        """An interrupt on top of the task, or a stretch with other irq flags."""
        before = self.flags, self.preempt
        self.flags |= flags
        self.preempt = self.preempt if preempt is None else preempt
        try:
            yield self
        finally:
            self.flags, self.preempt = before
