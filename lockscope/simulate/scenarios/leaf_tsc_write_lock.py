"""Another lock is taken inside the leaf lock kvm->arch.tsc_write_lock."""

from __future__ import annotations

from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import nest
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """Nothing of KVM's is taken inside it; and a spinlock_t waits in a way that a raw lock's holder may not."""
    waits = [("LS109", ())] if world.host.kernel.version >= (6, 4) else []  # wait types are recorded from 6.4 on
    nest(
        world,
        "kvm_arch_vm_ioctl",
        "tsc_write_lock",
        "ring_lock",
        "kvm->ring_lock inside kvm->arch.tsc_write_lock",
        ("LS103", ()),
        *waits,
        irqs_off=True,
    )


SCENARIO = Scenario(
    "leaf-tsc-write-lock",
    "kvm->ring_lock is taken inside the leaf lock kvm->arch.tsc_write_lock",
    "1. Acquisition Orders: everything else is a leaf",
    plant,
    Mix(),
    near="the two are taken one after the other",
)
