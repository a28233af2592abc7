"""A kvm->irq_srcu section is left twice."""

from __future__ import annotations

from lockscope.simulate.engine import srcu
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import ioctl, planted
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """An error path leaves what the function had left before."""

    def body(t: Task, vm: Vm) -> Work:
        section = vm.irq_srcu
        index = yield from srcu.read_lock(t, section)
        yield 400
        yield from srcu.read_unlock(t, section, index)
        if world.near:
            again = yield from srcu.read_lock(t, section)
            yield from srcu.read_unlock(t, section, again)
            return
        name = section.map.cls.name
        with planted(world, t, "srcu_read_unlock() twice", ("LS203", (name,))):
            yield from srcu.read_unlock(t, section, index)
        section.readers[index] += 1  # in a kernel, grace periods would end too early from here on

    ioctl(world, "kvm_set_irq", body)


SCENARIO = Scenario(
    "srcu-left-twice",
    "a kvm->irq_srcu section is left twice",
    "3. Reference, kvm->srcu: readers are counted, each section is left once",
    plant,
    Mix(),
    near="it is entered again before it is left again",
)
