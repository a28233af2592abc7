"""Waits of stock kernels: ``contention_begin`` and the ``contention_end`` of the same task and lock.

A mutex may begin twice before it ends, to spin and then to sleep (kernel/locking/mutex.c, __mutex_lock_common, v6.0 and
later): the wait begins with the first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lockscope.kernels.kvm_tables import mix, number
from lockscope.kernels.outer import outer
from lockscope.kernels.views import vector

_BEGIN, _END = 8, 9  # tables.ops.Op
_READ_FLAG = 2  # LCB_F_READ, include/trace/events/lock.h
_HAD_TO_WAIT, _BEGUN = 32, 1
P_SINCE, P_FLAGS, P_CPU, P_SEQ, P_IP, P_WIDTH = range(6)


@outer()
def pair(ts: Any, cpus: Any, pids: Any, ops: Any, slots: Any, seqs: Any, table: Any, pending: Any, out: Any) -> Any:
    """Waits that end in these rows of the tape, as ended holds (``reconstruct.walk.HOLD_COLUMNS``) with ``cls`` the
    flags of contention_begin; their number. Begins are kept in ``pending``, by task and lock (an idle task is its
    CPU's).

    The caller makes room: for as many more tasks and locks as there are rows.
    """
    table = vector(table)
    made = np.int64(0)
    for i in range(len(ts)):
        lock = slots[i, 0]
        who = pids[i] if pids[i] != 0 else -1 - np.int64(cpus[i])
        p = number(table, mix(mix(who, 5), lock))
        if ops[i] == _BEGIN:
            if pending[p, P_SINCE] == 0:
                pending[p, P_SINCE], pending[p, P_FLAGS], pending[p, P_SEQ] = ts[i], slots[i, 1], seqs[i]
                pending[p, P_CPU], pending[p, P_IP] = cpus[i], slots[i, 2]
        elif ops[i] == _END and pending[p, P_SINCE] != 0:
            flags, since = pending[p, P_FLAGS], pending[p, P_SINCE]
            out[made, 0], out[made, 1], out[made, 2] = flags, lock, pids[i]
            out[made, 3], out[made, 4] = pending[p, P_CPU], cpus[i]
            out[made, 5], out[made, 6], out[made, 7] = since, ts[i], ts[i]
            out[made, 8] = 0
            out[made, 9] = _HAD_TO_WAIT | (1 if flags & _READ_FLAG else 0)
            out[made, 10], out[made, 11], out[made, 12], out[made, 13] = (
                pending[p, P_IP],
                pending[p, P_SEQ],
                _BEGUN,
                since,
            )
            pending[p, P_SINCE] = 0
            made += 1
    return made
