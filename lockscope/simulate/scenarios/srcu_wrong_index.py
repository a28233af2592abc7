"""A kvm->srcu section is left with another index than it was entered with."""

from __future__ import annotations

from lockscope.simulate.engine import srcu
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import ioctl, planted
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """srcu_idx was overwritten."""

    def body(t: Task, vm: Vm) -> Work:
        index = yield from srcu.read_lock(t, vm.srcu)
        if world.near:
            inner = yield from srcu.read_lock(t, vm.srcu)
            yield from srcu.read_unlock(t, vm.srcu, inner)
            yield from srcu.read_unlock(t, vm.srcu, index)
            return
        with planted(world, t, "srcu_read_unlock() with the wrong index", ("LS202", ())):
            yield from srcu.read_unlock(t, vm.srcu, index ^ 1)
        vm.srcu.readers[index] -= 1  # a kernel's next grace period would hang
        vm.srcu.readers[index ^ 1] += 1

    ioctl(world, "kvm_arch_vm_ioctl", body)


SCENARIO = Scenario(
    "srcu-wrong-index",
    "a kvm->srcu section is left with the wrong index",
    "3. Reference, kvm->srcu: the index that srcu_read_lock() returned is the one to give back",
    plant,
    Mix(),
    near="a section inside a section, each left with its own index",
)
