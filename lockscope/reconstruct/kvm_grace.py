"""What a task holds while it waits for SRCU readers: ``synchronize_srcu()`` is in no lock chain, so it is looked up."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockscope.reconstruct.kvm_state import OpIndex
from lockscope.tables.ops import SLOTS, Op
from lockscope.tables.tape import TapeBatch

_MOST = 1024  # grace periods looked at in a batch: their situations repeat


class Wait(NamedTuple):
    """A call of ``synchronize_srcu()`` and the locks around it, by number of their name and by address."""

    ts_ns: int
    seq: int
    cpu: int
    pid: int
    ssp: int
    since_ns: int  # the first of these acquisitions
    locks: tuple[tuple[int, int], ...]


def waits(batch: TapeBatch, index: OpIndex) -> list[Wait]:
    """The grace periods of a batch during which locks taken in the same batch were held."""
    syncs = index.of(Op.SRCU_SYNC)[:_MOST]
    taken = index.of(Op.ACQUIRE) if len(index.of(Op.ACQUIRE)) else index.of(Op.DETAIL)
    if not len(syncs) or not len(taken):
        return []
    steps = np.concatenate((taken, index.of(Op.RELEASE)))
    steps = np.sort(steps[np.isin(batch.pid[steps], np.unique(batch.pid[syncs]))])
    ssp = SLOTS[Op.SRCU_SYNC].index("ssp")
    found = []
    for pid in np.unique(batch.pid[syncs]).tolist():
        of_task = steps[(batch.pid[steps] == pid) & ((batch.flags[steps] & 0x58) == 0)]
        for sync in syncs[batch.pid[syncs] == pid].tolist():
            held = _held(batch, of_task[: np.searchsorted(of_task, sync)])
            if len(held):
                locks = tuple((int(batch.slots[row, 1]), int(batch.slots[row, 0])) for row in held.tolist())
                found.append(Wait(int(batch.ts_ns[sync]), int(batch.seq[sync]), int(batch.cpu[sync]), pid,
                                  int(batch.slots[sync, ssp]), int(batch.ts_ns[held].min()), locks))  # fmt: skip
    return found


def _held(batch: TapeBatch, steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """The acquisitions in a task's steps that nothing released: the last step at that lock is one."""
    locks = batch.slots[steps, 0]
    _, last = np.unique(locks[::-1], return_index=True)
    rows = steps[::-1][last]
    return np.sort(rows[batch.op[rows] != Op.RELEASE])
