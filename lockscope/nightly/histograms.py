"""Wait and hold times of every lock class as histograms, which add up over traces, hosts and nights.

The buckets are those of ``lockscope locks`` (``core.lock_stats``): exact below 64 ns, beyond that 32 to the octave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lockscope.core.lock_stats import EXACT, G_CONTENDED, HOLD, STEPS, WAIT, bucket_ends
from lockscope.statistics.lock_statistics import Groups

Ints = NDArray[np.int64]

BINS = EXACT + 58 * STEPS  # the buckets of all times that fit into an int64


def percentile(counts: Ints, share: float) -> float:
    """The time (ns) that a ``share`` of them is not longer than, between a bucket's ends in proportion; nan for none.

    ``counts`` int64[BINS]: how many in each bucket.
    """
    total = int(counts.sum())
    if not total:
        return float("nan")
    upto = np.cumsum(counts)
    wanted = share * total
    at = min(int(np.searchsorted(upto, wanted, side="left")), len(counts) - 1)
    low, high = (int(end[0]) for end in bucket_ends(np.array([at])))
    inside = (wanted - (upto[at] - counts[at])) / counts[at] if counts[at] else 0.0
    return float(low + inside * (high - low))


@dataclass(slots=True)
class Times:
    """How long something took: counts by bin, the sum and the longest, in ns."""

    counts: Ints = field(default_factory=lambda: np.zeros(BINS, np.int64))
    total_ns: int = 0
    longest_ns: int = 0

    @property
    def number(self) -> int:
        """How many were measured."""
        return int(self.counts.sum())

    def add(self, other: Times) -> None:
        """Count the other's too."""
        self.counts = self.counts + other.counts
        self.total_ns += other.total_ns
        self.longest_ns = max(self.longest_ns, other.longest_ns)

    def at(self, share: float) -> float:
        """A percentile, ns."""
        return percentile(self.counts, share)

    def sparse(self) -> tuple[list[int], list[int]]:
        """The bins that are not empty, and their counts."""
        bins = np.flatnonzero(self.counts)
        return bins.tolist(), self.counts[bins].tolist()

    @staticmethod
    def from_sparse(bins: Sequence[int], counts: Sequence[int], total_ns: int, longest_ns: int) -> Times:
        """What ``sparse`` took apart."""
        whole = np.zeros(BINS, np.int64)
        whole[np.asarray(bins, np.int64)] = np.asarray(counts, np.int64)
        return Times(whole, total_ns, longest_ns)


@dataclass(slots=True)
class ClassTimes:
    """One class: holds whose both ends were seen, and the waits of contended acquisitions."""

    hold: Times = field(default_factory=Times)
    wait: Times = field(default_factory=Times)
    contended: int = 0

    def add(self, other: ClassTimes) -> None:
        """Count the other's too."""
        self.hold.add(other.hold)
        self.wait.add(other.wait)
        self.contended += other.contended


def by_label(groups: Groups, labels: Sequence[str]) -> dict[str, ClassTimes]:
    """The classes that were held, by label (``labels`` by class number): classes of one label are one.

    ``groups``: of ``LockStatistics`` with the one key "cls".
    """
    counts = np.zeros((2 * len(groups), BINS), np.int64)
    counts[groups.buckets[:, 0], groups.buckets[:, 1]] = groups.buckets[:, 2]
    times = {what: groups.times(what, ()) for what in (HOLD, WAIT)}
    contended = groups.column(G_CONTENDED)
    found: dict[str, ClassTimes] = {}

    def of(what: int, group: int) -> Times:
        figures = times[what]
        return Times(counts[2 * group + what], int(figures.total_ns[group]), int(figures.max_ns[group]))

    for group, cls in enumerate(groups.keys[:, 0].tolist()):
        one = ClassTimes(of(HOLD, group), of(WAIT, group), int(contended[group]))
        if one.hold.number:
            found.setdefault(labels[cls], ClassTimes()).add(one)
    return found
