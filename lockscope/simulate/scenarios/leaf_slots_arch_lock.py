"""Another lock is taken inside the leaf lock kvm->slots_arch_lock."""

from __future__ import annotations

from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import nest
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """Nothing of KVM's is taken inside it."""
    nest(
        world,
        "kvm_arch_vm_ioctl",
        "slots_arch_lock",
        "irq_lock",
        "kvm->irq_lock inside kvm->slots_arch_lock",
        ("LS103", ()),
    )


SCENARIO = Scenario(
    "leaf-slots-arch-lock",
    "kvm->irq_lock is taken inside the leaf lock kvm->slots_arch_lock",
    "1. Acquisition Orders: everything else is a leaf",
    plant,
    Mix(),
    near="the two are taken one after the other",
    kernels=("6.12", "7.3"),
)
