"""How every flush debt ended, the ones paid in time too: for figures, not for verdicts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lockscope.kernels import kvm_flush as kernel

COLUMNS = (kernel.G_TS, kernel.G_PAID_TS, kernel.G_N, kernel.G_CODE, kernel.G_FLOW, kernel.G_STATE, kernel.G_VM,
           kernel.G_PID, kernel.G_CPU, kernel.G_SEQ)  # fmt: skip
TS, PAID_TS, NUMBER, CODE, FLOW, STATE, VM, PID, CPU, SEQ = range(len(COLUMNS))
_MOST = 1 << 16


class FlushLog:
    """Groups of debts as rows of ``COLUMNS``, in no order; of very many only every ``stride``-th is kept."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.int64]] = []
        self._kept = self._seen = 0
        self.stride = 1

    def take(self, groups: NDArray[np.int64]) -> None:
        """Keep these groups, whose stories are over."""
        number = np.arange(self._seen, self._seen + len(groups))
        self._seen += len(groups)
        rows = groups[:, COLUMNS][number % self.stride == 0]
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
