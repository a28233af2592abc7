"""kvm->slots_lock is taken inside a kvm->srcu read section."""

from __future__ import annotations

from lockscope.simulate.engine import locks, srcu
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.explore import Scene
from lockscope.simulate.kvm import vcpu
from lockscope.simulate.kvm.vm import Vcpu
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import in_run, planted, reader_while_free
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """A vCPU changes a memslot while it handles an exit."""

    def body(t: Task, v: Vcpu) -> Work:
        vm, host = v.vm, v.vm.host
        host.at(t, "kvm_inhibit_apic_access_page")
        if world.near:  # as the kernel does it; the caller's index is another one afterwards
            yield from vcpu.outside_srcu(t, v, host.locked(t, vm.slots_lock))
            return
        yield from srcu.read_unlock(t, vm.srcu, v.index)
        v.index = yield from reader_while_free(t, vm, vm.slots_lock)
        pair = (vm.locks["srcu"].cls.name, vm.slots_lock.cls.name)
        with planted(world, t, "kvm->slots_lock inside kvm->srcu", ("LS204", pair)):
            yield from locks.mutex_lock(t, vm.slots_lock)
        yield from locks.mutex_unlock(t, vm.slots_lock)

    in_run(world, body)


def scene(stage: Scene) -> None:
    """A reader wants slots_lock, whose holder waits for readers."""
    vm = stage.vm

    def reader(t: Task) -> Work:
        index = yield from srcu.read_lock(t, vm.srcu)
        if stage.near:
            yield from srcu.read_unlock(t, vm.srcu, index)
        yield from locks.mutex_lock(t, vm.slots_lock)
        yield from locks.mutex_unlock(t, vm.slots_lock)
        if not stage.near:
            yield from srcu.read_unlock(t, vm.srcu, index)

    def change(t: Task) -> Work:
        yield from locks.mutex_lock(t, vm.slots_lock)
        yield from srcu.synchronize(t, vm.srcu)
        yield from locks.mutex_unlock(t, vm.slots_lock)

    stage.task("vCPU", reader)
    stage.task("user space", change)


SCENARIO = Scenario(
    "srcu-then-slots-lock",
    "kvm->slots_lock is taken inside a kvm->srcu read section",
    "synchronize_srcu(&kvm->srcu) is called with kvm->slots_lock held (written down from 5.14 on)",
    plant,
    Mix(),
    near="the section is left before the lock is taken, and entered again",
    explore=scene,
)
