"""kvm->lock is taken while kvm->irq_lock is held."""

from __future__ import annotations

from lockscope.simulate.explore import Scene
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import crossed, nest
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """Setting routes at creation takes them the right way round: there is a cycle too."""
    why = "kvm->lock inside kvm->irq_lock"
    nest(world, "kvm_set_irq_routing", "irq_lock", "lock", why, ("LS102", ()), ("LS101", ()))


def scene(stage: Scene) -> None:
    """One task takes them the wrong way round, another one the right way."""
    crossed(stage, "irq_lock", "lock")


SCENARIO = Scenario(
    "order-irq-lock-then-kvm-lock",
    "kvm->lock is taken inside kvm->irq_lock",
    "1. Acquisition Orders: kvm->lock is taken outside kvm->slots_lock and kvm->irq_lock",
    plant,
    Mix(),
    near="the two are taken one after the other",
    explore=scene,
)
