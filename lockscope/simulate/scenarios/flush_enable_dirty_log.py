"""Switching dirty logging on write-protects and forgets the flush."""

from __future__ import annotations

from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm import memslots
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import planted, writable
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """The slot's memory is writable by then; nothing is flushed."""

    def plan(t: Task, vm: Vm) -> Work:
        yield from memslots.log_dirty(t, vm, vm.slots[1], on=False)
        yield from world.sleep(t, 1_500_000)
        yield from writable(world, t, vm)
        if world.near:
            yield from memslots.log_dirty(t, vm, vm.slots[1], on=True)
            return
        with planted(world, t, "dirty logging switched on without a flush", ("LS301", ())):
            yield from memslots.log_dirty(t, vm, vm.slots[1], on=True, flush=False)

    world.plans.append(plan)


SCENARIO = Scenario(
    "flush-enable-dirty-log",
    "dirty logging is switched on, and no flush follows",
    "2. Exception, 3) flush tlbs due to spte updated: from writable to read-only, all TLBs are flushed",
    plant,
    Mix(log="auto", write=16, read=4, main=(("tsc", 1), ("log", 3)), ksm=False),
    near="the flush comes after mmu_lock is released, as KVM has it",
)
