"""Another lock is taken inside the leaf lock svm->ir_list_lock."""

from __future__ import annotations

from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import nest
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """Nothing of KVM's is taken inside it."""
    waits = [("LS109", ())] if world.host.kernel.version >= (7, 2) else []  # a raw spinlock since (svm/avic.c)
    nest(
        world,
        "kvm_arch_vm_ioctl",
        "ir_list_lock",
        "ring_lock",
        "kvm->ring_lock inside svm->ir_list_lock",
        ("LS103", ()),
        *waits,
    )


SCENARIO = Scenario(
    "leaf-ir-list-lock",
    "kvm->ring_lock is taken inside the leaf lock svm->ir_list_lock",
    "1. Acquisition Orders: everything else is a leaf",
    plant,
    Mix(),
    near="the two are taken one after the other",
)
