"""Not one order of events but all of them: enumerates how a scenario's tasks can interleave.

A scenario that can be explored sets a small scene: a VM, and a few tasks on a CPU each. Time plays no part: where a
task is about to touch what another one touches too (a lock, an SPTE, the dirty bitmap, the vCPUs' requests), any of
them may be next. Every such choice is tried, one run of the scene each, depth first. Steps that touch nothing
shared are no choice: changing their order changes nothing (they commute), so leaving them out loses no outcome.

What is shared is learned: whenever a run meets something new, it all begins anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import BytesIO

from lockscope.errors import UsageError
from lockscope.simulate.engine.cpus import Cpu
from lockscope.simulate.engine.tasks import DEAD, Task, Work
from lockscope.simulate.kvm.host import Host
from lockscope.simulate.kvm.kernels import KERNELS
from lockscope.simulate.kvm.vcpu import run
from lockscope.simulate.kvm.vm import LOG_DIRTY, Slot, Vcpu, Vm
from lockscope.simulate.parameters import Parameters
from lockscope.simulate.run import fitted
from lockscope.simulate.scenario import Scenario, scenario_named
from lockscope.simulate.trace.files import Recording
from lockscope.simulate.trace.ring import Ring

_MOST_STEPS = 20_000
GFN = 0x1000


class Scene:
    """What is on the stage: a host that is not recorded, a VM with one memslot. ``tasks`` each get a CPU.

    ``broken``: asked when all is over, says what went wrong, or nothing.
    """

    def __init__(self, parameters: Parameters) -> None:
        kernel = KERNELS[parameters.kernel]
        recording = Recording({}, parameters.cpus, "mono", kernel.release)
        recording.rings = [Ring(BytesIO()) for _ in range(parameters.cpus)]
        self.host = Host(kernel, parameters, recording)
        self.host.machine.heap.clear()
        self.host.machine.exploring = True
        self.near = parameters.near_miss
        self.vm = Vm(self.host, 0, 1)
        self.vm.slots[1] = Slot(1, GFN, 64, 0x7F0000000000, 0)
        self.broken: Callable[[], str] = self._stale
        self._free = list(self.host.machine.cpus)

    def task(self, name: str, work: Callable[[Task], Work]) -> Task:
        """A task with a CPU of its own."""
        cpu = self._free.pop(0)
        task = self.host.machine.new_task(name, cpu=cpu.number)
        return self.host.machine.start(task, work(task))

    def vcpu(self) -> Vcpu:
        """A vCPU that uses the VM's page tables."""
        vcpu = Vcpu(self.vm, len(self.vm.vcpus))
        vcpu.runs = 1
        vcpu.tables = self.vm.tables or self.vm.new_tables()
        self.vm.vcpus.append(vcpu)
        return vcpu

    def writer(self, times: int) -> Vcpu:
        """A vCPU whose guest writes one page so often; it is mapped writable, and logged, and dirty already."""
        slot = self.vm.slots[1]
        slot.flags, slot.dirty = LOG_DIRTY, {GFN}
        self.mapped(GFN, writable=True)
        v = self.vcpu()
        self.task("vCPU", lambda t: run(t, v, iter([("w", GFN)] * times)))
        return v

    def mapped(self, gfn: int, *, writable: bool) -> int:
        """Map a page of the guest; returns its SPTE."""
        tables = self.vm.tables or self.vm.new_tables()
        value = self.vm.sptes.leaf(self.vm.pfn_of(gfn), writable=writable)
        for level in (3, 2, 1):
            tables.page_of(level, gfn)
        tables.entries[1, gfn] = value
        return value

    def _stale(self) -> str:
        stale = self.host.truth.stale
        if not stale:
            return ""
        first = stale[0]
        return (
            f"a write to gfn {first.gfn:#x} went through a stale TLB entry of CPU {first.cpu}: the {first.lost} is lost"
        )


@dataclass(slots=True)
class Explored:
    """``schedules``: runs made, all if ``complete``. ``shortest``: one that breaks the rule, ``how``: in what way."""

    scenario: str
    near: bool
    schedules: int = 0
    broken: int = 0
    complete: bool = True
    shortest: list[str] = field(default_factory=list)
    how: str = ""

    def lines(self) -> list[str]:
        """In words."""
        what = f"{self.scenario}{' (near miss)' if self.near else ''}"
        count = f"{self.schedules:,} schedules, all there are"
        if not self.complete:
            count = f"the first {self.schedules:,} schedules"
        said = [f"{what}: {count}; {self.broken:,} break the rule"]
        if self.shortest:
            said += [
                "the shortest that does:",
                *(f"  {i:2}. {step}" for i, step in enumerate(self.shortest, 1)),
                self.how,
            ]
        return said


def explore(scenario: str | Scenario, parameters: Parameters | None = None, most: int = 20_000) -> Explored:
    """Go through a scenario's schedules, ``most`` at most. Raises ``UsageError`` where it has no scene for that."""
    found = scenario_named(scenario) if isinstance(scenario, str) else scenario
    if found.explore is None:
        msg = f"{found.name}: cannot be explored, it has no small scene (lockscope simulate --list says which have)"
        raise UsageError(msg)
    p = replace(fitted(found, parameters or Parameters()), cpus=4, vms=1)
    shared: set[object] = set()
    while True:
        result = _enumerate(found, p, most, shared)
        if result is not None:
            return result


