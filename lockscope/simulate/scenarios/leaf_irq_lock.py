"""Another lock is taken inside the leaf lock kvm->irq_lock."""

from __future__ import annotations

from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import nest
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """irqfds.lock alone is taken inside it."""
    nest(
        world,
        "kvm_arch_vm_ioctl",
        "irq_lock",
        "apic_map_lock",
        "kvm->arch.apic_map_lock inside kvm->irq_lock",
        ("LS103", ()),
    )


SCENARIO = Scenario(
    "leaf-irq-lock",
    "kvm->arch.apic_map_lock is taken inside the leaf lock kvm->irq_lock",
    "1. Acquisition Orders: everything else is a leaf",
    plant,
    Mix(),
    near="the two are taken one after the other",
)
