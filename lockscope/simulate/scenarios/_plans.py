"""Pieces that scenarios are made of: an ioctl that does one thing, two locks one in the other, a vCPU's odd exit."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager

from lockscope.kvm.spte_layouts import WRITABLE
from lockscope.simulate.engine import locks, srcu
from lockscope.simulate.engine.classes import Lock
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm import faults, vcpu
from lockscope.simulate.kvm.host import IOCTL
from lockscope.simulate.kvm.vm import Vcpu, Vm
from lockscope.simulate.world import DATA, DATA_PAGES, World

Found = tuple[str, tuple[str, ...]]  # codes, classes
Body = Callable[[Task, Vm], Work]
RECENT = ("6.12", "7.3")  # kernels with what 4.14 has not: kvm->slots_arch_lock, the manual dirty log, dirty rings ...


@contextmanager
def planted(world: World, t: Task, why: str, *found: Found) -> Iterator[None]:
    """Several findings with one cause."""
    with ExitStack() as stack:
        for codes, classes in found:
            stack.enter_context(world.truth.planted(t, codes, why, classes))
        yield


def ioctl(world: World, function: str, body: Body, request: int = 0xAE99) -> None:
    """The first VM's main thread does this in an ioctl, once."""
    host = world.host

    def plan(t: Task, vm: Vm) -> Work:
        yield from host.sys_enter(t, IOCTL, 4, request)
        host.at(t, function)
        yield from body(t, vm)
        yield from host.sys_exit(t, IOCTL)

    world.plans.append(plan)


def take(t: Task, lock: Lock) -> Work:
    """Take a lock in the way of its kind."""
    kind = lock.cls.kind
    return locks.mutex_lock(t, lock) if kind in ("mutex", "rwsem") else locks.spin_lock(t, lock)


def give(t: Task, lock: Lock) -> Work:
    """And give it back."""
    kind = lock.cls.kind
    return locks.mutex_unlock(t, lock) if kind in ("mutex", "rwsem") else locks.spin_unlock(t, lock)


def nest(world: World, function: str, outer: str, inner: str, why: str, *more: Found, irqs_off: bool = False) -> None:
    """An ioctl takes ``inner`` under ``outer``; the near miss takes one after the other. Names: see ``lock_of``."""

    def body(t: Task, vm: Vm) -> Work:
        first, second = lock_of(world, vm, outer), lock_of(world, vm, inner)
        before = locks.irqs_off(t) if irqs_off else 0
        if world.near:
            for lock in (first, second):
                yield from take(t, lock)
                yield 300
                yield from give(t, lock)
            locks.irqs_back(t, before)
            return
        found = [(codes, classes or (first.cls.name, second.cls.name)) for codes, classes in more]
        yield from take(t, first)
        yield 200
        with planted(world, t, why, *found):
            yield from take(t, second)
            yield 300
            yield from give(t, second)
        yield from give(t, first)
        locks.irqs_back(t, before)

    ioctl(world, function, body)


def reader_while_free(t: Task, vm: Vm, lock: Lock) -> Generator[int, None, int]:
    """Enter kvm->srcu while nobody holds ``lock``: who does may wait for readers, and the trace would end there."""
    while True:
        index = yield from srcu.read_lock(t, vm.srcu)
        if lock.owner is None:
            return index
        yield from srcu.read_unlock(t, vm.srcu, index)
        yield 5_000


def lock_of(world: World, vm: Vm, name: str) -> Lock:
    """A lock by its short name: the VM's, its first vCPU's, or a global one."""
    if name in vm.locks:
        return vm.locks[name]
    if name in vm.vcpus[0].locks:
        return vm.vcpus[0].locks[name]
    if name in world.host.per_cpu:
        return world.host.per_cpu[name][0]
    return world.host.globals[name]


def in_run(world: World, body: Callable[[Task, Vcpu], Work], *, after: int = 60, times: int = 1) -> None:
    """The first VM's first vCPU does this while it handles an exit, inside its kvm->srcu section."""

    def program(v: Vcpu) -> Iterator[vcpu.Action]:
        left = times
        for steps, action in enumerate(world.guest(v), 1):
            if left and steps % after == 0:
                left -= 1
                yield "call", body
                world.pending -= 1
            yield action

    world.programs[0] = program
    world.pending += times


def written(world: World, t: Task, vm: Vm, least: int = 8) -> Work:
    """Wait until the guest has written to some pages of the slot that is logged."""
    slot = vm.slots[1]
    while True:
        entries = vm.tables.entries if vm.tables is not None else {}
        ready = sum(1 for gfn in slot.dirty if entries.get((1, gfn), 0) & WRITABLE)
        if ready >= least:
            return
        yield from world.sleep(t, 300_000)


def _entries(vm: Vm) -> dict[tuple[int, int], int]:
    return vm.tables.entries if vm.tables is not None else {}


def logged_writable(vm: Vm) -> list[int]:
    """gfns of the logged slot that are dirty and mapped writable."""
    entries = _entries(vm)
    return [gfn for gfn in sorted(vm.slots[1].dirty) if entries.get((1, gfn), 0) & WRITABLE]


def mapped(world: World, t: Task, vm: Vm, count: int = 4) -> Generator[int, None, list[int]]:
    """Wait for a run of pages that are mapped writable; returns their gfns."""
    while True:
        entries = _entries(vm)
        good = [gfn for gfn in range(DATA, DATA + DATA_PAGES) if entries.get((1, gfn), 0) & WRITABLE]
        for gfn in good:
            run = list(range(gfn, gfn + count))
            if all(other in good for other in run):
                return run
        yield from world.sleep(t, 300_000)


def writable(world: World, t: Task, vm: Vm) -> Work:
    """Wait until some page is mapped writable."""
    yield from mapped(world, t, vm, 2)


def pushed(world: World, t: Task, vm: Vm) -> Work:
    """Wait until vCPUs have pushed to their dirty rings, and what they pushed is still writable."""
    while True:
        entries = _entries(vm)
        if sum(1 for v in vm.vcpus for _, gfn in v.ring if entries.get((1, gfn), 0) & WRITABLE) >= 4:
            return
        yield from world.sleep(t, 300_000)


def fault(t: Task, v: Vcpu, gfn: int, careless: str = "") -> Work:
    """A write fault of the guest, in a section of its own; what the fast path forgets is ``careless``."""
    yield from faults.page_fault(t, v, gfn, write="w-on-read" not in careless, careless=careless)


def read_only(world: World, t: Task, v: Vcpu) -> Generator[int, None, list[int]]:
    """Wait for a page that is mapped for reading only, outside of what the guest works on: it is mapped here."""
    gfn = DATA + DATA_PAGES - 9
    yield from faults.page_fault(t, v, gfn, write=False)
    yield 500
    del world
    return [gfn]
