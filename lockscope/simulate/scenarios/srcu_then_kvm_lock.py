"""kvm->lock is taken inside a kvm->srcu read section."""

from __future__ import annotations

from lockscope.simulate.engine import locks, srcu
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import ioctl, planted, reader_while_free
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """An ioctl of the VM reads memslots and then wants kvm->lock."""

    def body(t: Task, vm: Vm) -> Work:
        index = yield from reader_while_free(t, vm, vm.lock)
        if world.near:
            yield from srcu.read_unlock(t, vm.srcu, index)
            yield from world.host.locked(t, vm.lock)
            return
        world.truth.also["LS101"] = "kvm->lock is outside slots_lock, which is held around synchronize_srcu()"
        pair = (vm.locks["srcu"].cls.name, vm.lock.cls.name)
        with planted(world, t, "kvm->lock inside kvm->srcu", ("LS204", pair)):
            yield from locks.mutex_lock(t, vm.lock)
        yield from locks.mutex_unlock(t, vm.lock)
        yield from srcu.read_unlock(t, vm.srcu, index)

    ioctl(world, "kvm_vm_ioctl_set_msr_filter", body)


SCENARIO = Scenario(
    "srcu-then-kvm-lock",
    "kvm->lock is taken inside a kvm->srcu read section",
    "6.2 and later: synchronize_srcu(&kvm->srcu) is called inside critical sections for kvm->lock",
    plant,
    Mix(),
    near="the section is left before the lock is taken",
    kernels=("6.12", "7.3"),
)
