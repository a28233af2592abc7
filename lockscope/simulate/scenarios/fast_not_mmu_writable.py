"""The fast page fault makes an SPTE writable that is not MMU-writable."""

from __future__ import annotations

from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm import dirty
from lockscope.simulate.kvm.vm import Vcpu
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import RECENT, fault, in_run, planted, read_only
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """A tracked page is written to; the fast path forgets to look at MMU-writable."""

    def body(t: Task, v: Vcpu) -> Work:
        vm = v.vm
        gfns = yield from read_only(world, t, v)
        yield from world.host.srcu_section(t, vm.srcu, dirty.write_track(t, vm, gfns))
        careless = "" if world.near else "mmu-writable"
        if world.near:
            yield from fault(t, v, gfns[0], careless)
            return
        with planted(world, t, "the fast path on an SPTE that is not MMU-writable", ("LS304", ())):
            yield from fault(t, v, gfns[0], careless)

    in_run(world, body)


SCENARIO = Scenario(
    "fast-not-mmu-writable",
    "the fast page fault makes a page writable that is write-tracked",
    "2. Exception, fast page fault: W is set only if SPTE_HOST_WRITEABLE and SPTE_MMU_WRITEABLE are",
    plant,
    Mix(log="manual", write=16, read=4, main=(("tsc", 1), ("log", 3)), ksm=False),
    near="the fast path sees that the bit is missing, and leaves it to the slow one",
    kernels=RECENT,
)
