"""The first race of the document: the SPTE has the old value again, and maps another gfn."""

from __future__ import annotations

from collections.abc import Iterator

from lockscope.simulate.engine import locks
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.explore import GFN, Scene
from lockscope.simulate.kvm import faults, vcpu
from lockscope.simulate.kvm.vm import LOG_DIRTY, Vcpu, Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import RECENT, planted, read_only
from lockscope.simulate.world import DATA, DATA_PAGES, Mix, World

_OTHER = DATA + DATA_PAGES - 7


def plant(world: World) -> None:
    """The fast path forgets that it is for direct pages only. While it has read an indirect SPTE, the page's frame goes
    to another gfn, and the guest's page table to that gfn.
    """
    state = {"step": 0, "gfn": 0}

    def fault(t: Task, v: Vcpu) -> Work:
        (state["gfn"],) = yield from read_only(world, t, v)
        state["step"] = 1

        def between() -> Work:
            state["step"] = 2
            while state["step"] < 3:
                yield 300

        if world.near:
            yield from faults.page_fault(t, v, state["gfn"], write=True, careless="indirect", between=between)
            return
        with planted(world, t, "the fast path on an SPTE whose gfn changed", ("LS305", ()), ("LS304", ())):
            yield from faults.page_fault(t, v, state["gfn"], write=True, careless="indirect", between=between)

    def remap(t: Task, v: Vcpu) -> Work:
        while state["step"] < 2:
            yield 300
        yield from reused(t, v.vm, state["gfn"], _OTHER, same=not world.near)
        state["step"] = 3

    def program(v: Vcpu) -> Iterator[vcpu.Action]:
        waiting = True
        for action in world.guest(v):
            if waiting and state["step"]:
                waiting = False
                yield "call", remap
            yield action

    world.inject(fault)
    world.programs[1] = program


def reused(t: Task, vm: Vm, gfn: int, other: int, *, same: bool) -> Work:
    """gfn is swapped out and its frame given to another gfn (or not, another frame then), which the guest maps where
    the first one was. The SPTE is zapped and made anew: for indirect pages no event shows a zap.
    """
    tables, bits = vm.tables, vm.sptes
    assert tables is not None
    yield from locks.spin_lock(t, vm.mmu_lock)
    t.point = ((vm, gfn),), f"zaps gfn {gfn:#x}, whose page is swapped out"
    yield 200
    tables.entries[1, gfn] = bits.layout.initial
    pfn = vm.pfns.pop(gfn)
    if same:
        vm.pfns[other] = pfn
    vm.guest_maps[gfn] = other
    value = bits.leaf(vm.pfn_of(other), writable=False)
    t.point = ((vm, gfn),), f"maps gfn {other:#x} there"
    yield 200
    tables.entries[1, gfn] = value
    yield faults.set_spte(t, vm, tables, other, value, at=gfn)
    yield from locks.spin_unlock(t, vm.mmu_lock)


def scene(stage: Scene) -> None:
    """A vCPU writes to a page through the fast path, while another one maps another page in its place."""
    stage.vm.slots[1].flags = LOG_DIRTY
    stage.mapped(GFN, writable=False)
    v = stage.vcpu()
    careless = "" if stage.near else "indirect"
    stage.task("vCPU", lambda t: _write(t, v, careless))
    stage.task("other vCPU", lambda t: reused(t, stage.vm, GFN, GFN + 1, same=True))
    stage.broken = lambda: stage.vm.wrongly_dirty


def _write(t: Task, v: Vcpu, careless: str) -> Work:
    yield from faults.page_fault(t, v, GFN, write=True, careless=careless)


SCENARIO = Scenario(
    "race-gfn-pfn-aba",
    "the fast page fault's cmpxchg succeeds on an SPTE that maps another gfn by now",
    "2. Exception, 1) The mapping from gfn to pfn: for indirect sp the mapping can change, the fast path is not for it",
    plant,
    Mix(log="manual", write=16, read=4, main=(("tsc", 1), ("log", 3)), ksm=False),
    near="the other page has another frame: the cmpxchg fails",
    kernels=RECENT,
    mmu="shadow",
    vcpus=2,
    explore=scene,
)
