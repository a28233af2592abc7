"""A vCPU enters the guest inside its kvm->srcu section."""

from __future__ import annotations

from contextlib import ExitStack

from lockscope.simulate.engine import srcu
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm.vm import Vcpu
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import in_run
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """A handler entered the section a second time and forgot to leave it; the next exit makes up for it."""

    def body(t: Task, v: Vcpu) -> Work:
        vm = v.vm
        index = yield from srcu.read_lock(t, vm.srcu)
        if world.near:
            yield from srcu.read_unlock(t, vm.srcu, index)
            return
        world.truth.also["LS206"] = "if user space is asked for something before the section is left"
        stack.enter_context(world.truth.planted(t, "LS203", "kvm->srcu held across guest entry"))
        kept.append(index)
        world.inject(after)

    def after(t: Task, v: Vcpu) -> Work:
        yield from srcu.read_unlock(t, v.vm.srcu, kept.pop())
        stack.close()

    stack = ExitStack()
    kept: list[int] = []
    in_run(world, body)


SCENARIO = Scenario(
    "srcu-across-entry",
    "a vCPU enters the guest with its kvm->srcu section open",
    "3. Reference, kvm->srcu: the section is for the time of the access: in the guest it could last for ever",
    plant,
    Mix(),
    near="a notifier's section inside the vCPU's, left before the entry",
)
