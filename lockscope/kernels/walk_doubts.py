"""Contradictions: later events that prove that an earlier one is missing, though no loss says so.

A recording can miss events unseen: the ring buffer's recursion protection drops what an interrupt traces at a bad
moment, a PID filter cuts around task switches. A hold whose release is missing would then look like a leak, a recursion
or a wrong order. What a task holds is forgotten where one of these shows:

* fewer preemption levels than spinning locks and rcu_read_lock_sched() held (each takes one,
  include/linux/spinlock_api_smp.h, rcupdate.h);
* an interrupt is over and seems to hold something;
* another task got a lock that this one seems to hold exclusively;
* the task asks for what it holds, which would stop it for good, and goes on all the same;
* lock_acquired or lock_contended without the attempt.

What is only undecided is held back: a chain is whole once the locks held at it were seen to be released.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lockscope.kernels.inner import inner
from lockscope.kernels.walk_memory import *
from lockscope.kernels.walk_notes import *

SETTLED = 1_000_000  # ns: longer than CPUs' clocks differ, and than a free lock is waited for


@inner("i8(CPointer(i8), i8)", always=True)
def spins(m: Any, cls: int) -> Any:
    """Whether a class is of locks that are held with preemption off, by its wait types or its name."""
    c = class_at(m, cls)
    if m[c + C_INNER] != 0:
        spin = m[c + C_INNER] == 2 or (m[c + C_INNER] == 3 and m[O_SLEEP] == 4 and not m[O_RT])
        # An RCU read section has an inner wait type too, and an outer one; a local_lock has lock type 1.
        return np.int64(spin and m[c + C_OUTER] == 0 and m[c + C_TYPE] == 0)
    return np.int64(name_says(m, m[c + C_NAME], N_SPINS) == 1)


@inner("i8(CPointer(i8), i8)", always=True)
def blocks(m: Any, cls: int) -> Any:
    """Whether nobody gets past an exclusive lock of this class: no map, RCU, seqcount or local_lock."""
    c = class_at(m, cls)
    return np.int64(m[c + C_GOT] > 0 or spins(m, cls) != 0 or name_says(m, m[c + C_NAME], N_SLEEPS) == LOGS_ACQUIRED)


@inner("i8(CPointer(i8))", always=True)
def level(m: Any) -> Any:
    """Preemption levels at the row at hand; many where the counter is full (four bits: tracing_gen_ctx_irq_test())."""
    v = m[R_PREEMPT] & m[O_PREEMPT]
    return np.int64(1 << 30) if v == 15 and m[O_PREEMPT] == 15 else v


@inner("void(CPointer(i8), i8)")
def doubt(m: Any, t: int) -> None:
    """Events of this task are missing: what it holds is not known."""
    m[K_STALE] += 1
    forget(m, t)


@inner("i8(CPointer(i8), i8, i8)")
def keep_only(m: Any, t: int, at: int) -> Any:
    """As ``doubt``, but for entry ``at``, which is known to be real; its new index."""
    m[K_STALE] += 1
    for i in range(m[task_at(m, t) + T_DEPTH] - 1, -1, -1):
        if i != at:
            m[K_UNPAIRED] += 1
            close(m, t, i, CUT)
    m[task_at(m, t) + T_WHOLE] = 0
    m[task_at(m, t) + T_UNSURE] = 0
    return 0


@inner("i8(CPointer(i8), i8, i8)", always=True)
def count_level(m: Any, t: int, at: int) -> Any:
    """Count the preemption level of a new spinning lock; where there are too few for all, the others are gone."""
    e, task = entry_at(m, t, at), task_at(m, t)
    name = m[class_at(m, m[e + CLS]) + C_NAME]
    takes = spins(m, m[e + CLS]) != 0 or name_says(m, name, N_SPINS) == TAKES_LEVEL
    if m[e + MARKS] & COUNTED or m[R_PREEMPT] & m[O_PREEMPT] == 0 or not takes:
        return at
    if m[task + T_SPINS] + 1 > level(m):
        at = keep_only(m, t, at)
        e = entry_at(m, t, at)
    m[e + MARKS] |= COUNTED
    m[task + T_SPINS] += 1
    m[R_COUNTS] = 1
    return at


@inner("i8(CPointer(i8), i8)")
def owner_at(m: Any, lock: int) -> Any:
    """Where the last exclusive owner of a lock is noted: lock, task + 1, oddity + 1 of a leak."""
    return m[OWNERS] + 3 * (mix(lock, 5) & (OWNED - 1))


@inner("void(CPointer(i8), i8, i8)")
def rival(m: Any, t: int, lock: int) -> None:
    """Another task got a lock that this one may seem to hold: it is doubted, though only a while later, as clocks of
    CPUs differ. A run queue's is taken off at once: PID filters cut its releases all the time."""
    i = m[task_at(m, t) + T_DEPTH] - 1
    while i >= 0 and (m[entry_at(m, t, i) + LOCK] != lock or m[entry_at(m, t, i) + READ] != 0):
        i -= 1
    if i < 0:
        return
    e = entry_at(m, t, i)
    if m[e + MARKS] & QUEUE:
        close(m, t, i, CUT)
    elif (m[e + ACQUIRED] != 0 or m[e + TRYLOCK] != 0) and m[task_at(m, t) + T_RIVAL] == 0:
        m[task_at(m, t) + T_RIVAL] = m[R_TS]
        m[e + MARKS] |= RIVALLED


