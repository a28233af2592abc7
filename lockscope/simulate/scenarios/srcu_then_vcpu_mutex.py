"""A vCPU's mutex is taken inside a kvm->srcu read section."""

from __future__ import annotations

from lockscope.simulate.engine import locks, srcu
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import ioctl, planted, reader_while_free
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """An ioctl of the VM reads memslots and then wants a vCPU for itself."""

    def body(t: Task, vm: Vm) -> Work:
        lock = vm.vcpus[0].mutex
        index = yield from reader_while_free(t, vm, lock)
        if world.near:
            yield from srcu.read_unlock(t, vm.srcu, index)
            yield from world.host.locked(t, lock)
            return
        pair = (vm.locks["srcu"].cls.name, lock.cls.name)
        with planted(world, t, "vcpu->mutex inside kvm->srcu", ("LS204", pair)):
            yield from locks.mutex_lock(t, lock)
        yield from locks.mutex_unlock(t, lock)
        yield from srcu.read_unlock(t, vm.srcu, index)

    ioctl(world, "kvm_arch_vm_ioctl", body)


SCENARIO = Scenario(
    "srcu-then-vcpu-mutex",
    "vcpu->mutex is taken inside a kvm->srcu read section",
    "6.2 and later: synchronize_srcu(&kvm->srcu) is called inside critical sections for vcpu->mutex",
    plant,
    Mix(),
    near="the section is left before the lock is taken",
    kernels=("6.12", "7.3"),
)
