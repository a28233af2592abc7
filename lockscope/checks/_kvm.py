"""What the checks on KVM's memory rules share: whether their events were recorded, what a gap makes untrue, words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Protocol, TypeVar

from lockscope.checks._grounds import recorded
from lockscope.checks.check import Grounds
from lockscope.evidence.evidence import Evidence
from lockscope.facts.vms import Vms
from lockscope.kvm import spte
from lockscope.kvm.spte import Found
from lockscope.kvm.spte_layouts import Layout
from lockscope.results.findings import RuleRef, Status, Witness, context_of
from lockscope.rules.book import Flow
from lockscope.tables.ops import Op
from lockscope.units import address, seconds

RECORD = "'lockscope record -- COMMAND' sets these up"
_SLACK_NS = 1_000_000  # how far a gap of one CPU reaches on another's clock
_64 = (1 << 64) - 1
_MOST_RESTS = 1000  # times that a defect was met, of which it is told what each rests on
_EVENTS = {
    Op.SPTE_TDP: "kvm_tdp_mmu_spte_changed",
    Op.SPTE_SET: "kvm_mmu_set_spte",
    Op.FAST_PF: "fast_page_fault",
    Op.SPTE_MMIO: "mark_mmio_spte",
    Op.SPTE_UPDATE: "mmu_spte_update",
    Op.SPTE_UPDATE_ENTRY: "mmu_spte_update_entry",
    Op.SYS_ENTER: "sys_enter",
    Op.SYS_EXIT: "sys_exit",
    Op.KVM_ENTRY: "kvm_entry",
    Op.KVM_EXIT: "kvm_exit",
    Op.HVA: "kvm_unmap_hva_range",
    Op.SRCU_LOCK: "srcu_read_lock",
    Op.SRCU_UNLOCK: "srcu_read_unlock",
    Op.SRCU_SYNC: "synchronize_srcu",
    Op.TASK_EXIT: "sched_process_exit",
    Op.MEMSLOT: "gfn_to_memslot",
    Op.VCPU_MEMSLOT: "kvm_vcpu_gfn_to_memslot",
    Op.MARK_DIRTY: "mark_page_dirty_in_slot",
    Op.BUS: "kvm_io_bus_write",
    Op.ZAP_RANGE: "kvm_zap_gfn_range",
    Op.REQUEST: "kvm_make_all_cpus_request",
    Op.MASTER_CLOCK: "kvm_update_master_clock",
    Op.FN_RETURN: "mutex_lock",
}


class Timed(Protocol):
    """What rests on every event between two times."""

    @property
    def since_ns(self) -> int: ...
    @property
    def ts_ns(self) -> int: ...


T = TypeVar("T", bound=Timed)


def has(evidence: Evidence, *names: str) -> bool:
    """Whether one of these events was recorded: seen, or switched on and quiet."""
    return recorded(evidence, *names)


def old_values_missing(evidence: Evidence) -> str | None:
    """What to record so that SPTE changes show the value from before; None where they do.

    Only the TDP MMU has an event for that. A VM of the legacy MMU (tdp_mmu=0, 32-bit hosts, shadow paging) shows in
    kvm_mmu_set_spte without it.
    """
    if has(evidence, "mmu_spte_update_entry") or evidence.seen("kvm_tdp_mmu_spte_changed"):
        return None
    if not has(evidence, "kvm_tdp_mmu_spte_changed"):
        what = "no SPTE changes with their old value: trace-cmd record -e kvmmmu (TDP MMU), and for tdp_mmu=0"
    elif evidence.seen("kvm_mmu_set_spte", "kvm_mmu_get_page"):
        what = "the legacy MMU's SPTE changes have no event with the old value:"
    else:
        return None
    return f"{what} the probe lockscope:mmu_spte_update_entry; {RECORD}"


def layout_unknown(evidence: Evidence) -> str | None:
    """Why what an SPTE says cannot be read here; None where it can."""
    found = evidence.facts.get("spte_layout")
    return found.doubt or None if isinstance(found, Found) else None


def never_released(evidence: Evidence) -> bool:
    """Lock acquisitions were recorded and releases were not: what a task holds is then not known."""
    return (evidence.plain or evidence.detailed) and not has(evidence, "lock_release")


NO_RELEASES = "acquisitions alone do not say what a task holds: trace-cmd record -e lock:lock_release too"


def vms_of(evidence: Evidence) -> Vms:
    """The VMs, also where no fact about them was made."""
    found = evidence.facts.get("vms")
    return found if isinstance(found, Vms) else Vms()


def stands(evidence: Evidence, since_ns: int, until_ns: int) -> bool:
    """Whether a verdict on these times rests on nothing that may be missing."""
    vms = vms_of(evidence)
    if evidence.lost != 0 and not vms.gaps and _lost_anywhere(evidence):
        return False
    return vms.complete(since_ns, until_ns, _SLACK_NS)


def _lost_anywhere(evidence: Evidence) -> bool:
    """Events were lost and the trace does not show where (a file that only ends early shows it)."""
    return any(note.kind not in ("truncated", "unparsed") and note.count != 0 for note in evidence.info.losses)


def mirrored(evidence: Evidence, vm: int) -> bool:
    """Whether SPTEs of this VM may be those of two roots with the same gfns; a VM that is not known may be any."""
    found: frozenset[int] = evidence.facts.get("mirror_roots", frozenset())
    return vm in found or (bool(found) and vm == 0) or 0 in found


def mirror_doubt(evidence: Evidence) -> str:
    """Why SPTEs are not all judged; empty where they are."""
    found = evidence.facts.get("mirror_roots")
    return "a TDX guest's SPTEs are not judged: no event says which are of its mirror page tables" if found else ""


def standing(evidence: Evidence, events: Iterable[T]) -> list[T]:
    """The events whose stretch has no gap in it, and that lie in a judged window where there are windows."""
    return [e for e in events if stands(evidence, e.since_ns, e.ts_ns) and judged_at(evidence, e.since_ns, e.ts_ns)]


def rests(events: Iterable[Timed]) -> tuple[tuple[int, int], ...]:
    """What each of some events rests on, for ``Finding.rests``."""
    return tuple((max(e.since_ns, 0), e.ts_ns) for e in islice(events, _MOST_RESTS))


def judged_at(evidence: Evidence, since_ns: int, until_ns: int) -> bool:
    """Whether these times lie in one judged window."""
    return not evidence.windowed or window_at(evidence, since_ns, until_ns) is not None


def window_at(evidence: Evidence, since_ns: int, until_ns: int) -> str | None:
    """The window's name."""
    fits = (w.name for w in evidence.windows if w.start_ns <= since_ns and until_ns <= w.end_ns)
    return next(fits, None)


