"""A CPU: interrupts and softirqs on top of tasks, its run queue, and the switches between tasks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from lockscope.simulate.engine.tasks import (
    BH_OFF,
    DEAD,
    HARDIRQ,
    IRQS_OFF,
    PREEMPTED,
    RESCHED,
    RUNNING,
    SLEEPING,
    SOFTIRQ,
    SPIN,
    YIELD,
    YIELDED,
    Task,
    Work,
)
from lockscope.simulate.trace.ring import Ring

if TYPE_CHECKING:
    from lockscope.simulate.engine.machine import Machine

_SLICE_TICKS = 1
_TICK_NS = 4_000_000


class Cpu:
    """One CPU. ``on_switch`` writes what a switch shows (the run queue's lock, sched_switch) and says what it took.

    ``tlb``: by VM, what this CPU has cached of the guest's translations (see ``kvm.tlb``).
    """

    def __init__(self, machine: Machine, number: int, ring: Ring, skew: int) -> None:
        self.machine, self.number, self.ring, self.skew = machine, number, ring, skew
        self.due = 0
        self.idle = Task(f"swapper/{number}", 0, self)
        self.task = self.idle
        self.gen: Work | None = None
        self.frames: list[tuple[Work | None, int, int, bool]] = []
        self.pending: deque[Callable[[Task], Work]] = deque()
        self.softirqs: deque[Callable[[Task], Work]] = deque()
        self.queue: deque[Task] = deque()
        self.resched = self.spinning = False
        self.on_switch: Callable[[Cpu, Task, Task, int], int] | None = None
        self.tlb: dict[int, dict[int, int]] = {}

    @property
    def busy(self) -> bool:
        """Whether anything runs here."""
        return self.gen is not None

    def run(self) -> None:
        """Go on until somebody else is due first, or there is nothing to do."""
        machine = self.machine
        heap = machine.heap
        while True:
            if self.spinning:
                return
            task = self.task
            if self.pending and not task.flags & IRQS_OFF:
                self._enter(self.pending.popleft(), HARDIRQ | IRQS_OFF)
            elif self.gen is None:
                if not self.queue and not self._steal():
                    return
                took = self._switch(RUNNING)
                machine.at(machine.now + took, self)
                return
            elif self.resched and not self.frames and not task.pc and not task.flags & (IRQS_OFF | BH_OFF):
                took = self._switch(PREEMPTED)
                machine.at(machine.now + took, self)
                return
            assert self.gen is not None
            try:
                took = next(self.gen)
            except StopIteration:
                took = self._leave() if self.frames else self._end()
            if took < 0:
                if took == SPIN:
                    if self.spinning:
                        return
                    continue
                took = self._give_way() if took == YIELD else self._block()
                if took < 0:
                    continue
            ts = machine.now + took
            if machine.exploring or (heap and heap[0][0] <= ts):
                machine.at(ts, self)
                return
            machine.now = ts

    # --- interrupts

    def _enter(self, handler: Callable[[Task], Work], flags: int) -> None:
        task = self.task
        self.frames.append((self.gen, task.flags, task.ip, bool(flags & SOFTIRQ)))
        task.flags |= flags
        self.gen = handler(task)

    def _leave(self) -> int:
        task = self.task
        self.gen, task.flags, task.ip, _ = self.frames.pop()
        in_softirq = any(soft for *_, soft in self.frames)
        if self.softirqs and not self.frames and not in_softirq and not task.flags & BH_OFF:
            self._enter(self.softirqs.popleft(), SOFTIRQ)
        return 120

    def tick(self) -> None:
        """The timer: the scheduler's clock, and whatever else the kernel does there."""
        machine = self.machine
        if machine.stopped:
            return
        machine.after(_TICK_NS, self.tick)
        if machine.tick_work is not None and (self.busy or self.queue):
            self.pending.append(machine.tick_work)
            if not self.busy:
                machine.kick(self)
        if self.busy and self.queue:
            self.task.slice += 1
            if self.task.slice >= _SLICE_TICKS:
                self.need_resched()

    def need_resched(self) -> None:
        """Another task should run here as soon as it can."""
        self.resched = True
        self.task.flags |= RESCHED

    # --- tasks

    def _block(self) -> int:
        """The task sleeps, unless it was woken meanwhile; -1: it goes on at once."""
        task = self.task
        if task.wakes:
            task.wakes -= 1
            task.state = RUNNING
            return -1
        if task.state == RUNNING:
            task.state = SLEEPING
        return self._switch(task.state)

    def _give_way(self) -> int:
        self.queue.append(self.task)
        return self._switch(YIELDED)

    def _end(self) -> int:
        self.task.state = DEAD
        return self._switch(DEAD)

    def _steal(self) -> bool:
        """An idle CPU takes a task from the longest queue."""
        longest = max(self.machine.cpus, key=lambda c: len(c.queue))
        if not longest.queue:
            return False
        task = longest.queue.popleft()
        task.cpu = self
        self.queue.append(task)
        return True

    def _switch(self, state: int) -> int:
        """The next task, or the idle one. Returns how long it took."""
        before = self.task
        self.resched = False
        before.flags &= ~RESCHED
        before.slice = 0
        before.gen, before.last_cpu = self.gen, self
        if state == PREEMPTED:
            self.queue.append(before)
        after = self.queue.popleft() if self.queue or (state != RUNNING and self._steal()) else self.idle
        if after is before:
            return 50
        took = self.on_switch(self, before, after, state) if self.on_switch is not None else 800
        self.task, self.gen = after, after.gen
        after.cpu = self
        if before.state == DEAD:
            self.machine.tasks.pop(before.pid, None)
        return took
