"""Another lock is taken inside a leaf lock."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from lockscope.simulate.parameters import KERNEL_NAMES
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import RECENT, nest
from lockscope.simulate.world import Mix, World

_INNER = {
    "apic_map_lock": "kvm->arch.apic_map_lock",
    "async_pf_lock": "vcpu->async_pf.lock",
    "irq_lock": "kvm->irq_lock",
    "ring_lock": "kvm->ring_lock",
}


@dataclass(frozen=True, slots=True)
class _Leaf:
    """``lock``: the leaf, ``inner``: what is taken inside it (see ``lock_of``). ``shown``: the leaf in the document.

    ``waits_from``: the kernel from which on lockdep reports too that a spinlock_t is taken inside a raw lock (LS109).
    """

    name: str
    lock: str
    shown: str
    inner: str = "ring_lock"
    kernels: tuple[str, ...] = KERNEL_NAMES
    irqs_off: bool = False
    waits_from: tuple[int, int] | None = None


_WAIT_TYPES = (6, 4)  # wait types are recorded from 6.4 on
_RAW_IR_LIST = (7, 2)  # svm->ir_list_lock is a raw spinlock since (svm/avic.c)

_LEAVES = (
    _Leaf("apic-map-lock", "apic_map_lock", "kvm->arch.apic_map_lock", "irq_lock"),
    _Leaf("async-pf-lock", "async_pf_lock", "vcpu->async_pf.lock"),
    _Leaf("gpc-lock", "gpc_lock", "kvm->gpc_lock", kernels=RECENT),
    _Leaf("hv-lock", "hv_lock", "kvm->arch.hyperv.hv_lock", "apic_map_lock"),
    _Leaf("ioapic-lock", "ioapic_lock", "ioapic->lock"),
    _Leaf("ir-list-lock", "ir_list_lock", "svm->ir_list_lock", waits_from=_RAW_IR_LIST),
    _Leaf("irq-lock", "irq_lock", "kvm->irq_lock", "apic_map_lock"),  # irqfds.lock alone is taken inside it
    _Leaf("irqfds-lock", "irqfds_lock", "kvm->irqfds.lock", irqs_off=True),
    _Leaf("kvm-count-lock", "count_lock", "kvm_count_lock", kernels=("4.14",)),
    _Leaf("kvm-lock", "kvm_lock", "kvm_lock", "irq_lock"),
    _Leaf("mmu-lock", "mmu_lock", "kvm->mmu_lock"),
    _Leaf("mn-invalidate-lock", "mn_invalidate_lock", "kvm->mn_invalidate_lock", kernels=RECENT),
    _Leaf(
        "pvclock-gtod-sync-lock", "pvclock_lock", "kvm->arch.pvclock_gtod_sync_lock", kernels=("4.14",), irqs_off=True
    ),
    _Leaf("ring-lock", "ring_lock", "kvm->ring_lock", "async_pf_lock"),
    _Leaf("slots-arch-lock", "slots_arch_lock", "kvm->slots_arch_lock", "irq_lock", kernels=RECENT),
    _Leaf("tsc-write-lock", "tsc_write_lock", "kvm->arch.tsc_write_lock", irqs_off=True, waits_from=_WAIT_TYPES),
    _Leaf("wakeup-list", "wakeup", "the wake-up list's lock", irqs_off=True, waits_from=_WAIT_TYPES),
    _Leaf("xen-lock", "xen_lock", "kvm->arch.xen.xen_lock", "irq_lock", kernels=RECENT),
)


def _plant(leaf: _Leaf, world: World) -> None:
    """Nothing of KVM's is taken inside it; and a spinlock_t waits in a way that a raw lock's holder may not."""
    waits = leaf.waits_from is not None and world.host.kernel.version >= leaf.waits_from
    found = [("LS103", ()), *([("LS109", ())] if waits else [])]
    why = f"{_INNER[leaf.inner]} inside {leaf.shown}"
    nest(world, "kvm_arch_vm_ioctl", leaf.lock, leaf.inner, why, *found, irqs_off=leaf.irqs_off)


SCENARIOS = tuple(
    Scenario(
        f"leaf-{leaf.name}",
        f"{_INNER[leaf.inner]} is taken inside the leaf lock {leaf.shown}",
        "1. Acquisition Orders: everything else is a leaf",
        partial(_plant, leaf),
        Mix(),
        near="the two are taken one after the other",
        kernels=leaf.kernels,
    )
    for leaf in _LEAVES
)
