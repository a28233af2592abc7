"""Waits of stock kernels: ``contention_begin`` and the ``contention_end`` of the same task and lock.

A mutex may begin twice before it ends, to spin and then to sleep (kernel/locking/mutex.c, __mutex_lock_common, v6.0 and
later): the wait begins with the first.
"""

from __future__ import annotations

from lockscope.core.c_types import Grid, Halves, Ints, Row, Rows, loop, ref
from lockscope.core.hashing import number
from lockscope.core.machine import mix
from lockscope.core.walk_rows import CONTENTION_BEGIN, CONTENTION_END, HAD_TO_WAIT, Hold

_READ_FLAG = 2  # LCB_F_READ, include/trace/events/lock.h
_BEGUN = 1


class Pending(Row):
    """A wait that began."""

    since: int
    flags: int
    cpu: int
    seq: int
    ip: int


@loop
def pair(
    ts: Ints, cpus: Halves, pids: Ints, ops: Ints, slots: Grid, seqs: Ints, table: Ints, pending: Rows[Pending],
    out: Rows[Hold],
) -> int:  # fmt: skip
    """Waits that end in these rows of the tape, as ended holds with ``cls`` the flags of contention_begin; their
    number. Begins are kept in ``pending``, by task and lock (an idle task is its CPU's).

    The caller makes room: for as many more tasks and locks as there are rows.
    """
    made = 0
    for i in range(len(ts)):
        lock = slots[i, 0]
        who = pids[i] if pids[i] != 0 else -1 - cpus[i]
        p = ref(pending[number(table, mix(mix(who, 5), lock))])
        if ops[i] == CONTENTION_BEGIN:
            if p.since == 0:
                p.since, p.flags, p.seq, p.cpu, p.ip = ts[i], slots[i, 1], seqs[i], cpus[i], slots[i, 2]
        elif ops[i] == CONTENTION_END and p.since != 0:
            hold = ref(out[made])
            hold.cls, hold.lock, hold.pid, hold.cpu, hold.end_cpu = p.flags, lock, pids[i], p.cpu, cpus[i]
            hold.asked_ns, hold.acquired_ns, hold.end_ns, hold.depth = p.since, ts[i], ts[i], 0
            hold.mode = HAD_TO_WAIT | (1 if p.flags & _READ_FLAG else 0)
            hold.ip, hold.seq, hold.known, hold.contended_ns = p.ip, p.seq, _BEGUN, p.since
            p.since = 0
            made += 1
    return made