@inner("void(CPointer(i8), i8, i8)")
def got(m: Any, t: int, at: int) -> None:
    """A task got a lock. Whoever else seems to hold it exclusively does not; nor did who seemed to have leaked it."""
    e = entry_at(m, t, at)
    if m[e + READ] != 0 or not blocks(m, m[e + CLS]):
        return
    lock = m[e + LOCK]
    o = owner_at(m, lock)
    if m[o] == lock:
        other = m[o + 1] - 1
        if m[o + 2] > 0:
            m[m[ODD] + (m[o + 2] - 1) * ODD_WIDTH + ODD_DENIED] += 1
        if other >= 0 and other != t:
            rival(m, other, lock)
    m[o], m[o + 1], m[o + 2] = lock, t + 1, 0


@inner("void(CPointer(i8), i8, i8)")
def leaked(m: Any, lock: int, odd: int) -> None:
    """A lock seems to have been leaked (oddity ``odd``): who gets it next denies that, but for a release in between."""
    o = owner_at(m, lock)
    m[o], m[o + 1], m[o + 2] = lock, 0, odd + 1


@inner("void(CPointer(i8), i8)")
def released_by_other(m: Any, lock: int) -> None:
    """A lock is released by a task that does not hold it: a leak of it was real."""
    o = owner_at(m, lock)
    if m[o] == lock:
        m[o + 2] = 0


@inner("void(CPointer(i8), i8)")
def unasked(m: Any, t: int) -> None:
    """lock_acquired or lock_contended of a lock that was not asked for: the attempt was missed."""
    task = task_at(m, t)
    if m[task + T_WHOLE] and m[task + T_DEEPER] == 0:
        m[K_STALE] += 1
        m[task + T_WHOLE] = 0
        m[task + T_UNSURE] = 0


@inner("b1(CPointer(i8), i8, i8)")
def held_already(m: Any, t: int, at: int) -> Any:
    """Whether the task holds, in this context, the very lock that entry ``at`` asks for, so that it can't get it."""
    e = entry_at(m, t, at)
    for i in range(at):
        h = entry_at(m, t, i)
        same = m[h + LOCK] == m[e + LOCK] and m[h + CONTEXT] == m[e + CONTEXT] and not m[h + MARKS] & HALF
        if same and (m[h + READ] == 0 or m[e + READ] == 0):
            return True
    return False


@inner("b1(CPointer(i8), i8, i8)")
def held_back(m: Any, t: int, at: int) -> Any:
    """Whether an attempt at what is held already waits for what the task does next: see ``goes_on``. A trylock that
    got it says at once that it was not held."""
    e = entry_at(m, t, at)
    if m[O_WINDOW] >= 0 or not blocks(m, m[e + CLS]) or not held_already(m, t, at):
        return False
    if m[e + TRYLOCK] != 0:
        keep_only(m, t, at)
        return False
    m[e + MARKS] |= AGAIN
    m[task_at(m, t) + T_AGAIN] = 1
    return True


