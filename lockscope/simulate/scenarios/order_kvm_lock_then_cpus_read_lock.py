"""CPU hotplug is held off inside kvm_lock."""

from __future__ import annotations

from lockscope.simulate.engine import locks
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import ioctl, planted
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """A walk over vm_list does something complex."""
    host = world.host

    def body(t: Task, vm: Vm) -> Work:
        del vm
        outer, inner = host.globals["kvm_lock"], host.globals["hotplug"]
        pair = (outer.cls.name, inner.cls.name)
        if world.near:  # the right way round
            yield from locks.down_read(t, inner)
            yield from host.locked(t, outer)
            yield from locks.up_read(t, inner)
            return
        yield from locks.mutex_lock(t, outer)
        with planted(world, t, "cpus_read_lock() inside kvm_lock", ("LS102", pair)):
            yield from locks.down_read(t, inner)
            yield from locks.up_read(t, inner)
        yield from locks.mutex_unlock(t, outer)

    ioctl(world, "kvm_dev_ioctl", body)


SCENARIO = Scenario(
    "order-kvm-lock-then-cpus-read-lock",
    "cpus_read_lock() is taken inside kvm_lock",
    "1. Acquisition Orders (6.3 and later): cpus_read_lock() is taken outside kvm_lock",
    plant,
    Mix(),
    near="cpus_read_lock() is taken first",
    kernels=("6.12", "7.3"),
)
