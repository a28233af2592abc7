"""An MMU notifier zaps and forgets the flush."""

from __future__ import annotations

from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.explore import GFN, Scene
from lockscope.simulate.kvm import notifiers
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import mapped, planted
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """Memory management takes pages away and gives them to somebody else; a vCPU still writes to them."""

    def plan(t: Task, vm: Vm) -> Work:
        gfns = yield from mapped(world, t, vm)
        if world.near:
            yield from notifiers.unmap(t, vm, gfns)
            return
        with planted(world, t, "a notifier that does not flush", ("LS302", ())):
            yield from notifiers.unmap(t, vm, gfns, flush=False)

    world.plans.append(plan)


def scene(stage: Scene) -> None:
    """A vCPU writes the same page twice while its memory is taken away."""
    stage.writer(2)
    stage.task("kswapd", lambda t: notifiers.unmap(t, stage.vm, [GFN], flush=stage.near))


SCENARIO = Scenario(
    "flush-notifier-unmap",
    "an MMU notifier takes pages away, and no flush follows",
    "2. Exception, 3) flush tlbs due to spte updated: what the page tables no longer say, all TLBs are flushed",
    plant,
    Mix(log="manual", write=16, read=4, main=(("tsc", 1), ("log", 3)), ksm=False),
    near="the flush comes under mmu_lock, in the same section",
    kernels=("6.12", "7.3"),
    explore=scene,
)
