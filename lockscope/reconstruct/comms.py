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
    """The last known name of each pid."""

    def __init__(self, cached: dict[int, str]) -> None:
        self.by_pid = {pid: comm for pid, comm in cached.items() if comm != "<...>"}

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
                    self.by_pid[p] = texts[n]
