"""What pages show beside findings, collected in the one reading that judges: bounded, whatever the trace's length.

``Collector`` sees each batch's ended holds and kept rows. Statistics are histograms; of holds only the longest are
kept, those that a check may tell of (each situation's first witness), and KVM's; of SPTEs all changes of some frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lockscope.tables.ops import SLOTS, Op
from lockscope.tables.tape import TapeBatch
from lockscope.walk.walk import HOLD_COLUMNS, Ended

Ints = NDArray[np.int64]
CLS, PID, CPU, ASKED, ACQUIRED, END, MODE, IP, SEQ, KNOWN = (
    HOLD_COLUMNS.index(name)
    for name in ("cls", "pid", "cpu", "asked_ns", "acquired_ns", "end_ns", "mode", "ip", "seq", "known")
)

BINS_A_DECADE, DECADES = 12, 11  # 1 ns to 100 s
EDGES = np.logspace(0, DECADES, BINS_A_DECADE * DECADES + 1)
_LONGEST, _MOST_KVM, _MOST_SPTES, _MOST_FLUSHES, _SLICES = 12, 1 << 17, 40_000, 2_000, 360


@dataclass(slots=True)
class Tally:
    """Histograms by class: ``bins[cls]`` counts lengths between ``EDGES``."""

    bins: Ints = field(default_factory=lambda: np.zeros((64, len(EDGES) - 1), np.int64))
    sums: Ints = field(default_factory=lambda: np.zeros((64, 2), np.int64))  # in all, and the longest

    def add(self, cls: Ints, ns: Ints) -> None:
        """Count lengths; those of 0 are 1 ns, those beyond the last edge are in the last bin."""
        if not len(cls):
            return
        most = int(cls.max()) + 1
        if most > len(self.bins):
            self.bins = np.concatenate((self.bins, np.zeros((most, self.bins.shape[1]), np.int64)))
            self.sums = np.concatenate((self.sums, np.zeros((most, 2), np.int64)))
        place = np.clip(np.searchsorted(EDGES, np.maximum(ns, 1), "right") - 1, 0, self.bins.shape[1] - 1)
        np.add.at(self.bins, (cls, place), 1)
        np.add.at(self.sums[:, 0], cls, ns)
        np.maximum.at(self.sums[:, 1], cls, ns)

    def total(self, cls: int) -> tuple[int, int]:
        """A class's lengths in all, and its longest."""
        return (int(self.sums[cls, 0]), int(self.sums[cls, 1])) if cls < len(self.sums) else (0, 0)

    def quantiles(self, cls: int, shares: Iterable[float]) -> tuple[int, ...]:
        """The upper ends of the bins in which these shares of a class's lengths are reached; 0 for none."""
        if cls >= len(self.bins) or not self.bins[cls].any():
            return tuple(0 for _ in shares)
        sums = np.cumsum(self.bins[cls])
        places = [int(np.searchsorted(sums, np.ceil(share * sums[-1]))) for share in shares]
        return tuple(round(float(EDGES[p + 1])) for p in places)


