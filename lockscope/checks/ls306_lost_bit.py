"""LS306 lost-spte-bit: a volatile SPTE updated non-atomically: a Dirty, Accessed or Writable bit set in between is lost.

What it finds
-------------
The second race of KVM's locking document, as a state machine over one SPTE: a task reads it, a vCPU's fast page fault sets
W (and the CPU D), and the task's change then names the old value without them, though nothing had taken W away. An
atomic change would have named, and dealt with, what the fast path had set. On the legacy MMU: mmu_spte_update() asked for
no flush although the fast path had made the SPTE writable between its entry and its return.

VMs with more than one root are left out: there an SPTE by gfn is not one SPTE.

Why it is a bug
---------------
The write that came in between is forgotten: not marked dirty, not flushed from the TLB.

What to do
----------
Exchange the SPTE atomically (xchg(), try_cmpxchg64()) where a bit of it can change without mmu_lock.

What it looks like
------------------

```firing
     vcpu-101     [001] ...1.     1.000001: lock_acquire: 0xffffc90000001018 read &(kvm)->mmu_lock
     vcpu-101     [001] ...1.     1.000002: kvm_tdp_mmu_spte_changed: as id 0 gfn 180 level 1 old_spte 8000000000000000 new_spte 104fb8e65
     vcpu-101     [001] ...1.     1.000003: kvm_mmu_set_spte: gfn 180 spte 104fb8e65 (r-xu) level 1 at 10565bc00
     vcpu-101     [001] ...1.     1.000004: lock_release: 0xffffc90000001018 &(kvm)->mmu_lock
     vcpu-101     [001] .....     1.000105: kvm_exit: reason EXIT_NPF rip 0x4081b0 info 0 0
     vcpu-101     [001] .....     1.000106: fast_page_fault: vcpu 0 gva 180000 error_code P|W|U sptep 0xffff88810565bc00 old 0x104fb8e65 new 104fb8e67 spurious 0 fixed 1
     qemu-100     [000] ...1.     1.000107: lock_acquire: 0xffffc90000001018 &(kvm)->mmu_lock
     qemu-100     [000] ...1.     1.000108: kvm_tdp_mmu_spte_changed: as id 0 gfn 180 level 1 old_spte 104fb8e65 new_spte 8000000000000000
     qemu-100     [000] ...1.     1.000109: lock_release: 0xffffc90000001018 &(kvm)->mmu_lock
```

```quiet
     vcpu-101     [001] ...1.     1.000001: lock_acquire: 0xffffc90000001018 read &(kvm)->mmu_lock
     vcpu-101     [001] ...1.     1.000002: kvm_tdp_mmu_spte_changed: as id 0 gfn 180 level 1 old_spte 8000000000000000 new_spte 104fb8e65
     vcpu-101     [001] ...1.     1.000003: kvm_mmu_set_spte: gfn 180 spte 104fb8e65 (r-xu) level 1 at 10565bc00
     vcpu-101     [001] ...1.     1.000004: lock_release: 0xffffc90000001018 &(kvm)->mmu_lock
     vcpu-101     [001] .....     1.000105: kvm_exit: reason EXIT_NPF rip 0x4081b0 info 0 0
     vcpu-101     [001] .....     1.000106: fast_page_fault: vcpu 0 gva 180000 error_code P|W|U sptep 0xffff88810565bc00 old 0x104fb8e65 new 104fb8e67 spurious 0 fixed 1
     qemu-100     [000] ...1.     1.000107: lock_acquire: 0xffffc90000001018 &(kvm)->mmu_lock
     qemu-100     [000] ...1.     1.000108: kvm_tdp_mmu_spte_changed: as id 0 gfn 180 level 1 old_spte 104fb8e67 new_spte 8000000000000000
     qemu-100     [000] ...1.     1.000109: lock_release: 0xffffc90000001018 &(kvm)->mmu_lock
```

What it cannot see
------------------
A and D bits that only the CPU set: no event shows when. It rests on the order of two CPUs' events: with per-CPU clocks
(trace_clock local) it is partial.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks import _kvm, _kvm_spte
from lockscope.checks.check import Grounds, check
from lockscope.evidence.evidence import Evidence
from lockscope.facts.spte_history import SpteEvent
from lockscope.results.findings import Confidence, Finding, Severity
from lockscope.units import count


def grounds(evidence: Evidence) -> Grounds:
    """Fast page faults, and changes with their old value."""
    if not _kvm.has(evidence, "fast_page_fault"):
        return _kvm.skipped(_kvm_spte.NO_FAST_FAULTS)
    if missing := _kvm.old_values_missing(evidence):
        return _kvm.skipped(missing)
    if doubt := _kvm.layout_unknown(evidence):
        return _kvm.skipped(doubt)
    left_out = _kvm_spte.history_of(evidence).undecided
    doubt = f"{count(left_out)} changes from an old value are left out: of which VM or root the SPTE is, is not known"
    reasons = (*_kvm_spte.clock_doubt(evidence), doubt if left_out else "", _kvm.mirror_doubt(evidence))
    return _kvm.partial_if_lost(evidence, reasons)


@check("LS306", "lost-spte-bit", Severity.ERROR, grounds, facts=_kvm_spte.FACTS)
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for either MMU."""

    def tell(events: list[SpteEvent]) -> _kvm_spte.Told:
        first = events[0]
        message = (
            f"{_kvm_spte.vm_of(evidence, first)}: {_kvm_spte.task(evidence, first.pid)} changed {len(events)} SPTE"
            f"{'s' if len(events) > 1 else ''} ({_kvm_spte.places(events)}) from a value that the fast page fault of "
            f"{_kvm_spte.task(evidence, first.other_pid)} had replaced meanwhile: the W it had set, and a D, are lost."
        )
        fast = "made it writable without mmu_lock: cmpxchg from the same old value succeeded"
        witnesses = (
            _kvm.witness(evidence, first.other_ns, first.other_cpu, first.other_pid, "fast_page_fault", fast),
            _kvm_spte.seen(evidence, first, f"{_kvm_spte.change(evidence, first)}: the old value has no W"),
        )
        return message, witnesses, "A write to the page in between is neither in the dirty log nor known to the host."

    yield from _kvm_spte.findings(
        evidence,
        _kvm_spte.history_of(evidence).of("lost-bit", "lost-in-update"),
        lambda e: (e.what,),
        tell,
        code="LS306",
        name="lost-spte-bit",
        title="an SPTE was changed non-atomically and lost a bit",
        reason=_kvm_spte.race_reason(evidence),
        confidence=Confidence.LIKELY
        if any(_kvm_spte.clock_doubt(evidence)) or evidence.filtered
        else Confidence.CERTAIN,
    )
