"""How far two CPUs' clocks can be apart, measured from what must have happened in order.

With ftrace's ``local`` clock each CPU stamps by its own ``sched_clock()``. Two things give the order of two CPUs'
events all the same: a lock that one task waited for is acquired after its holder's ``lock_release`` (which fires
before the lock is given up), and a task is switched in elsewhere after it was switched out. The shortest such step
from one CPU to another bounds how far the other's clock can lag behind; steps both ways bound it on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lockscope.facts.fact import Making
from lockscope.facts.kvm_state import Distinct, OpIndex
from lockscope.kvm.locks import kind_of
from lockscope.tables.ops import Op
from lockscope.tables.tape import TapeBatch

_FAR = 1 << 60
_EXCLUSIVE = ("mutex", "spinlock", "raw_spinlock")
_MOST_CPUS = 512
_CLOSE_NS = 10_000  # no check asks for less
_ENOUGH = 1 << 16  # steps; the shortest of them is no longer going to shrink


@dataclass(frozen=True, slots=True)
class ClockSkew:
    """``evidence.facts["clock_skew"]``.

    ``bound_ns``: no two CPUs' clocks are further apart, None where the trace does not show it; 0 where the clock is one
    for all CPUs.
    """

    bound_ns: int | None = None
    steps: int = 0


class SkewFact:
    """Looks for steps from CPU to CPU."""

    name: ClassVar[str] = "clock_skew"
    ops: ClassVar[frozenset[Op]] = frozenset({Op.ACQUIRED, Op.CONTENDED, Op.RELEASE, Op.SWITCH})
    needs: ClassVar[tuple[str, ...]] = ("vms",)

    def __init__(self, making: Making) -> None:
        self._vms, self._texts = making.facts["vms"], making.texts
        self._info = making.info  # text shows its CPUs as it goes
        self._shortest: NDArray[np.int64] = np.full((0, 0), _FAR, np.int64)  # [from, to]
        self._seen = Distinct()
        self._steps = 0

    def feed(self, batch: TapeBatch) -> None:
        """Look at a batch's hand-overs and migrations."""
        if self._info.orders_cpus or self._steps > _ENOUGH or not len(batch):
            return
        bound = self.bound_ns
        if bound is not None and 0 < bound < _CLOSE_NS:
            return
        index = self._vms.index
        self._seen.number(batch.cpu)
        locks = self._fought_for(batch, index)
        for before, after in (_handed_over(batch, index, locks), _migrated(batch, index)):
            self._note(batch, before, after)

    def _fought_for(self, batch: TapeBatch, index: OpIndex) -> NDArray[np.int64]:
        """Locks that somebody waits for, so that hand-overs are short; of kinds without readers, who need not wait for
        one another. Of locks that are not KVM's the walk keeps just the rows from such a wait on.
        """
        rows = index.of(Op.CONTENDED)
        words = self._texts.all()
        names = np.unique(batch.slots[rows, 1])
        alone = [n for n in names.tolist() if 0 <= n < len(words) and kind_of(words[n]) in _EXCLUSIVE]
        return np.unique(batch.slots[rows[np.isin(batch.slots[rows, 1], alone)], 0])

    def _note(self, batch: TapeBatch, before: NDArray[np.int64], after: NDArray[np.int64]) -> None:
        a, b = batch.cpu[before], batch.cpu[after]
        most = 1 + int(max(batch.cpu.max(), len(self._shortest) - 1))
        if most > _MOST_CPUS or not len(a):
            return
        if most > len(self._shortest):
            grown = np.full((most, most), _FAR, np.int64)
            grown[: len(self._shortest), : len(self._shortest)] = self._shortest
            self._shortest = grown
        np.minimum.at(self._shortest, (a, b), batch.ts_ns[after] - batch.ts_ns[before])
        self._steps += len(a)

    @property
    def bound_ns(self) -> int | None:
        """What is known so far."""
        if self._info.orders_cpus or len(self._seen) < 2:
            return 0
        cpus = np.sort(self._seen.values)
        if cpus[-1] >= len(self._shortest):
            return None
        far = self._shortest[np.ix_(cpus, cpus)].copy()
        np.fill_diagonal(far, 0)
        for k in range(len(cpus)):  # a bound by way of a third CPU counts too
            far = np.minimum(far, far[:, k : k + 1] + far[k : k + 1, :])
        worst = int(far.max())
        return worst if worst < _FAR else None

    def finish(self) -> ClockSkew:
        """What was found."""
        return ClockSkew(self.bound_ns, self._steps)


def _handed_over(
    batch: TapeBatch, index: OpIndex, locks: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of a release and of the next acquisition of the same one of these locks, by another CPU."""
    steps = np.sort(np.concatenate((index.of(Op.ACQUIRED), index.of(Op.RELEASE)))) if len(locks) else locks
    lock = batch.slots[steps, 0]
    ours = np.isin(lock, locks)
    steps, lock = steps[ours], lock[ours]
    order = np.argsort(lock, kind="stable")
    a, b = steps[order[:-1]], steps[order[1:]]
    handed = (lock[order[:-1]] == lock[order[1:]]) & (batch.op[a] == Op.RELEASE) & (batch.op[b] == Op.ACQUIRED)
    handed &= batch.cpu[a] != batch.cpu[b]
    return a[handed], b[handed]


def _migrated(batch: TapeBatch, index: OpIndex) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows at which a task is switched out, and next in, on another CPU."""
    switches = index.of(Op.SWITCH)
    rows = np.concatenate((switches, switches))
    pid = np.concatenate((batch.slots[switches, 0], batch.slots[switches, 2]))
    into = np.arange(len(rows)) >= len(switches)
    order = np.lexsort((rows, pid))
    order = order[pid[order] != 0]  # each CPU has its own idle task
    a, b = order[:-1], order[1:]
    moved = (pid[a] == pid[b]) & ~into[a] & into[b] & (batch.cpu[rows[a]] != batch.cpu[rows[b]])
    return rows[a[moved]], rows[b[moved]]


FACT = SkewFact
