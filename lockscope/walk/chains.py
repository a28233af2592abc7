"""Distinct acquisition chains: what lockdep would hash and check once, with the evidence lockdep does not keep.

A chain is one acquisition in one situation: the locks the task held (outermost first), the lock it asked for, and the
context. Each distinct one is stored once, with how often it happened and its first witness. Distinct means: same
classes in the same order with the same read kind, trylock, check, nest lock and context of each; same irq flags at the
acquisition; same instances where a class is a KVM lock of one VM; same answer to "is this very instance already held".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TASK, SOFTIRQ, HARDIRQ, NMI = range(4)  # irq context of an entry: what the acquiring code ran in


@dataclass(frozen=True, slots=True)
class LockClass:
    """A lock class as lockdep has it: (key, subclass) where the key was recorded, else the name alone.

    ``subclass`` -1 is one that a held lock was given later (lock_set_subclass) and that no event says.

    ``wait_inner``/``wait_outer`` are lockdep's wait types (0 none or not recorded, 1 FREE, 2 SPIN, 3 CONFIG, 4 SLEEP).
    ``keyed``: its acquisitions were recorded with key, subclass and wait types. Without, there may be a ``key`` and
    wait types from its initialisation (lockscope:lockdep_init), and no subclass. ``kind`` is what the name stands for:
    see ``kvm.locks.kind_of``.
    """

    index: int
    name: str
    key: int = 0
    subclass: int = 0
    keyed: bool = False
    wait_inner: int = 0
    wait_outer: int = 0
    kind: str = ""  # "mutex", "spinlock", "raw_spinlock", "rwlock", "rwsem", "srcu", "rcu", "map", "seqcount" or ""
    lock_type: int = 0  # enum lockdep_lock_type: 0 normal, 1 per CPU (local_lock_t), 2 only overrides the wait type
    acquired: bool = False  # lock_acquired was seen: a lock that is waited for, not a map, RCU, seqcount or local_lock
    annotated_ns: int = 0  # when a held lock was last given this class (lock_set_subclass); 0 never
    unplaced: bool = False  # known by its address alone, which may be another lock's later

    @property
    def label(self) -> str:
        """The name as lockdep prints it, with ``/N`` for a subclass."""
        return f"{self.name}/{'?' if self.subclass < 0 else self.subclass}" if self.subclass else self.name


class Entry(NamedTuple):
    """A held lock of a chain, or the one asked for (its last entry)."""

    cls: int
    lock: int  # address of the lockdep map (or of the lock, on a stock kernel)
    read: int  # 0 exclusive, 1 read, 2 recursive read
    trylock: int
    check: int
    context: int  # TASK, SOFTIRQ, HARDIRQ, NMI
    nest: int  # address of the nest lock, 0
    ip: int  # caller, 0 if not recorded
    ts_ns: int  # when asked for
    seq: int  # sequence number of that event
    flags: int  # common_flags of that event: irqs off 0x01, hardirq 0x08, softirq 0x10, NMI 0x40, BH off 0x80
    before_ns: int = 0  # when this task last asked for this very lock before, at the latest; 0 never
    cpu: int = -1  # where it was asked for; the task may have moved since


@dataclass(frozen=True, slots=True)
class Chain:
    """One distinct situation. ``held`` outermost first."""

    held: tuple[Entry, ...]
    next: Entry
    count: int
    cpu: int
    pid: int
    preempt: int  # common_preempt_count at the acquisition
    window: int  # index of the judged window, -1 = the whole trace
    # The held set is known: it was seen to be empty before, nothing was lost since, and all of it was seen released (or
    # nothing was to the trace's end, while the task waited). In a judged window it is empty at the start, and that is
    # all.
    whole: bool
    released: bool  # ... by releases, so that no pause before can have changed it


@dataclass(slots=True)
class Chains:
    """All distinct chains of a trace, as columns. ``entries`` of chain i: rows ``start[i] .. start[i + 1]``.

    ``last_ns``: when each was met the last time; its entries are of the first. ``since_ns``: when the task was last
    seen to hold nothing before that. ``released``: ``whole`` by what was released later, not by waiting to the end.
    """

    start: NDArray[np.int64]
    entries: NDArray[np.int64]  # [rows, len(Entry._fields)], in the order of Entry
    count: NDArray[np.int64]
    cpu: NDArray[np.int32]
    pid: NDArray[np.int32]
    preempt: NDArray[np.int32]
    window: NDArray[np.int32]
    whole: NDArray[np.bool_]
    last_ns: NDArray[np.int64]
    since_ns: NDArray[np.int64]
    released: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.count)

    def __getitem__(self, i: int) -> Chain:
        """Chain ``i`` as records, for judging and telling; loops over all chains use the columns."""
        rows = [Entry(*row) for row in self.entries[self.start[i] : self.start[i + 1]].tolist()]
        return Chain(
            tuple(rows[:-1]),
            rows[-1],
            int(self.count[i]),
            int(self.cpu[i]),
            int(self.pid[i]),
            int(self.preempt[i]),
            int(self.window[i]),
            bool(self.whole[i]),
            bool(self.released[i]),
        )


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something the walk met at one event that no chain shows. ``what`` is one of the names below.

    * ``release-not-held``: ``lock`` released by a task whose held set is whole and does not contain it (LS105)
    * ``held-at-user``: held on a return to user space, sys_exit (LS106) - ``held`` says what
    * ``held-at-exit``: held when the task ended (LS106)
    * ``switched-atomic``: switched out (not preempted by an interrupt of its own) holding spinning locks (LS110)
    * ``init-held``: a map initialised while held (LS111); ``freed-held`` likewise
    * ``irqs-on-held``: an event other than an acquisition (a release, say) saw a held lock with irqs on: ``cls``,
    ``lock``
      and ``held`` (that one entry) say which, ``flags`` with what. Once per window, class, read or not, and these
      flags;
      events of interrupts on top of the task do not count (LS108)
    * ``ww-order``: after the wound of a ww_mutex acquisition (contention_end, ret -35) its context took another lock,
    or
      the same one while still holding others: ``held`` are these, outermost first, ``lock`` what it took (LS104)
    * ``nest-not-held``: ``held`` was taken under the nest lock at ``detail``, which the task was not seen to hold then
    or to release later (LS104); where its held set is whole the chain says so
    * ``gave-up``: an attempt at a lock the task already held was released without lock_acquired: it failed (LS104)
    """

    what: str
    ts_ns: int
    seq: int
    cpu: int
    pid: int
    flags: int
    preempt: int
    cls: int
    lock: int
    held: tuple[Entry, ...]
    count: int
    window: int
    detail: int = 0  # sys_exit: syscall number; switched-atomic: prev_state; init-held: the new key
    # The preempt count says so too. What rests on lock events alone can also be one of them that was missed unseen.
    proved: bool = False
    since_ns: int = 0  # when the task was last seen to hold nothing; what rests on its history reaches back to there
