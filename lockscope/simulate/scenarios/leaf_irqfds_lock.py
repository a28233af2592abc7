"""Another lock is taken inside the leaf lock kvm->irqfds.lock."""

from __future__ import annotations

from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import nest
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """Nothing of KVM's is taken inside it."""
    nest(
        world,
        "kvm_arch_vm_ioctl",
        "irqfds_lock",
        "ring_lock",
        "kvm->ring_lock inside kvm->irqfds.lock",
        ("LS103", ()),
        irqs_off=True,
    )


SCENARIO = Scenario(
    "leaf-irqfds-lock",
    "kvm->ring_lock is taken inside the leaf lock kvm->irqfds.lock",
    "1. Acquisition Orders: everything else is a leaf",
    plant,
    Mix(),
    near="the two are taken one after the other",
)
