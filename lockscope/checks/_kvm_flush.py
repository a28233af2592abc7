"""LS301 and LS302 share their judging: groups of flush debts become one finding for every flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lockscope.checks import _kvm
from lockscope.checks.check import Grounds
from lockscope.core import kvm_flush as kernel
from lockscope.evidence.evidence import Evidence
from lockscope.facts.flush_debts import DebtGroup, FlushDebts
from lockscope.facts.kvm_runs import Run, runs_text
from lockscope.facts.vms import Vms
from lockscope.results.findings import Confidence, Finding, RuleRef, Severity, Status, Witness
from lockscope.units import count, duration, seconds

FACTS = ("flush_debts", "mirror_roots", "spte_history", "spte_layout", "vms")
_IOCTL_NUMBERS = {
    "KVM_SET_USER_MEMORY_REGION": kernel.SET_MEMORY, "KVM_SET_USER_MEMORY_REGION2": kernel.SET_MEMORY2,
    "KVM_GET_DIRTY_LOG": kernel.GET_LOG, "KVM_CLEAR_DIRTY_LOG": kernel.CLEAR_LOG,
    "KVM_RESET_DIRTY_RINGS": kernel.RESET_RINGS,
}  # fmt: skip
_LATE = {
    "late": "the flush came after the window had closed",
    "foreign": "only a flush by another task of the VM covered it",
    "too-small": "the range flush misses it, and only the full flush that this kernel falls back to covers it",
}

_LEGACY = ("kvm_mmu_set_spte", "mmu_spte_update_entry")  # and no kvm_tdp_mmu_spte_changed: tdp_mmu=0

_ROOTS, _HUGE, _RECOVERY = "root invalidation", "huge page over a page table", "huge page recovery"
_NX_THREAD = "kvm-nx-lpage-re"  # kvm-nx-lpage-recovery, as far as a comm goes
_UNSEEN = "the legacy MMU's zaps have no event, and no probe of the pack shows them"

_OVER = {
    "sys_exit": "the system call returned",
    "sys_enter": "another system call began",
    "kvm_entry": "the vCPU entered the guest",
    "kvm_unmap_hva_range": "another notifier began",
    "srcu_read_unlock": "the notifier was done",
    "": "the operation was over",
}


@dataclass(frozen=True, slots=True)
class Words:
    """What the two checks say differently."""

    code: str
    name: str
    did: str  # "made read-only"
    title: str
    stale: str  # "writable translation"
    consequence: Callable[[DebtGroup], str]


def grounds(evidence: Evidence) -> Grounds:
    """SPTE changes, flush requests and the locks around them must be recorded."""
    if missing := _kvm.old_values_missing(evidence):
        return _kvm.skipped(missing)
    if not _kvm.has(evidence, "kvm_make_all_cpus_request"):
        return _kvm.skipped(
            "remote TLB flushes were not recorded, and no tracepoint shows them: the probe "
            f"lockscope:kvm_make_all_cpus_request is needed; {_kvm.RECORD}"
        )
    if doubt := _kvm.layout_unknown(evidence):
        return _kvm.skipped(doubt)
    debts = evidence.facts.get("flush_debts")
    history = evidence.facts.get("spte_history")
    if not isinstance(debts, FlushDebts):
        return _kvm.skipped("required TLB flushes were not reconstructed")
    reasons = [_kvm.NO_RELEASES] if _kvm.never_released(evidence) else []
    if history is not None and history.transitions and not history.mmu_lock_seen:
        reasons.append(
            "mmu_lock is not known at the changes: only the flushes that dirty-log ioctls require are judged"
        )
    if not _kvm.has(evidence, "sys_exit"):
        reasons.append("no system calls (trace-cmd record -e raw_syscalls): an ioctl's end is not known")
    if not debts.guests:
        reasons.append("no guest entries (trace-cmd record -e kvm): whether a vCPU ran without the flush is not known")
    if debts.untold:
        reasons.append(f"{count(debts.untold)} more required flushes than can be reported")
    return _kvm.partial_if_lost(evidence, (*reasons, _kvm.mirror_doubt(evidence)))


def zap_grounds(evidence: Evidence) -> Grounds:
    """What a zap owes depends on how mmu_lock is held."""
    found = grounds(evidence)
    history = evidence.facts.get("spte_history")
    if found.status is not Status.SKIPPED and _kvm.never_released(evidence):
        return _kvm.skipped(_kvm.NO_RELEASES)
    if found.status is not Status.SKIPPED and history is not None and history.transitions and not history.mmu_lock_seen:
        return _kvm.skipped(f"mmu_lock was not recorded, or could not be told from other locks; {_kvm.RECORD}")
    if found.status is not Status.SKIPPED and not evidence.seen("kvm_tdp_mmu_spte_changed") and evidence.seen(*_LEGACY):
        return Grounds(Status.PARTIAL, "; ".join(filter(None, (found.reason, _UNSEEN))))
    return found


def judge(evidence: Evidence, words: Words) -> Iterator[Finding]:
    """One finding for every flow: the unpaid ones, and as info those paid late or by chance."""
    shown = evidence.facts["flush_debts"].guests or _kvm.has(evidence, "kvm_entry", "kvm_exit")
    by_flow: dict[tuple[str, str, str | None, str | None], list[DebtGroup]] = {}
    for group in evidence.facts["flush_debts"].groups:
        outcome = group.outcome
        if outcome == "ended":
            if shown or group.flow == "zap":
                continue  # no vCPU ran any more: the VM was being taken down, or is idle
            outcome = "unpaid"
        until = _until_ns(group, outcome)
        vms = _kvm.vms_of(evidence)
        if not (vms.follows(group.pid, "requests") and vms.follows(group.pid, "locks")):
            continue
        if group.flow == _RECOVERY and not evidence.comms.get(group.pid, "").startswith(_NX_THREAD):
            continue  # a page table of an invalidated root, which vCPUs drop before they enter the guest
        if (
            group.code != words.code
            or _kvm.mirrored(evidence, group.vm)
            or not _kvm.stands(evidence, group.ts_ns, until)
        ):
            continue
        if not _kvm.judged_at(evidence, group.ts_ns, until):
            continue
        window = _kvm.window_at(evidence, group.ts_ns, until)
        by_flow.setdefault((outcome, group.flow, group.ioctl, window), []).append(group)
    for (outcome, flow, ioctl, window), groups in by_flow.items():
        yield _finding(evidence, words, groups, outcome, flow, ioctl, window)


def _until_ns(group: DebtGroup, outcome: str) -> int:
    """Until when no event may be missing for this to be true."""
    return max(group.use_ns, group.end_ns, group.paid_ns if outcome != "unpaid" else 0, group.last_ns)


def _finding(evidence: Evidence, words: Words, groups: list[DebtGroup], outcome: str, flow: str, ioctl: str | None,
             window: str | None) -> Finding:  # fmt: skip
    vms, first = _kvm.vms_of(evidence), groups[0]
    number = sum(group.count for group in groups)
    unpaid = outcome == "unpaid"
    who = f"{evidence.comm(first.pid)}/{first.pid}"
    place = f"{vms.label(first.vm)}: {_where(groups)} {_did(first, words)} by {who} ({_what(flow, ioctl)})"
    message = f"{place}, and {_end(first)}" if unpaid else f"{place}; {_LATE[outcome]}"
    seen = tuple(_witnesses(evidence, first, words))
    closing = (_until(groups, words), words.consequence(first)) if unpaid else (_LATE[outcome],)
    # Only task switches tell whether the recorder left tasks out, one of which may have flushed.
    whole = evidence.lost == 0 and evidence.seen("sched_switch") and not evidence.filtered
    known = whole and bool(first.use_ns)
    sure = Confidence.CERTAIN if known else Confidence.LIKELY
    return Finding(
        code=words.code, name=words.name, severity=Severity.ERROR if unpaid else Severity.INFO,
        confidence=sure if unpaid else Confidence.CERTAIN,
        title=words.title if unpaid else f"{words.title} in time", message=message + ".", rule=_rule(evidence, first),
        count=number, witnesses=seen,
        story=_kvm.story(evidence, _opening(groups, vms, words), seen, closing),
        flow=f"{flow}|{ioctl or ''}|{outcome}", window=window,
        effect=" ".join(closing), by_events=True, reason=_reason(evidence, first) if unpaid else _LATE[outcome],
        rests=tuple((g.ts_ns, g.end_ns or g.overdue_ns or g.use_ns or g.last_ns) for g in groups[:1000]),
        details={"gfn_runs": [list(run) for group in groups for run in group.runs][:1000]},
    )  # fmt: skip


def _reason(evidence: Evidence, first: DebtGroup) -> str:
    if evidence.lost != 0:
        return "events were lost elsewhere in the trace"
    if not evidence.seen("sched_switch") or evidence.filtered:
        return "other tasks were not recorded in full, and one of them may have flushed"
    if not first.use_ns:
        return "no vCPU was seen to enter the guest before a flush"
    return "all tasks were recorded, no events were lost, and a vCPU ran before any flush"


def _where(groups: list[DebtGroup]) -> str:
    """How many SPTEs, and where: neighbours as one run."""
    if groups[0].flow == _ROOTS:
        return "the page tables of the whole VM"
    runs: list[Run] = sorted({run for group in groups for run in group.runs})
    number = sum(group.count for group in groups)
    kind = "gfn" if groups[0].places else "SPTE at"
    times = f" in {len(groups)} sections" if len(groups) > 1 else ""
    return f"{count(number)} SPTE{'s' if number != 1 else ''}{times} ({kind} {runs_text(runs)})"


def _did(group: DebtGroup, words: Words) -> str:
    return "replaced by a large page" if group.flow == _HUGE else words.did


def _what(flow: str, ioctl: str | None) -> str:
    return f"{flow}, {ioctl}" if ioctl else flow


def _end(group: DebtGroup) -> str:
    """Why no flush can come in time any more."""
    over = _kvm.event_name(group.end_op)
    what = _OVER.get(over, _OVER[""]) if group.end_ns else "mmu_lock was given up"
    if over == "srcu_read_unlock" and group.flow in (_HUGE, _RECOVERY):
        what = "the read section of kvm->srcu ended"
    used = ""
    if group.use_ns:
        used = f"; a vCPU ran on {duration(max(0, group.use_ns - (group.end_ns or group.overdue_ns)))} later"
    return f"no flush of the VM had come when {what}{used}"


def _until(groups: list[DebtGroup], words: Words) -> str:
    """Until when a stale translation could be used."""
    last = max((group.paid_ns for group in groups if group.paid_ns), default=0)
    if any(not group.paid_ns for group in groups):
        return f"A stale {words.stale} could be used until the end of the trace or of the VM: no flush was seen."
    return f"A stale {words.stale} could be used until [{seconds(last)}], when the VM was flushed."


def _witnesses(evidence: Evidence, group: DebtGroup, words: Words) -> Iterator[Witness]:
    lay = evidence.facts["spte_layout"].layout
    level = group.runs[0].level if group.runs else 1
    gfn = group.runs[0].first if group.places and group.runs else -1
    change = f"{_kvm.gfn_text(gfn, level)}: {_kvm.change_text(group.old, group.new, lay, level)}"
    name = "kvm_tdp_mmu_spte_changed" if group.places and not group.sptep else "mmu_spte_update_entry"
    if group.flow == _ROOTS:
        name, change = "kvm_mmu_zap_all_fast", "all roots are made invalid, and vCPUs are to be told to drop them"
    yield _kvm.witness(evidence, group.ts_ns, group.cpu, group.pid, name, change)
    missing = "no flush of the VM's TLBs"
    if group.overdue_ns:
        note = "the flush was due before this"
        yield _kvm.witness(evidence, group.overdue_ns, group.cpu, group.pid, "lock_release", note, missing=missing)
    if group.end_ns:
        yield _kvm.witness(evidence, group.end_ns, group.end_cpu, group.pid, _kvm.event_name(group.end_op),
                           "the operation is over", missing="" if group.overdue_ns else missing)  # fmt: skip
    if group.use_ns:
        yield _kvm.witness(evidence, group.use_ns, group.use_cpu, group.use_pid, "kvm_entry",
                           f"a vCPU of the VM runs with what its TLB holds: {words.stale}s")  # fmt: skip
    if group.paid_ns:
        yield _kvm.witness(evidence, group.paid_ns, group.paid_cpu, group.paid_pid, "kvm_make_all_cpus_request",
                           "the VM's TLBs are flushed")  # fmt: skip


def _opening(groups: list[DebtGroup], vms: Vms, words: Words) -> Iterator[str]:
    yield f"{_where(groups)} were {_did(groups[0], words)} without a flush of the VM's TLBs when it was due:"
    numbers = sorted({group.vm for group in groups})
    yield from (f"  {vms.label(number)}" for number in numbers)
    yield from _kvm.first_words(
        f"  {runs_text(group.runs)}: {count(group.count)} SPTEs, from [{seconds(group.ts_ns)}]" for group in groups
    )


def _rule(evidence: Evidence, group: DebtGroup) -> RuleRef | None:
    if group.code == "LS301":
        loss = "M" if group.losses & kernel.LOST_M else "W"
        ioctl = _IOCTL_NUMBERS.get(group.ioctl or "", 0)
        window = "mmu_lock" if group.flow in ("write tracking", "write protection") else ""
        return _kvm.flow_rule(evidence, loss=loss, ioctl=ioctl, window=window)
    event = "kvm:kvm_unmap_hva_range" if group.flow == "MMU notifier" else ""
    named = {_HUGE: "flow/huge-replaces-table", _RECOVERY: "flow/nx-recovery"}.get(group.flow, "")
    return _kvm.flow_rule(evidence, loss="zap", event=event, window="mmu_lock", named=named)
