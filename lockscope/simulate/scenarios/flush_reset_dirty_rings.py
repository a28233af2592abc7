"""KVM_RESET_DIRTY_RINGS write-protects and forgets the flush."""

from __future__ import annotations

from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.explore import GFN, Scene
from lockscope.simulate.kvm import dirty
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import planted, pushed
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """One of several goes wrong."""

    def plan(t: Task, vm: Vm) -> Work:
        yield from pushed(world, t, vm)
        if world.near:
            yield from dirty.reset_dirty_rings(t, vm)
            return
        with planted(world, t, "RESET_DIRTY_RINGS without a flush", ("LS301", ())):
            yield from dirty.reset_dirty_rings(t, vm, flush=False)

    world.plans.append(plan)


def scene(stage: Scene) -> None:
    """A vCPU writes the same page three times while user space resets its ring."""
    v = stage.writer(3)
    stage.vm.rings, v.ring = True, [(1, GFN)]
    stage.task("user space", lambda t: dirty.reset_dirty_rings(t, stage.vm, flush=stage.near))


SCENARIO = Scenario(
    "flush-reset-dirty-rings",
    "KVM_RESET_DIRTY_RINGS write-protects, and no flush follows",
    "2. Exception, 3) flush tlbs due to spte updated: from writable to read-only, all TLBs are flushed",
    plant,
    Mix(log="ring", write=16, read=4, main=(("tsc", 1), ("log", 3)), ksm=False),
    near="the flush comes after slots_lock is released: this ioctl's window is the ioctl",
    kernels=("6.12", "7.3"),
    explore=scene,
)
