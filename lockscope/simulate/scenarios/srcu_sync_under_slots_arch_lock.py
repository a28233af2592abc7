"""synchronize_srcu() is called with kvm->slots_arch_lock held."""

from __future__ import annotations

from lockscope.simulate.engine import locks, srcu
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import RECENT, ioctl, planted
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """A memslot is exchanged."""

    def body(t: Task, vm: Vm) -> Work:
        arch = vm.locks["slots_arch_lock"]
        yield from locks.mutex_lock(t, vm.slots_lock)
        yield from locks.mutex_lock(t, arch)
        if world.near:
            yield from locks.mutex_unlock(t, arch)
            yield from srcu.synchronize(t, vm.srcu)
        else:
            with planted(world, t, "synchronize_srcu() inside slots_arch_lock", ("LS204", ())):
                yield from srcu.synchronize(t, vm.srcu)
            yield from locks.mutex_unlock(t, arch)
        yield from locks.mutex_unlock(t, vm.slots_lock)

    ioctl(world, "kvm_set_memslot", body)


SCENARIO = Scenario(
    "srcu-sync-under-slots-arch-lock",
    "a grace period of kvm->srcu is waited for inside kvm->slots_arch_lock",
    "5.14 and later: slots_arch_lock is released before synchronize_srcu, for it may be taken inside a read section",
    plant,
    Mix(),
    near="slots_arch_lock is released first",
    kernels=RECENT,
)
