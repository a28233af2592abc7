"""Who made whom wait for a lock, and what the owner waited for in turn.

Kept of a trace are the acquisitions that had to wait, and the holds for which others waited; both are few among all.
A wait lasts from lock_contended (contention_begin) to lock_acquired; its owners are the tasks whose holds of the same
lock ended meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lockscope.core.walk_rows import HAD_TO_WAIT, WAITED_FOR
from lockscope.walk.walk import HOLD_COLUMNS

Ints = NDArray[np.int64]
LOCK, PID, CPU, ASKED, ACQUIRED, END, MODE, IP, KNOWN, CONTENDED, CLS = (
    HOLD_COLUMNS.index(name)
    for name in (
        "lock",
        "pid",
        "cpu",
        "asked_ns",
        "acquired_ns",
        "end_ns",
        "mode",
        "ip",
        "known",
        "contended_ns",
        "cls",
    )
)
_MOST = 1 << 21  # rows kept, of 112 bytes; beyond it the shorter half goes
_OWNERS = 256  # of one wait: a crowd of readers


@dataclass(frozen=True, slots=True)
class Blame:
    """Pairs of a wait and a hold that made it wait; ``wait`` and ``hold`` are rows of ``LockWaits.rows``.

    ``ns``: how long the hold lasted within the wait. Several readers may hold a lock at once, and each counts in full.
    """

    wait: Ints
    hold: Ints
    ns: Ints


@dataclass(frozen=True, slots=True)
class Link:
    """A wait and its main owner: rows of ``LockWaits.rows``, -1 for none. ``owned_ns`` within the wait."""

    depth: int
    wait: int
    owner: int
    owned_ns: int
    owners: int


class LockWaits:
    """Feed it every ended hold, then ask."""

    def __init__(self, most: int = _MOST) -> None:
        self._parts: list[Ints] = []
        self._kept, self._most = 0, most
        self.dropped = 0
        self.rows: Ints = np.zeros((0, len(HOLD_COLUMNS)), np.int64)

    def feed(self, rows: Ints) -> None:
        """Keep what waited or was waited for (int64[n, columns], by ``HOLD_COLUMNS``)."""
        chosen = rows[(rows[:, MODE] & (HAD_TO_WAIT | WAITED_FOR)) != 0]
        if not len(chosen):
            return
        self._parts.append(chosen)
        self._kept += len(chosen)
        if self._kept > self._most:
            self._drop()

    def _drop(self) -> None:
        """The shorter half of all that is kept goes: it explains the least."""
        rows = np.concatenate(self._parts)
        lasted = np.maximum(self._waited(rows), np.where(rows[:, MODE] & WAITED_FOR, _held(rows), 0))
        kept = rows[lasted > np.median(lasted)]
        self.dropped += len(rows) - len(kept)
        self._parts, self._kept = [kept], len(kept)

    @staticmethod
    def _waited(rows: Ints) -> Ints:
        known = (rows[:, CONTENDED] != 0) & (rows[:, ACQUIRED] != 0)
        return np.where(known, rows[:, ACQUIRED] - rows[:, CONTENDED], 0)

    def finish(self) -> Blame:
        """Join waits with the holds behind them."""
        rows = np.concatenate(self._parts) if self._parts else self.rows
        rows = rows[np.lexsort((rows[:, END], rows[:, LOCK]))]
        self.rows = rows
        waits = np.flatnonzero(self._waited(rows) > 0)
        locks = np.unique(rows[:, LOCK], return_inverse=True)[1].reshape(-1)
        times = np.unique(np.concatenate((rows[:, END], rows[waits, CONTENDED], rows[waits, ACQUIRED])))
        many = len(times) + 1
        ended = locks * many + np.searchsorted(times, rows[:, END])
        first = np.searchsorted(
            ended, locks[waits] * many + np.searchsorted(times, rows[waits, CONTENDED]), side="right"
        )
        last = np.searchsorted(ended, locks[waits] * many + np.searchsorted(times, rows[waits, ACQUIRED]), side="right")
        first = np.maximum(first, last - _OWNERS)
        number = last - first
        wait = np.repeat(waits, number)
        hold = np.arange(int(number.sum())) - np.repeat(np.cumsum(number) - number, number) + np.repeat(first, number)
        begun = np.maximum(_since(rows)[hold], rows[wait, CONTENDED])
        ns = rows[hold, END] - begun
        same = (rows[hold, PID] == rows[wait, PID]) & ((rows[hold, PID] != 0) | (rows[hold, CPU] == rows[wait, CPU]))
        real = (ns > 0) & ~same & (rows[hold, KNOWN] & 1 != 0)
        return Blame(wait[real], hold[real], ns[real])

    def slowest(self, number: int) -> Ints:
        """The longest waits, longest first."""
        lasted = self._waited(self.rows)
        order = np.argsort(-lasted, kind="stable")[:number]
        return order[lasted[order] > 0]

    def chain(self, wait: int, blame: Blame) -> list[Link]:
        """A wait and what is behind it, down to an owner that did not wait for any lock."""
        links: list[Link] = []
        seen: set[int] = set()
        begin, end = int(self.rows[wait, CONTENDED]), int(self.rows[wait, ACQUIRED])
        while wait not in seen:
            seen.add(wait)
            mine = np.flatnonzero(blame.wait == wait)
            if not len(mine):
                links.append(Link(len(links), wait, -1, 0, 0))
                break
            best = mine[np.argmax(blame.ns[mine])]
            owner = int(blame.hold[best])
            links.append(Link(len(links), wait, owner, int(blame.ns[best]), len(mine)))
            begin = max(begin, int(_since(self.rows[owner : owner + 1])[0]))
            end = min(end, int(self.rows[owner, END]))
            wait = self._behind(owner, begin, end)
            if wait < 0:
                break
        return links

    def _behind(self, owner: int, begin: int, end: int) -> int:
        """The wait of a hold's task that takes most of a stretch of time; -1."""
        rows = self.rows
        same = (rows[:, PID] == rows[owner, PID]) & ((rows[:, PID] != 0) | (rows[:, CPU] == rows[owner, CPU]))
        mine = np.flatnonzero(same & (self._waited(rows) > 0))
        if not len(mine):
            return -1
        shared = np.minimum(rows[mine, ACQUIRED], end) - np.maximum(rows[mine, CONTENDED], begin)
        best = int(np.argmax(shared))
        return int(mine[best]) if shared[best] > 0 else -1


def _since(rows: Ints) -> Ints:
    """When holds began: when the lock was got, or asked for where that was not recorded."""
    return np.maximum(rows[:, ACQUIRED], rows[:, ASKED])


def _held(rows: Ints) -> Ints:
    return rows[:, END] - _since(rows)
