"""A mutex is taken while mmu_lock is held."""

from __future__ import annotations

from lockscope.simulate.engine import locks
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import ioctl, planted
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """irq_lock is taken under mmu_lock, which spins."""

    def body(t: Task, vm: Vm) -> Work:
        if world.near:
            yield from locks.mutex_lock(t, vm.irq_lock)
            yield from locks.mutex_unlock(t, vm.irq_lock)
            yield from world.host.locked(t, vm.mmu_lock)
            return
        pair = (vm.mmu_lock.cls.name, vm.irq_lock.cls.name)
        yield from locks.spin_lock(t, vm.mmu_lock)
        with planted(world, t, "a mutex inside mmu_lock", ("LS109", pair), ("LS103", pair)):
            yield from locks.mutex_lock(t, vm.irq_lock)
            yield from locks.mutex_unlock(t, vm.irq_lock)
        yield from locks.spin_unlock(t, vm.mmu_lock)

    ioctl(world, "kvm_mmu_notifier_invalidate_range_start", body)


SCENARIO = Scenario(
    "ref-mmu-lock-sleep",
    "a sleeping lock is taken inside mmu_lock",
    "3. Reference: kvm->mmu_lock is a spinlock since it is used in mmu notifier",
    plant,
    Mix(),
    near="the mutex is taken before mmu_lock",
)
