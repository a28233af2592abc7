"""LS303 spte-without-mmu-lock: an SPTE changed without mmu_lock, and not by the fast page fault path.

What it finds
-------------
An SPTE change by a task that does not hold its VM's mmu_lock, though all its locks are known; a change by the legacy MMU
(mmu_spte_update, or kvm_mmu_set_spte in a VM without TDP MMU) with mmu_lock held for read only; a zap by an MMU notifier
that holds it for read only. The fast page fault needs no lock, and from 6.15 on neither does aging by the TDP MMU: the Accessed bit cleared and
nothing else, or access tracking begun, by whatever task (kdamond, kswapd).

Why it is a bug
---------------
mmu_lock keeps a change apart from the MMU notifier that frees the page: without it, an SPTE can come to map a page that
belongs to somebody else already (CVE-2022-45869 was a read lock where the legacy MMU needs the write lock).

What to do
----------
Hold kvm->mmu_lock around the change: for write in the legacy MMU and in MMU notifiers that zap, at least for read in
the TDP MMU.

What it looks like
------------------

```firing
     vcpu-101     [001] .....     1.000001: kvm_exit: reason EXIT_NPF rip 0x4081b0 info 0 0
     vcpu-101     [001] ...1.     1.000002: lock_acquire: 0xffffc90000001018 read &(kvm)->mmu_lock
     vcpu-101     [001] ...1.     1.000003: kvm_tdp_mmu_spte_changed: as id 0 gfn 180 level 1 old_spte 8000000000000000 new_spte 104fb8e67
     vcpu-101     [001] ...1.     1.000004: lock_release: 0xffffc90000001018 &(kvm)->mmu_lock
     vcpu-101     [001] .....     1.000005: kvm_tdp_mmu_spte_changed: as id 0 gfn 181 level 1 old_spte 8000000000000000 new_spte 104fb9e67
```

```quiet
     vcpu-101     [001] .....     1.000001: kvm_exit: reason EXIT_NPF rip 0x4081b0 info 0 0
     vcpu-101     [001] ...1.     1.000002: lock_acquire: 0xffffc90000001018 read &(kvm)->mmu_lock
     vcpu-101     [001] ...1.     1.000003: kvm_tdp_mmu_spte_changed: as id 0 gfn 180 level 1 old_spte 8000000000000000 new_spte 104fb8e67
     vcpu-101     [001] ...1.     1.000004: lock_release: 0xffffc90000001018 &(kvm)->mmu_lock
     vcpu-101     [001] .....     1.000005: fast_page_fault: vcpu 0 gva 180000 error_code P|W|U sptep 0xffff88810565bc00 old 0x104fb8e65 new 104fb8e67 spurious 0 fixed 1
```

What it cannot see
------------------
Changes without an event: most of the legacy MMU's, if mmu_spte_update() is not probed. That the mmu_lock held is another
VM's: the event does not name its VM.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lockscope.checks import _kvm, _kvm_spte
from lockscope.checks.check import Grounds, check
from lockscope.evidence.evidence import Evidence
from lockscope.facts.spte_history import SpteEvent
from lockscope.results.findings import Confidence, Finding, RuleRef, Severity
from lockscope.units import count

_CHANGES = (
    "kvm_tdp_mmu_spte_changed",
    "kvm_mmu_set_spte",
    "mmu_spte_update",
    "mmu_spte_update_entry",
    "mark_mmio_spte",
)
_HOW = {
    "no-lock": "by a task that does not hold mmu_lock",
    "wrong-mode": "by the legacy MMU with mmu_lock held for read",
    "set-under-read": "by the legacy MMU with mmu_lock held for read",
    "notifier-read": "by an MMU notifier with mmu_lock held for read",
}


_AGING = "right since 6.15, but this may be an older kernel (or one of a distribution, with or without that change)"
_EITHER_MMU = (
    "kvm_mmu_set_spte alone does not say which MMU it was, and the TDP MMU may hold mmu_lock for read: "
    "trace-cmd record -e kvmmmu:kvm_tdp_mmu_spte_changed too"
)


def grounds(evidence: Evidence) -> Grounds:
    """SPTE changes and the lock around them."""
    if _kvm.never_released(evidence):
        return _kvm.skipped(_kvm.NO_RELEASES)
    history = _kvm_spte.history_of(evidence)
    if not _kvm.has(evidence, *_CHANGES):
        return _kvm.skipped("no SPTE changes: trace-cmd record -e kvmmmu")
    if doubt := _kvm.layout_unknown(evidence):
        return _kvm.skipped(doubt)
    if not history.mmu_lock_seen and not history.transitions and _locks_recorded(evidence):
        return _kvm.skipped("no SPTE was changed while this was recorded: no VM ran, or it had all its memory already")
    if not history.mmu_lock_seen:
        return _kvm.skipped(f"mmu_lock was not recorded, or could not be told from other locks; {_kvm.RECORD}")
    if history.transitions and not history.judged:
        return _kvm.skipped("where tasks began is not known: trace-cmd record -e raw_syscalls -e kvm")
    aged = f"{count(history.aged_somehow)} agings without mmu_lock: {_AGING}" if history.aged_somehow else ""
    left_out = history.transitions - history.judged - history.aged_somehow
    doubt = f"{count(left_out)} changes by tasks whose locks were not known" if left_out else ""
    unknown = _EITHER_MMU if history.of("set-under-read") and not _which_mmu(evidence) else ""
    return _kvm.partial_if_lost(evidence, (doubt, aged, unknown))


def _locks_recorded(evidence: Evidence) -> bool:
    """Whether mmu_lock would have been seen, had anybody taken it: by lockdep's events or a probe of its functions."""
    return _kvm.has(
        evidence, "lock_acquire", "lockdep_acquire", "raw_write_lock", "raw_spin_lock", "rt_write_lock", "rt_spin_lock"
    )


