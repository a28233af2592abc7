"""Tasks: what runs, in which context, and the events that it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from lockscope.simulate.trace.events import Event
from lockscope.simulate.trace.ring import Burst

if TYPE_CHECKING:
    from lockscope.simulate.engine.cpus import Cpu

# A piece of a task's life: yields how many ns it took, or one of the negative answers below.
Work = Generator[int, None, None]
BLOCK, SPIN = -1, -2  # gives the CPU away until woken; keeps it and waits for somebody's ``Machine.resume``
YIELD = -3  # calls schedule() and could go on at once: whoever waits for the CPU comes first

# common_flags (include/linux/trace_events.h)
IRQS_OFF, RESCHED, HARDIRQ, SOFTIRQ, BH_OFF = 0x01, 0x04, 0x08, 0x10, 0x80
RUNNING, SLEEPING, UNINTERRUPTIBLE, DEAD, PREEMPTED = 0, 1, 2, 0x10, 0x100  # prev_state of sched_switch
YIELDED = -1  # shown as 0, which stands for nothing to run here
_MOST_BURSTS = 4096


class Task:
    """A task, or the idle task of a CPU (pid 0).

    ``flags`` and ``pc`` (preempt count) are those of the context it is in; an interrupt on top of it changes them and
    puts them back. ``ip``: which function it is in, for the events that say. ``point``: what its next step touches, and
    in words what it does to it, where the order between tasks matters (see ``explore``).
    """

    __slots__ = ("bursts", "comm", "comm16", "cpu", "flags", "gen", "ip", "last_cpu", "leaving", "pc", "pid", "point",
                 "prio", "slice", "state", "tgid", "wakes")  # fmt: skip

    def __init__(self, comm: str, pid: int, cpu: Cpu, tgid: int = 0, prio: int = 120) -> None:
        self.comm, self.pid, self.tgid, self.prio = comm, pid, tgid or pid, prio
        self.comm16 = comm.encode()[:15].ljust(16, b"\0")
        self.cpu: Cpu = cpu
        self.last_cpu = cpu
        self.gen: Work | None = None
        self.state = RUNNING
        self.flags = self.pc = self.ip = self.slice = 0
        self.bursts: dict[int, Burst] = {}
        self.point: tuple[tuple[object, ...], str] | None = None
        self.leaving: Callable[[Task, bool], list[bytes]] | None = None  # preempt notifiers: records at a switch
        self.wakes = 0  # wake-ups that came before it slept

    def event(self, event: Event | None, *values: object) -> int:
        """Write an event (None: not recorded). Returns the ns that it took."""
        if event is None:
            return 20
        cpu = self.cpu
        machine = cpu.machine
        cpu.ring.put(machine.now + cpu.skew, event.record(self.flags, self.pc, self.pid, *values))
        return 250 + machine.jitter()

    def write(self, b: Burst) -> int:
        """Write records that were packed before; there are none where locks are not recorded."""
        if not b.events:
            return b.lasts
        cpu = self.cpu
        machine = cpu.machine
        cpu.ring.add(machine.now + cpu.skew, b)
        return b.lasts + machine.jitter()

    def remembered(self, key: int, make: Callable[[], Burst]) -> Burst:
        """A burst made once for this task."""
        b = self.bursts.get(key)
        if b is None:
            if len(self.bursts) >= _MOST_BURSTS:
                self.bursts.clear()
            b = self.bursts[key] = make()
        return b
