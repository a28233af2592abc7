"""LS304 illegal-fast-page-fault: the fast path changed an SPTE that it may not.

What it finds
-------------
A fast page fault that succeeded (RET_PF_FIXED) on

* an SPTE that was not host-writable or not MMU-writable, for a write;
* an SPTE of an indirect shadow page, known by the role of the page that kvm_mmu_get_page announced, or by a gfn that does
  not go with the SPTE's place in its page;
* an SPTE that maps a guest page table of which a shadow page of level 2 or above exists (7c8a4742c4ab: write protection
  that left MMU-writable set);
* a large SPTE: before 5.17 any, later one that dirty logging had write-protected and still logs.

Confidence: certain by the event's own old value; likely for indirect pages, page tables and dirty logging.

Why it is a bug
---------------
Without mmu_lock, only host- and MMU-writable tell that making the SPTE writable is allowed: otherwise the guest writes to
memory that is read-only for it, or to a page table that KVM shadows. In an indirect page the gfn behind an SPTE can change
between reading it and the cmpxchg, so the wrong gfn is marked dirty. A large SPTE covers more than the one gfn so marked.

What to do
----------
Let fast_page_fault() refuse such SPTEs: it may make only SPTEs of direct pages writable that are host-writable and
MMU-writable, and no large one while dirty logging is on.

What it looks like
------------------

```firing
     vcpu-101     [001] .....     1.000001: kvm_exit: reason EXIT_NPF rip 0x4081b0 info 0 0
     vcpu-101     [001] .....     1.000002: fast_page_fault: vcpu 0 gva 180000 error_code P|W|U sptep 0xffff88810565bc00 old 0x104fb8a65 new 104fb8a67 spurious 0 fixed 1
```

```quiet
     vcpu-101     [001] .....     1.000001: kvm_exit: reason EXIT_NPF rip 0x4081b0 info 0 0
     vcpu-101     [001] .....     1.000002: fast_page_fault: vcpu 0 gva 180000 error_code P|W|U sptep 0xffff88810565bc00 old 0x104fb8e65 new 104fb8e67 spurious 0 fixed 1
     vcpu-101     [001] .....     1.000003: fast_page_fault: vcpu 0 gva 181000 error_code P|W|U sptep 0xffff88810565bc08 old 0x104fb9a65 new 104fb9a65 spurious 0 fixed 0
```

What it cannot see
------------------
Whether a slot is dirty-logged, but by what dirty logging did to the very SPTE. The kind of shadow page where neither its
creation nor a kvm_mmu_set_spte in it was recorded.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks import _kvm, _kvm_spte
from lockscope.checks.check import Grounds, check
from lockscope.evidence.evidence import Evidence
from lockscope.facts.spte_history import SpteEvent
from lockscope.results.findings import Confidence, Finding, Severity

_WHY = {
    "not-writable": "that was not both host-writable and MMU-writable",
    "large-logged": "that is large, where dirty logging needs 4 KiB pages",
    "indirect": "of an indirect shadow page",
    "shadowed": "that maps a guest page table which KVM shadows",
}


def grounds(evidence: Evidence) -> Grounds:
    """Fast page faults."""
    if not _kvm.has(evidence, "fast_page_fault"):
        return _kvm.skipped(_kvm_spte.NO_FAST_FAULTS)
    if doubt := _kvm.layout_unknown(evidence):
        return _kvm.skipped(doubt)
    return _kvm.partial_if_lost(evidence, (_kvm.mirror_doubt(evidence),))


@check("LS304", "illegal-fast-page-fault", Severity.ERROR, grounds, facts=_kvm_spte.FACTS)
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for every reason."""

    def tell(events: list[SpteEvent]) -> _kvm_spte.Told:
        first = events[0]
        message = (
            f"{_kvm_spte.vm_of(evidence, first)}: the fast page fault path made {len(events)} SPTE"
            f"{'s' if len(events) > 1 else ''} writable ({_kvm_spte.places(events)}) {_WHY[first.what]} "
            f"(first by {_kvm_spte.task(evidence, first.pid)})."
        )
        witnesses = (_kvm_spte.seen(evidence, first, _kvm_spte.change(evidence, first)),)
        return message, witnesses, "The guest can now write where it must not, or unseen by dirty logging."

    history = _kvm_spte.history_of(evidence)
    for what in _WHY:
        events = [e for e in history.of(what) if what != "large-logged" or e.extra or _logging_known(evidence)]
        sure = what == "not-writable" or (what == "large-logged" and all(e.extra for e in events))
        yield from _kvm_spte.findings(
            evidence, events, lambda e: (e.what,), tell, code="LS304", name="illegal-fast-page-fault",
            title="fast page fault on an SPTE that it may not touch",
            confidence=Confidence.CERTAIN if sure and evidence.lost == 0 else Confidence.LIKELY,
            reason="" if sure else "what the SPTE maps is known from other events, not from the fault's own old value",
        )  # fmt: skip


def _logging_known(evidence: Evidence) -> bool:
    """Only where memslot ioctls are seen is it known that dirty logging was not switched off meanwhile."""
    return _kvm.has(evidence, "sys_enter") and not evidence.filtered
