"""A page is write-protected for tracking and the flush is forgotten."""

from __future__ import annotations

from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm import dirty
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import ioctl, mapped, planted
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """W and MMU-writable go; that flush has to come under mmu_lock."""

    def body(t: Task, vm: Vm) -> Work:
        gfns = yield from mapped(world, t, vm, 2)
        if world.near:
            yield from dirty.write_track(t, vm, gfns)
            return
        with planted(world, t, "write tracking without a flush", ("LS301", ())):
            yield from dirty.write_track(t, vm, gfns, flush=False)

    ioctl(world, "kvm_write_track_add_gfn", body)


SCENARIO = Scenario(
    "flush-write-track",
    "a guest page table is write-protected, and no flush follows",
    "2. Exception, 3) flush tlbs due to spte updated: from writable to read-only, all TLBs are flushed",
    plant,
    Mix(log="manual", write=16, read=4, main=(("tsc", 1), ("log", 3)), ksm=False),
    near="the flush comes before mmu_lock is released",
    kernels=("6.12", "7.3"),
)
