"""LS301 unflushed-write-protect: writable to read-only, and no TLB flush before the window closes.

What it finds
-------------
An SPTE loses its W bit (or the MMU-writable bit), and the VM's TLBs are flushed neither in time nor later in the same
operation, before a vCPU of the VM runs again. When it is due depends on who changed it: dirty logging flushes after
mmu_lock and before slots_lock is released (KVM_RESET_DIRTY_RINGS: before the ioctl returns), shadow paging and write
tracking before mmu_lock is released. What counts is kvm_make_all_cpus_request with KVM_REQ_TLB_FLUSH, or a flush function
that covers the range; flushes that the guest asks for, of the host's TLB or of another VM do not.

A flush that comes late, or by another task of the VM, or a range flush that is too small where a full one follows, is
reported as info. Confidence: certain; likely where other tasks were not recorded, or task switches, which tell of them.

Why it is a bug
---------------
The CPU may still hold a writable translation. Writes through it reach neither the dirty log, which user space has
already read, nor write tracking: a migrated guest misses them, a shadowed page table goes stale.

What to do
----------
Flush the VM's TLBs before the lock is released that the rule names: kvm_flush_remote_tlbs_memslot() for dirty
logging, kvm_flush_remote_tlbs() or a range flush elsewhere.

What it looks like
------------------

```firing
     qemu-100     [000] .....     1.000000: kvm_make_all_cpus_request: (ffffffff8102bf84) kvm=0xffffc90000001000 req=791
     qemu-100     [000] .....     1.000001: sys_enter: NR 16 (5, c018aec0, 7ffd00001000, 0, 0, 0)
     qemu-100     [000] .....     1.000002: lock_acquire: 0xffffc900000010b8 &kvm->slots_lock
     qemu-100     [000] ...1.     1.000003: lock_acquire: 0xffffc90000001018 &(kvm)->mmu_lock
     qemu-100     [000] ...1.     1.000004: kvm_tdp_mmu_spte_changed: as id 0 gfn 180 level 1 old_spte 104fb8e67 new_spte 104fb8e65
     qemu-100     [000] ...1.     1.000005: kvm_tdp_mmu_spte_changed: as id 0 gfn 181 level 1 old_spte 104fb9e67 new_spte 104fb9e65
     qemu-100     [000] ...1.     1.000006: lock_release: 0xffffc90000001018 &(kvm)->mmu_lock
     qemu-100     [000] .....     1.000007: lock_release: 0xffffc900000010b8 &kvm->slots_lock
     qemu-100     [000] .....     1.000008: sys_exit: NR 16 = 0
     vcpu-101     [001] d....     1.000020: kvm_entry: vcpu 0 rip 0x4081b0
```

```quiet
     qemu-100     [000] .....     1.000001: sys_enter: NR 16 (5, c018aec0, 7ffd00001000, 0, 0, 0)
     qemu-100     [000] .....     1.000002: lock_acquire: 0xffffc900000010b8 &kvm->slots_lock
     qemu-100     [000] ...1.     1.000003: lock_acquire: 0xffffc90000001018 &(kvm)->mmu_lock
     qemu-100     [000] ...1.     1.000004: kvm_tdp_mmu_spte_changed: as id 0 gfn 180 level 1 old_spte 104fb8e67 new_spte 104fb8e65
     qemu-100     [000] ...1.     1.000005: lock_release: 0xffffc90000001018 &(kvm)->mmu_lock
     qemu-100     [000] .....     1.000006: kvm_make_all_cpus_request: (ffffffff8102bf84) kvm=0xffffc90000001000 req=768
     qemu-100     [000] .....     1.000007: lock_release: 0xffffc900000010b8 &kvm->slots_lock
     qemu-100     [000] .....     1.000008: sys_exit: NR 16 = 0
     vcpu-101     [001] d....     1.000020: kvm_entry: vcpu 0 rip 0x4081b0
```

What it cannot see
------------------
Changes by tasks that were not recorded, and what the legacy MMU does without mmu_spte_update() (it is probed). Lost dirty
and accessed bits owe no flush here. Write protection in the page fault path of a task that holds mmu_lock for read is
left out: no kernel flushes it.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks import _kvm_flush
from lockscope.checks.check import check
from lockscope.evidence.evidence import Evidence
from lockscope.facts.flush_debts import DebtGroup
from lockscope.results.findings import Finding, Severity

_LOGGED = ("dirty logging", "dirty logging of large pages", "dirty ring reset")


def _consequence(group: DebtGroup) -> str:
    if group.flow in _LOGGED:
        return "Writes through it are missing from the dirty log that user space has been given."
    return (
        "The guest can write what KVM has write-protected (a shadowed page table, a tracked page) without KVM knowing."
    )


_WORDS = _kvm_flush.Words("LS301", "unflushed-write-protect", "made read-only", "SPTEs write-protected and not flushed",
                          "writable translation", _consequence)  # fmt: skip


@check("LS301", "unflushed-write-protect", Severity.ERROR, _kvm_flush.grounds, facts=_kvm_flush.FACTS)
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for every flow, with the runs of gfns."""
    yield from _kvm_flush.judge(evidence, _WORDS)