@dataclass(slots=True)
class _Choice:
    """A place where several may go on. ``steps``: by CPU, what its next step touches. ``asleep``: those of which all
    that begins with them has been tried already, elsewhere or here.
    """

    steps: dict[int, frozenset[object]]
    asleep: dict[int, frozenset[object]]
    taken: int

    def behind(self) -> dict[int, frozenset[object]]:
        """Who sleeps behind the step taken: those whose own steps it does not change."""
        done = self.steps[self.taken]
        return {cpu: step for cpu, step in self.asleep.items() if cpu != self.taken and not step & done}

    def next(self) -> bool:
        """Take another one; False: all have been."""
        self.asleep[self.taken] = self.steps[self.taken]
        left = [cpu for cpu in self.steps if cpu not in self.asleep]
        if left:
            self.taken = left[0]
        return bool(left)


def _enumerate(scenario: Scenario, p: Parameters, most: int, shared: set[object]) -> Explored | None:
    """All schedules, given what is shared; None where a run met something shared that was not known to be."""
    result = Explored(scenario.name, p.near_miss)
    choices: list[_Choice] = []
    while True:
        run = _Run(scenario, p, choices, shared)
        run.go()
        if run.new:
            shared |= run.new
            return None
        result.schedules += not run.known
        if run.how:
            result.broken += 1
            if not result.shortest or len(run.steps) < len(result.shortest):
                result.shortest, result.how = run.steps, run.how
        while choices and not choices[-1].next():
            choices.pop()
        if not choices:
            return result
        if result.schedules >= most:
            result.complete = False
            return result


class _Run:
    """One schedule: as ``choices`` say, from then on whoever may goes on; what is chosen is added to them. ``known``:
    the rest of it has been tried already, in another order of steps that commute.
    """

    def __init__(self, scenario: Scenario, p: Parameters, choices: list[_Choice], shared: set[object]) -> None:
        self.scene = Scene(p)
        assert scenario.explore is not None
        scenario.explore(self.scene)
        self.choices, self.shared = choices, shared
        self.reached = 0
        self.known = False
        self.asleep: dict[int, frozenset[object]] = {}
        self.steps: list[str] = []
        self.touched: dict[object, set[int]] = {}
        self.new: set[object] = set()
        self.how = ""

    def go(self) -> None:
        """Run it to its end."""
        machine = self.scene.host.machine
        last: Cpu | None = None
        for _ in range(_MOST_STEPS):
            ready = self._ready()
            if not ready:
                if machine.heap:
                    self.asleep.clear()
                    self._timer()
                    continue
                break
            last = self._next(ready, last)
            if last is None:
                self.known = True
                return
            self._step(last)
        waiting = [t for t in machine.tasks.values() if t.state != DEAD]
        self.how = self.scene.broken()
        if waiting and not self.how:
            self.how = "deadlock: " + ", ".join(t.comm for t in waiting) + " wait for one another"

    def _ready(self) -> list[Cpu]:
        due = {id(who): serial for _, serial, who in self.scene.host.machine.heap if who.due == serial}
        return [c for c in self.scene.host.machine.cpus if id(c) in due]

    def _timer(self) -> None:
        machine = self.scene.host.machine
        ts, serial, who = min(machine.heap)
        machine.heap.remove((ts, serial, who))
        machine.heap.sort()
        if who.due == serial:
            machine.now = max(machine.now, ts)
            who.run()

    def _key(self, thing: object) -> object:
        """The same thing in another run: it is made anew each time."""
        addr = getattr(thing, "addr", None)
        if addr is not None:
            return addr
        return tuple(self._key(part) if not isinstance(part, int | str) else part for part in thing) if isinstance(
            thing, tuple) else type(thing).__name__  # fmt: skip

    def _next(self, ready: list[Cpu], last: Cpu | None) -> Cpu | None:
        """Go on with the same one until it is about to touch something shared; then any of those who may. None: all
        that may has been tried.
        """
        for cpu in ready:
            if not self._touches(cpu):
                return cpu
        if self.reached == len(self.choices):
            order = sorted(ready, key=lambda c: (c is not last, c.number))
            steps = {cpu.number: self._touches(cpu) for cpu in order}
            left = [cpu for cpu in steps if cpu not in self.asleep]
            if not left:
                return None
            self.choices.append(_Choice(steps, self.asleep, left[0]))
        choice = self.choices[self.reached]
        self.reached += 1
        self.asleep = choice.behind()
        return self.scene.host.machine.cpus[choice.taken]

    def _touches(self, cpu: Cpu) -> frozenset[object]:
        """What is shared of what its next step touches."""
        point = cpu.task.point
        return (
            frozenset(self._key(thing) for thing in point[0] if self._key(thing) in self.shared)
            if point
            else frozenset()
        )

    def _step(self, cpu: Cpu) -> None:
        machine = self.scene.host.machine
        point = cpu.task.point
        if point is not None:
            keys = [self._key(thing) for thing in point[0]]
            for key in keys:
                who = self.touched.setdefault(key, set())
                who.add(cpu.task.pid)
                if len(who) > 1 and key not in self.shared:
                    self.new.add(key)
            if any(key in self.shared for key in keys):
                self.steps.append(f"{cpu.task.comm}: {point[1]}")
            cpu.task.point = None
        machine.now += 100
        machine.heap[:] = [entry for entry in machine.heap if entry[2] is not cpu]
        cpu.run()
