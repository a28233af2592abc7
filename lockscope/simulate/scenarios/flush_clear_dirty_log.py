"""KVM_CLEAR_DIRTY_LOG write-protects and forgets the flush."""

from __future__ import annotations

from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.explore import Scene
from lockscope.simulate.kvm import dirty
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import planted, written
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """One CLEAR of several goes wrong."""

    def plan(t: Task, vm: Vm) -> Work:
        yield from written(world, t, vm)
        if world.near:
            yield from dirty.clear_dirty_log(t, vm, vm.slots[1])
            return
        with planted(world, t, "CLEAR_DIRTY_LOG without a flush", ("LS301", ())):
            yield from dirty.clear_dirty_log(t, vm, vm.slots[1], flush=False)

    world.plans.append(plan)


def scene(stage: Scene) -> None:
    """A vCPU writes the same page three times while user space clears the log."""
    stage.writer(3)
    stage.task("user space", lambda t: dirty.clear_dirty_log(t, stage.vm, stage.vm.slots[1], flush=stage.near))


SCENARIO = Scenario(
    "flush-clear-dirty-log",
    "KVM_CLEAR_DIRTY_LOG write-protects, and no flush follows",
    "2. Exception, 3) flush tlbs due to spte updated: from writable to read-only, all TLBs are flushed",
    plant,
    Mix(log="manual", write=16, read=4, main=(("tsc", 1), ("log", 3)), ksm=False),
    near="the flush comes after mmu_lock is released, as KVM has it: the window is slots_lock",
    kernels=("6.12", "7.3"),
    explore=scene,
)
