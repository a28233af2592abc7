"""An SPTE is changed and mmu_lock is not held."""

from __future__ import annotations

from lockscope.simulate.engine import locks
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm import dirty, requests
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import ioctl, logged_writable, planted, written
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """One CLEAR_DIRTY_LOG forgets the lock."""

    def body(t: Task, vm: Vm) -> Work:
        yield from written(world, t, vm)
        gfns = sorted(vm.slots[1].dirty)[:1]
        yield from locks.mutex_lock(t, vm.slots_lock)
        if world.near:
            yield from locks.spin_lock(t, vm.mmu_lock)
            yield from dirty.write_protect(t, vm, gfns)
            yield from locks.spin_unlock(t, vm.mmu_lock)
        else:
            gfns = logged_writable(vm)[:1]
            with planted(world, t, "an SPTE changed without mmu_lock", ("LS303", ())):
                yield from dirty.write_protect(t, vm, gfns)
        yield from requests.flush_slot(t, vm, vm.slots[1])
        yield from locks.mutex_unlock(t, vm.slots_lock)

    ioctl(world, "kvm_clear_dirty_log_protect", body, dirty.CLEAR_DIRTY_LOG)


SCENARIO = Scenario(
    "ref-mmu-lock-missing",
    "an SPTE is changed without mmu_lock",
    "3. Reference: kvm->mmu_lock protects the shadow page and shadow tlb entry",
    plant,
    Mix(log="manual", write=16, read=4, main=(("tsc", 1), ("log", 3)), ksm=False),
    near="the same change, with mmu_lock held",
)
