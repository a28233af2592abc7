"""SPTE histories: what happened to each SPTE, and what does not fit together in it.

An SPTE is followed by place (VM, address space, level, gfn) and by its own address, and the two are joined:
``kvm_mmu_set_spte`` prints the physical address, ``fast_page_fault`` and the probes the virtual one, and these differ
by ``page_offset_base``, a multiple of 1 GiB that is learned from SPTEs that both name.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockscope.core import kvm_spte
from lockscope.core import kvm_spte_rows as kernel
from lockscope.core.kvm_flush import SET_MEMORY, SET_MEMORY2
from lockscope.facts.fact import Making
from lockscope.facts.kvm_state import OpIndex, Table, columns_of
from lockscope.kvm import spte
from lockscope.kvm.spte_layouts import LARGE, WRITABLE, Layout
from lockscope.kvm.versions import parse
from lockscope.tables.ops import Op
from lockscope.tables.tape import TapeBatch

_HOW = {
    Op.SPTE_TDP: kernel.TDP,
    Op.SPTE_SET: kernel.SET,
    Op.FAST_PF: kernel.FAST,
    Op.SPTE_UPDATE_ENTRY: kernel.UPDATE_ENTRY,
    Op.SPTE_UPDATE: kernel.UPDATE,
    Op.SPTE_MMIO: kernel.MMIO,
    Op.MMU_PAGE: kernel.PAGE,
    Op.ZAP_ALL_FAST: kernel.ZAP_ALL,
    Op.PAGE_FAULT: kernel.FAULT,
    Op.MARK_DIRTY: kernel.DIRTY,
    Op.HVA: kernel.HVA,
    Op.SYS_ENTER: kernel.QUIET,
    Op.SYS_EXIT: kernel.QUIET,
    Op.KVM_ENTRY: kernel.GUEST,
    Op.KVM_EXIT: kernel.GUEST_EXIT,
}
_FOLLOWED = frozenset(_HOW)
_VALUES: dict[Op, tuple[str | None, str]] = {
    Op.SPTE_TDP: ("old", "new"),
    Op.FAST_PF: ("old", "new"),
    Op.SPTE_UPDATE_ENTRY: ("old", "new"),
    Op.SPTE_SET: (None, "spte"),
    Op.SPTE_UPDATE: (None, "new"),
}
_WHAT = ("no-lock", "wrong-mode", "set-under-read", "not-writable", "large-logged", "indirect", "aba", "lost-bit",
         "lost-in-update", "bad-save", "bad-restore", "w-on-read", "shadowed", "notifier-read")  # fmt: skip
_GIB = (1 << 30) - 1
_LEAST_SLACK = 5_000  # ns by which clocks of their own may differ, where no more is known


class SpteEvent(NamedTuple):
    """Something that does not fit. ``ts_ns``: when; ``since_ns``: what it rests on reaches back to there.

    ``what``: "no-lock", "wrong-mode", "set-under-read" and "notifier-read" (mmu_lock read-held), "not-writable",
    "large-logged", "indirect" and "shadowed" (what the fast path must not touch), "aba", "lost-bit",
    "lost-in-update", "bad-save", "bad-restore", "w-on-read". ``old``, ``new``: SPTE values as signed numbers.
    ``other_*``: the event it collides with. ``doubt``: somebody else changed the same SPTE meanwhile, and the event's
    new value may be theirs.
    """

    what: str
    ts_ns: int
    seq: int
    cpu: int
    pid: int
    flags: int
    op: int
    vm: int
    gfn: int
    level: int
    old: int
    new: int
    sptep: int
    since_ns: int
    other_ns: int
    other_cpu: int
    other_pid: int
    extra: int
    doubt: int


@dataclass(slots=True)
class SpteHistory:
    """``evidence.facts["spte_history"]``. ``transitions``: SPTE events; ``judged``: those whose task's locks are known.

    ``page_offset``: distance from physical to virtual SPTE addresses, None where it was not learned. ``doubted_vms``:
    VMs with more than one root, where an SPTE by place is not one SPTE; ``undecided``: what would be lost bits there.
    ``told_ns``: when an event that only the TDP MMU has was last seen; -1 never. ``aged_somehow``: agings without
    mmu_lock, where nobody knows whether the kernel does that.
    """

    events: list[SpteEvent] = field(default_factory=list)
    transitions: int = 0
    judged: int = 0
    fast_faults: int = 0
    fixed: int = 0
    page_offset: int | None = None
    layout: Layout | None = None
    doubted_vms: set[int] = field(default_factory=set)
    undecided: int = 0
    mmu_lock_seen: bool = False
    untold: dict[str, int] = field(default_factory=dict)  # by kind, events beyond those kept
    told_ns: int = -1
    aged_somehow: int = 0

    def of(self, *what: str) -> list[SpteEvent]:
        """The events of these kinds."""
        return [event for event in self.events if event.what in what]


class HistoryFact:
    """Follows the SPTEs."""

    name: ClassVar[str] = "spte_history"
    ops: ClassVar[frozenset[Op]] = frozenset(_HOW)
    needs: ClassVar[tuple[str, ...]] = ("clock_skew", "spte_layout", "vms")

    def __init__(self, making: Making) -> None:
        self._layout, self._vm_fact, self._rules = making.facts["spte_layout"], making.facts["vms"], making.rules
        self._kernel = parse(making.info.kernel)
        self._skew = making.facts["clock_skew"]
        self._tasks, self._sptes, self._pages, self._places = (
            Table(kernel.SpteTask),
            Table(kernel.Spte),
            Table(kernel.Page),
            Table(kernel.Place),
        )
        self._vms = kernel.SpteVm.many(64)
        self._found = kernel.SpteFinding.many(kernel.MOST * kernel.KINDS)
        self._count: NDArray[np.int64] = np.zeros(kernel.UNDECIDED + 1, np.int64)
        self._memory = np.zeros(1, np.int64)
        self._seen = np.zeros(5, np.int64)
        self._told_ns = -1
        self._bases: Counter[int] = Counter()
        self._fixed_votes: Counter[int] = Counter()
        self._physical: NDArray[np.int64] = np.zeros(0, np.int64)
        self._how = np.full(256, -1, np.int64)
        for op, kind in _HOW.items():
            self._how[op] = kind

    def feed(self, batch: TapeBatch) -> None:
        """Follow the SPTEs through a batch."""
        held, vm = batch.held, batch.vm
        if held is None or vm is None or not len(held):
            return
        index = self._vm_fact.index
        rows = index.any_of(_FOLLOWED)
        if not len(rows):
            return
        told = index.of(Op.SPTE_TDP)
        self._told_ns = int(batch.ts_ns[told[-1]]) if len(told) else self._told_ns
        how = self._how[batch.op[rows]]
        calls = index.of(Op.SYS_ENTER)[
            np.isin(index.slot(Op.SYS_ENTER, "arg1") & 0xFFFFFFFF, (SET_MEMORY, SET_MEMORY2))
        ]
        how[np.searchsorted(rows, calls)] = kernel.CALL
        self._learn_base(index)
        lay = self._layout.found.layout
        cols = columns_of(batch, rows, how, 5)
        self._fill(cols[kernel.C_OLD :], index, rows, lay)
        named = sum(
            len(index.of(op)) for op in (Op.SPTE_SET, Op.FAST_PF, Op.SPTE_UPDATE_ENTRY, Op.SPTE_UPDATE, Op.SPTE_MMIO)
        )
        self._tasks.make_room(index.tasks)
        self._sptes.make_room(named)
        self._pages.make_room(named)
        self._places.make_room(len(index.of(Op.SPTE_TDP)) + 2 * len(index.of(Op.FAST_PF)) + len(index.of(Op.MMU_PAGE)))
        most = int(vm.max()) + 1
        if most > len(self._vms):
            self._vms = np.concatenate((self._vms, kernel.SpteVm.many(most)))
        kvm_spte.follow(
            cols, batch.slots, held, self._options(lay), self._vms, self._tasks.table, self._tasks.rows,
            self._sptes.table, self._sptes.rows, self._pages.table, self._pages.rows, self._places.table,
            self._places.rows, self._found, self._count, self._memory, self._seen,
        )  # fmt: skip

    def _options(self, lay: Layout) -> NDArray[np.int64]:
        kernel_is = self._kernel
        # 10c30de01921 (5.17) let the fast path restore large SPTEs; before that it never touched one.
        no_large = kernel_is is not None and not kernel_is.distribution and kernel_is.before(5, 17)
        flushes = kernel_is is not None and kernel_is.before(6, 13)
        base = self._bases.most_common(1)[0][0] if self._bases else 0
        skew = self._skew.bound_ns
        slack = 0 if skew == 0 else max(_LEAST_SLACK, skew or 0)
        noise = 10_000_000
        options = [
            lay.saved, no_large, self._aging(), base, flushes, noise, slack, lay.saved_bits, lay.saved_mask,
            lay.accessed,
        ]  # fmt: skip
        return np.array(options, np.int64)

    def _aging(self) -> int:
        """KVM_MMU_LOCKLESS_AGING came with 6.15; a distribution may have it in an older series."""
        if self._kernel is not None and self._kernel.at_least(6, 15):
            return kernel.AGES_LOCKLESS
        told = self._kernel is not None and not self._kernel.distribution
        return kernel.AGES_LOCKED if told else kernel.AGES_SOMEHOW

    def _fill(self, values: NDArray[np.int64], index: OpIndex, rows: NDArray[np.int64], lay: Layout) -> None:
        """Old and new value, what each says, and whether a fast page fault did it."""
        for op, (was, now) in _VALUES.items():
            at = np.searchsorted(rows, index.of(op))
            if not len(at):
                continue
            level = index.slot(op, "level") if op is Op.SPTE_TDP else np.ones(len(at), np.int64)
            if was is not None:
                values[0, at] = index.slot(op, was)
                values[2, at] = says(values[0, at], lay, level)
            values[1, at] = index.slot(op, now)
            values[3, at] = says(values[1, at], lay, level)
        at = np.searchsorted(rows, index.of(Op.FAST_PF))
        gained = (values[3, at] & kernel.W != 0) & (values[2, at] & kernel.W == 0)
        ret, is_bool = index.slot(Op.FAST_PF, "ret"), index.slot(Op.FAST_PF, "ret_is_bool")
        self._fixed_votes.update(ret[gained & (is_bool == 0)][:4096].tolist())
        changed = values[0, at] != values[1, at]
        values[4, at] = np.where(is_bool != 0, (ret != 0) & changed, ret == self._ret_fixed())

    def _ret_fixed(self) -> int:
        """The number of RET_PF_FIXED, which grew with the enum: by the events that gained W, else by version."""
        if self._fixed_votes.total() >= 16:
            return self._fixed_votes.most_common(1)[0][0]
        ruled = self._rules.value("fast_page_fault.ret_fixed") if self._rules is not None else None
        if isinstance(ruled, int):
            return ruled
        if self._kernel is None or self._kernel.at_least(6, 12):
            return 5
        return 4 if self._kernel.at_least(5, 18) else 3

    def _learn_base(self, index: OpIndex) -> None:
        if self._bases.total() > 4096:
            return
        virtual = [index.slot(op, "sptep")[: 1 << 13] for op in (Op.FAST_PF, Op.SPTE_MMIO, Op.SPTE_UPDATE_ENTRY)]
        seen = np.unique(np.concatenate(virtual))
        if len(self._physical) < 1 << 20:
            self._physical = np.unique(np.concatenate((self._physical, index.slot(Op.SPTE_SET, "sptep"))))
        _, at, its = np.intersect1d(seen & _GIB, self._physical & _GIB, return_indices=True)
        self._bases.update((seen[at] - self._physical[its]).tolist())

    def finish(self) -> SpteHistory:
        """What does not fit."""
        legacy = np.flatnonzero((self._vms["tdp"] == 0) & (self._vms["pages"] > 0))
        rows = self._found[: int(self._count[0])]
        # The TDP MMU sets SPTEs with mmu_lock read-held: only a VM that is known to have none of it can do wrong there.
        keep = (rows["what"] != kernel.SET_UNDER_READ) | np.isin(rows["vm"], legacy)
        if not self._vm_fact.mmu_lock_seen:  # not one acquisition was recorded, or none could be named
            keep &= rows["what"] != kernel.NO_LOCK
        events = [SpteEvent(_WHAT[row[0]], *row[1:]) for row in rows[keep].tolist()]
        base = self._bases.most_common(1)
        transitions, judged, fast_faults, fixed, aged = self._seen.tolist()
        return SpteHistory(
            events,
            transitions,
            judged,
            fast_faults,
            fixed,
            base[0][0] if base else None,
            self._layout.found.layout,
            set(np.flatnonzero(self._vms["doubt"]).tolist()),
            int(self._count[kernel.UNDECIDED]),
            self._vm_fact.mmu_lock_seen,
            {
                _WHAT[kind]: int(n) - kernel.MOST
                for kind, n in enumerate(self._count[kernel.FIRST_KIND : kernel.UNDECIDED])
                if n > kernel.MOST
            },
            self._told_ns,
            aged,
        )


def says(values: NDArray[np.int64], lay: Layout, level: NDArray[np.int64]) -> NDArray[np.int64]:
    """What SPTEs say, as the loop's bits."""
    v = values.view(np.uint64)
    bits = (
        (spte.is_present(v, lay), kernel.PRESENT), (spte.is_leaf(v, lay, level), kernel.LEAF),
        ((v & np.uint64(WRITABLE)) != 0, kernel.W), (spte.is_mmu_writable(v, lay), kernel.M),
        (spte.is_host_writable(v, lay), kernel.H), (spte.is_access_tracked(v, lay), kernel.TRACKED),
        ((v & np.uint64(LARGE)) != 0, kernel.LARGE),
    )  # fmt: skip
    found = np.zeros(len(v), np.int64)
    for flags, bit in bits:
        found |= np.where(flags, bit, 0)
    return found


FACT = HistoryFact
