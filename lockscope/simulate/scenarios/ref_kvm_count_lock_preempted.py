"""The holder of kvm_count_lock is preempted."""

from __future__ import annotations

from lockscope.simulate.engine import locks
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import ioctl, planted, preempted
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """Whoever switches virtualization gives the CPU away: the task could go on on another one."""

    def body(t: Task, vm: Vm) -> Work:
        del vm
        lock = world.host.globals["count_lock"]
        if world.near:
            yield from world.host.locked(t, lock)
            yield from preempted(world, t)
            return
        yield from locks.spin_lock(t, lock)
        with planted(world, t, "kvm_count_lock held by a task that is switched out", ("LS110", ())):
            yield from preempted(world, t)
        yield from locks.spin_unlock(t, lock)

    ioctl(world, "hardware_enable_all", body)


SCENARIO = Scenario(
    "ref-kvm-count-lock-preempted",
    "the holder of the raw kvm_count_lock is preempted",
    "3. Reference: kvm_count_lock is raw because hardware enabling must be atomic with regard to migration",
    plant,
    Mix(),
    near="the task is preempted right after it released the lock",
    kernels=("4.14",),
)
