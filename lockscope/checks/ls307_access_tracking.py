"""LS307 access-tracking: an access-tracked SPTE saved or restored wrongly.

What it finds
-------------
Where the CPU keeps no A bit (EPT without A/D), KVM takes R, W and X away from an SPTE and keeps R and X in ignored bits.
Found are: R or X saved that the SPTE did not have, or not saved; W saved; R or X restored other than saved; W gained by a
fault that was not a write. The bits are those of the trace's kernel: bit 62 and saved bits from 52 before 5.4, later the
A/D tag in bits 53:52 and saved bits from 54. From 7.2 on the tag is in bits 61:60, R, X and the user-executable bit 10 go
to 52, 54 and 62, and bit 53 is host-writable: a W that was saved does not show, one that a read gets back does.

Confidence: certain for what was saved, by the event's old and new value; likely for what was restored: fast_page_fault
reads the new value again when it prints it. Where another task was at the same SPTE meanwhile nothing is said.

Why it is a bug
---------------
The guest gets more rights than it had (a page that may not be executed or written), or fewer, and faults without end.

What to do
----------
Save exactly the R and X bits (mark_spte_for_access_track()) and restore exactly these (restore_acc_track_spte()); set
W only for a write.

What it looks like
------------------

```firing
     qemu-100     [000] ...1.     1.000003: lock_acquire: 0xffffc90000001018 &(kvm)->mmu_lock
     qemu-100     [000] ...1.     1.000004: kvm_tdp_mmu_spte_changed: as id 0 gfn 180 level 1 old_spte 8610000104fb8877 new_spte 86d0000104fb8870
     qemu-100     [000] ...1.     1.000005: lock_release: 0xffffc90000001018 &(kvm)->mmu_lock
```

```firing
     vcpu-101     [001] .....     1.000001: kvm_exit: reason EPT_VIOLATION rip 0x4081b0 info 181 0
     vcpu-101     [001] .....     1.000002: fast_page_fault: vcpu 0 gva 180000 error_code U sptep 0xffff88810565bc00 old 0x8750000104fb8870 new 8610000104fb8877 spurious 0 fixed 1
```

```quiet
     qemu-100     [000] ...1.     1.000003: lock_acquire: 0xffffc90000001018 &(kvm)->mmu_lock
     qemu-100     [000] ...1.     1.000004: kvm_tdp_mmu_spte_changed: as id 0 gfn 180 level 1 old_spte 8610000104fb8877 new_spte 8750000104fb8870
     qemu-100     [000] ...1.     1.000005: lock_release: 0xffffc90000001018 &(kvm)->mmu_lock
     vcpu-101     [001] .....     1.000006: kvm_exit: reason EPT_VIOLATION rip 0x4081b0 info 181 0
     vcpu-101     [001] .....     1.000007: fast_page_fault: vcpu 0 gva 180000 error_code U sptep 0xffff88810565bc00 old 0x8750000104fb8870 new 8610000104fb8875 spurious 0 fixed 1
```

What it cannot see
------------------
What make_spte() builds already tracked for a page that was only prefetched: it comes from nothing. The legacy MMU where
mmu_spte_update() is not probed.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks import _kvm, _kvm_spte
from lockscope.checks.check import Grounds, check
from lockscope.evidence.evidence import Evidence
from lockscope.facts.spte_history import SpteEvent
from lockscope.results.findings import Confidence, Finding, Severity

_HOW = {
    "bad-save": "were saved with other R and X bits than they had",
    "bad-restore": "were restored with other R and X bits than saved",
    "w-on-read": "became writable by a fault that was no write",
}


def grounds(evidence: Evidence) -> Grounds:
    """Either end of tracking."""
    if not _kvm.has(evidence, "fast_page_fault", "kvm_tdp_mmu_spte_changed", "mmu_spte_update_entry"):
        return _kvm.skipped("neither SPTE changes nor fast page faults: trace-cmd record -e kvmmmu")
    if doubt := _kvm.layout_unknown(evidence):
        return _kvm.skipped(doubt)
    missing = "" if _kvm.has(evidence, "fast_page_fault") else "restoring is not seen: " + _kvm_spte.NO_FAST_FAULTS
    return _kvm.partial_if_lost(evidence, (missing, _kvm.mirror_doubt(evidence)))


@check("LS307", "access-tracking", Severity.ERROR, grounds, facts=_kvm_spte.FACTS)
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for every way of being wrong."""

    def tell(events: list[SpteEvent]) -> _kvm_spte.Told:
        first = events[0]
        message = (
            f"{_kvm_spte.vm_of(evidence, first)}: {len(events)} access-tracked SPTE{'s' if len(events) > 1 else ''} "
            f"({_kvm_spte.places(events)}) {_HOW[first.what]} (first by {_kvm_spte.task(evidence, first.pid)})."
        )
        witnesses = (_kvm_spte.seen(evidence, first, _kvm_spte.change(evidence, first)),)
        return message, witnesses, "The guest's rights to the page are not what the page's mapping says."

    history = _kvm_spte.history_of(evidence)
    for what in _HOW:
        sure = Confidence.CERTAIN if what == "bad-save" and evidence.lost == 0 else Confidence.LIKELY
        yield from _kvm_spte.findings(
            evidence, [e for e in history.of(what) if not e.doubt], lambda e: (e.what,), tell, code="LS307",
            name="access-tracking", title="access tracking saved or restored an SPTE wrongly", confidence=sure,
            reason="" if what == "bad-save" else "fast_page_fault reads the new value again, and may show a later one",
        )  # fmt: skip
