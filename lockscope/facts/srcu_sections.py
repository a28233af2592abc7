"""SRCU read sections from the probes on ``__srcu_read_lock/unlock``, and memslot and bus accesses against them.

Sections are followed per task and irq context with their index, nested and out of order (both are legal). An
``srcu_struct`` is named by its lockdep map, which lies at a fixed distance behind it, or on kernels without lockdep by
its place in ``struct kvm``: of those inside it, ``kvm->srcu`` is by far the busiest.

SRCU's own code enters sections too (call_srcu(), kernel/rcu/srcutree.c, srcu_gp_start_if_needed(), 5.x to 7.3), and
where the compiler inlined __srcu_read_unlock() into its own file it leaves them without an event: they are nobody's.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockscope.core import kvm_srcu as kernel
from lockscope.core.numbering import number_in
from lockscope.facts.fact import Making
from lockscope.facts.kvm_grace import Wait, waits
from lockscope.facts.kvm_state import Distinct, OpIndex, Table, columns_of
from lockscope.kvm.locks import Role, kind_of, role_of
from lockscope.tables.ops import Op
from lockscope.tables.symbols import Symbols
from lockscope.tables.tape import TapeBatch
from lockscope.units import address
from lockscope.walk.lock_names import static_name

_64 = (1 << 64) - 1
_STRUCT_KVM = 1 << 16  # more than sizeof(struct kvm) of any kernel (9176 in 6.12)
_ENOUGH = 4096
_AGREED = 512  # votes on where a map lies
_OWN = re.compile(
    r"_{0,2}(call_srcu|synchronize_srcu\w*|(start_)?poll_\w*srcu\w*|srcu_(gp|barrier|invoke|advance|funnel|reschedule)\w*"
    r"|process_srcu)(\.\w+)*"
)
_OWN_FILE = 1 << 14  # bytes of code before and behind __srcu_read_lock() that are taken for SRCU's file
_HOW = {
    Op.SRCU_LOCK_ENTRY: kernel.ENTRY,
    Op.SRCU_LOCK: kernel.LOCK,
    Op.SRCU_UNLOCK: kernel.UNLOCK,
    Op.SRCU_SYNC: kernel.SYNC,
    Op.SYS_ENTER: kernel.ENTER,
    Op.SYS_EXIT: kernel.EXIT,
    Op.KVM_ENTRY: kernel.GUEST,
    Op.TASK_EXIT: kernel.END,
    Op.FN_RETURN: kernel.TAKEN,
    Op.FN_UNLOCK: kernel.GIVEN,
    Op.MEMSLOT: kernel.ACCESS,
    Op.VCPU_MEMSLOT: kernel.VCPU_ACCESS,
    Op.MARK_DIRTY: kernel.ACCESS,
    Op.BUS: kernel.VCPU_ACCESS,
    Op.RUN: kernel.RUN,
    Op.ZAP_RANGE: kernel.ZAP,
}
_FOLLOWED = frozenset(_HOW)
_WHAT = ("wrong-index", "not-open", "open-at-guest", "open-at-end", "open-at-user", "sync-inside", "unprotected",
         "lock-inside", "never-left", "synced", "other-vm")  # fmt: skip
_GUARDS = 64  # distances from kvm that are told apart
_OTHER_VM = _WHAT.index("other-vm")


class SrcuEvent(NamedTuple):
    """Something met in the sections of one task. ``ts_ns``: when. ``since_ns``: what it rests on reaches back to there.

    ``what``: "wrong-index" (unlocked with ``detail``, opened with ``idx``), "not-open", "open-at-guest", "open-at-end",
    "open-at-user", "sync-inside", "unprotected" (an access, ``op``), "lock-inside" (``detail``: set of roles),
    "never-left", "synced" (``detail``: set of roles held around a synchronisation), "other-vm" (an access whose only
    guard is that of another VM: ``ssp`` is the guard, ``detail`` the other VM's ``kvm``, ``kvm`` the one accessed,
    ``idx`` what the guard is, as ``core.kvm_srcu.BY_SSP`` and its neighbours). ``call``, ``arg``: the task's system
    call and its second argument (an ioctl's request), -1 and 0 where unknown.
    """

    what: str
    ts_ns: int
    seq: int
    cpu: int
    pid: int
    flags: int
    ssp: int
    idx: int
    open_ns: int
    open_cpu: int
    since_ns: int
    vm: int
    call: int
    arg: int
    detail: int
    op: int
    kvm: int


class GracePeriod(NamedTuple):
    """The first call of ``synchronize_srcu()`` with these locks held (class name, address), and how many there were."""

    ts_ns: int
    cpu: int
    pid: int
    ssp: int
    since_ns: int
    locks: tuple[tuple[str, int], ...]
    times: int


@dataclass(slots=True)
class SrcuSections:
    """``evidence.facts["srcu_sections"]``. ``names``: class name of an ``srcu_struct`` by its address. ``variables``:
    the same for static ones that nothing but their symbol names; two of one name are two still.
    """

    events: list[SrcuEvent] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    sections: int = 0
    accesses: int = 0
    judged_accesses: int = 0
    synchronisations: int = 0
    slots_lock_seen: bool = False
    srcu_seen: bool = False  # some way of telling that a task is in a kvm->srcu section
    untold: dict[str, int] = field(default_factory=dict)  # by kind, events beyond those kept
    waits: list[GracePeriod] = field(default_factory=list)  # one for each SRCU and set of locks around it
    map_distance: int = 0  # bytes from an srcu_struct to its lockdep map
    variables: dict[int, str] = field(default_factory=dict)

    def name(self, ssp: int) -> str:
        """The class name, or the address."""
        known = self.names.get(ssp & _64) or self.variables.get(ssp & _64)
        return known or f"srcu_struct at {address(ssp & _64)}"

    def of(self, *what: str) -> list[SrcuEvent]:
        """The events of these kinds."""
        return [event for event in self.events if event.what in what]

    def handed_over(self) -> list[tuple[SrcuEvent, SrcuEvent]]:
        """Sections that their task never left and another task did: (open at user, left without being entered)."""
        open_still = {(e.ssp, e.idx, e.open_ns) for e in self.of("never-left")}
        entered: dict[tuple[int, int], list[SrcuEvent]] = {}
        for event in self.of("open-at-user"):
            if (event.ssp, event.idx, event.open_ns) in open_still:
                entered.setdefault((event.ssp, event.idx), []).append(event)
        pairs = []
        for left in self.of("not-open"):
            among = entered.get((left.ssp, left.idx), ())
            other = next((e for e in among if e.pid != left.pid and e.open_ns < left.ts_ns), None)
            if other is not None:
                entered[left.ssp, left.idx].remove(other)
                pairs.append((other, left))
        return pairs


def roles_in(mask: int) -> list[Role]:
    """The roles of a set in ``detail``."""
    return [role for role in Role if mask >> role & 1]


class SrcuFact:
    """Follows the sections."""

    name: ClassVar[str] = "srcu_sections"
    ops: ClassVar[frozenset[Op]] = _FOLLOWED | {Op.ACQUIRE, Op.DETAIL, Op.RELEASE}
    needs: ClassVar[tuple[str, ...]] = ("vms",)

    def __init__(self, making: Making) -> None:
        self._texts, self._vms, self._placed = making.texts, making.facts["vms"], making.places
        self._tasks, self._kinds = Table(kernel.SrcuTask), Table()
        self._sections = kernel.Section.many(0)
        self._found = kernel.Met.many(kernel.MOST * kernel.KINDS)
        self._count: NDArray[np.int64] = np.zeros(kernel.FIRST_KIND + kernel.KINDS, np.int64)
        self._seen = np.zeros(5, np.int64)
        self._symbols = making.info.symbols
        self._own: dict[tuple[int, int], bool] = {}
        self._guards = kernel.Guard.many(_GUARDS)
        self._map_votes: Counter[int] = Counter()
        self._place_votes: Counter[int] = Counter()
        self._map_names: dict[int, str] = {}
        self._maps, self._used, self._all_kvms = Distinct(), Distinct(), Distinct()
        self._is_srcu: NDArray[np.bool_] = np.zeros(0, np.bool_)  # by number of the text
        self._locked: Counter[int] = Counter()
        self._kvms: set[int] = set()
        self._slots_lock = self._srcu_held = self._zaps = False
        self._waits: dict[tuple[int, tuple[int, ...]], tuple[Wait, int]] = {}
        self._how = np.full(256, -1, np.int64)
        for op, kind in _HOW.items():
            self._how[op] = kind

    def feed(self, batch: TapeBatch) -> None:
        """Follow the sections through a batch."""
        index = self._vms.index
        rows = index.any_of(_FOLLOWED)
        if not len(rows) or batch.held is None or not len(batch.held) or batch.vm is None:
            return
        how = self._how[batch.op[rows]]
        how[self._of_srcu(batch, rows, how)] = kernel.OWN_LOCK
        self._zaps |= len(index.of(Op.ZAP_RANGE)) > 0
        if self._zaps:
            rows, how = self._with_mmu_locks(batch, index, rows, how)
        self._learn_names(batch, index)
        self._learn_places(index)
        self._slots_lock |= bool(np.any(batch.held[rows, Role.SLOTS_LOCK] != 0))
        self._srcu_held |= bool(np.any(batch.held[rows, Role.SRCU] != 0))
        for wait in waits(batch, index):
            key = wait.ssp, tuple(lock for _, lock in wait.locks)
            first, times = self._waits.get(key, (wait, 0))
            if len(self._waits) < _ENOUGH:
                self._waits[key] = first, times + 1
        # a task has sections in each irq context, and each CPU has an idle task
        self._tasks.make_room(4 * (index.tasks + index.cpus))
        more = kernel.DEPTH * len(self._tasks.rows) - len(self._sections)
        if more > 0:
            self._sections = np.concatenate((self._sections, kernel.Section.many(more)))
        kernel.follow(
            columns_of(batch, rows, how),
            batch.slots,
            batch.held,
            self._vms.deaths(),
            self._kinds.table,
            self._kinds.rows,
            self._tasks.table,
            self._tasks.rows,
            self._sections,
            self._found,
            self._count,
            self._seen,
            self._guards,
        )

    def _of_srcu(self, batch: TapeBatch, rows: NDArray[np.int64], how: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which of the rows enter a section for SRCU itself: by the caller's name, without names by its place."""
        at = np.flatnonzero(how == kernel.LOCK)
        callers, which = np.unique(batch.slots[rows[at], 2], return_inverse=True)
        first = np.zeros(len(callers), np.int64)
        first[which[::-1]] = at[::-1]
        at_function = batch.slots[rows[first], 3] if len(first) else first
        own = [self._is_own(*pair) for pair in zip(callers.tolist(), at_function.tolist(), strict=True)]
        return at[np.array(own or [False], np.bool_)[which]] if len(at) else at

    def _is_own(self, caller: int, function: int) -> bool:
        known = self._own.get((caller, function))
        if known is None:
            name = self._symbols().name(caller & _64) if caller else None
            near = caller != 0 and function != 0 and abs(caller - function) < _OWN_FILE
            known = _OWN.fullmatch(name.split("+")[0]) is not None if name else near
            if len(self._own) < _ENOUGH:
                self._own[caller, function] = known
        return known

    def _with_mmu_locks(
        self, batch: TapeBatch, index: OpIndex, rows: NDArray[np.int64], how: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where mmu_lock is taken too: kvm_zap_gfn_range() needs its read section from there on."""
        taken = np.concatenate((index.of(Op.ACQUIRE), index.of(Op.DETAIL)))
        taken = taken[np.isin(batch.slots[taken, 0], self._vms.mmu_locks())]
        rows = np.concatenate((rows, taken))
        order = np.argsort(rows, kind="stable")
        return rows[order], np.concatenate((how, np.full(len(taken), kernel.MMU_LOCK_TAKEN, np.int64)))[order]

    def _learn_names(self, batch: TapeBatch, index: OpIndex) -> None:
        """Names of srcu maps, and how far behind its ``srcu_struct`` a map lies (lock_acquire follows at once)."""
        words = self._texts.all()
        if len(self._is_srcu) < len(words):
            new = [kind_of(word) == "srcu" for word in words[len(self._is_srcu) :]]
            self._is_srcu = np.concatenate((self._is_srcu, np.array(new, np.bool_)))
        if not self._is_srcu.any():
            return
        rows = index.of(Op.ACQUIRE) if len(index.of(Op.ACQUIRE)) else index.of(Op.DETAIL)  # one acquisition has both
        name = batch.slots[rows, 1]
        named = (name >= 0) & (name < len(self._is_srcu))
        named[named] = self._is_srcu[name[named]]
        maps = rows[named]
        before = len(self._maps)
        numbers = self._maps.number(batch.slots[maps, 0])
        for row in maps[np.flatnonzero(numbers >= before)][: 4 * _ENOUGH].tolist():
            self._map_names.setdefault(int(batch.slots[row, 0]) & _64, words[int(batch.slots[row, 1])])
        if self._map_votes.total() < _AGREED:
            steps = np.sort(np.concatenate((maps[:_ENOUGH], index.of(Op.SRCU_LOCK)[:_ENOUGH])))
            order = steps[np.argsort(batch.pid[steps], kind="stable")]
            first, then = order[:-1], order[1:]
            pair = (batch.op[first] == Op.SRCU_LOCK) & (batch.op[then] != Op.SRCU_LOCK)
            pair &= batch.pid[first] == batch.pid[then]
            distance = batch.slots[then[pair], 0] - batch.slots[first[pair], 0]
            self._map_votes.update(distance[(distance >= 0) & (distance < 1 << 10)][:_ENOUGH].tolist())

    def _learn_places(self, index: OpIndex) -> None:
        """Say of every ``srcu_struct`` what it is, for the loop."""
        used = [index.slot(op, "ssp") for op in (Op.SRCU_LOCK, Op.SRCU_LOCK_ENTRY, Op.SRCU_SYNC)]
        numbers = self._used.number(np.concatenate(used))
        counts = np.bincount(numbers[numbers >= 0], minlength=len(self._used))
        self._locked.update(dict(zip(self._used.values.tolist(), counts.tolist(), strict=True)))
        del self._locked[0]
        for op in (Op.MEMSLOT, Op.MARK_DIRTY, Op.REQUEST, Op.DESTROY_VM, Op.RUN):
            self._all_kvms.number(index.slot(op, "kvm"))
        self._kvms = set(self._all_kvms.values.tolist())
        self._kinds.make_room(len(self._locked))
        for ssp in self._locked:
            self._kinds.rows[number_in(self._kinds.table, ssp)] = self._kind(ssp)

    def _busiest_place(self) -> int | None:
        votes: Counter[int] = Counter()
        for kvm in self._kvms:
            for ssp, count in self._locked.items():
                if 0 <= ssp - kvm < _STRUCT_KVM:
                    votes[ssp - kvm] += count
        return votes.most_common(1)[0][0] if votes else None

    def _name(self, ssp: int) -> str | None:
        placed = self._placed.name(ssp) if self._placed is not None else None
        if placed is not None:
            return placed
        if self._map_names:
            # Without probes that name the pair, the distance is that of 6.12: struct srcu_struct has dep_map at 16.
            return self._map_names.get((ssp + self._map_distance()) & _64)
        place = self._busiest_place()
        return "&kvm->srcu" if place is not None and any(ssp - kvm == place for kvm in self._kvms) else None

    def _map_distance(self) -> int:
        """How far the lockdep map lies behind its ``srcu_struct``; 0 on a kernel without lockdep."""
        if not self._map_names:
            return 0
        return self._map_votes.most_common(1)[0][0] if self._map_votes else 16

    def _kind(self, ssp: int) -> int:
        name = self._name(ssp)
        if name is None:
            inside = any(0 <= ssp - kvm < _STRUCT_KVM for kvm in self._kvms)
            return kernel.UNKNOWN if inside or not self._kvms or self._map_names else kernel.FOREIGN
        role = role_of(name)
        return {Role.SRCU: kernel.KVM_SRCU, Role.IRQ_SRCU: kernel.KVM_IRQ_SRCU}.get(role, kernel.FOREIGN)

    def _told(self) -> NDArray[Any]:
        """What was met; of the accesses with one guard, those guarded by what is another VM's.

        The guard lies where it lies in every ``struct kvm``: at the distance that most accesses agree on.
        """
        rows = self._found[: int(self._count[0])].copy()
        keep = rows["what"] != _OTHER_VM
        for by in (kernel.BY_SSP, kernel.BY_MAP, kernel.BY_SLOTS_LOCK):
            votes = self._guards[(self._guards["by"] == by) & (self._guards["times"] > 0)]
            if not len(votes):
                continue
            first = votes[votes["times"].argmax()]
            if 4 * first["times"] < 3 * votes["times"].sum():
                continue
            ours = (rows["what"] == _OTHER_VM) & (rows["idx"] == by)
            ours &= rows["detail"] != first["distance"]
            rows["detail"][ours] = rows["ssp"][ours] - first["distance"]
            keep |= ours & np.isin(rows["detail"], np.array(sorted(self._kvms), np.int64))
        told: NDArray[Any] = rows[keep]
        return told

    def finish(self) -> SrcuSections:
        """What was met."""
        kernel.still_open(self._tasks.table, self._tasks.rows, self._sections, self._found, self._count)
        events = [SrcuEvent(_WHAT[row[0]], *row[1:]) for row in self._told().tolist()]
        untold = {_WHAT[kind]: int(n) - kernel.MOST for kind, n in enumerate(self._count[1:]) if n > kernel.MOST}
        names = {ssp & _64: name for ssp in self._locked if (name := self._name(ssp))}
        probed = any(role_of(name) is Role.SRCU for name in names.values())
        sections, accesses, synchronisations, judged = self._seen[:4].tolist()
        words = self._texts.all()
        grace = [
            GracePeriod(w.ts_ns, w.cpu, w.pid, w.ssp, w.since_ns, locks, times)
            for w, times in self._waits.values()
            if (locks := tuple((words[n], lock) for n, lock in w.locks if 0 <= n < len(words)))
        ]
        return SrcuSections(events, names, sections, accesses, judged, synchronisations, self._slots_lock,
                            self._srcu_held or probed, untold, grace, self._map_distance(),
                            self._variables(names))  # fmt: skip

    def _variables(self, names: dict[int, str]) -> dict[int, str]:
        """Names of static ``srcu_struct``s (DEFINE_STATIC_SRCU(), include/linux/srcutree.h) by their symbols."""
        rest = [ssp & _64 for ssp in self._locked if ssp & _64 not in names]
        symbols = self._symbols() if rest else Symbols.none()
        return {ssp: name for ssp in rest if (name := static_name(symbols, ssp))}


FACT = SrcuFact
