"""LS305 gfn-pfn-aba: the fast path's cmpxchg succeeded on an SPTE whose gfn to pfn mapping had changed in between.

What it finds
-------------
The first race of KVM's locking document, as a state machine over one SPTE: a vCPU's fault begins; another task makes the
same SPTE map another gfn (kvm_mmu_set_spte at the same address, same pfn); then the fast path's cmpxchg succeeds, because
the value is the old one again. The fault's own gfn is the one that it marked dirty.

Why it is a bug
---------------
The page was swapped out and its frame given to another gfn of the guest. The cmpxchg cannot tell: the SPTE becomes
writable, but the old gfn is marked dirty, and the writes to the new one are missing from the dirty log. That is why the
fast path is for direct shadow pages only, where an SPTE's gfn never changes.

What to do
----------
Keep SPTEs of indirect shadow pages out of fast_page_fault(): only mmu_lock keeps their gfn.

What it looks like
------------------

```firing
     vcpu-101     [001] .....     1.000001: kvm_exit: reason EXIT_NPF rip 0x4081b0 info 0 0
     vcpu-101     [001] ...1.     1.000002: kvm_mmu_set_spte: gfn 180 spte 104fb8e65 (r-xu) level 1 at 10565bc18
     vcpu-101     [001] .....     1.000003: kvm_page_fault: vcpu 0 rip 0x4081b0 address 0x0000000000003000 error_code 0x7
     vcpu-102     [000] ...1.     1.000014: kvm_mmu_set_spte: gfn 200 spte 104fb8e65 (r-xu) level 1 at 10565bc18
     vcpu-101     [001] .....     1.000025: mark_page_dirty_in_slot: (ffffffff8102c594) kvm=0xffffc90000001000 slot=0xffff888100be0e00 gfn=384
     vcpu-101     [001] .....     1.000026: fast_page_fault: vcpu 0 gva 3000 error_code P|W|U sptep 0xffff88810565bc18 old 0x104fb8e65 new 104fb8e67 spurious 0 fixed 1
```

```quiet
     vcpu-101     [001] .....     1.000001: kvm_exit: reason EXIT_NPF rip 0x4081b0 info 0 0
     vcpu-101     [001] ...1.     1.000002: kvm_mmu_set_spte: gfn 180 spte 104fb8e65 (r-xu) level 1 at 10565bc00
     vcpu-101     [001] .....     1.000003: kvm_page_fault: vcpu 0 rip 0x4081b0 address 0x0000000000003000 error_code 0x7
     vcpu-102     [000] ...1.     1.000014: kvm_mmu_set_spte: gfn 200 spte 104fc8e65 (r-xu) level 1 at 10565bc00
     vcpu-101     [001] .....     1.000026: fast_page_fault: vcpu 0 gva 3000 error_code P|W|U sptep 0xffff88810565bc00 old 0x104fb8e65 new 104fc8e65 spurious 0 fixed 0
```

What it cannot see
------------------
When exactly the fast path read the SPTE: somewhere between the beginning of the fault and the event. It rests on the order
of two CPUs' events: with per-CPU clocks (trace_clock local) it is partial.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks import _kvm, _kvm_spte
from lockscope.checks.check import Grounds, check
from lockscope.evidence.evidence import Evidence
from lockscope.facts.spte_history import SpteEvent
from lockscope.results.findings import Confidence, Finding, Severity


def grounds(evidence: Evidence) -> Grounds:
    """Fast page faults, and what the SPTEs map."""
    if not _kvm.has(evidence, "fast_page_fault"):
        return _kvm.skipped(_kvm_spte.NO_FAST_FAULTS)
    if doubt := _kvm.layout_unknown(evidence):
        return _kvm.skipped(doubt)
    if not _kvm.has(evidence, "kvm_mmu_set_spte"):
        return _kvm.skipped("which gfn an SPTE maps is not known (kvm_mmu_set_spte): trace-cmd record -e kvmmmu")
    if _kvm_spte.history_of(evidence).page_offset is None and _kvm_spte.history_of(evidence).fast_faults:
        return _kvm.skipped(
            "no SPTE appears in both kvm_mmu_set_spte and fast_page_fault, so the two events cannot be correlated"
        )
    return _kvm.partial_if_lost(evidence, (*_kvm_spte.clock_doubt(evidence), _kvm.mirror_doubt(evidence)))


@check("LS305", "gfn-pfn-aba", Severity.ERROR, grounds, facts=_kvm_spte.FACTS)
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding, with the first race."""

    def tell(events: list[SpteEvent]) -> _kvm_spte.Told:
        first = events[0]
        stale = f"; {_kvm.gfn_text(first.extra, first.level)} was marked dirty instead" if first.extra >= 0 else ""
        message = (
            f"{_kvm_spte.vm_of(evidence, first)}: the fast page fault of {_kvm_spte.task(evidence, first.pid)} made "
            f"writable an SPTE that {_kvm_spte.task(evidence, first.other_pid)} had meanwhile made to map "
            f"{_kvm.gfn_text(first.gfn, first.level)}{stale} ({len(events)} times)."
        )
        moved = f"the SPTE at {_kvm.hex64(first.sptep)} now maps {_kvm.gfn_text(first.gfn, first.level)}"
        witnesses = (
            _kvm.witness(evidence, first.since_ns, first.cpu, first.pid, "kvm_page_fault", "the fault begins"),
            _kvm.witness(evidence, first.other_ns, first.other_cpu, first.other_pid, "kvm_mmu_set_spte", moved),
            _kvm_spte.seen(evidence, first, f"cmpxchg succeeds: {_kvm_spte.change(evidence, first)}"),
        )
        return message, witnesses, "Writes to the new gfn are missing from the dirty log."

    yield from _kvm_spte.findings(
        evidence, _kvm_spte.history_of(evidence).of("aba"), lambda e: (e.what,), tell, code="LS305", name="gfn-pfn-aba",
        title="the SPTE's gfn changed under the fast page fault",
        reason=_kvm_spte.race_reason(evidence),
        confidence=Confidence.LIKELY if any(_kvm_spte.clock_doubt(evidence)) else Confidence.CERTAIN,
    )  # fmt: skip
