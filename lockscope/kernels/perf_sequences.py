"""``perf lock``'s own accounting, for figures that equal its figures, broken sequences and all.

Follows what tools/perf/builtin-lock.c does (Linux 6.1, report_lock_*_event): a state for each task and lock, statistics
for each key, and a key whose sequence broke once is marked for good. It tells no idle task from another one, takes any
trylock for a read, and does not count an acquisition that breaks off.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lockscope.kernels.kvm_tables import helper, mix, number, place
from lockscope.kernels.outer import outer
from lockscope.kernels.views import matrix, vector

_ACQUIRE, _ACQUIRED, _CONTENDED, _RELEASE, _BEGIN, _END = 2, 4, 5, 6, 8, 9  # tables.ops.Op
_TRY, _READ = 1, 2
NEW, RELEASED, ACQUIRED, READ_ACQUIRED, ACQUIRING, CONTENDED = range(6)
Q_STATE, Q_SINCE, Q_READERS, Q_WIDTH = range(4)
(S_KEY, S_NAME, S_FLAGS, S_ACQUIRED, S_CONTENDED, S_TRYLOCKS, S_READS, S_WAIT, S_WAIT_MIN, S_WAIT_MAX, S_WAIT_AVG,
 S_BROKEN, S_CALLER, S_WIDTH) = range(14)  # fmt: skip
BROKEN = ("acquire", "acquired", "contended", "release")
ADDRESS, TASK, CALLER = range(3)  # what the statistics are by
_LONGEST = np.int64((1 << 63) - 1)


@helper("void(matrix, i8, matrix, i8, vector, i8)")
def broke(stats: Any, s: Any, seqs: Any, q: Any, histogram: Any, what: Any) -> None:
    """The sequence makes no sense: it is forgotten, and the key marked once."""
    if stats[s, S_BROKEN] == 0:
        stats[s, S_BROKEN] = 1
        histogram[what] += 1
    seqs[q, Q_STATE], seqs[q, Q_READERS] = NEW, 0


@helper("void(matrix, i8, i8)")
def waited(stats: Any, s: Any, lasted: Any) -> None:
    """A wait is over."""
    stats[s, S_WAIT] += lasted
    stats[s, S_WAIT_MIN] = min(stats[s, S_WAIT_MIN], lasted)
    stats[s, S_WAIT_MAX] = max(stats[s, S_WAIT_MAX], lasted)


@helper("void(matrix, i8, matrix, i8, vector, i8)")
def acquire(stats: Any, s: Any, seqs: Any, q: Any, histogram: Any, flags: Any) -> None:
    """lock_acquire."""
    state = seqs[q, Q_STATE]
    if state == NEW or state == RELEASED:
        if flags == 0:
            seqs[q, Q_STATE] = ACQUIRING
        else:
            stats[s, S_TRYLOCKS] += flags & _TRY != 0
            stats[s, S_READS] += flags & _READ != 0
            seqs[q, Q_STATE], seqs[q, Q_READERS] = READ_ACQUIRED, 1
            stats[s, S_ACQUIRED] += 1
    elif state == READ_ACQUIRED and flags & _READ:
        seqs[q, Q_READERS] += 1
        stats[s, S_ACQUIRED] += 1
    else:
        broke(stats, s, seqs, q, histogram, np.int64(0))


@helper("void(matrix, i8, matrix, i8, vector, i8)")
def acquired(stats: Any, s: Any, seqs: Any, q: Any, histogram: Any, ts: Any) -> None:
    """lock_acquired."""
    state = seqs[q, Q_STATE]
    if state == NEW:
        return
    if state == CONTENDED:
        waited(stats, s, ts - seqs[q, Q_SINCE])
    elif state != ACQUIRING:
        broke(stats, s, seqs, q, histogram, np.int64(1))
        return
    seqs[q, Q_STATE] = ACQUIRED
    stats[s, S_ACQUIRED] += 1
    stats[s, S_WAIT_AVG] = stats[s, S_WAIT] // stats[s, S_CONTENDED] if stats[s, S_CONTENDED] > 0 else 0


@helper("void(matrix, i8, matrix, i8, vector, i8)")
def contended(stats: Any, s: Any, seqs: Any, q: Any, histogram: Any, ts: Any) -> None:
    """lock_contended."""
    state = seqs[q, Q_STATE]
    if state == NEW:
        return
    if state != ACQUIRING:
        broke(stats, s, seqs, q, histogram, np.int64(2))
        return
    seqs[q, Q_STATE], seqs[q, Q_SINCE] = CONTENDED, ts
    stats[s, S_CONTENDED] += 1
    stats[s, S_WAIT_AVG] = stats[s, S_WAIT] // stats[s, S_CONTENDED]


@helper("void(matrix, i8, matrix, i8, vector)")
def release(stats: Any, s: Any, seqs: Any, q: Any, histogram: Any) -> None:
    """lock_release."""
    state = seqs[q, Q_STATE]
    if state == NEW:
        return
    if state == READ_ACQUIRED and seqs[q, Q_READERS] > 1:
        seqs[q, Q_READERS] -= 1
        return
    if state != ACQUIRED and state != READ_ACQUIRED:
        broke(stats, s, seqs, q, histogram, np.int64(3))
    seqs[q, Q_STATE], seqs[q, Q_READERS] = NEW, 0


@helper("void(matrix, i8, matrix, i8, vector, i8)")
def begin_contention(stats: Any, s: Any, seqs: Any, q: Any, histogram: Any, ts: Any) -> None:
    """contention_begin; a second one in a row is the same wait."""
    state = seqs[q, Q_STATE]
    if state == NEW or state == ACQUIRED:
        seqs[q, Q_STATE], seqs[q, Q_SINCE] = CONTENDED, ts
        stats[s, S_CONTENDED] += 1
    elif state != CONTENDED:
        broke(stats, s, seqs, q, histogram, np.int64(2))


@helper("void(matrix, i8, matrix, i8, vector, i8)")
def end_contention(stats: Any, s: Any, seqs: Any, q: Any, histogram: Any, ts: Any) -> None:
    """contention_end; its average is over what was acquired."""
    state = seqs[q, Q_STATE]
    if state == NEW:
        return
    if state != CONTENDED:
        broke(stats, s, seqs, q, histogram, np.int64(1))
        return
    waited(stats, s, ts - seqs[q, Q_SINCE])
    seqs[q, Q_STATE] = ACQUIRED
    stats[s, S_ACQUIRED] += 1
    stats[s, S_WAIT_AVG] = stats[s, S_WAIT] // stats[s, S_ACQUIRED]


@outer()
def account(
    ts: Any,
    pids: Any,
    ops: Any,
    slots: Any,
    callers: Any,
    by: Any,
    seq_table: Any,
    seqs: Any,
    stat_table: Any,
    stats: Any,
    histogram: Any,
) -> None:
    """Account for rows of the tape. ``callers`` int64[rows, 2]: of each, what stands for its callchain, and who called.

    ``by`` is ADDRESS, TASK or CALLER. The caller makes room, for as many more tasks and keys as there are rows.
    """
    seq_table, stat_table, histogram = vector(seq_table), vector(stat_table), vector(histogram)
    seqs, stats = matrix(seqs), matrix(stats)
    for i in range(len(ts)):
        op, lock, pid = ops[i], slots[i, 0], pids[i]
        key = lock if by == ADDRESS else pid if by == TASK else callers[i, 0]
        if op == _END and stat_table[place(stat_table, key) + 1] == 0:
            continue
        before = stat_table[0]
        s = number(stat_table, key)
        if stat_table[0] > before:
            stats[s, S_KEY], stats[s, S_WAIT_MIN] = key, _LONGEST
            stats[s, S_NAME] = -1 if op == _BEGIN or op == _END else slots[i, 1]
            stats[s, S_CALLER] = callers[i, 1]
            stats[s, S_FLAGS] = slots[i, 1] if op == _BEGIN else 0
        q = number(seq_table, mix(mix(pid, 3), lock))
        if op == _ACQUIRE:
            acquire(stats, s, seqs, q, histogram, slots[i, 2])
        elif op == _ACQUIRED:
            acquired(stats, s, seqs, q, histogram, ts[i])
        elif op == _CONTENDED:
            contended(stats, s, seqs, q, histogram, ts[i])
        elif op == _RELEASE:
            release(stats, s, seqs, q, histogram)
        elif op == _BEGIN:
            begin_contention(stats, s, seqs, q, histogram, ts[i])
        elif op == _END:
            end_contention(stats, s, seqs, q, histogram, ts[i])
