"""Whether a recording leaves tasks out (a PID filter): nothing in the file says so, but its task switches do."""

from __future__ import annotations

import numpy as np

from lockscope.tables.ops import Op
from lockscope.tables.tape import TapeBatch

_ENOUGH = 2  # breaks on one CPU without a loss between: one could be the recording's start


class SwitchChain:
    """On one CPU, whoever is switched in is the next to be switched out; where not, switches are missing."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}
        self._breaks = 0

    @property
    def broken(self) -> bool:
        """Switches are missing that no loss accounts for."""
        return self._breaks >= _ENOUGH

    def feed(self, batch: TapeBatch) -> None:
        """Follow a batch's switches."""
        rows = batch.of(Op.SWITCH, Op.LOSS)
        order = rows[np.argsort(batch.cpu[rows], kind="stable")]
        if not len(order):
            return
        cpu, lost = batch.cpu[order], batch.op[order] == Op.LOSS
        before, after = batch.slots[order, 0], batch.slots[order, 2]
        same = (cpu[1:] == cpu[:-1]) & ~lost[1:] & ~lost[:-1]
        self._breaks += int(np.count_nonzero(same & (before[1:] != after[:-1])))
        changes = np.flatnonzero(cpu[1:] != cpu[:-1]) + 1
        first, last = np.concatenate(([0], changes)), np.concatenate((changes, [len(order)])) - 1
        for i, j in zip(first, last, strict=True):
            known = self._next.get(int(cpu[i]))
            if known is not None and not lost[i] and known != int(before[i]):
                self._breaks += 1
            if lost[j]:
                self._next.pop(int(cpu[j]), None)
            else:
                self._next[int(cpu[j])] = int(after[j])
