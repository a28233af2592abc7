"""A lock is taken inside a kvm->srcu read section, and whoever holds it may wait for such sections to end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from lockscope.simulate.engine import locks, srcu
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import RECENT, ioctl, lock_of, planted, reader_while_free
from lockscope.simulate.world import Mix, World


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A lock (see ``lock_of``), as the document calls it, and who wants it. ``also``: why LS101 may be reported too."""

    name: str
    lock: str
    shown: str
    function: str
    also: str = ""


_WANTED = (
    _Wanted(
        "kvm-lock",
        "lock",
        "kvm->lock",
        "kvm_vm_ioctl_set_msr_filter",
        also="kvm->lock is outside slots_lock, which is held around synchronize_srcu()",
    ),
    _Wanted("vcpu-mutex", "mutex", "vcpu->mutex", "kvm_arch_vm_ioctl"),
)


def _plant(wanted: _Wanted, world: World) -> None:
    """An ioctl of the VM reads memslots and then wants the lock."""

    def body(t: Task, vm: Vm) -> Work:
        lock = lock_of(world, vm, wanted.lock)
        index = yield from reader_while_free(t, vm, lock)
        if world.near:
            yield from srcu.read_unlock(t, vm.srcu, index)
            yield from world.host.locked(t, lock)
            return
        if wanted.also:
            world.truth.also["LS101"] = wanted.also
        pair = (vm.locks["srcu"].cls.name, lock.cls.name)
        with planted(world, t, f"{wanted.shown} inside kvm->srcu", ("LS204", pair)):
            yield from locks.mutex_lock(t, lock)
        yield from locks.mutex_unlock(t, lock)
        yield from srcu.read_unlock(t, vm.srcu, index)

    ioctl(world, wanted.function, body)


SCENARIOS = tuple(
    Scenario(
        f"srcu-then-{wanted.name}",
        f"{wanted.shown} is taken inside a kvm->srcu read section",
        f"6.2 and later: synchronize_srcu(&kvm->srcu) is called inside critical sections for {wanted.shown}",
        partial(_plant, wanted),
        Mix(),
        near="the section is left before the lock is taken",
        kernels=RECENT,
    )
    for wanted in _WANTED
)