@inner("i8(CPointer(i8), i8)")
def again_at(m: Any, t: int) -> Any:
    """The innermost attempt that is held back, -1."""
    i = m[task_at(m, t) + T_DEPTH] - 1
    while i >= 0 and not m[entry_at(m, t, i) + MARKS] & AGAIN:
        i -= 1
    return i


@inner("i8(CPointer(i8), i8, i8, i8, i8)")
def proves_progress(m: Any, e: int, op: int, lock: int, name: int) -> Any:
    """Whether a row says that the attempt of entry ``e`` is over: 1 it was got, 2 it may have failed, 0 neither."""
    same = m[e + LOCK] == lock or m[e + ALIAS] == lock
    if op == ACQUIRED_OP:
        return np.int64(same)
    if op == RELEASE:
        return np.int64(0 if not same else 2 if m[K_GOT] > 0 else 1)
    if op == ACQUIRE or op == DETAIL:
        if same and m[e + MARKS] & (ALONE if op == ACQUIRE else PENDING):
            return np.int64(0)  # its own other event
        return np.int64(spins(m, m[e + CLS]) != 0 or name_says(m, name, N_SLEEPS) == LOGS_ACQUIRED)
    return np.int64(op == SYS_ENTER or op == SYS_EXIT or op == TASK_EXIT or op >= OF_SUBSYSTEMS)


@inner("void(CPointer(i8), i8, i8, i8, i8)")
def goes_on(m: Any, t: int, op: int, lock: int, name: int) -> None:
    """A task that asked for what it seems to hold does something. While it waits only what mutex and rwsem do when they
    sleep is seen of it (wait_lock, run queues, sched_switch); anything else, and it had released the lock before."""
    at = again_at(m, t)
    if at < 0:
        m[task_at(m, t) + T_AGAIN] = 0
        return
    e = entry_at(m, t, at)
    if m[e + CONTEXT] != m[R_CONTEXT]:
        return
    how = proves_progress(m, e, op, lock, name)
    if how == 0:
        return
    m[e + MARKS] &= ~AGAIN
    if how == 1:
        at = keep_only(m, t, at)
    emit_chain(m, t, at, m[entry_at(m, t, at) + FLAGS])


@inner("void(CPointer(i8), i8)")
def interrupt_over(m: Any, t: int) -> None:
    """An interrupt is over and still seems to hold locks: their releases were missed. Softirqs that are only taken for
    such (O_SOFTIRQ) are the task's own."""
    task = task_at(m, t)
    lowest = max(m[R_CONTEXT], m[O_SOFTIRQ])
    i, before = m[task + T_DEPTH] - 1, m[task + T_DEPTH]
    while i >= 0 and m[entry_at(m, t, i) + CONTEXT] > lowest:
        m[K_UNPAIRED] += 1
        close(m, t, i, CUT)
        i -= 1
    if m[task + T_DEPTH] < before:
        m[K_STALE] += 1
        m[task + T_WHOLE] = 0
        m[task + T_UNSURE] = 0


@inner("void(CPointer(i8), i8, i8)", always=True)
def contradict(m: Any, t: int, op: int) -> None:
    """Before a row counts: what it says against what the task seems to hold."""
    task = task_at(m, t)
    if m[task + T_DEPTH] > 0 and m[entry_at(m, t, m[task + T_DEPTH] - 1) + CONTEXT] > m[R_CONTEXT]:
        interrupt_over(m, t)
    if m[task + T_SPINS] > 0 and op <= RELEASE and m[task + T_SPINS] > level(m):
        doubt(m, t)
    if m[task + T_RIVAL] != 0 and m[R_TS] > m[task + T_RIVAL] + SETTLED:
        doubt(m, t)


@inner("void(CPointer(i8), i8)")
def sure(m: Any, t: int) -> None:
    """The task holds nothing, and all it held was released: the chains noted meanwhile are whole."""
    task = task_at(m, t)
    for i in range(m[task + T_UNSURE]):
        m[m[CHAINS] + m[m[UNSURE] + t * MOST_UNSURE + i] * CHAIN_WIDTH + 6] = 1
    m[task + T_UNSURE] = 0
