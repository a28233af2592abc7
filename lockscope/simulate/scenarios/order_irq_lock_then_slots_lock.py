"""kvm->slots_lock is taken while kvm->irq_lock is held."""

from __future__ import annotations

from lockscope.simulate.explore import Scene
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import crossed, nest
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """Nobody takes them the right way round here: only the document says that it is wrong."""
    why = "kvm->slots_lock inside kvm->irq_lock"
    nest(world, "kvm_set_irq_routing", "irq_lock", "slots_lock", why, ("LS102", ()))


def scene(stage: Scene) -> None:
    """One task takes them the wrong way round, another one the right way."""
    crossed(stage, "irq_lock", "slots_lock")


SCENARIO = Scenario(
    "order-irq-lock-then-slots-lock",
    "kvm->slots_lock is taken inside kvm->irq_lock",
    "1. Acquisition Orders: kvm->slots_lock is taken outside kvm->irq_lock",
    plant,
    Mix(),
    near="the two are taken one after the other",
    explore=scene,
)
