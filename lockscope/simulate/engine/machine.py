"""The discrete-event loop: whose turn is next, and timers.

Each CPU runs what is on it in steps; a step begins with what others can see of it and then says how long it takes. The
machine always lets the step go first that is due first, so that what happens, and what is written about it, has one
order. Everything random comes from one seeded generator: the same seed gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from random import Random
from typing import Protocol

from lockscope.simulate.engine.cpus import Cpu
from lockscope.simulate.engine.tasks import DEAD, RUNNING, Task, Work
from lockscope.simulate.trace.files import Recording

_JITTERS = 4096
TICK_NS = 4_000_000  # CONFIG_HZ=250


class Due(Protocol):
    """What can be due: a CPU or a timer."""

    due: int

    def run(self) -> None:
        """Go on."""


class Timer:
    """Calls a function when it is due."""

    __slots__ = ("due", "what")

    def __init__(self, what: Callable[[], None]) -> None:
        self.what, self.due = what, 0

    def run(self) -> None:
        """Fire."""
        self.what()


class Machine:
    """CPUs, tasks and time (``now``: ns).

    ``skews``: what each CPU's trace clock is off by. ``bh_flag``: whether this kernel's events show BH_OFF (6.1).
    """

    def __init__(self, recording: Recording, seed: int, skews: Iterable[int], *, bh_flag: bool = True) -> None:
        self.recording = recording
        self.rng = Random(seed)
        self.now = 1_000_000_000
        self.heap: list[tuple[int, int, Due]] = []
        self.serial = 0
        self.stopped = False
        self.bh_flag = bh_flag
        self.tick_work: Callable[[Task], Work] | None = None
        spread = Random(seed ^ 0x5EED)
        self._jitters = [spread.randrange(0, 200) for _ in range(_JITTERS)]
        self._jitter = 0
        self.tasks: dict[int, Task] = {}
        self._next_pid = 1000
        self.exploring = False  # somebody else than time chooses who is next: see ``explore``
        self.cpus = [
            Cpu(self, i, ring, skew) for i, (ring, skew) in enumerate(zip(recording.rings, skews, strict=True))
        ]

    def jitter(self) -> int:
        """Some ns, from a table: cheaper than the generator."""
        self._jitter = i = (self._jitter + 1) & (_JITTERS - 1)
        return self._jitters[i]

    # --- time

    def at(self, ts: int, who: Due) -> None:
        """Let it be due then, and not when it was due before."""
        self.serial += 1
        who.due = self.serial
        heappush(self.heap, (ts, self.serial, who))

    def after(self, ns: int, what: Callable[[], None]) -> None:
        """Call a function later."""
        self.at(self.now + ns, Timer(what))

    def run(self) -> None:
        """Let it all happen until ``stop``, or until nothing is due any more."""
        heap = self.heap
        while heap and not self.stopped:
            ts, serial, who = heappop(heap)
            if who.due == serial:
                self.now = ts
                who.run()

    def stop(self) -> None:
        """No further step."""
        self.stopped = True

    def start_ticks(self, work: Callable[[Task], Work]) -> None:
        """A timer interrupt on every CPU, out of step with one another."""
        self.tick_work = work
        for i, cpu in enumerate(self.cpus):
            self.after(TICK_NS * (i + 1) // (len(self.cpus) + 1), cpu.tick)

    # --- tasks

    def new_task(self, comm: str, *, tgid: int = 0, cpu: int | None = None, pid: int = 0, prio: int = 120) -> Task:
        """A task that does nothing yet."""
        if not pid:
            self._next_pid += 1
            pid = self._next_pid
        place = self.cpus[cpu if cpu is not None else self.rng.randrange(len(self.cpus))]
        task = Task(comm, pid, place, tgid, prio)
        self.tasks[pid] = task
        self.recording.comms[pid] = comm
        task.state = DEAD
        return task

    def start(self, task: Task, work: Work) -> Task:
        """Let a task do something."""
        task.gen = work
        task.state = RUNNING
        self.enqueue(task)
        return task

    def enqueue(self, task: Task) -> None:
        """Put a ready task on a CPU: where it was if that idles, else one that does, else where it was."""
        cpu = task.cpu
        if cpu.busy:
            idle = [c for c in self.cpus if not c.busy]
            if idle:
                cpu = idle[0]
        task.cpu = cpu
        cpu.queue.append(task)
        if not cpu.busy:
            self.kick(cpu, 300)

    def kick(self, cpu: Cpu, ns: int = 0) -> None:
        """Let an idle or waiting CPU look around."""
        self.at(self.now + ns, cpu)

    def resume(self, cpu: Cpu) -> None:
        """What a CPU spins for has come."""
        cpu.spinning = False
        self.at(self.now + 80, cpu)

    def wake(self, task: Task) -> None:
        """Make a sleeping task ready. One that does not sleep yet will not."""
        if task.state in (RUNNING, DEAD):
            task.wakes += 1
            return
        task.state = RUNNING
        self.enqueue(task)

    def interrupt(self, cpu: Cpu, handler: Callable[[Task], Work], ns: int = 0) -> None:
        """An interrupt for a CPU, after the time it takes to get there."""

        def arrive() -> None:
            cpu.pending.append(handler)
            if not cpu.busy:
                self.kick(cpu)

        self.after(ns, arrive)
