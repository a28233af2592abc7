"""LS302 unflushed-zap: present to non-present, and no TLB flush before the window closes.

What it finds
-------------
A leaf SPTE is zapped (or made to map another page) with mmu_lock held for write, and no flush of the VM's TLBs comes
before mmu_lock is released, nor later in the same operation, before a vCPU of the VM runs again. Judged are the zaps of
MMU notifiers and those under slots_lock; all others from 6.7 on, because until then the last reference to a dead root
zapped it without a flush, which is harmless.

With mmu_lock held for read, a page table that a large page takes the place of owes a flush (a page fault, or huge pages
being recovered), and from 6.18 on one that the thread kvm-nx-lpage-recovery zaps. Other zaps there owe nothing
afterwards: they are of invalidated roots, which vCPUs drop before they enter the guest, or they were flushed before the
event. That vCPUs are told to drop them (KVM_REQ_MMU_FREE_OBSOLETE_ROOTS) is asked of kvm_mmu_zap_all_fast itself, from
5.18 on.

A flush that comes late (after mmu_lock was released or given up for a while) is reported as info if no vCPU of the VM
was seen to run in between; so is one by another task, or a range flush that is too small where a full one follows.

Why it is a bug
---------------
The CPU may still translate to the old page, which the host is free to give to somebody else as soon as the notifier
returns: the guest reads and writes another process's memory.

What to do
----------
Flush the VM's TLBs before mmu_lock is released: pass on the flush that the zap asks for, also where the walk yields.

What it looks like
------------------

```firing
     qemu-100     [000] .....     1.000000: kvm_make_all_cpus_request: (ffffffff8102bf84) kvm=0xffffc90000001000 req=791
     qemu-100     [000] .....     1.000001: sys_enter: NR 11 (7f0000000000, 1000, 0, 0, 0, 0)
     qemu-100     [000] .....     1.000002: kvm_unmap_hva_range: mmu notifier unmap range: 0x007f0000000000 -- 0x007f0000001000
     qemu-100     [000] ...1.     1.000003: lock_acquire: 0xffffc90000001018 &(kvm)->mmu_lock
     qemu-100     [000] ...1.     1.000004: kvm_tdp_mmu_spte_changed: as id 0 gfn 180 level 1 old_spte 104fb8e67 new_spte 8000000000000000
     qemu-100     [000] ...1.     1.000005: lock_release: 0xffffc90000001018 &(kvm)->mmu_lock
     qemu-100     [000] .....     1.000006: sys_exit: NR 11 = 0
     vcpu-101     [001] d....     1.000020: kvm_entry: vcpu 0 rip 0x4081b0
```

```quiet
     qemu-100     [000] .....     1.000001: sys_enter: NR 11 (7f0000000000, 1000, 0, 0, 0, 0)
     qemu-100     [000] .....     1.000002: kvm_unmap_hva_range: mmu notifier unmap range: 0x007f0000000000 -- 0x007f0000001000
     qemu-100     [000] ...1.     1.000003: lock_acquire: 0xffffc90000001018 &(kvm)->mmu_lock
     qemu-100     [000] ...1.     1.000004: kvm_tdp_mmu_spte_changed: as id 0 gfn 180 level 1 old_spte 104fb8e67 new_spte 8000000000000000
     qemu-100     [000] ...1.     1.000005: kvm_make_all_cpus_request: (ffffffff8102bf84) kvm=0xffffc90000001000 req=768
     qemu-100     [000] ...1.     1.000006: lock_release: 0xffffc90000001018 &(kvm)->mmu_lock
     qemu-100     [000] .....     1.000007: sys_exit: NR 11 = 0
     vcpu-101     [001] d....     1.000020: kvm_entry: vcpu 0 rip 0x4081b0
```

What it cannot see
------------------
Zaps of the legacy MMU: no event or probe of the pack shows an SPTE that mmu_spte_clear_track_bits() clears. Zaps by tasks
that were not recorded (kernel threads, under a PID filter). Whether a zapped page was given away meanwhile.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks import _kvm_flush
from lockscope.checks.check import check
from lockscope.evidence.evidence import Evidence
from lockscope.facts.flush_debts import DebtGroup
from lockscope.results.findings import Finding, Severity


def _consequence(group: DebtGroup) -> str:
    if group.flow == "huge page over a page table":
        return "A vCPU can still walk the page table that was replaced, while its page is given to somebody else."
    who = "the host may have given to somebody else" if group.flow == "MMU notifier" else "it no longer maps"
    return f"The guest can read and write memory that {who}."


_WORDS = _kvm_flush.Words(
    "LS302", "unflushed-zap", "zapped", "SPTEs zapped and not flushed", "translation", _consequence
)


@check("LS302", "unflushed-zap", Severity.ERROR, _kvm_flush.zap_grounds, facts=_kvm_flush.FACTS)
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for every flow, with the runs of gfns."""
    yield from _kvm_flush.judge(evidence, _WORDS)
