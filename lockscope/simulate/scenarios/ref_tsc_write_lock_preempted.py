"""The holder of tsc_write_lock is preempted."""

from __future__ import annotations

from lockscope.simulate.engine import locks
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import ioctl, planted, preempted
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """The update gives the CPU away, as if the lock were none that spins."""

    def body(t: Task, vm: Vm) -> Work:
        lock = vm.locks["tsc_write_lock"]
        if world.near:
            yield from world.host.locked(t, lock)
            yield from preempted(world, t)
            return
        yield from locks.spin_lock(t, lock)
        with planted(world, t, "tsc_write_lock held by a task that is switched out", ("LS110", ())):
            yield from preempted(world, t)
        yield from locks.spin_unlock(t, lock)

    ioctl(world, "kvm_synchronize_tsc", body)


SCENARIO = Scenario(
    "ref-tsc-write-lock-preempted",
    "the holder of the raw tsc_write_lock is preempted",
    "3. Reference: kvm_arch::tsc_write_lock is raw because updating the tsc offsets must not be preempted",
    plant,
    Mix(),
    near="the task is preempted right after it released the lock",
)