def partial_if_lost(evidence: Evidence, reasons: Iterable[str] = ()) -> Grounds:
    """Ran, or partial for these reasons and for losses."""
    found = [reason for reason in reasons if reason]
    if evidence.lost != 0:
        found.insert(0, "events were lost (LS901): what rests on those stretches is not judged")
    if vms_of(evidence).unevenly:
        found.append("the trace's buffers follow different tasks: of some only a part of the events is there")
    return Grounds(Status.PARTIAL, "; ".join(found)) if found else Grounds()


def skipped(reason: str) -> Grounds:
    """Not judged, and what to record."""
    return Grounds(Status.SKIPPED, reason)


def event_name(op: int) -> str:
    """The kernel's name of an operation's event, for a witness."""
    return _EVENTS.get(Op(op), Op(op).name.lower()) if op in set(Op) else "event"


def witness(evidence: Evidence, ts_ns: int, cpu: int, pid: int, event: str, note: str, flags: int = 0,
            missing: str = "") -> Witness:  # fmt: skip
    """One event of the story; ``missing``: what should have come before it."""
    return Witness(ts_ns, cpu, pid, evidence.comm(pid), event, context_of(flags), None, note, missing=missing)


def line(evidence: Evidence, seen: Witness) -> str:
    """A witness as a line of the story."""
    return f"  [{seconds(seen.ts_ns)}] CPU{seen.cpu} {evidence.comm(seen.pid)}/{seen.pid} {seen.event}: {seen.note}"


def story(
    evidence: Evidence, opening: Iterable[str], witnesses: Iterable[Witness], closing: Iterable[str] = ()
) -> tuple[str, ...]:
    """A report's body: what happened, event by event, and what follows from it."""
    told = [line(evidence, seen) for seen in witnesses]
    return (*opening, "", "the sequence of events:", *told, *(("", *closing) if closing else ()))


def hex64(value: int) -> str:
    """A 64-bit value that the tape keeps as a signed number."""
    return address(value & _64)


def change_text(old: int, new: int, layout: Layout | None, level: int | None) -> str:
    """An SPTE's change: both values, and in words only what differs."""
    both = f"{hex64(old)} -> {hex64(new)}"
    if layout is None:
        return both
    was, now = spte.decode(old, layout, level or None), spte.decode(new, layout, level or None)
    lost, gained = [w for w in was if w not in now], [w for w in now if w not in was]
    return f"{both} ({', '.join(lost) or 'nothing'} -> {', '.join(gained) or 'nothing'})" if lost or gained else both


def gfn_text(gfn: int, level: int) -> str:
    """Where an SPTE maps."""
    return f"gfn {address(gfn)} level {level}" if gfn >= 0 else "an SPTE whose gfn is not known"


def flow_rule(
    evidence: Evidence, *, loss: str, ioctl: int = 0, event: str = "", window: str = "", named: str = ""
) -> RuleRef | None:
    """The rulebook's flow that fits best, for a finding's ``rule``; ``named``: the one with this id, if there is."""
    flows: list[Flow] = [f for f in getattr(evidence.rules, "flows", ()) if loss in f.loss]
    if named and any(f.id == named for f in flows):
        flows = [f for f in flows if f.id == named]
    elif ioctl:
        flows = [f for f in flows if ioctl in f.ioctls] or flows
    elif event:
        flows = [f for f in flows if event in f.evidence] or flows
    if window:
        flows = [f for f in flows if f.window == window] or flows
    return RuleRef(flows[0].id, flows[0].source) if flows else None


def first_words(items: Iterable[str], most: int = 4) -> Iterator[str]:
    """The first few of many, and how many more."""
    listed = list(items)
    yield from listed[:most]
    if len(listed) > most:
        yield f"... and {len(listed) - most} more"