def _which_mmu(evidence: Evidence) -> bool:
    """Whether the trace tells the MMUs apart. kvm_mmu_set_spte comes from both: from the legacy one, and from
    tdp_mmu_map_handle_target_level() (arch/x86/kvm/mmu/tdp_mmu.c, 6.12), where mmu_lock held for read is right.
    """
    return evidence.seen("kvm_tdp_mmu_spte_changed", "mmu_spte_update", "mmu_spte_update_entry")


@check("LS303", "spte-without-mmu-lock", Severity.ERROR, grounds, facts=_kvm_spte.FACTS)
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for every kind of event and way of holding the lock."""
    reference = (r for r in evidence.rules.reference if r.lock == "kvm->mmu_lock")
    rule = next((RuleRef(r.id, r.source) for r in reference), None)

    def tell(events: list[SpteEvent]) -> _kvm_spte.Told:
        first = events[0]
        message = (
            f"{_kvm_spte.vm_of(evidence, first)}: {len(events)} SPTE changes ({_kvm_spte.places(events)}) "
            f"{_HOW[first.what]} (first by {_kvm_spte.task(evidence, first.pid)})."
        )
        without = "mmu_lock not taken" if first.what == "no-lock" else "mmu_lock not taken for write"
        change = _kvm_spte.seen(evidence, first, _kvm_spte.change(evidence, first))
        witnesses = (replace(change, missing=without),)
        return (
            message,
            witnesses,
            "An MMU notifier can free the page at the same time: the new SPTE then maps a freed page.",
        )

    vms = _kvm.vms_of(evidence)
    told = [how for how in _HOW if how != "set-under-read" or _which_mmu(evidence)]
    events = [e for e in _kvm_spte.history_of(evidence).of(*told) if vms.follows(e.pid, "locks")]
    # The TDP MMU's own event may have been switched off behind the last one.
    told_ns = _kvm_spte.history_of(evidence).told_ns
    events = [e for e in events if e.what != "set-under-read" or told_ns < 0 or e.ts_ns < told_ns]
    yield from _kvm_spte.findings(
        evidence,
        events,
        lambda e: (_HOW[e.what], _kvm.event_name(e.op)),
        tell,
        code="LS303",
        name="spte-without-mmu-lock",
        title="SPTE changed without mmu_lock",
        confidence=Confidence.CERTAIN if evidence.lost == 0 else Confidence.LIKELY,
        rule=rule,
        classes=("&(kvm)->mmu_lock",),
    )
