"""Memslots of a VM are used inside the section of another VM."""

from __future__ import annotations

from contextlib import ExitStack

from lockscope.simulate.engine import srcu
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm import lifecycle, memslots
from lockscope.simulate.kvm.host import IOCTL
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import planted
from lockscope.simulate.world import DATA, Mix, World


def plant(world: World) -> None:
    """A task works on two VMs; the second one is made for it."""

    def plan(t: Task, vm: Vm) -> Work:
        host = world.host
        other = Vm(host, 8, t.tgid)
        yield from lifecycle.create_vm(t, host, other)
        yield from memslots.create(t, other, 0, DATA, 16)
        yield from host.sys_enter(t, IOCTL, 4, 0xAE99)
        right, wrong = (other, vm) if world.near else (vm, other)
        index = yield from srcu.read_lock(t, right.srcu)
        probe = host.symbols["gfn_to_memslot"] + 4
        with ExitStack() as stack:
            if not world.near:
                stack.enter_context(planted(world, t, "memslots inside another VM's kvm->srcu", ("LS201", ())))
            yield host.write(t, "gfn_to_memslot", probe, (right if world.near else wrong).kvm, DATA)
        yield from srcu.read_unlock(t, right.srcu, index)
        yield from host.sys_exit(t, IOCTL)
        yield from lifecycle.destroy_vm(t, other)

    world.plans.append(plan)


SCENARIO = Scenario(
    "srcu-wrong-vm",
    "memslots are used inside the kvm->srcu of another VM",
    "3. Reference, kvm->srcu: kvm->srcu protects kvm->memslots: its own",
    plant,
    Mix(),
    near="the section is that of the VM whose memslots are used",
)
