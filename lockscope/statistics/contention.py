"""Waits from contention_begin and contention_end, which every kernel since 5.19 has, lockdep or not, and from 7.2 on
who made them wait (contended_release)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lockscope.core import lock_contention
from lockscope.core.walk_rows import Hold
from lockscope.facts.kvm_state import Table
from lockscope.tables.ops import Op
from lockscope.tables.tape import TapeBatch
from lockscope.walk.walk import HOLD_COLUMNS

# Flags of contention_begin (LCB_F_*, include/trace/events/lock.h, 6.1), and the names that perf lock gives the kinds.
_SPIN, _READ, _WRITE, _RT, _PERCPU, _MUTEX = 1, 2, 4, 8, 16, 32
_TYPES = {
    0: "semaphore",
    _SPIN: "spinlock",
    _SPIN | _READ: "rwlock:R",
    _SPIN | _WRITE: "rwlock:W",
    _READ: "rwsem:R",
    _WRITE: "rwsem:W",
    _RT: "rtmutex",
    _RT | _READ: "rwlock-rt:R",
    _RT | _WRITE: "rwlock-rt:W",
    _PERCPU | _READ: "pcpu-sem:R",
    _PERCPU | _WRITE: "pcpu-sem:W",
    _MUTEX: "mutex",
    _MUTEX | _SPIN: "mutex",
}
_AT_ONCE = 1 << 14
OPS = frozenset({Op.CONTENTION_BEGIN, Op.CONTENTION_END, Op.CONTENDED_RELEASE})
_FOLLOWED = (*OPS, Op.LOSS, Op.GAP)


def type_name(flags: int) -> str:
    """What kind of lock the flags of contention_begin say it is; "unknown" as perf has it."""
    return _TYPES.get(flags, "unknown")


class Contention:
    """Pairs begins with ends, batch by batch."""

    def __init__(self) -> None:
        self._tasks = Table(lock_contention.Pending)
        self._locks = Table(lock_contention.Contended)
        self._lost = np.zeros(1, np.int64)

    def feed(self, batch: TapeBatch) -> Iterator[NDArray[np.int64]]:
        """The waits that end in a batch, as ended holds (``HOLD_COLUMNS``) whose class is the flags, and the holds
        behind them, as far as they are known (``WAITED_FOR`` alone in their mode)."""
        at = batch.of(*_FOLLOWED)
        for begin in range(0, len(at), _AT_ONCE):
            part = at[begin : begin + _AT_ONCE]
            self._tasks.make_room(len(part))
            self._locks.make_room(len(part))
            out = np.empty((len(part), len(HOLD_COLUMNS)), np.int64)
            columns = (getattr(batch, name)[part] for name in ("ts_ns", "cpu", "pid", "op", "slots", "seq"))
            made = lock_contention.pair(
                *columns,
                self._tasks.table,
                self._tasks.rows,
                self._locks.table,
                self._locks.rows,
                self._lost,
                out.view(Hold.dtype).reshape(-1),
            )
            if made:
                yield out[:made]
