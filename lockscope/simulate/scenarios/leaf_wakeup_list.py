"""Another lock is taken inside the leaf lock the wake-up list's lock."""

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
        "wakeup",
        "ring_lock",
        "kvm->ring_lock inside the wake-up list's lock",
        ("LS103", ()),
        *waits,
        irqs_off=True,
    )


SCENARIO = Scenario(
    "leaf-wakeup-list",
    "kvm->ring_lock is taken inside the leaf lock the wake-up list's lock",
    "1. Acquisition Orders: everything else is a leaf",
    plant,
    Mix(),
    near="the two are taken one after the other",
)
