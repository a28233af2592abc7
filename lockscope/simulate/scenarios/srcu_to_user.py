"""An ioctl returns to user space inside a kvm->srcu section."""

from __future__ import annotations

from contextlib import ExitStack

from lockscope.simulate.engine import srcu
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm.host import IOCTL
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import planted
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """An error path forgets to leave; the next ioctl of the same task does it."""

    def body(t: Task, vm: Vm) -> Work:
        index = yield from srcu.read_lock(t, vm.srcu)
        yield 500
        if world.near:
            yield from srcu.read_unlock(t, vm.srcu, index)
            return
        kept.append(index)

    def plan(t: Task, vm: Vm) -> Work:
        host = world.host
        yield from host.sys_enter(t, IOCTL, 4, 0xAE99)
        host.at(t, "kvm_arch_vm_ioctl")
        with ExitStack() as stack:
            if not world.near:
                stack.enter_context(planted(world, t, "a kvm->srcu section open on return", ("LS206", ())))
            yield from body(t, vm)
            yield from host.sys_exit(t, IOCTL, -22)
        if kept:
            yield from host.sys_enter(t, IOCTL, 4, 0xAE99)
            yield from srcu.read_unlock(t, vm.srcu, kept.pop())
            yield from host.sys_exit(t, IOCTL)

    kept: list[int] = []
    world.plans.append(plan)


SCENARIO = Scenario(
    "srcu-to-user",
    "an ioctl returns to user space with a kvm->srcu section open",
    "3. Reference, kvm->srcu: the read lock is held while memslots are accessed, and given back",
    plant,
    Mix(),
    near="the section is left before the ioctl returns",
)
