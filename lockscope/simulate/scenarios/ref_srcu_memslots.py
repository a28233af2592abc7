"""Memslots are used outside of kvm->srcu."""

from __future__ import annotations

from lockscope.simulate.engine import locks
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import ioctl, planted
from lockscope.simulate.world import DATA, Mix, World


def plant(world: World) -> None:
    """An ioctl looks a gfn up."""

    def body(t: Task, vm: Vm) -> Work:
        host = world.host
        probe = host.symbols["gfn_to_memslot"] + 4
        if world.near:
            yield from locks.mutex_lock(t, vm.slots_lock)
            yield host.write(t, "gfn_to_memslot", probe, vm.kvm, DATA)
            yield from locks.mutex_unlock(t, vm.slots_lock)
            return
        yield 300
        with planted(world, t, "gfn_to_memslot() outside of kvm->srcu", ("LS201", ())):
            yield host.write(t, "gfn_to_memslot", probe, vm.kvm, DATA)

    ioctl(world, "kvm_zap_gfn_range", body)


SCENARIO = Scenario(
    "ref-srcu-memslots",
    "memslots are used outside of a kvm->srcu read section",
    "3. Reference: kvm->srcu: the srcu read lock must be held while accessing memslots",
    plant,
    Mix(),
    near="slots_lock is held instead, which the update side has",
)
