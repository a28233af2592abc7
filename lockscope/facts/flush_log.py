"""How every flush debt ended, the ones paid in time too: for figures, not for verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

COLUMNS = ("ts", "paid_ts", "n", "code", "flow", "state", "vm", "pid", "cpu", "seq")  # of kvm_flush.Group
TS, PAID_TS, NUMBER, CODE, FLOW, STATE, VM, PID, CPU, SEQ = range(len(COLUMNS))
_MOST = 1 << 16


class FlushLog:
    """Groups of debts as rows of ``COLUMNS``, in no order; of very many only every ``stride``-th is kept."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.int64]] = []
        self._kept = self._seen = 0
        self.stride = 1

    def take(self, groups: NDArray[Any]) -> None:
        """Keep these groups, whose stories are over."""
        number = np.arange(self._seen, self._seen + len(groups))
        self._seen += len(groups)
        kept = groups[number % self.stride == 0]
        rows = np.column_stack([kept[name] for name in COLUMNS])
        if not len(rows):
            return
        self._parts.append(rows)
        self._kept += len(rows)
        while self._kept > _MOST:
            whole = np.concatenate(self._parts)[::2]
            self._parts, self._kept, self.stride = [whole], len(whole), 2 * self.stride

    def rows(self) -> NDArray[np.int64]:
        """What is kept, in order of time."""
        whole = np.concatenate(self._parts) if self._parts else np.zeros((0, len(COLUMNS)), np.int64)
        return whole[np.argsort(whole[:, TS], kind="stable")]