class Occupancy:
    """How many of a class's waits lie over each slice of time. Slices double in width when time runs out of them.

    A wait adds 1 at its begin and -1 at its end: ``steps`` sums these by slice, ``areas`` what each leaves under it up
    to the slice's end.
    """

    def __init__(self) -> None:
        self.start: int | None = None
        self.width = 1 << 14
        self.steps = np.zeros((0, _SLICES), np.int64)
        self.areas = np.zeros((0, _SLICES), np.int64)

    def add(self, cls: Ints, begin: Ints, end: Ints) -> None:
        """Count waits."""
        if not len(cls):
            return
        if self.start is None:
            self.start = int(begin.min())
        begin, end = np.maximum(begin, self.start), np.maximum(end, self.start)  # a wait may be told after later ones
        while int(end.max()) - self.start >= self.width * _SLICES:
            self._double()
        most = int(cls.max()) + 1 - len(self.steps)
        if most > 0:
            more = np.zeros((most + 64, _SLICES), np.int64)
            self.steps, self.areas = np.concatenate((self.steps, more)), np.concatenate((self.areas, more))
        for at, sign in ((begin - self.start, 1), (end - self.start, -1)):
            place = at // self.width
            np.add.at(self.steps, (cls, place), sign)
            np.add.at(self.areas, (cls, place), sign * ((place + 1) * self.width - at))

    def _double(self) -> None:
        half = _SLICES // 2
        for_areas = self.areas[:, ::2] + self.steps[:, ::2] * self.width + self.areas[:, 1::2]
        for_steps = self.steps[:, ::2] + self.steps[:, 1::2]
        self.areas, self.steps = np.zeros_like(self.areas), np.zeros_like(self.steps)
        self.areas[:, :half], self.steps[:, :half] = for_areas, for_steps
        self.width *= 2

    def over(self, cls: int, slices: int) -> NDArray[np.float64]:
        """The average in each slice."""
        steps, areas = self.steps[cls, :slices], self.areas[cls, :slices]
        before = np.concatenate(([0], np.cumsum(steps)[:-1]))
        return np.asarray((before * self.width + areas) / self.width, np.float64)


