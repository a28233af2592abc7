"""What a switch between tasks shows: the run queue's lock around sched_switch, and wake-ups.

kernel/sched/core.c: the task that leaves takes ``rq->__lock`` (``rq->lock`` before 5.13), lockdep is told that it gave
it up, and the one that comes releases it. A wake-up takes ``p->pi_lock`` and the run queue's lock inside.
"""

from __future__ import annotations

from dataclasses import dataclass

from lockscope.simulate.engine.classes import ACQUIRE, RELEASE, Lock, LockClass, LockEvents
from lockscope.simulate.engine.cpus import Cpu
from lockscope.simulate.engine.tasks import IRQS_OFF, SLEEPING, Task
from lockscope.simulate.trace.events import Event
from lockscope.simulate.trace.ring import Ring


@dataclass(slots=True)
class Switching:
    """A kernel's scheduler events. Set ``on_switch`` of each CPU to ``switch``."""

    queues: list[Lock]
    switch_event: Event | None
    exit_event: Event | None

    @classmethod
    def make(cls, cpus: list[Cpu], lock_class: LockClass, base: int, events: LockEvents, switch: Event | None,
             leave: Event | None) -> Switching:  # fmt: skip
        """Run queues for these CPUs, their locks in per-CPU memory from ``base``."""
        made = cls([Lock(lock_class, base + (c.number << 18) + 24, events) for c in cpus], switch, leave)
        for cpu in cpus:
            cpu.on_switch = made.switch
        return made

    def switch(self, cpu: Cpu, before: Task, after: Task, state: int) -> int:
        """Write a switch; returns the ns it took."""
        machine, ring = cpu.machine, cpu.ring
        queue = self.queues[cpu.number]
        ts = machine.now + cpu.skew
        start = ts
        if state >= 0x10 and state != 0x100 and self.exit_event is not None:
            ring.put(ts, self.exit_event.record(before.flags, before.pc, before.pid, before.comm16, before.pid, 120))
            ts += 300
        flags, pc = before.flags, before.pc
        before.flags |= IRQS_OFF
        before.pc += 1
        ts = self._add(ring, ts, queue, before, ACQUIRE)
        if before.leaving is not None:
            for record in before.leaving(before, True):
                ring.put(ts, record)
                ts += 200
        shown = (SLEEPING if state == 0 else max(state, 0)) if before.pid else 0
        if self.switch_event is not None:
            record = self.switch_event.record(before.flags, before.pc, before.pid, before.comm16, before.pid,
                                              before.prio, shown, after.comm16, after.pid, after.prio)  # fmt: skip
            ring.put(ts, record)
            ts += 250
        ts = self._add(ring, ts, queue, before, RELEASE)
        before.flags, before.pc = flags, pc
        flags, pc = after.flags, after.pc
        after.flags |= IRQS_OFF
        after.pc += 1
        ts = self._add(ring, ts, queue, after, ACQUIRE)
        ts = self._add(ring, ts, queue, after, RELEASE)
        after.flags, after.pc = flags, pc
        return ts - start + 150

    @staticmethod
    def _add(ring: Ring, ts: int, queue: Lock, t: Task, op: int) -> int:
        b = queue.burst(t, op)
        if b.events:
            ring.add(ts, b)
        return ts + b.lasts
