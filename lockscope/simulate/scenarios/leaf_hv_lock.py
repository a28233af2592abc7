"""Another lock is taken inside the leaf lock kvm->arch.hyperv.hv_lock."""

from __future__ import annotations

from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import nest
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """Nothing of KVM's is taken inside it."""
    nest(
        world,
        "kvm_arch_vm_ioctl",
        "hv_lock",
        "apic_map_lock",
        "kvm->arch.apic_map_lock inside kvm->arch.hyperv.hv_lock",
        ("LS103", ()),
    )


SCENARIO = Scenario(
    "leaf-hv-lock",
    "kvm->arch.apic_map_lock is taken inside the leaf lock kvm->arch.hyperv.hv_lock",
    "1. Acquisition Orders: everything else is a leaf",
    plant,
    Mix(),
    near="the two are taken one after the other",
)
