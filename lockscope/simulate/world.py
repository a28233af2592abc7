"""A host at work: VMs that are made, run, managed and destroyed, each by the mix of work that a scenario asks for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from lockscope.simulate.engine.tasks import BLOCK, DEAD, SLEEPING, Task, Work
from lockscope.simulate.kvm import devices, dirty, lifecycle, memslots, notifiers, vcpu
from lockscope.simulate.kvm.host import Host
from lockscope.simulate.kvm.vm import Vcpu, Vm
from lockscope.simulate.truth import Truth

Plan = Callable[[Task, Vm], Work]
CODE, DATA = 0x100, 0x1000  # first gfns of the two slots that every VM has
CODE_PAGES, DATA_PAGES = 32, 512
_PATIENCE = 3  # simulated seconds behind the end that was asked for
_NO_GUESTS = 0x90000
_SPARE, _SPARE_BASE, _SPARE_PAGES = 2, 0x4000, 32


@dataclass(frozen=True, slots=True)
class Mix:
    """How often a VM does what: weights of what its vCPUs and its main thread do.

    ``pages``: how many pages of its memory the guest works on. ``log``: dirty logging is on, "manual" or "auto" or
    "ring". ``rounds``: how often the main thread does something, in ms. ``assigned``: a device is assigned to it.
    """

    read: int = 10
    write: int = 10
    compute: int = 3
    mmio: int = 4
    io: int = 1
    halt: int = 1
    pages: int = 128
    log: str = ""
    rounds: float = 1.0
    assigned: bool = False
    main: tuple[tuple[str, int], ...] = (("tsc", 1), ("irqfd", 1), ("routes", 1), ("age", 1), ("unmap", 2), ("slot", 1))
    interrupts: bool = True
    ksm: bool = True


@dataclass
class World:
    """A host, its VMs, and what a scenario puts in. ``plans``: done by the first VM's main thread, each once."""

    host: Host
    mix: Mix
    deadline: int = 0
    plans: list[Plan] = field(default_factory=list)
    programs: dict[int, Callable[[Vcpu], vcpu.Program]] = field(default_factory=dict)  # by vCPU, of the first VM
    prepare: list[Callable[[Vm], None]] = field(default_factory=list)
    injected: deque[vcpu.Action] = field(default_factory=deque)  # for the first VM's first vCPU, before all else
    alive: int = 0
    first: Vm | None = None
    pending: int = 0  # what scenarios still have to do elsewhere than in ``plans``

    @property
    def near(self) -> bool:
        """Whether the near miss is wanted, not the defect."""
        return self.host.parameters.near_miss

    @property
    def truth(self) -> Truth:
        """What is true of it."""
        return self.host.truth

    def inject(self, body: Callable[[Task, Vcpu], Work]) -> None:
        """Let the first VM's first vCPU do this at its next exit, inside its kvm->srcu section."""

        def once(t: Task, v: Vcpu) -> Work:
            yield from body(t, v)
            self.pending -= 1

        self.injected.append(("call", once))
        self.pending += 1

    def over(self) -> bool:
        """Whether there has been enough of it."""
        return not self.plans and not self.pending and self._enough()

    def _enough(self) -> bool:
        p = self.host.parameters
        if p.events is not None:
            return sum(ring.events for ring in self.host.machine.recording.rings) >= p.events
        return self.host.machine.now >= self.deadline

    def _watch(self, late: int = 0) -> None:
        """A scenario whose tasks wait for one another for ever is an error of ours, not a trace without end."""
        machine = self.host.machine
        if machine.stopped:
            return
        if late >= _PATIENCE:
            left = f"{self.pending} of its steps and {len(self.plans)} plans are left"
            msg = f"the scenario does not come to its end: {left}"
            raise RuntimeError(msg)
        late = late + 1 if self._enough() else 0
        machine.after(1_000_000_000, lambda: self._watch(late))

    def begin(self) -> None:
        """Start every VM's main thread."""
        host = self.host
        machine = host.machine
        self._watch()
        self.deadline = machine.now + host.parameters.duration_ms * 1_000_000
        for i in range(host.parameters.vms):
            task = machine.new_task("qemu-kvm", cpu=i % len(machine.cpus))
            vm = Vm(host, i, task.tgid)
            self.first = self.first or vm
            for prepare in self.prepare:
                prepare(vm)
            vm.manual = self.mix.log != "auto"
            vm.rings = self.mix.log == "ring"
            vm.assigned = self.mix.assigned
            machine.start(task, self._life(task, vm, i))
            self.alive += 1

    def _life(self, t: Task, vm: Vm, place: int) -> Work:
        host = self.host
        plans = self.plans if vm is self.first else []
        while True:
            yield from self._make(t, vm)
            yield from self._work(t, vm, plans)
            yield from self._end(t, vm)
            if self.over() or not any(kind == "again" for kind, _ in self.mix.main):
                break
            vm = Vm(host, place, t.tgid)
        self.alive -= 1
        if not self.alive:
            host.machine.stop()

    def _make(self, t: Task, vm: Vm) -> Work:
        host = self.host
        yield from lifecycle.create_vm(t, host, vm)
        yield from lifecycle.create_irqchip(t, vm)
        yield from memslots.create(t, vm, 0, CODE, CODE_PAGES)
        yield from memslots.create(t, vm, 1, DATA, DATA_PAGES)
        for _ in range(host.parameters.vcpus):
            yield from lifecycle.create_vcpu(t, vm)
        if self.mix.log:
            yield from memslots.log_dirty(t, vm, vm.slots[1], on=True)
        vm.stopping = False
        for v in vm.vcpus:
            task = host.machine.new_task(f"CPU {v.number}/KVM", tgid=t.tgid)
            host.machine.start(task, vcpu.run(task, v, self._program(v)))
            v.task = task
        if self.mix.interrupts:
            self._interrupts(vm)
        if self.mix.ksm:
            task = host.machine.new_task("ksmd")
            vm.helpers.append(host.machine.start(task, self._ksm(task, vm)))

    def _work(self, t: Task, vm: Vm, plans: list[Plan]) -> Work:
        host, rng = self.host, self.host.rng
        names = [name for name, weight in self.mix.main for _ in range(weight) if name != "again"]
        again = dict(self.mix.main).get("again", 0)
        rounds = 0
        while not self.over():
            yield from self.sleep(t, int(self.mix.rounds * rng.uniform(0.3, 1.7) * 1_000_000))
            rounds += 1
            if plans and rounds > 2 and rng.random() < 0.5:
                plan = plans[0]
                yield from plan(t, vm)
                plans.remove(plan)
                continue
            if again and rounds > again and not plans:
                return
            if names:
                yield from self._one(t, vm, rng.choice(names))
        host.at(t, "do_exit")

    def _one(self, t: Task, vm: Vm, name: str) -> Work:
        rng = self.host.rng
        data = vm.slots[1]
        if name == "tsc":
            yield from devices.set_tsc(t, rng.choice(vm.vcpus))
        elif name == "irqfd":
            yield from devices.assign_irqfd(t, vm)
        elif name == "routes":
            yield from lifecycle.set_routes_ioctl(t, vm)
        elif name == "age":
            yield from notifiers.age(t, vm, self.some(data.base, 16), flush=rng.random() < 0.5)
        elif name == "unmap":
            yield from notifiers.unmap(t, vm, self.some(data.base, 4))
        elif name == "slot":
            yield from memslots.create(t, vm, _SPARE, _SPARE_BASE, _SPARE_PAGES)
            yield from self.sleep(t, 100_000)
            if rng.random() < 0.5:
                yield from memslots.move(t, vm, _SPARE, _SPARE_BASE + _SPARE_PAGES)
            yield from memslots.delete(t, vm, _SPARE)
        elif name == "log":
            yield from self.harvest(t, vm)
        elif name == "switch-log":
            yield from memslots.log_dirty(t, vm, data, on=False)
            yield from self.sleep(t, 200_000)
            yield from memslots.log_dirty(t, vm, data, on=True)

    def harvest(self, t: Task, vm: Vm) -> Work:
        """User space fetches the dirty log, in the way that this VM has it."""
        data = vm.slots[1]
        if vm.rings:
            yield from dirty.reset_dirty_rings(t, vm)
            return
        yield from dirty.get_dirty_log(t, vm, data)
        if vm.manual:
            yield from dirty.clear_dirty_log(t, vm, data)

    def some(self, base: int, count: int) -> list[int]:
        """A run of the guest's pages."""
        first = base + self.host.rng.randrange(max(1, self.mix.pages - count))
        return list(range(first, first + count))

    def _end(self, t: Task, vm: Vm) -> Work:
        vm.stopping = True
        tasks = [v.task for v in vm.vcpus if v.task is not None] + vm.helpers
        while any(task.state != DEAD for task in tasks):
            for task in tasks:
                if task.state == SLEEPING:
                    self.host.machine.wake(task)  # a vCPU that waits for an interrupt
            yield from self.sleep(t, 200_000)
        yield from lifecycle.destroy_vm(t, vm)

    def sleep(self, t: Task, ns: int) -> Work:
        """nanosleep(), without the system call's events. A wake-up that is somebody else's does not end it."""
        machine = self.host.machine
        until = machine.now + ns
        machine.after(ns, lambda: machine.wake(t))
        while machine.now < until:
            t.state = SLEEPING
            yield BLOCK
        t.state = 0

    def _ksm(self, t: Task, vm: Vm) -> Work:
        """Another task that takes pages away: KSM merging, kswapd ageing and swapping."""
        rng = self.host.rng
        while not vm.stopping:
            yield from self.sleep(t, rng.randrange(500_000, 2_500_000))
            if vm.stopping:
                return
            gfns = self.some(vm.slots[1].base, 2)
            which = rng.random()
            if which < 0.1:
                yield from notifiers.unmap(t, vm, [_NO_GUESTS])
            elif which < 0.5:
                yield from notifiers.age(t, vm, gfns)
            else:
                yield from notifiers.unmap(t, vm, gfns)

    def _interrupts(self, vm: Vm) -> None:
        machine = self.host.machine

        def fire() -> None:
            if not vm.stopping and not machine.stopped:
                machine.interrupt(self.host.rng.choice(machine.cpus), devices.device_interrupt(vm))
                machine.after(self.host.rng.randrange(100_000, 900_000), fire)

        machine.after(500_000, fire)

    def _program(self, v: Vcpu) -> vcpu.Program:
        special = self.programs.get(v.number) if v.vm is self.first else None
        return special(v) if special is not None else self.guest(v)

    def guest(self, v: Vcpu) -> Iterator[vcpu.Action]:
        """What a guest does, until its VM is stopped."""
        mix, rng, vm = self.mix, self.host.rng, v.vm
        pages = min(mix.pages, DATA_PAGES)
        kinds = "r" * mix.read + "w" * mix.write + "c" * mix.compute + "m" * mix.mmio + "i" * mix.io + "h" * mix.halt
        random = rng.random
        count = len(kinds)
        injected = self.injected if vm is self.first and not v.number else deque[vcpu.Action]()
        while not vm.stopping:
            if injected:
                yield injected.popleft()
            kind = kinds[int(random() * count)]
            if kind in "rw":
                yield kind, DATA + int(random() * pages)
            elif kind == "c":
                yield "c", 200 + int(random() * 3000)
            elif kind == "m":
                yield "mmio", 0xFEC00000
            elif kind == "i":
                yield "io", 0x3F8
            else:
                yield "hlt", 10_000 + int(random() * 40_000)
