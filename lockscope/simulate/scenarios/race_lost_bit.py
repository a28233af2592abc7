"""The second race of the document: a change of an SPTE that is not atomic loses what the fast page fault set."""

from __future__ import annotations

from lockscope.simulate.engine import locks, srcu
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.explore import GFN, Scene
from lockscope.simulate.kvm import faults, notifiers, requests, vcpu
from lockscope.simulate.kvm.vm import LOG_DIRTY, Vcpu, Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import RECENT, planted, read_only
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """A task reads an SPTE, a vCPU makes it writable by the fast path, the task zaps what it has read."""
    state = {"step": 0, "gfn": 0}

    def fault(t: Task, v: Vcpu) -> Work:
        (state["gfn"],) = yield from read_only(world, t, v)
        state["step"] = 1
        while state["step"] < 2:
            yield 300
        yield from faults.page_fault(t, v, state["gfn"], write=True)
        state["step"] = 3

    def between() -> Work:
        state["step"] = 2
        while state["step"] < 3:
            yield 300

    def plan(t: Task, vm: Vm) -> Work:
        world.inject(fault)
        while state["step"] < 1 or _shares_a_cpu(t, vm.vcpus[0]):
            yield from world.sleep(t, 100_000)
        index = yield from srcu.read_lock(t, vm.srcu)
        yield from locks.spin_lock(t, vm.mmu_lock)
        if world.near:
            yield from between()  # the fast path does not ask for mmu_lock
            yield from notifiers.zap(t, vm, [state["gfn"]])
        else:
            with planted(world, t, "an SPTE changed by what it was before the fast path", ("LS306", ())):
                yield from notifiers.zap(t, vm, [state["gfn"]], between=between)
        yield from requests.flush_all(t, vm)
        yield from locks.spin_unlock(t, vm.mmu_lock)
        yield from srcu.read_unlock(t, vm.srcu, index)

    world.plans.append(plan)


def _shares_a_cpu(t: Task, v: Vcpu) -> bool:
    """Who holds a spinning lock can't wait for a task of its own CPU."""
    return v.task is None or v.task.cpu is t.cpu


def scene(stage: Scene) -> None:
    """A vCPU writes to a page that is mapped for reading, while another task zaps it."""
    stage.vm.slots[1].flags = LOG_DIRTY
    stage.mapped(GFN, writable=False)
    v = stage.vcpu()
    stage.task("vCPU", lambda t: vcpu.run(t, v, iter([("w", GFN)])))
    stage.task("kswapd", lambda t: _zap(t, stage))
    stage.broken = lambda: f"W and D of gfn {GFN:#x} are lost: the host takes its page for clean" * bool(stage.vm.lost)


def _nothing() -> Work:
    """Between reading and replacing: that other tasks may go on there is enough."""
    yield from ()


def _zap(t: Task, stage: Scene) -> Work:
    yield from locks.spin_lock(t, stage.vm.mmu_lock)
    yield from notifiers.zap(t, stage.vm, [GFN], between=None if stage.near else _nothing)
    yield from requests.flush_all(t, stage.vm)
    yield from locks.spin_unlock(t, stage.vm.mmu_lock)


SCENARIO = Scenario(
    "race-lost-bit",
    "an SPTE is read, made writable by the fast page fault, and then replaced by what was read",
    "2. Exception, 2) Dirty bit tracking: the spte can be volatile, its update must be atomic",
    plant,
    Mix(log="manual", write=16, read=4, main=(("tsc", 1), ("log", 3)), ksm=False),
    near="the SPTE is exchanged atomically: what the fast path had set is seen",
    kernels=RECENT,
    mmu="tdp",
    explore=scene,
)
