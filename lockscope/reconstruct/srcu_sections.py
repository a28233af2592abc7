"""SRCU read sections from the probes on ``__srcu_read_lock/unlock``, and memslot and bus accesses against them.

Sections are followed per task and irq context with their index, nested and out of order (both are legal). An
``srcu_struct`` is named by its lockdep map, which lies at a fixed distance behind it, or on kernels without lockdep by
its place in ``struct kvm``: of those inside it, ``kvm->srcu`` is by far the busiest.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockscope.kernels import kvm_srcu as kernel
from lockscope.kernels.kvm_tables import number
from lockscope.kvm.locks import Role, kind_of, role_of
from lockscope.reconstruct.kvm_facts import Making
from lockscope.reconstruct.kvm_state import Rows, Table
from lockscope.tables.ops import SLOTS, Op
from lockscope.tables.tape import TapeBatch
from lockscope.units import address

_64 = (1 << 64) - 1
_STRUCT_KVM = 1 << 16  # more than sizeof(struct kvm) of any kernel (9176 in 6.12)
_MOST_FOUND = 1 << 17
_ACCESSES = (Op.MEMSLOT, Op.VCPU_MEMSLOT, Op.MARK_DIRTY, Op.BUS, Op.ZAP_RANGE)
_WHAT = ("wrong-index", "not-open", "open-at-guest", "open-at-end", "open-at-user", "sync-inside", "unprotected",
         "lock-inside", "never-left", "synced")  # fmt: skip


class SrcuEvent(NamedTuple):
    """Something met in the sections of one task. ``ts_ns``: when. ``since_ns``: what it rests on reaches back to there.

    ``what``: "wrong-index" (unlocked with ``detail``, opened with ``idx``), "not-open", "open-at-guest", "open-at-end",
    "open-at-user", "sync-inside", "unprotected" (an access, ``op``), "lock-inside" (``detail``: set of roles),
    "never-left", "synced" (``detail``: set of roles held around a synchronisation). ``call``, ``arg``: the task's
    system call and its second argument (an ioctl's request), -1 and 0 where unknown.
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


@dataclass(slots=True)
class SrcuSections:
    """``evidence.facts["srcu_sections"]``. ``names``: class name of an ``srcu_struct`` by its address."""

    events: list[SrcuEvent] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    sections: int = 0
    accesses: int = 0
    judged_accesses: int = 0
    synchronisations: int = 0
    slots_lock_seen: bool = False
    srcu_seen: bool = False  # some way of telling that a task is in a kvm->srcu section
    untold: int = 0  # events beyond the limit

    def name(self, ssp: int) -> str:
        """The class name, or the address."""
        return self.names.get(ssp & _64) or f"srcu_struct at {address(ssp & _64)}"

    def of(self, *what: str) -> list[SrcuEvent]:
        """The events of these kinds."""
        return [event for event in self.events if event.what in what]


def roles_in(mask: int) -> list[Role]:
    """The roles of a set in ``detail``."""
    return [role for role in Role if mask >> role & 1]


class SrcuFact:
    """Follows the sections."""

    name: ClassVar[str] = "srcu_sections"
    ops: ClassVar[frozenset[Op]] = frozenset(
        {Op.SRCU_LOCK, Op.SRCU_LOCK_ENTRY, Op.SRCU_UNLOCK, Op.SRCU_SYNC, Op.SYS_ENTER, Op.SYS_EXIT, Op.KVM_ENTRY,
         Op.TASK_EXIT, Op.ACQUIRE, Op.DETAIL, Op.FN_RETURN, *_ACCESSES}
    )  # fmt: skip
    needs: ClassVar[tuple[str, ...]] = ("vms",)

    def __init__(self, making: Making) -> None:
        self._texts, self._vms = making.texts, making.facts["vms"]
        self._tasks, self._kinds = Table(kernel.T_WIDTH), Table(1)
        self._found = Rows(kernel.WIDTH)
        self._seen = np.zeros(4, np.int64)
        self._map_votes: Counter[int] = Counter()
        self._place_votes: Counter[int] = Counter()
        self._map_names: dict[int, str] = {}
        self._srcu_names: dict[int, str] = {}
        self._looked = 0
        self._locked: Counter[int] = Counter()
        self._kvms: set[int] = set()
        self._slots_lock = self._srcu_held = False
        self._untold = 0
        how = np.full(256, -1, np.int64)
        for op, kind in ((Op.SRCU_LOCK_ENTRY, kernel.ENTRY), (Op.SRCU_LOCK, kernel.LOCK), (Op.SRCU_UNLOCK, kernel.UNLOCK),
                         (Op.SRCU_SYNC, kernel.SYNC), (Op.SYS_ENTER, kernel.ENTER), (Op.SYS_EXIT, kernel.EXIT),
                         (Op.KVM_ENTRY, kernel.GUEST), (Op.TASK_EXIT, kernel.END), (Op.FN_RETURN, kernel.TAKEN)):  # fmt: skip
            how[op] = kind
        how[list(_ACCESSES)] = kernel.ACCESS
        self._how = how

    def feed(self, batch: TapeBatch) -> None:
        """Follow the sections through a batch."""
        rows = np.flatnonzero(self._how[batch.op] >= 0)
        if not len(rows) or batch.held is None or not len(batch.held) or batch.vm is None:
            return
        self._learn_names(batch)
        self._learn_places(batch, rows)
        self._slots_lock |= bool(np.any(batch.held[rows, Role.SLOTS_LOCK] != 0))
        self._srcu_held |= bool(np.any(batch.held[rows, Role.SRCU] != 0))
        self._tasks.make_room(len(rows))
        self._found.make_room(len(rows) * 2)
        kernel.follow(
            rows, self._how[batch.op[rows]], batch.op, batch.ts_ns, batch.seq, batch.cpu, batch.pid, batch.flags,
            batch.slots, batch.held, batch.vm, self._vms.deaths(), self._kinds.keys, self._kinds.numbers,
            self._kinds.rows[:, 0], *self._tasks.table, self._tasks.rows, self._found.rows, self._found.count, self._seen,
        )  # fmt: skip
        self._untold += max(0, int(self._found.count[0]) - _MOST_FOUND)
        self._found.count[0] = min(int(self._found.count[0]), _MOST_FOUND)

    def _learn_names(self, batch: TapeBatch) -> None:
        """Names of srcu maps, and how far behind its ``srcu_struct`` a map lies (lock_acquire follows at once)."""
        words = self._texts.all()
        for i in range(self._looked, len(words)):
            if kind_of(words[i]) == "srcu":
                self._srcu_names[i] = words[i]
        self._looked = len(words)
        lockdep = (batch.op == Op.ACQUIRE) | (batch.op == Op.DETAIL)
        if not self._srcu_names or not lockdep.any():
            return
        named = np.flatnonzero(lockdep & np.isin(batch.slots[:, 1], np.array(list(self._srcu_names), np.int64)))
        for lock, word in np.unique(batch.slots[named, :2], axis=0).tolist():
            self._map_names[lock & _64] = self._srcu_names[word]
        if self._map_votes.total() < 4096:
            steps = np.sort(np.concatenate((named, np.flatnonzero(batch.op == Op.SRCU_LOCK))))
            order = steps[np.argsort(batch.pid[steps], kind="stable")]
            first, then = order[:-1], order[1:]
            pair = (
                (batch.op[first] == Op.SRCU_LOCK)
                & (batch.op[then] != Op.SRCU_LOCK)
                & (batch.pid[first] == batch.pid[then])
            )
            distance = batch.slots[then[pair], 0] - batch.slots[first[pair], 0]
            near = distance[(distance >= 0) & (distance < 1 << 10)]
            self._map_votes.update(near.tolist()[:4096])

    def _learn_places(self, batch: TapeBatch, rows: NDArray[np.int64]) -> None:
        """Say of every ``srcu_struct`` what it is, for the loop."""
        ops = batch.op[rows]
        ssps = rows[(ops == Op.SRCU_LOCK) | (ops == Op.SRCU_LOCK_ENTRY) | (ops == Op.SRCU_SYNC)]
        values, counts = np.unique(batch.slots[ssps, 0], return_counts=True)
        self._locked.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        del self._locked[0]
        for op in (Op.MEMSLOT, Op.MARK_DIRTY, Op.REQUEST, Op.DESTROY_VM, Op.RUN):
            named = batch.of(op)
            self._kvms |= set(np.unique(batch.slots[named, SLOTS[op].index("kvm")]).tolist())
        self._kinds.make_room(len(self._locked))
        for ssp in self._locked:
            self._kinds.rows[number(*self._kinds.table, ssp), 0] = self._kind(ssp)

    def _busiest_place(self) -> int | None:
        votes: Counter[int] = Counter()
        for kvm in self._kvms:
            for ssp, count in self._locked.items():
                if 0 <= ssp - kvm < _STRUCT_KVM:
                    votes[ssp - kvm] += count
        return votes.most_common(1)[0][0] if votes else None

    def _name(self, ssp: int) -> str | None:
        if self._map_names:
            # Without probes that name the pair, the distance is that of 6.12: struct srcu_struct has dep_map at 16.
            distance = self._map_votes.most_common(1)[0][0] if self._map_votes else 16
            return self._map_names.get((ssp + distance) & _64)
        place = self._busiest_place()
        return "&kvm->srcu" if place is not None and any(ssp - kvm == place for kvm in self._kvms) else None

    def _kind(self, ssp: int) -> int:
        name = self._name(ssp)
        if name is None:
            inside = any(0 <= ssp - kvm < _STRUCT_KVM for kvm in self._kvms)
            return kernel.UNKNOWN if inside or not self._kvms or self._map_names else kernel.FOREIGN
        role = role_of(name)
        return {Role.SRCU: kernel.KVM_SRCU, Role.IRQ_SRCU: kernel.KVM_IRQ_SRCU}.get(role, kernel.FOREIGN)

    def finish(self) -> SrcuSections:
        """What was met."""
        self._found.make_room(kernel.DEPTH * (int(self._tasks.count[0]) + 1))
        kernel.still_open(self._tasks.count, self._tasks.rows, self._found.rows, self._found.count)
        events = [SrcuEvent(_WHAT[row[0]], *row[1:]) for row in self._found.used.tolist()]
        names = {ssp & _64: name for ssp in self._locked if (name := self._name(ssp))}
        probed = any(role_of(name) is Role.SRCU for name in names.values())
        return SrcuSections(events, names, int(self._seen[0]), int(self._seen[1]), int(self._seen[3]), int(self._seen[2]),
                            self._slots_lock, self._srcu_held or probed, self._untold)  # fmt: skip


FACT = SrcuFact
