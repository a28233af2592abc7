"""kvm->slots_lock is taken while kvm->slots_arch_lock is held."""

from __future__ import annotations

from lockscope.simulate.explore import Scene
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import crossed, nest
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """Every change of a memslot takes them the right way round: there is a cycle too."""
    why = "kvm->slots_lock inside kvm->slots_arch_lock"
    nest(world, "kvm_set_memslot", "slots_arch_lock", "slots_lock", why, ("LS102", ()), ("LS101", ()))


def scene(stage: Scene) -> None:
    """One task takes them the wrong way round, another one the right way."""
    crossed(stage, "slots_arch_lock", "slots_lock")


SCENARIO = Scenario(
    "order-slots-arch-lock-then-slots-lock",
    "kvm->slots_lock is taken inside kvm->slots_arch_lock",
    "1. Acquisition Orders (5.14 and later): slots_arch_lock is for what is inside slots_lock or inside kvm->srcu",
    plant,
    Mix(),
    near="the two are taken one after the other",
    kernels=("6.12", "7.3"),
    explore=scene,
)
