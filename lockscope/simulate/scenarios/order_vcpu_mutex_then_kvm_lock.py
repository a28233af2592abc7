"""kvm->lock is taken while a vCPU's mutex is held."""

from __future__ import annotations

from lockscope.simulate.explore import Scene
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import crossed, nest
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """A vCPU's ioctl wants something of the whole VM."""
    # From 6.3 on, creating a vCPU takes them the right way round, so that there is a cycle too.
    cycle = [("LS101", ())] if world.host.kernel.version >= (6, 3) else []
    nest(world, "kvm_xen_vcpu_set_attr", "mutex", "lock", "kvm->lock inside vcpu->mutex", ("LS102", ()), *cycle)


def scene(stage: Scene) -> None:
    """One task takes them the wrong way round, another one the right way."""
    crossed(stage, "mutex", "lock")


SCENARIO = Scenario(
    "order-vcpu-mutex-then-kvm-lock",
    "kvm->lock is taken inside vcpu->mutex",
    "1. Acquisition Orders: kvm->lock is taken outside vcpu->mutex",
    plant,
    Mix(),
    near="the two are taken one after the other",
    explore=scene,
)
