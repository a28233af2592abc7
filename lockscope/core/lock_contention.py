"""Waits of stock kernels: ``contention_begin`` and the ``contention_end`` of the same task and lock; and, from
``contended_release``, who had held the lock meanwhile.

A mutex may begin twice before it ends, to spin and then to sleep (kernel/locking/mutex.c, __mutex_lock_common, v6.0 and
later): the wait begins with the first.

``lock:contended_release`` (7.2 and later) comes from the task that gives a lock up while others wait for it in the
lock's own queue, about when it does: before the lock is free (spinlocks, rtmutexes, rwlocks and rwsems of PREEMPT_RT,
percpu_rw_semaphores) or just after (mutexes, rwsems), always before anybody is woken. Each reader that leaves has one,
and so has downgrade_write(). A mutex's waiters that only spin are in no queue, queued rwlocks have no such event, and a
semaphore is given up by whoever calls up() (kernel/locking/, arch/x86/kernel/paravirt-spinlocks.c, 7.3.4).
"""

from __future__ import annotations

from lockscope.core.c_types import Grid, Halves, Ints, Row, Rows, loop, ref, step
from lockscope.core.hashing import number
from lockscope.core.machine import mix
from lockscope.core.walk_rows import (
    CONTENDED_RELEASE, CONTENTION_BEGIN, CONTENTION_END, HAD_TO_WAIT, WAITED_FOR, Hold,
)  # fmt: skip

_READ_FLAG = 2  # LCB_F_READ, include/trace/events/lock.h
_SPINNING_MUTEX = 33  # LCB_F_MUTEX | LCB_F_SPIN
_SEMAPHORE = 0
_BEGUN, _ENDED = 1, 2


class Pending(Row):
    """A task at a lock: its wait, if it is in one (``since``), and when it last got the lock after one."""

    since: int
    flags: int
    cpu: int
    seq: int
    ip: int
    queued: int
    got: int


class Contended(Row):
    """A lock that is waited for."""

    released: int  # when that was last seen
    waiters: int  # in its queue
    visible: int  # since when there is one: no release goes unseen from then on
    flags: int  # of its last waiter's contention_begin


@step
def _released(p: Pending, at: Contended, ts: int, lost: int, out: Hold) -> int:
    """Whether it is known that the releasing task ``p`` held the lock before ``ts``, and since when at most."""
    since = max(at.released, p.got, at.visible, lost)
    at.released = ts
    if at.waiters == 0:
        at.visible = ts  # who waits was not seen to begin
        return 0
    if since >= ts or at.flags == _SEMAPHORE:
        return 0
    out.cls, out.asked_ns, out.acquired_ns, out.end_ns = at.flags, since, since, ts
    out.mode, out.known, out.contended_ns, out.depth = WAITED_FOR, _BEGUN | _ENDED, 0, 0
    return 1


@loop
def pair(
    ts: Ints, cpus: Halves, pids: Ints, ops: Ints, slots: Grid, seqs: Ints, table: Ints, pending: Rows[Pending],
    lock_table: Ints, locks: Rows[Contended], lost: Ints, out: Rows[Hold],
) -> int:  # fmt: skip
    """Waits that end in these rows of the tape, as ended holds with ``cls`` the flags of contention_begin, and what
    they waited for: holds that ended (WAITED_FOR) and began when the lock was last released, or its task got it, or the
    first to wait for it began to. Their number.

    Begins are kept in ``pending``, by task and lock (an idle task is its CPU's). The caller makes room: for as many
    more tasks and locks as there are rows. Other rows are losses; ``lost[0]``: when the last was.
    """
    made = 0
    for i in range(len(ts)):
        if ops[i] != CONTENTION_BEGIN and ops[i] != CONTENTION_END and ops[i] != CONTENDED_RELEASE:
            lost[0] = ts[i]
            continue
        lock = slots[i, 0]
        who = pids[i] if pids[i] != 0 else -1 - cpus[i]
        p = ref(pending[number(table, mix(mix(who, 5), lock))])
        at = ref(locks[number(lock_table, lock)])
        hold = ref(out[made])
        hold.lock, hold.pid, hold.end_cpu = lock, pids[i], cpus[i]
        if ops[i] == CONTENTION_BEGIN:
            flags = slots[i, 1]
            if p.queued == 0 and flags != _SPINNING_MUTEX:
                p.queued, at.flags = 1, flags
                at.visible = ts[i] if at.waiters == 0 else at.visible
                at.waiters += 1
            if p.since == 0:
                p.since, p.flags, p.seq, p.cpu, p.ip = ts[i], flags, seqs[i], cpus[i], slots[i, 2]
        elif ops[i] == CONTENDED_RELEASE:
            if _released(p, at, ts[i], lost[0], hold):
                hold.cpu, hold.ip, hold.seq = cpus[i], slots[i, 1], seqs[i]
                made += 1
        else:
            at.waiters -= p.queued
            p.queued = 0
            p.got = ts[i] if slots[i, 1] == 0 else p.got
            if p.since != 0:
                hold.cls, hold.cpu = p.flags, p.cpu
                hold.asked_ns, hold.acquired_ns, hold.end_ns, hold.depth = p.since, ts[i], ts[i], 0
                hold.mode = HAD_TO_WAIT | (1 if p.flags & _READ_FLAG else 0)
                hold.ip, hold.seq, hold.known, hold.contended_ns = p.ip, p.seq, _BEGUN, p.since
                p.since = 0
                made += 1
    return made
