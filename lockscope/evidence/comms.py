"""Task names: the recorder's cache, and what sched_switch, fork and rename say, which is better."""

from __future__ import annotations

import numpy as np

from lockscope.tables.ops import Op
from lockscope.tables.tape import TapeBatch
from lockscope.tables.texts import Texts

_SPOKEN = (
    (Op.SWITCH, "next_pid", "next_comm"),
    (Op.SWITCH, "prev_pid", "prev_comm"),
    (Op.FORK, "child", "child_comm"),
    (Op.RENAME, "pid", "comm"),
)


class Comms:
    """The last known name of each pid. ``cached`` may grow and change while a trace is read (perf's COMM records).

    ``parents``: a task without a name of its own has its parent's.
    """

    def __init__(self, cached: dict[int, str], parents: dict[int, int] | None = None) -> None:
        self._cached, self._first, self._parents = cached, dict(cached), {} if parents is None else parents
        self._spoken: dict[int, str] = {}

    @property
    def by_pid(self) -> dict[int, str]:
        """All of them, as far as the trace has been read."""
        told = {pid: comm for pid, comm in self._cached.items() if comm != "<...>"}
        anew = {pid: comm for pid, comm in told.items() if self._first.get(pid) != comm}
        known = told | self._spoken | anew
        for child, parent in sorted(self._parents.items()):  # mostly, who is born later has the larger number
            if child not in known and parent in known:
                known[child] = known[parent]
        return known

    def feed(self, batch: TapeBatch, texts: Texts) -> None:
        """Learn from a batch."""
        for op, pid, comm in _SPOKEN:
            rows = batch.of(op)
            if not len(rows):
                continue
            pids, last = np.unique(batch.slot(op, pid, rows)[::-1], return_index=True)
            names = batch.slot(op, comm, rows)[::-1][last]
            for p, n in zip(pids.tolist(), names.tolist(), strict=True):
                if p != 0:
                    self._spoken[p] = texts[n]
