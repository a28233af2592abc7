"""Another lock is taken inside the leaf lock kvm->ring_lock."""

from __future__ import annotations

from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import nest
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """Nothing of KVM's is taken inside it."""
    nest(
        world,
        "kvm_arch_vm_ioctl",
        "ring_lock",
        "async_pf_lock",
        "vcpu->async_pf.lock inside kvm->ring_lock",
        ("LS103", ()),
    )


SCENARIO = Scenario(
    "leaf-ring-lock",
    "vcpu->async_pf.lock is taken inside the leaf lock kvm->ring_lock",
    "1. Acquisition Orders: everything else is a leaf",
    plant,
    Mix(),
    near="the two are taken one after the other",
)
