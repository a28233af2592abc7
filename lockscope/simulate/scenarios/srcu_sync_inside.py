"""synchronize_srcu() is called inside a read section of the same SRCU."""

from __future__ import annotations

from lockscope.simulate.engine import srcu
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import ioctl, planted
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """Somebody who reads the memslots exchanges them. The model gives up waiting, a kernel would not."""

    def body(t: Task, vm: Vm) -> Work:
        index = yield from srcu.read_lock(t, vm.srcu)
        if world.near:
            yield from srcu.read_unlock(t, vm.srcu, index)
            yield from srcu.synchronize(t, vm.srcu)
            return
        with planted(world, t, "synchronize_srcu() inside its own read section", ("LS205", ())):
            yield t.event(vm.srcu.events.expedited, vm.srcu.events.ip, vm.srcu.ssp)
            yield 2_000
        yield from srcu.read_unlock(t, vm.srcu, index)

    ioctl(world, "kvm_swap_active_memslots", body)


SCENARIO = Scenario(
    "srcu-sync-inside",
    "synchronize_srcu() is called inside a read section of the same SRCU",
    "3. Reference, kvm->srcu: a reader that waits for a grace period waits for itself",
    plant,
    Mix(),
    near="the section is left first",
)