class Collector:
    """Sees one reading of a trace go by."""

    facts = ("flush_debts", "spte_layout", "vms")  # what it needs beside those of the checks
    ops = frozenset({Op.SPTE_TDP, Op.FAST_PF, Op.SPTE_SET, Op.FLUSH, Op.REQUEST})  # what ``tape`` looks at

    def __init__(self) -> None:
        self.holds, self.waits, self.waiting = Tally(), Tally(), Occupancy()
        self._told: Ints = np.zeros(0, np.int64)
        self._scene: list[Ints] = []
        self._kvm: list[Ints] = []
        self._kvm_rows = 0
        self.longest: dict[str, Ints] = {what: np.zeros((0, len(HOLD_COLUMNS)), np.int64) for what in ("hold", "wait")}
        self.sptes: Ints = np.zeros((0, 6), np.int64)  # ts, gfn, old, new, level, pid
        self._new_sptes: list[Ints] = []
        self._new_rows = 0
        self.share = 1
        self.flushes: Ints = np.zeros(0, np.int64)
        self._tdp = False

    def ended(self, ended: Ended) -> None:
        """Take holds that ended."""
        holds = ended.holds
        if len(ended.told):
            self._told = np.union1d(self._told, ended.told)
        if not len(holds):
            return
        cls, begin = holds[:, CLS], np.where(holds[:, ACQUIRED] > 0, holds[:, ACQUIRED], holds[:, ASKED])
        whole = holds[:, KNOWN] == 3
        length = holds[:, END] - begin
        self.holds.add(cls[whole], length[whole])
        waited = ((holds[:, MODE] >> 5) & 1).astype(np.bool_) & (holds[:, ACQUIRED] > 0)
        wait = holds[:, ACQUIRED] - holds[:, ASKED]
        self.waits.add(cls[waited], wait[waited])
        self.waiting.add(cls[waited], holds[waited, ASKED], holds[waited, ACQUIRED])
        self._keep_longest("hold", holds[whole], length[whole])
        self._keep_longest("wait", holds[waited], wait[waited])
        place = np.minimum(np.searchsorted(self._told, holds[:, SEQ]), max(len(self._told) - 1, 0))
        known = self._told[place] == holds[:, SEQ] if len(self._told) else np.zeros(len(holds), np.bool_)
        if known.any():
            self._scene.append(holds[known])
        kvm = holds[ended.kvm[cls] & ~known]
        if len(kvm):
            self._kvm.append(kvm)
            self._kvm_rows += len(kvm)
            if self._kvm_rows > _MOST_KVM:
                self._thin()

    def _thin(self) -> None:
        """Of very many, the longer half: what a defect happens under is rarely short."""
        every = np.concatenate(self._kvm)
        length = every[:, END] - every[:, ASKED]
        kept = every[np.sort(np.argpartition(-length, _MOST_KVM // 2)[: _MOST_KVM // 2])]
        self._kvm, self._kvm_rows = [kept], len(kept)

    def _keep_longest(self, what: str, rows: Ints, ns: Ints) -> None:
        kept = self.longest[what]
        if not len(rows):
            return
        if len(rows) > _LONGEST:
            rows = rows[np.argpartition(-ns, _LONGEST)[:_LONGEST]]
        every = np.concatenate((kept, rows))
        order = np.argsort(-_length(what, every), kind="stable")
        self.longest[what] = every[order[:_LONGEST]]

    def scene_holds(self) -> Ints:
        """The holds from which scenarios are drawn."""
        parts = self._scene + self._kvm
        return np.concatenate(parts) if parts else np.zeros((0, len(HOLD_COLUMNS)), np.int64)

    def tape(self, batch: TapeBatch) -> None:
        """Take SPTE changes and flushes of a batch's rows."""
        flush = batch.of(Op.FLUSH, Op.REQUEST)
        if len(flush):
            req = batch.slots[flush, SLOTS[Op.REQUEST].index("req")]
            real = (batch.op[flush] == Op.FLUSH) | ((req & 0x4FF) == 0)  # KVM_REQ_TLB_FLUSH, see flush_debts
            self.flushes = np.concatenate((self.flushes, batch.ts_ns[flush[real]]))
            while len(self.flushes) > _MOST_FLUSHES:
                self.flushes = self.flushes[::2]
        rows = batch.of(Op.SPTE_TDP)
        self._tdp = self._tdp or bool(len(rows))
        if len(rows):
            self._take(
                batch, rows, *(batch.slot(Op.SPTE_TDP, rows=rows, name=n) for n in ("gfn", "old", "new", "level"))
            )
        fast = batch.of(Op.FAST_PF)
        if len(fast) and self._tdp:  # two-dimensional paging: what faulted is a guest physical address
            address, old, new = (batch.slot(Op.FAST_PF, rows=fast, name=n) for n in ("addr", "old", "new"))
            changed = old != new
            self._take(
                batch,
                fast[changed],
                address[changed] >> 12,
                old[changed],
                new[changed],
                np.ones(int(changed.sum()), np.int64),
            )
        made = batch.of(Op.SPTE_SET)
        if len(made) and not self._tdp:
            gfn, new, level = (batch.slot(Op.SPTE_SET, rows=made, name=n) for n in ("gfn", "spte", "level"))
            self._take(batch, made, gfn, np.zeros(len(made), np.int64), new, level)

    def _take(self, batch: TapeBatch, rows: Ints, gfn: Ints, old: Ints, new: Ints, level: Ints) -> None:
        keep = _spread(gfn) % self.share == 0
        part = np.stack((batch.ts_ns[rows], gfn, old, new, np.maximum(level, 1), batch.pid[rows]), axis=1)[keep]
        self._new_sptes.append(part)
        self._new_rows += len(part)
        if self._new_rows > _MOST_SPTES // 2:
            self._settle()

    def _settle(self) -> None:
        self.sptes = np.concatenate((self.sptes, *self._new_sptes))
        self._new_sptes, self._new_rows = [], 0
        while len(self.sptes) > _MOST_SPTES and self.share < 1 << 40:
            self.share *= 2
            fewer = self.sptes[_spread(self.sptes[:, 1]) % self.share == 0]
            if not len(fewer):  # one frame that changes all the time
                self.share //= 2
                fewer = self.sptes[::2]
            self.sptes = fewer

    def spte_rows(self) -> Ints:
        """Changes of the frames that are followed, in order of time: ts, gfn, old, new, level, pid."""
        self._settle()
        return self.sptes[np.argsort(self.sptes[:, 0], kind="stable")]


def _length(what: str, rows: Ints) -> Ints:
    begin = np.where(rows[:, ACQUIRED] > 0, rows[:, ACQUIRED], rows[:, ASKED])
    length: Ints = rows[:, END] - begin if what == "hold" else rows[:, ACQUIRED] - rows[:, ASKED]
    return length


def _spread(gfn: Ints) -> Ints:
    """Numbers without order from frame numbers (Fibonacci hashing), so that a share of them is no pattern."""
    mixed: Ints = ((gfn.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)).astype(np.int64)
    return mixed
