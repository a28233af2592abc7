"""How often locks were taken, how long tasks waited for them and held them, by whatever tells the holds apart.

Ended holds come in batch by batch and are counted at once (``core.lock_stats``); what stays is one row for each
group and one number for each bucket of its histograms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lockscope.core import lock_stats, numbering
from lockscope.core.lock_stats import (
    BUCKET_BITS,
    G_ACQUIRED,
    G_CONTENDED,
    G_CUT,
    G_HOLD_MAX,
    G_HOLD_MIN,
    G_HOLD_SUM,
    G_HOLDS,
    G_READ,
    G_TRYLOCKS,
    G_WAIT_MAX,
    G_WAIT_MIN,
    G_WAIT_SUM,
    G_WAITS,
    HOLD,
    KEYS,
    N_GROUPS,
    N_LIMIT,
    N_ORPHANS,
    WAIT,
)
from lockscope.walk.walk import HOLD_COLUMNS

Ints = NDArray[np.int64]
MOST_GROUPS = 1 << 18
ERROR = 1 / 64  # of a percentile: half a bucket
_SUMS = (G_ACQUIRED, G_TRYLOCKS, G_CONTENDED, G_CUT, G_WAITS, G_WAIT_SUM, G_HOLDS, G_HOLD_SUM)
_SMALLEST, _LARGEST = (G_WAIT_MIN, G_HOLD_MIN), (G_WAIT_MAX, G_HOLD_MAX)
_FIGURES = {WAIT: (G_WAITS, G_WAIT_SUM, G_WAIT_MIN, G_WAIT_MAX), HOLD: (G_HOLDS, G_HOLD_SUM, G_HOLD_MIN, G_HOLD_MAX)}


@dataclass(frozen=True, slots=True)
class Times:
    """Waits or holds of each group: how many, and in ns their sum, shortest, longest; ``percentiles[group, which]``."""

    number: Ints
    total_ns: Ints
    min_ns: Ints
    max_ns: Ints
    percentiles: Ints


@dataclass(frozen=True, slots=True)
class Groups:
    """``keys`` int64[groups, keys asked for]; ``read``: of read acquisitions, else of exclusive ones.

    ``rows`` are the compiled loop's; ``buckets`` int64[n, 3]: 2 * group + what, bucket, how many times.
    ``orphans``: releases of what was not seen taken. ``crowded``: the last group holds what found no room.
    """

    keys: Ints
    read: NDArray[np.bool_]
    rows: Ints
    buckets: Ints
    orphans: int = 0
    crowded: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, which: int) -> Ints:
        """A figure of every group, by the kernel's G_ numbers."""
        return self.rows[:, which]

    def times(self, what: int, percents: Sequence[float]) -> Times:
        """``WAIT`` or ``HOLD`` times. A percentile lies within ``ERROR`` of the true one; below 64 ns it is exact."""
        number, total, least, most = (self.rows[:, c] for c in _FIGURES[what])
        low, high = np.where(number > 0, least, 0), np.where(number > 0, most, 0)
        return Times(number, total, low, high, self._percentiles(what, percents, number, low, high))

    def _percentiles(self, what: int, percents: Sequence[float], number: Ints, low: Ints, high: Ints) -> Ints:
        found = np.zeros((len(self), len(percents)), np.int64)
        mine = self.buckets[self.buckets[:, 0] % 2 == what]
        mine = mine[np.lexsort((mine[:, 1], mine[:, 0]))]
        if not len(mine):
            return found
        reached = np.cumsum(mine[:, 2])
        before = np.searchsorted(mine[:, 0], 2 * np.arange(len(self)) + what)
        base = np.concatenate(([0], reached))[before]
        ends = lock_stats.bucket_ends(mine[:, 1])
        middle = (ends[0] + ends[1]) // 2
        for i, percent in enumerate(percents):
            wanted = base + np.maximum(np.ceil(number * (percent / 100)).astype(np.int64), 1)
            place = np.minimum(np.searchsorted(reached, wanted), len(middle) - 1)
            found[:, i] = np.where(number > 0, np.clip(middle[place], low, high), 0)
        return found

    def merged(self, keys: Ints) -> Groups:
        """The same with other keys (int64[groups, n]): groups that become equal are one."""
        together = np.column_stack((keys, self.read.astype(np.int64)))
        unique, of = np.unique(together, axis=0, return_inverse=True)
        of = of.reshape(-1)
        rows = np.zeros((len(unique), self.rows.shape[1]), np.int64)
        for c in _SUMS:
            np.add.at(rows[:, c], of, self.rows[:, c])
        for c in _SMALLEST:
            rows[:, c] = np.iinfo(np.int64).max
            np.minimum.at(rows[:, c], of, self.rows[:, c])
        for c in _LARGEST:
            np.maximum.at(rows[:, c], of, self.rows[:, c])
        buckets = self.buckets.copy()
        if len(buckets):
            buckets[:, 0] = 2 * of[buckets[:, 0] // 2] + buckets[:, 0] % 2
        return replace(self, keys=unique[:, :-1], read=unique[:, -1] != 0, rows=rows, buckets=buckets)

    def only(self, keep: NDArray[np.bool_]) -> Groups:
        """The groups where ``keep`` is true."""
        numbers = np.cumsum(keep) - 1
        buckets = self.buckets[keep[self.buckets[:, 0] // 2]] if len(self.buckets) else self.buckets
        if len(buckets):
            buckets = buckets.copy()
            buckets[:, 0] = 2 * numbers[buckets[:, 0] // 2] + buckets[:, 0] % 2
        return replace(self, keys=self.keys[keep], read=self.read[keep], rows=self.rows[keep], buckets=buckets)


class LockStatistics:
    """Feed it every ended hold. ``keys``: up to five of ``HOLD_COLUMNS``."""

    def __init__(self, keys: Sequence[str], most: int = MOST_GROUPS) -> None:
        if len(keys) > KEYS:
            msg = f"at most {KEYS} keys"
            raise ValueError(msg)
        self._names = tuple(keys)
        columns = [HOLD_COLUMNS.index(key) for key in keys]
        self._keys = np.array(columns + [-1] * (KEYS - len(columns)), np.int64)
        self._table, self._bucket_table = np.zeros(2 + (2 << 11), np.int64), np.zeros(2 + (2 << 13), np.int64)
        self._groups = np.zeros((min(256, most + 2), lock_stats.G_WIDTH), np.int64)
        self._counts = np.zeros(1 << 12, np.int64)
        self._state = np.zeros(lock_stats.N_STATE, np.int64)
        self._state[N_LIMIT] = most

    def feed(self, rows: Ints) -> None:
        """Count ended holds (int64[n, columns], by ``HOLD_COLUMNS``)."""
        reached = 0
        while reached < len(rows):
            reached = lock_stats.collect(
                rows, self._keys, reached, self._table, self._groups, self._bucket_table, self._counts, self._state
            )
            if reached < len(rows):
                self._grow()

    def _grow(self) -> None:
        if 2 * (int(self._table[0]) + 2) > len(self._table) >> 1:
            self._table = _doubled(self._table)
        if 2 * (int(self._bucket_table[0]) + 4) > len(self._bucket_table) >> 1:
            self._bucket_table = _doubled(self._bucket_table)
        if int(self._state[N_GROUPS]) + 1 >= len(self._groups):
            self._groups = np.concatenate((self._groups, np.zeros_like(self._groups)))
        if int(self._bucket_table[0]) + 4 > len(self._counts):
            self._counts = np.concatenate((self._counts, np.zeros_like(self._counts)))

    def groups(self) -> Groups:
        """What was counted so far."""
        number = int(self._state[N_GROUPS])
        limit = int(self._state[N_LIMIT])
        crowded = limit < len(self._groups) and bool(self._groups[limit, G_ACQUIRED])
        rows = self._groups[: number + crowded].copy()
        pairs = self._bucket_table[2:].reshape(-1, 2)
        pairs = pairs[pairs[:, 1] > 0]
        buckets = np.column_stack(
            (pairs[:, 0] >> BUCKET_BITS, pairs[:, 0] & (1 << BUCKET_BITS) - 1, self._counts[pairs[:, 1] - 1])
        )
        return Groups(
            rows[:, : len(self._names)], rows[:, G_READ] != 0, rows, buckets, int(self._state[N_ORPHANS]), crowded
        )


def _doubled(table: Ints) -> Ints:
    wider = np.zeros(2 * len(table) - 2, np.int64)
    numbering.rehash(table, wider)
    return wider
