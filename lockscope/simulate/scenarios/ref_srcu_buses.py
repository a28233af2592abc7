"""The I/O buses are used outside of kvm->srcu."""

from __future__ import annotations

from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm import vcpu
from lockscope.simulate.kvm.vm import Vcpu
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import in_run, planted
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """A vCPU hands a write to the bus after it gave its section up."""

    def access(t: Task, v: Vcpu) -> Work:
        host = world.host
        yield host.write(t, "kvm_io_bus_write", host.symbols["kvm_io_bus_write"] + 4, v.addr, 0, 0xFEC00000)

    def body(t: Task, v: Vcpu) -> Work:
        if world.near:
            yield from access(t, v)
            return
        with planted(world, t, "kvm_io_bus_write() outside of kvm->srcu", ("LS201", ())):
            yield from vcpu.outside_srcu(t, v, access(t, v))

    in_run(world, body)


SCENARIO = Scenario(
    "ref-srcu-buses",
    "the I/O buses are used outside of a kvm->srcu read section",
    "3. Reference: kvm->srcu: must be held while accessing kvm->buses",
    plant,
    Mix(),
    near="the same access inside the section",
)
