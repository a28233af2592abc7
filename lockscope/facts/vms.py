"""VM identity: the VM that each row of the tape is about, learned from the trace itself.

The distance between two locks of one ``struct kvm`` is the same for every VM of a kernel, so it is learned from locks
that a task holds together, and likewise the distance from ``kvm`` to its locks from probes that name it. A VM's key is
the address of its ``mmu_lock``. An address is used again by a later VM: a VM begins where its ``mmu_lock`` is
initialised (``lockscope:lockdep_init``), and ends with ``kvm_destroy_vm``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockscope.core import kvm_vms as kernel
from lockscope.core.kvm_tables import C_OP
from lockscope.facts.fact import Making
from lockscope.facts.kvm_state import Distinct, OpIndex, Table, columns_of
from lockscope.kvm.locks import Role, role_of
from lockscope.tables.ops import SLOTS, Op
from lockscope.tables.tape import TapeBatch
from lockscope.units import address

# Locks inside struct kvm, the surest sign first: an SPTE change is a matter of the VM whose mmu_lock is held.
_IN_KVM = (Role.MMU_LOCK, Role.SLOTS_LOCK, Role.SRCU, Role.LOCK, Role.SLOTS_ARCH_LOCK, Role.IRQ_LOCK, Role.IRQ_SRCU,
           Role.TSC_WRITE_LOCK, Role.TDP_PAGES)  # fmt: skip
_ROWS = frozenset(op for op in Op if op >= Op.SRCU_LOCK)
_ATTRIBUTED = _ROWS | {Op.SYS_EXIT}
_KINDS = {
    "locks": frozenset({Op.ACQUIRE, Op.DETAIL, Op.FN_RETURN, Op.FN_UNLOCK, Op.RELEASE}),
    "srcu": frozenset({Op.SRCU_LOCK, Op.SRCU_UNLOCK}),
    "requests": frozenset({Op.REQUEST}),
}
_64 = (1 << 64) - 1
_ENDLESS = 1 << 62
_NEAR = 1 << 12
_ENOUGH = 4096  # rows that are asked about a distance in one go
_AGREED = 512  # votes on where a lock lies: no more are asked
_EAGER = 8  # batches that are all asked; then every eighth: some locks are never held with another


class Gap(NamedTuple):
    """Events of a CPU are missing between these times."""

    start_ns: int
    end_ns: int
    cpu: int


@dataclass(frozen=True, slots=True)
class Vm:
    """One VM. Times are 0 where the trace does not say; ``kvm`` 0 where no probe named it."""

    number: int
    mmu_lock: int
    kvm: int
    born_ns: int
    died_ns: int

    @property
    def label(self) -> str:
        """How reports name it."""
        where = f"kvm at {_hex(self.kvm)}" if self.kvm else f"mmu_lock at {_hex(self.mmu_lock)}"
        return f"VM {self.number} ({where})"


def _hex(value: int) -> str:
    return address(value & _64)


@dataclass(slots=True)
class Vms:
    """``evidence.facts["vms"]``: the VMs by number (``vms[number - 1]``) and the stretches where events are missing."""

    vms: list[Vm] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    distances: dict[Role, int] = field(default_factory=dict)  # from that lock to the VM's mmu_lock
    kvm_distance: int | None = None
    followed: dict[str, set[int]] = field(default_factory=dict)
    unevenly: bool = False  # some task is in one buffer and not in another

    def follows(self, pid: int, what: str) -> bool:
        """Whether a task's events of a kind ("locks", "srcu", "requests") would be in the trace.

        Buffers (tracing instances) may follow different tasks: what one has of a task says nothing of another's events.
        """
        return what not in self.followed or pid in self.followed[what]

    def label(self, number: int) -> str:
        """A VM for a report; "an unknown VM" for 0."""
        return self.vms[number - 1].label if 0 < number <= len(self.vms) else "an unknown VM"

    def vm_of(self, lock: int) -> int | None:
        """A number that is the same for all locks in one ``struct kvm``; None for what lies in none."""
        keys = {vm.mmu_lock & _64: vm.number for vm in reversed(self.vms)}
        found = (keys.get((lock + distance) & _64) for distance in self.distances.values())
        return next((number for number in found if number is not None), None)

    def complete(self, start_ns: int, end_ns: int, slack_ns: int = 0) -> bool:
        """Whether no event is known to be missing between these times, on any CPU."""
        return not any(gap.start_ns - slack_ns <= end_ns and start_ns - slack_ns <= gap.end_ns for gap in self.gaps)


class VmFact:
    """Sets ``batch.vm`` of KVM's rows to the VM's number, 0 where nothing says which."""

    name: ClassVar[str] = "vms"
    ops: ClassVar[frozenset[Op]] = _ROWS | {Op.INIT, Op.LOSS, Op.SYS_EXIT, Op.ACQUIRE, Op.DETAIL}
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, making: Making) -> None:
        self._texts = making.texts
        self.index: OpIndex | None = None  # of the batch being fed, for the facts behind this one
        self._votes: dict[int, Counter[int]] = {role: Counter() for role in range(18)}
        self._kvm_votes: Counter[int] = Counter()
        self._asked = 0
        self._nearest: Counter[int] = Counter()
        self._mmu_locks, self._kvms = Distinct(), Distinct()
        self._keys, self._tasks = Table(), Table()
        self._vms = kernel.Vm.many(256)
        self._made = np.zeros(1, np.int64)
        self._roles = np.zeros(0, np.int64)
        self._last: dict[int, int] = {}  # stream -> time of its last row
        self.gaps: list[Gap] = []
        self._open: dict[int, Gap] = {}  # by stream, gaps behind which no event came yet
        self._streams = making.info.streams
        self._tasks_of: dict[str, set[int]] = {}  # by buffer, where there are several
        self._buffers: dict[str, set[str]] = {kind: set() for kind in _KINDS}
        how = np.full(256, -1, np.int64)
        argument = np.full(256, -1, np.int64)
        for op in _ROWS:
            how[op] = kernel.BY_LOCK
            if "kvm" in SLOTS[op]:
                how[op], argument[op] = kernel.BY_ARGUMENT, SLOTS[op].index("kvm")
        how[Op.DESTROY_VM], how[Op.SYS_EXIT], how[Op.INIT] = kernel.DEATH, kernel.USER, kernel.BIRTH
        self._how, self._argument = how, argument

    def feed(self, batch: TapeBatch) -> None:
        """Attribute a batch's rows."""
        batch.vm = np.zeros(len(batch), np.int64)
        self.index = OpIndex(batch)
        self._note_gaps(batch, self.index)
        self._note_buffers(batch, self.index)
        held = batch.held
        if held is None or not len(held):
            return
        begun = self.index.of(Op.INIT)
        begun = begun[self._is_mmu_lock(batch, begun)]
        rows = self.index.any_of(_ATTRIBUTED)
        if len(begun):
            rows = np.sort(np.concatenate((rows, begun)))
        if not len(rows):
            return
        self._learn(batch, held, rows)
        cols = columns_of(batch, rows, self._how[batch.op[rows]], 1)
        cols[kernel.C_ARGUMENT] = self._argument[cols[C_OP]]
        reached = 0
        while reached < len(rows):
            self._keys.make_room(64)
            self._tasks.make_room(256)
            if int(self._made[0]) + 64 > len(self._vms):
                self._vms = np.concatenate((self._vms, np.zeros_like(self._vms)))
            reached = kernel.attribute(
                cols, batch.slots, held, np.array(_IN_KVM, np.int64), self._options(), self._keys.table,
                self._keys.rows, self._vms, self._made, self._tasks.table, self._tasks.rows,
                batch.vm, reached,
            )  # fmt: skip

    def _options(self) -> NDArray[np.int64]:
        options = np.zeros(kernel.O_KNOWN + 18, np.int64)
        kvm = self._kvm_distance()
        options[kernel.O_KVM], options[kernel.O_KVM_KNOWN] = kvm or 0, kvm is not None
        for role, distance in self.distances().items():
            options[kernel.O_DISTANCES + role], options[kernel.O_KNOWN + role] = distance, 1
        return options

    def _is_mmu_lock(self, batch: TapeBatch, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        words = self._texts.all()
        if len(self._roles) < len(words):
            new = [int(role_of(word)) for word in words[len(self._roles) :]]
            self._roles = np.concatenate((self._roles, np.array(new, np.int64)))
        name = batch.slots[rows, SLOTS[Op.INIT].index("name")]
        inside = np.asarray((name >= 0) & (name < len(self._roles)), np.bool_)
        inside[inside] = self._roles[name[inside]] == Role.MMU_LOCK
        return inside

    def _learn(self, batch: TapeBatch, held: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Vote on distances with the rows of this batch, by locks held together."""
        self._mmu_locks.number(held[rows, Role.MMU_LOCK])
        named = rows[self._argument[batch.op[rows]] >= 0]
        kvm = batch.slots[named, self._argument[batch.op[named]]]
        self._kvms.number(kvm)
        self._place(held, rows)
        placed, sample = self.distances(), slice(None, None, 1 + len(named) // _ENOUGH)
        named, kvm = named[sample], kvm[sample]
        for role in _IN_KVM if self._kvm_votes.total() < _ENOUGH else ():
            if role in placed:
                lock = held[named, role]
                self._vote(self._kvm_votes, (lock + placed[role] - kvm)[lock != 0])
        if not self._kvm_votes:  # never both at once: mmu_lock is the first of the locks in struct kvm
            kvms, locks = self._kvms.values[:_ENOUGH].tolist(), self.mmu_locks()[:_ENOUGH].tolist()
            near = (min((lock - k for k in kvms if 0 <= lock - k < _NEAR), default=-1) for lock in locks)
            self._nearest = Counter(distance for distance in near if distance >= 0)

    def _place(self, held: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Vote on where each lock lies, until enough rows agree."""
        wanted = [role for role in _IN_KVM[1:] if self._votes[role].total() < _AGREED]
        self._asked += 1
        if not wanted or (self._asked > _EAGER and self._asked % _EAGER):
            return
        assert self.index is not None
        sample = np.concatenate([self.index.of(op) for op in (Op.ACQUIRE, Op.DETAIL)] + [rows])
        together = held[sample[:: max(1, len(sample) >> 12)]]
        together = together[np.count_nonzero(together[:, np.array(_IN_KVM)], axis=1) >= 2][:_ENOUGH]
        for _ in range(2):  # twice: a lock never held together with mmu_lock is placed by one that is
            placed = self.distances()
            for role in wanted:
                ours = together[together[:, role] != 0]
                for other in _IN_KVM if len(ours) else ():
                    if other != role and other in placed and not (other != Role.MMU_LOCK and role in placed):
                        both = ours[ours[:, other] != 0]
                        self._vote(self._votes[role], both[:, other] + placed[other] - both[:, role])

    @staticmethod
    def _vote(votes: Counter[int], distances: NDArray[np.int64]) -> None:
        values, counts = np.unique(distances, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            if abs(value) < 1 << 20:  # both lie in one struct kvm
                votes[value] += count

    @property
    def mmu_lock_seen(self) -> bool:
        """Whether any task was ever seen to hold an mmu_lock."""
        return bool(len(self.mmu_locks()))

    def mmu_locks(self) -> NDArray[np.int64]:
        """Addresses of every mmu_lock that was held."""
        found = self._mmu_locks.values
        locks: NDArray[np.int64] = found[found != 0]
        return locks

    def deaths(self) -> NDArray[np.int64]:
        """By VM number, when it was destroyed; 0 for living ones and for number 0."""
        return np.concatenate((np.zeros(1, np.int64), self._vms["died"][: int(self._made[0])]))

    def distances(self) -> dict[Role, int]:
        """From a role's lock to the VM's mmu_lock, where learned."""
        found = {Role(role): votes.most_common(1)[0][0] for role, votes in self._votes.items() if votes}
        return {Role.MMU_LOCK: 0} | found

    def _kvm_distance(self) -> int | None:
        if self._kvm_votes:
            return self._kvm_votes.most_common(1)[0][0]
        if self._nearest:
            return self._nearest.most_common(1)[0][0]
        # No lock of a VM is known: then the argument itself tells VMs apart.
        return None if self.mmu_lock_seen or any(self._votes.values()) else 0

    def _note_gaps(self, batch: TapeBatch, index: OpIndex) -> None:
        if not len(batch):
            return
        for row in index.any_of(frozenset({Op.GAP, Op.LOSS})).tolist():
            stream = int(batch.stream[row])
            if batch.op[row] == Op.GAP:
                self._open[stream] = Gap(int(batch.ts_ns[row]), _ENDLESS, int(batch.cpu[row]))
                continue
            self._open.pop(stream, None)
            before = np.flatnonzero(batch.stream[:row] == stream)
            start = int(batch.ts_ns[before[-1]]) if len(before) else self._last.get(stream, -(1 << 62))
            self.gaps.append(Gap(start, int(batch.ts_ns[row]), int(batch.cpu[row])))
        for stream in range(len(self._streams) or int(batch.stream.max()) + 1):
            behind = int((batch.stream[::-1] == stream).argmax())
            if batch.stream[-1 - behind] == stream:
                self._last[stream] = int(batch.ts_ns[-1 - behind])

    def _note_buffers(self, batch: TapeBatch, index: OpIndex) -> None:
        """Which tasks each buffer follows, and which buffers have which kinds of events."""
        names = [stream.buffer for stream in self._streams]
        if len(set(names)) < 2:
            return
        for stream, name in enumerate(names):
            pids = np.unique(batch.pid[batch.stream == stream]).tolist()
            self._tasks_of.setdefault(name, set()).update(pids)
        for kind, ops in _KINDS.items():
            streams = np.unique(batch.stream[index.any_of(ops)]).tolist()
            self._buffers[kind] |= {names[stream] for stream in streams}

    def _followed(self) -> dict[str, set[int]]:
        if not self._tasks_of:
            return {}
        return {
            kind: set().union(*(self._tasks_of.get(name, set()) for name in names))
            for kind, names in self._buffers.items()
        }

    def finish(self) -> Vms:
        """The VMs seen."""
        rows = self._vms[: int(self._made[0])].tolist()
        vms = [Vm(i + 1, row[0], row[1], row[2], row[3]) for i, row in enumerate(rows)]
        # A buffer without any event follows nobody: the top one, where only an instance was recorded.
        uneven = len({frozenset(pids - {0}) for pids in self._tasks_of.values() if pids}) > 1
        kvm = self._kvm_distance() if self.mmu_lock_seen else None
        return Vms(vms, [*self.gaps, *self._open.values()], self.distances(), kvm, self._followed(), uneven)


FACT = VmFact
