"""What a task holds while it waits for SRCU readers: ``synchronize_srcu()`` is in no lock chain, so it is looked up."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockscope.facts.kvm_state import OpIndex
from lockscope.tables.ops import SLOTS, Op
from lockscope.tables.tape import TapeBatch

_MOST = 256  # grace periods looked at in a batch: their situations repeat
_BACK = 2048  # acquisitions and releases of all CPUs that are looked at before each


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
    """The grace periods of a batch, with the locks taken shortly before and held."""
    taken = index.of(Op.ACQUIRE) if len(index.of(Op.ACQUIRE)) else index.of(Op.DETAIL)
    released = index.of(Op.RELEASE)
    ssp = SLOTS[Op.SRCU_SYNC].index("ssp")
    found = []
    for sync in index.of(Op.SRCU_SYNC)[:_MOST].tolist():
        steps = _before(sync, taken, released)
        steps = steps[(batch.pid[steps] == batch.pid[sync]) & ((batch.flags[steps] & 0x58) == 0)]
        held = _held(batch, np.sort(steps))
        if len(held):
            locks = tuple((int(batch.slots[row, 1]), int(batch.slots[row, 0])) for row in held.tolist())
            found.append(Wait(int(batch.ts_ns[sync]), int(batch.seq[sync]), int(batch.cpu[sync]), int(batch.pid[sync]),
                              int(batch.slots[sync, ssp]), int(batch.ts_ns[held].min()), locks))  # fmt: skip
    return found


def _before(sync: int, *kinds: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows of all kinds shortly before one, as far back as all of them are looked at: an acquisition without its
    release would stand as held."""
    before = [rows[: np.searchsorted(rows, sync)] for rows in kinds]
    low = max((int(rows[-_BACK]) for rows in before if len(rows) > _BACK), default=0)
    return np.concatenate([rows[rows >= low] for rows in before])


def _held(batch: TapeBatch, steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """The acquisitions in a task's steps that nothing released: the last step at that lock is one."""
    locks = batch.slots[steps, 0]
    _, last = np.unique(locks[::-1], return_index=True)
    rows = steps[::-1][last]
    return np.sort(rows[batch.op[rows] != Op.RELEASE])
