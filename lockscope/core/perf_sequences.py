"""``perf lock``'s own accounting, for figures that equal its figures, broken sequences and all.

Follows what tools/perf/builtin-lock.c does (Linux 6.1, report_lock_*_event): a state for each task and lock, statistics
for each key, and a key whose sequence broke once is marked for good. It tells no idle task from another one, takes any
trylock for a read, and does not count an acquisition that breaks off.
"""

from __future__ import annotations

from lockscope.core.c_types import Grid, Ints, loop, step
from lockscope.core.hashing import number, place
from lockscope.core.machine import mix

_ACQUIRE, _ACQUIRED, _CONTENDED, _RELEASE, _BEGIN, _END = 2, 4, 5, 6, 8, 9  # tables.ops.Op
_TRY, _READ = 1, 2
NEW, RELEASED, ACQUIRED, READ_ACQUIRED, ACQUIRING, CONTENDED = range(6)
Q_STATE, Q_SINCE, Q_READERS, Q_WIDTH = range(4)
(S_KEY, S_NAME, S_FLAGS, S_ACQUIRED, S_CONTENDED, S_TRYLOCKS, S_READS, S_WAIT, S_WAIT_MIN, S_WAIT_MAX, S_WAIT_AVG,
 S_BROKEN, S_CALLER, S_WIDTH) = range(14)  # fmt: skip
BROKEN = ("acquire", "acquired", "contended", "release")
ADDRESS, TASK, CALLER = range(3)  # what the statistics are by
_LONGEST = (1 << 63) - 1


@step
def broke(stats: Grid, s: int, seqs: Grid, q: int, histogram: Ints, what: int) -> None:
    """The sequence makes no sense: it is forgotten, and the key marked once."""
    if stats[s, S_BROKEN] == 0:
        stats[s, S_BROKEN] = 1
        histogram[what] += 1
    seqs[q, Q_STATE], seqs[q, Q_READERS] = NEW, 0


@step
def waited(stats: Grid, s: int, lasted: int) -> None:
    """A wait is over."""
    stats[s, S_WAIT] += lasted
    stats[s, S_WAIT_MIN] = min(stats[s, S_WAIT_MIN], lasted)
    stats[s, S_WAIT_MAX] = max(stats[s, S_WAIT_MAX], lasted)


@step
def acquire(stats: Grid, s: int, seqs: Grid, q: int, histogram: Ints, flags: int) -> None:
    """lock_acquire."""
    state = seqs[q, Q_STATE]
    if state in (NEW, RELEASED):
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
        broke(stats, s, seqs, q, histogram, 0)


@step
def acquired(stats: Grid, s: int, seqs: Grid, q: int, histogram: Ints, ts: int) -> None:
    """lock_acquired."""
    state = seqs[q, Q_STATE]
    if state == NEW:
        return
    if state == CONTENDED:
        waited(stats, s, ts - seqs[q, Q_SINCE])
    elif state != ACQUIRING:
        broke(stats, s, seqs, q, histogram, 1)
        return
    seqs[q, Q_STATE] = ACQUIRED
    stats[s, S_ACQUIRED] += 1
    stats[s, S_WAIT_AVG] = stats[s, S_WAIT] // stats[s, S_CONTENDED] if stats[s, S_CONTENDED] > 0 else 0


@step
def contended(stats: Grid, s: int, seqs: Grid, q: int, histogram: Ints, ts: int) -> None:
    """lock_contended."""
    state = seqs[q, Q_STATE]
    if state == NEW:
        return
    if state != ACQUIRING:
        broke(stats, s, seqs, q, histogram, 2)
        return
    seqs[q, Q_STATE], seqs[q, Q_SINCE] = CONTENDED, ts
    stats[s, S_CONTENDED] += 1
    stats[s, S_WAIT_AVG] = stats[s, S_WAIT] // stats[s, S_CONTENDED]


@step
def release(stats: Grid, s: int, seqs: Grid, q: int, histogram: Ints) -> None:
    """lock_release."""
    state = seqs[q, Q_STATE]
    if state == NEW:
        return
    if state == READ_ACQUIRED and seqs[q, Q_READERS] > 1:
        seqs[q, Q_READERS] -= 1
        return
    if state not in (ACQUIRED, READ_ACQUIRED):
        broke(stats, s, seqs, q, histogram, 3)
    seqs[q, Q_STATE], seqs[q, Q_READERS] = NEW, 0


@step
def begin_contention(stats: Grid, s: int, seqs: Grid, q: int, histogram: Ints, ts: int) -> None:
    """contention_begin; a second one in a row is the same wait."""
    state = seqs[q, Q_STATE]
    if state in (NEW, ACQUIRED):
        seqs[q, Q_STATE], seqs[q, Q_SINCE] = CONTENDED, ts
        stats[s, S_CONTENDED] += 1
    elif state != CONTENDED:
        broke(stats, s, seqs, q, histogram, 2)


@step
def end_contention(stats: Grid, s: int, seqs: Grid, q: int, histogram: Ints, ts: int) -> None:
    """contention_end; its average is over what was acquired."""
    state = seqs[q, Q_STATE]
    if state == NEW:
        return
    if state != CONTENDED:
        broke(stats, s, seqs, q, histogram, 1)
        return
    waited(stats, s, ts - seqs[q, Q_SINCE])
    seqs[q, Q_STATE] = ACQUIRED
    stats[s, S_ACQUIRED] += 1
    stats[s, S_WAIT_AVG] = stats[s, S_WAIT] // stats[s, S_ACQUIRED]


@loop
def account(
    ts: Ints, pids: Ints, ops: Ints, slots: Grid, callers: Grid, by: int, seq_table: Ints, seqs: Grid, stat_table:
    Ints, stats: Grid, histogram: Ints,
) -> None:  # fmt: skip
    """Account for rows of the tape. ``callers`` int64[rows, 2]: of each, what stands for its callchain, and who called.

    ``by`` is ADDRESS, TASK or CALLER. The caller makes room, for as many more tasks and keys as there are rows.
    """
    for i in range(len(ts)):
        op, lock, pid = ops[i], slots[i, 0], pids[i]
        key = lock if by == ADDRESS else pid if by == TASK else callers[i, 0]
        if op == _END and stat_table[place(stat_table, key) + 1] == 0:
            continue
        before = stat_table[0]
        s = number(stat_table, key)
        if stat_table[0] > before:
            stats[s, S_KEY], stats[s, S_WAIT_MIN] = key, _LONGEST
            stats[s, S_NAME] = -1 if op in (_BEGIN, _END) else slots[i, 1]
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
