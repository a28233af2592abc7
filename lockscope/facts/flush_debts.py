"""TLB flush debts: SPTE changes that take rights from the guest, and whether a flush of the VM came by when it was due.

What owes, and by when, in the words of the kernel's flows (arch/x86/kvm/mmu/mmu.c, tdp_mmu.c, x86.c and
virt/kvm/kvm_main.c, read in 4.14, 5.10, 5.15, 6.1, 6.12 and 7.3.4):

* W cleared for dirty logging (enabling it, GET and CLEAR_DIRTY_LOG): a flush after ``mmu_lock``, before ``slots_lock``
  is released; KVM_RESET_DIRTY_RINGS: before the ioctl returns. MMU-writable cleared on a large SPTE there: likewise.
* MMU-writable cleared for shadow paging or write tracking; W cleared outside of dirty logging: before ``mmu_lock`` is
  released.
* zapped under ``mmu_lock`` held for write by an MMU notifier or under ``slots_lock``: before ``mmu_lock`` is released,
  yields included. Of other zaps that is known from 6.7 on: until then ``kvm_tdp_mmu_put_root()`` zapped dead roots.
* all roots made invalid (``kvm_mmu_zap_all_fast()``, from 5.18 on): the request to drop them, before ``mmu_lock`` is
  released.
* a page table that a large leaf takes the place of, by a page fault (``tdp_mmu_map_handle_target_level()``) or where
  huge pages are recovered (``recover_huge_pages_range()``, from 6.13 on): before ``mmu_lock``, held for read, is
  released or given up for a while.
* a page table zapped by the thread that recovers huge pages, from 6.18 on with ``mmu_lock`` read-held: likewise.
* zapped otherwise with ``mmu_lock`` read-held: nothing. Those are invalidated roots (request 0x327 made vCPUs drop
  them), or they were flushed before the event (``tdp_mmu_zap_spte_atomic()``, up to 6.12).
* aging (A cleared, or R, W and X where the CPU keeps no A bit), dirty bits, a VM that is being destroyed: nothing.

A debt that no flush pays counts only if a vCPU of the VM runs after the operation is over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lockscope.core import kvm_flush as kernel
from lockscope.facts.fact import Making
from lockscope.facts.flush_log import FlushLog
from lockscope.facts.kvm_runs import Run, runs
from lockscope.facts.kvm_state import OpIndex, Rows, Table, columns_of
from lockscope.kvm import spte
from lockscope.kvm.spte_layouts import LARGE, WRITABLE, Layout
from lockscope.tables.ops import Op
from lockscope.tables.tape import TapeBatch

_PLAIN = {
    Op.FLUSH: kernel.FLUSH,
    Op.FLUSH_SLOT: kernel.FLUSH,
    Op.FLUSH_RANGE: kernel.FLUSH_RANGE,
    Op.SYS_ENTER: kernel.ENTER,
    Op.SYS_EXIT: kernel.EXIT,
    Op.KVM_ENTRY: kernel.GUEST,
    Op.KVM_EXIT: kernel.GUEST_EXIT,
    Op.HVA: kernel.HVA,
    Op.SRCU_UNLOCK: kernel.SRCU_UNLOCK,
    Op.FLUSH_ALL: kernel.DYING,
    Op.DESTROY_VM: kernel.DYING,
    Op.TASK_EXIT: kernel.END,
}
_PLAIN_OPS = frozenset(_PLAIN)
# KVM_REQ_TLB_FLUSH is number 0 (KVM_REQUEST_MASK 0xff); 0x400, KVM_REQUEST_NO_ACTION, only kicks (linux/kvm_host.h)
_FLUSH_BITS = 0x4FF
_FREE_ROOTS = (0x327, 0x301)  # KVM_REQ_MMU_FREE_OBSOLETE_ROOTS; before 5.18 KVM_REQ_MMU_RELOAD
FLOWS = ("dirty logging", "dirty logging of large pages", "dirty ring reset", "MMU notifier", "zap under slots_lock",
         "write tracking", "write protection", "zap", "root invalidation", "huge page over a page table",
         "huge page recovery")  # fmt: skip
STATES = ("open", "overdue", "ended", "unpaid", "paid", "late", "foreign", "too-small", "harmless")
_IOCTLS = {kernel.SET_MEMORY: "KVM_SET_USER_MEMORY_REGION", kernel.SET_MEMORY2: "KVM_SET_USER_MEMORY_REGION2",
           kernel.GET_LOG: "KVM_GET_DIRTY_LOG", kernel.CLEAR_LOG: "KVM_CLEAR_DIRTY_LOG",
           kernel.RESET_RINGS: "KVM_RESET_DIRTY_RINGS"}  # fmt: skip
_TOP_LEVEL = 5
_MOST_GROUPS, _MOST_DEBTS, _MOST_PLACES = 1 << 14, 1 << 21, 1 << 20


@dataclass(slots=True)
class DebtGroup:
    """Debts of one task and flow in one critical section that were not paid as they should have been.

    ``outcome``: "unpaid" (no flush by anybody before a vCPU ran), "ended" (no flush, and no vCPU seen to run), "late"
    (by the task, after its window), "foreign" (by another task), "too-small" (a range flush that misses some, and a
    full one that hides it). ``use_ns``: when a vCPU first ran on; ``paid_ns``: the flush that ended it, 0 = none in the
    trace. ``places``: False where the gfns are not known (legacy MMU without kvm_mmu_set_spte): runs are of SPTE
    addresses.
    """

    code: str
    flow: str
    outcome: str
    ioctl: str | None
    vm: int
    pid: int
    ts_ns: int
    seq: int
    cpu: int
    last_ns: int
    count: int
    losses: int
    old: int
    new: int
    overdue_ns: int
    end_ns: int
    end_cpu: int
    end_op: int
    use_ns: int
    use_cpu: int
    use_pid: int
    paid_ns: int
    paid_cpu: int
    paid_pid: int
    sptep: int  # of the first SPTE; 0 where the event names it by gfn
    runs: list[Run] = field(default_factory=list)
    places: bool = True


@dataclass(slots=True)
class FlushDebts:
    """``evidence.facts["flush_debts"]``. ``guests``: whether vCPUs are seen running at all. ``log``: all debts."""

    groups: list[DebtGroup] = field(default_factory=list)
    losses: int = 0
    debts: int = 0
    flushes: int = 0
    guests: bool = False
    untold: int = 0
    log: FlushLog = field(default_factory=FlushLog, repr=False)


def losses_of(
    old: NDArray[np.uint64], new: NDArray[np.uint64], level: NDArray[np.int64], lay: Layout
) -> NDArray[np.int64]:
    """What the hardware could do by the old SPTE and not by the new one, as bits; 0: nothing that owes a flush."""
    leaf = spte.is_leaf(old, lay, level)
    kept = leaf & spte.is_leaf(new, lay, level)
    same = kept & (spte.pfn(old) == spte.pfn(new))
    aged = spte.is_access_tracked(new, lay)
    old_w, new_w = (old & np.uint64(WRITABLE)) != 0, (new & np.uint64(WRITABLE)) != 0
    m = np.uint64(lay.mmu_writable)
    lost = np.where(same & old_w & ~new_w & ~aged, kernel.LOST_W, 0)
    lost |= np.where(same & ((old & m) != 0) & ((new & m) == 0), kernel.LOST_M, 0)
    lost |= np.where(leaf & ~spte.is_present(new, lay), kernel.LOST_MAPPING, 0)
    read = np.uint64(lay.readable)
    lost |= np.where((kept & ~same) | (same & ((old & read) != 0) & ((new & read) == 0) & ~aged), kernel.REMAPPED, 0)
    return np.asarray(lost, np.int64)


def tables_lost(
    old: NDArray[np.uint64], new: NDArray[np.uint64], level: NDArray[np.int64], lay: Layout
) -> NDArray[np.int64]:
    """What became of page tables of the TDP MMU, as bits."""
    table = spte.is_present(old, lay) & ~spte.is_leaf(old, lay, level)
    replaced, gone = table & spte.is_leaf(new, lay, level), table & ~spte.is_present(new, lay)
    return np.asarray(np.where(replaced, kernel.TABLE_REPLACED, np.where(gone, kernel.TABLE_LOST, 0)), np.int64)


class FlushFact:
    """Follows the debts."""

    name: ClassVar[str] = "flush_debts"
    ops: ClassVar[frozenset[Op]] = frozenset(
        {
            *_PLAIN,
            Op.REQUEST,
            Op.SPTE_TDP,
            Op.SPTE_UPDATE_ENTRY,
            Op.SPTE_SET,
            Op.RELEASE,
            Op.FN_UNLOCK,
            Op.DIRTY_RING,
            Op.ZAP_ALL_FAST,
        }
    )
    needs: ClassVar[tuple[str, ...]] = ("spte_layout", "vms")

    def __init__(self, making: Making) -> None:
        self._vms, self._layout = making.facts["vms"], making.facts["spte_layout"]
        self._kernel = spte.version(making.info.kernel)
        self._tasks, self._groups, self._debts = Table(kernel.FlushTask), Rows(kernel.Group), Rows(kernel.Debt)
        self._active = Rows()
        self._dying = np.zeros(64, np.int64)
        self._seen = np.zeros(4, np.int64)
        self._locks = np.zeros(0, np.int64)
        self._places = np.zeros((0, 3), np.int64)  # sptep's low bits, gfn, level
        self._guests = False
        self._untold = 0
        self._log = FlushLog()
        self._how = np.full(256, -1, np.int64)
        for op, kind in _PLAIN.items():
            self._how[op] = kind

    def feed(self, batch: TapeBatch) -> None:
        """Follow the debts through a batch."""
        held, vm = batch.held, batch.vm
        if held is None or vm is None or not len(held):
            return
        index = self._vms.index
        self._guests |= bool(len(index.of(Op.KVM_ENTRY)) + len(index.of(Op.KVM_EXIT)))
        changes, losses, columns = self._changes(index)
        roots = index.of(Op.ZAP_ALL_FAST)
        requests, req = index.of(Op.REQUEST), index.slot(Op.REQUEST, "req")
        flushes, frees = requests[(req & _FLUSH_BITS) == 0], requests[np.isin(req, _FREE_ROOTS)]
        rings = index.of(Op.DIRTY_RING)[index.slot(Op.DIRTY_RING, "what") == 1]
        owing = np.concatenate((changes, roots))
        if len(owing):
            taken = held[owing][:, [kernel.MMU_LOCK, kernel.SLOTS_LOCK]]
            self._locks = np.unique(np.concatenate((self._locks, taken[taken != 0])))
        if len(self._locks):
            unlocks = np.concatenate((index.of(Op.RELEASE), index.of(Op.FN_UNLOCK)))
            unlocks = unlocks[np.isin(batch.slots[unlocks, 0], self._locks)]
        else:
            unlocks = np.zeros(0, np.int64)
        parts = (
            (index.any_of(_PLAIN_OPS), -1),
            (changes, kernel.DEBT),
            (roots, kernel.ROOTS),
            (flushes, kernel.FLUSH),
            (frees, kernel.FREE_ROOTS),
            (rings, kernel.RING),
            (unlocks, kernel.UNLOCK),
        )
        rows = np.concatenate([part for part, _ in parts])
        how = np.concatenate([np.full(len(part), kind, np.int64) for part, kind in parts])
        order = np.argsort(rows, kind="stable")
        rows, how = rows[order], how[order]
        plain = how < 0
        how[plain] = self._how[batch.op[rows[plain]]]
        if len(rows):
            self._follow(batch, rows, how, changes, losses, columns)

    def _follow(self, batch: TapeBatch, rows: NDArray[np.int64], how: NDArray[np.int64], changes: NDArray[np.int64],
                losses: NDArray[np.int64], columns: NDArray[np.int64]) -> None:  # fmt: skip
        self._tasks.make_room(self._vms.index.tasks)
        for table in (self._groups, self._debts, self._active):
            table.make_room(len(changes) + int(np.count_nonzero(how == kernel.ROOTS)))
        dead = self._vms.deaths()
        if len(dead) > len(self._dying):
            self._dying = np.concatenate((self._dying, np.zeros(len(dead), np.int64)))
        cols = columns_of(batch, rows, how, 7)
        roots = how == kernel.ROOTS
        cols[kernel.C_LOSSES, roots], cols[kernel.C_LEVEL, roots] = kernel.LOST_MAPPING, _TOP_LEVEL
        at = np.searchsorted(rows, changes)
        cols[kernel.C_LOSSES, at] = losses
        cols[kernel.C_LEVEL :, at] = columns
        kernel.follow(
            cols, batch.slots, batch.held, dead, self._dying, self._options(), self._tasks.table, self._tasks.rows,
            self._groups.rows, self._groups.count, self._debts.rows, self._debts.count,
            self._active.rows, self._active.count, self._seen,
        )  # fmt: skip
        self._compact()

    def _options(self) -> NDArray[np.int64]:
        known = self._kernel or self._layout.found.layout.since  # values of 6.10 and later are unmistakable
        later = self._kernel is not None and self._kernel >= (6, 13)
        # KVM_REQ_MMU_FREE_OBSOLETE_ROOTS is from 5.18; before that vCPUs were made to reload theirs in several ways.
        recovery = self._kernel is not None and self._kernel >= (6, 18)
        return np.array([known >= (6, 7), self._kernel is not None and not later, known >= (5, 18), recovery], np.int64)

    def _changes(self, index: OpIndex) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Rows that lose something, what, and level, gfn, old, new, sptep, as_id of each (as columns)."""
        lay = self._layout.found.layout
        self._learn_places(index)
        tdp, legacy = index.of(Op.SPTE_TDP), index.of(Op.SPTE_UPDATE_ENTRY)
        gfn, old, new, level, as_id = (
            index.slot(Op.SPTE_TDP, name) for name in ("gfn", "old", "new", "level", "as_id")
        )
        sptep, was, now = (index.slot(Op.SPTE_UPDATE_ENTRY, name) for name in ("sptep", "old", "new"))
        place, its_level = self._place(sptep)
        its_level = np.where(its_level > 0, its_level, np.where((was.view(np.uint64) & np.uint64(LARGE)) != 0, 2, 1))
        none = np.zeros(len(tdp), np.int64)
        rows = np.concatenate((tdp, legacy))
        columns = np.stack((
            np.concatenate((level, its_level)), np.concatenate((gfn, place)), np.concatenate((old, was)),
            np.concatenate((new, now)), np.concatenate((none, sptep)), np.concatenate((as_id, np.zeros_like(sptep))),
        ))  # fmt: skip
        columns[0] = np.clip(columns[0], 1, 5)
        lost = losses_of(columns[2].view(np.uint64), columns[3].view(np.uint64), columns[0], lay)
        its = columns[:, : len(tdp)]
        lost[: len(tdp)] |= tables_lost(its[2].view(np.uint64), its[3].view(np.uint64), its[0], lay)
        # The legacy MMU zaps without mmu_spte_update(): what it does to present SPTEs there is a change of rights.
        some = np.flatnonzero(lost)
        order = some[np.argsort(rows[some], kind="stable")]
        return rows[order], lost[order], columns[:, order]

    def _learn_places(self, index: OpIndex) -> None:
        """Which gfn an SPTE maps, from kvm_mmu_set_spte; it prints the physical address, probes the virtual one, and
        these differ by a multiple of 1 GiB (page_offset_base)."""
        new = np.stack([index.slot(Op.SPTE_SET, name) for name in ("sptep", "gfn", "level")], axis=1)
        if not len(new) or len(self._places) > _MOST_PLACES:
            return
        new[:, 0] &= (1 << 30) - 1
        every = np.concatenate((self._places, new))[::-1]
        _, first = np.unique(every[:, 0], return_index=True)
        self._places = every[first]

    def _place(self, sptep: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if not len(self._places) or not len(sptep):
            return np.full(len(sptep), -1, np.int64), np.zeros(len(sptep), np.int64)
        low = sptep & ((1 << 30) - 1)
        at = np.minimum(np.searchsorted(self._places[:, 0], low), len(self._places) - 1)
        hit = self._places[at, 0] == low
        return np.where(hit, self._places[at, 1], -1), np.where(hit, self._places[at, 2], 0)

    def _compact(self) -> None:
        """Forget the debts and groups that were paid: what stays is a finding, or still open."""
        groups, debts = self._groups.used, self._debts.used
        if len(groups) < 1024 and len(debts) < 1 << 16:
            return
        keep = ~np.isin(groups["state"], (kernel.PAID, kernel.HARMLESS))
        told = np.flatnonzero(keep & (groups["state"] >= kernel.UNPAID))
        if len(told) > _MOST_GROUPS or len(debts) > _MOST_DEBTS:
            self._untold += max(0, len(told) - _MOST_GROUPS // 2)
            keep[told[_MOST_GROUPS // 2 :]] = False
        self._log.take(groups[~keep])
        number = np.cumsum(keep) - 1
        stay = debts[keep[debts["group"]]].copy()
        stay["group"] = number[stay["group"]]
        groups = groups[keep].copy()
        first = np.searchsorted(stay["group"], np.arange(len(groups)))
        order = np.argsort(stay["group"], kind="stable")
        stay = stay[order]
        groups["first"] = np.searchsorted(stay["group"], np.arange(len(groups)))
        del first
        active = self._active.used
        active = number[active[keep[active]]]
        self._groups.rows[: len(groups)], self._debts.rows[: len(stay)] = groups, stay
        self._active.rows[: len(active)] = active
        self._groups.count[0], self._debts.count[0], self._active.count[0] = len(groups), len(stay), len(active)
        self._tasks.rows["group"], self._tasks.rows["too_short"] = 0, 0

    def finish(self) -> FlushDebts:
        """The debts that were not paid as they should have been."""
        losses, owed, flushes, _ = self._seen.tolist()
        self._log.take(self._groups.used)
        found = FlushDebts([], losses, owed, flushes, self._guests, self._untold, self._log)
        debts = self._debts.used
        for index, row in enumerate(_dicts(self._groups.used)):
            state = row["state"]
            if state in (kernel.UNPAID, kernel.LATE, kernel.FOREIGN, kernel.TOO_SMALL, kernel.ENDED):
                found.groups.append(_group(row, state, debts[debts["group"] == index]))
        return found


def _dicts(groups: NDArray[Any]) -> Iterator[dict[str, int]]:
    names = kernel.Group.fields()
    return (dict(zip(names, row, strict=True)) for row in groups.tolist())


def _group(g: dict[str, int], state: int, debts: NDArray[Any]) -> DebtGroup:
    if state == kernel.UNPAID and g["foreign_n"]:
        debts = debts[g["foreign_n"] :]  # the ones before were covered by somebody else's flush
    debts = debts[debts["covered"] == 0] if np.any(debts["covered"] == 0) else debts
    places = bool(np.all(debts["gfn"] >= 0))
    request = g["arg"] & 0xFFFFFFFF
    return DebtGroup(
        f"LS{g['code']}",
        FLOWS[g["flow"]],
        STATES[state],
        _IOCTLS.get(request) if g["call"] == kernel.IOCTL else None,
        g["vm"],
        g["pid"],
        int(debts["ts"][0]) if len(debts) else g["ts"],
        g["seq"],
        int(debts["cpu"][0]) if len(debts) else g["cpu"],
        g["last_ts"],
        len(debts),
        g["losses"],
        int(debts["old"][0]) if len(debts) else 0,
        int(debts["new"][0]) if len(debts) else 0,
        g["soft_ts"],
        g["end_ts"],
        g["end_cpu"],
        g["end_op"],
        g["use_ts"],
        g["use_cpu"],
        g["use_pid"],
        g["paid_ts"],
        g["paid_cpu"],
        g["paid_pid"],
        int(debts["sptep"][0]) if len(debts) else 0,
        runs(debts["gfn" if places else "sptep"], debts["level"], 1 if places else 8),
        places,
    )


FACT = FlushFact
