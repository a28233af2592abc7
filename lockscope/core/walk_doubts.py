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

from lockscope.core.c_types import inline, ref, step
from lockscope.core.machine import mix
from lockscope.core.walk_memory import Walk, class_at, entry_at, name_of, task_at
from lockscope.core.walk_notes import close, emit_chain, forget
from lockscope.core.walk_rows import (
    ACQUIRE, ACQUIRED_OP, AGAIN, ALONE, BY_ADDRESS, BY_PLACE, COUNTED, CUT, DETAIL, HALF, LOGS_ACQUIRED,
    OF_SUBSYSTEMS, OWNED, PENDING, QUEUE, RELEASE, RIVALLED, SYS_ENTER, SYS_EXIT, TAKES_LEVEL, TASK_EXIT, Entry,
    Owner,
)  # fmt: skip

SETTLED = 1_000_000  # ns: longer than CPUs' clocks differ, and than a free lock is waited for


@inline
def spins(w: Walk, cls: int) -> int:
    """Whether a class is of locks that are held with preemption off, by its wait types or its name."""
    c = class_at(w, cls)
    if c.inner != 0:
        spin = c.inner == 2 or (c.inner == 3 and w.sleep_type == 4 and not w.rt)
        # An RCU read section has an inner wait type too, and an outer one; a local_lock has lock type 1.
        return spin and c.outer == 0 and c.type == 0
    return name_of(w, c.name).spins == 1


@inline
def blocks(w: Walk, cls: int) -> int:
    """Whether nobody gets past an exclusive lock of this class: no map, RCU, seqcount or local_lock."""
    c = class_at(w, cls)
    return c.got > 0 or spins(w, cls) != 0 or name_of(w, c.name).sleeps == LOGS_ACQUIRED


@inline
def level(w: Walk) -> int:
    """Preemption levels at the row at hand; many where the counter is full (four bits: tracing_gen_ctx_irq_test())."""
    v = w.preempt & w.preempt_mask
    return (1 << 30) if v == 15 and w.preempt_mask == 15 else v


@step
def doubt(w: Walk, t: int) -> None:
    """Events of this task are missing: what it holds is not known."""
    w.stale += 1
    forget(w, t)


@step
def keep_only(w: Walk, t: int, at: int) -> int:
    """As ``doubt``, but for entry ``at``, which is known to be real; its new index."""
    w.stale += 1
    for i in range(task_at(w, t).depth - 1, -1, -1):
        if i != at:
            w.unpaired += 1
            close(w, t, i, CUT)
    task_at(w, t).whole = 0
    task_at(w, t).unsure = 0
    return 0


@inline
def count_level(w: Walk, t: int, at: int) -> int:
    """Count the preemption level of a new spinning lock; where there are too few for all, the others are gone."""
    e, task = entry_at(w, t, at), task_at(w, t)
    name = class_at(w, e.cls).name
    takes = spins(w, e.cls) != 0 or name_of(w, name).spins == TAKES_LEVEL
    if e.marks & COUNTED or w.preempt & w.preempt_mask == 0 or not takes:
        return at
    if task.spins + 1 > level(w):
        at = keep_only(w, t, at)
        e = entry_at(w, t, at)
    e.marks |= COUNTED
    task.spins += 1
    w.counts_levels = 1
    return at


@step
def owner_at(w: Walk, lock: int) -> Owner:
    """Where the last exclusive owner of a lock is noted: lock, task + 1, anomaly + 1 of a leak."""
    return ref(w.owners[mix(lock, 5) & (OWNED - 1)])


@step
def rival(w: Walk, t: int, lock: int) -> None:
    """Another task got a lock that this one may seem to hold: it is doubted, though only a while later, as clocks of
    CPUs differ. A run queue's is taken off at once: PID filters cut its releases all the time."""
    i = task_at(w, t).depth - 1
    while i >= 0 and (entry_at(w, t, i).lock != lock or entry_at(w, t, i).read != 0):
        i -= 1
    if i < 0:
        return
    e = entry_at(w, t, i)
    if e.marks & QUEUE:
        close(w, t, i, CUT)
    elif (e.acquired != 0 or e.trylock != 0) and task_at(w, t).rival == 0:
        task_at(w, t).rival = w.ts
        e.marks |= RIVALLED


@step
def got(w: Walk, t: int, at: int) -> None:
    """A task got a lock. Whoever else seems to hold it exclusively does not; nor did who seemed to have leaked it."""
    e = entry_at(w, t, at)
    if e.read != 0 or not blocks(w, e.cls):
        return
    lock = e.lock
    o = owner_at(w, lock)
    if o.lock == lock:
        other = o.task - 1
        if o.anomaly > 0:
            w.anomaly[o.anomaly - 1].denied += 1
        if other >= 0 and other != t:
            rival(w, other, lock)
    o.lock, o.task, o.anomaly = lock, t + 1, 0


@step
def leaked(w: Walk, lock: int, odd: int) -> None:
    """A lock seems to be leaked (anomaly ``odd``): who gets it next denies that, but for a release in between."""
    o = owner_at(w, lock)
    o.lock, o.task, o.anomaly = lock, 0, odd + 1


@step
def released_by_other(w: Walk, lock: int) -> None:
    """A lock is released by a task that does not hold it: a leak of it was real."""
    o = owner_at(w, lock)
    if o.lock == lock:
        o.anomaly = 0


@step
def unasked(w: Walk, t: int) -> None:
    """lock_acquired or lock_contended of a lock that was not asked for: the attempt was missed."""
    task = task_at(w, t)
    if task.whole and task.deeper == 0:
        w.stale += 1
        task.whole = 0
        task.unsure = 0


@step
def held_already(w: Walk, t: int, at: int) -> bool:
    """Whether the task holds, in this context, the very lock that entry ``at`` asks for, so that it can't get it."""
    e = entry_at(w, t, at)
    for i in range(at):
        h = entry_at(w, t, i)
        same = h.lock == e.lock and h.context == e.context and not h.marks & HALF
        if same and (h.read == 0 or e.read == 0):
            return True
    return False


@step
def held_back(w: Walk, t: int, at: int) -> bool:
    """Whether an attempt at what is held already waits for what the task does next: see ``goes_on``. A trylock that
    got it, and a probed function, whose return is what is entered, say at once that it was not held."""
    e = entry_at(w, t, at)
    if w.window >= 0 or not blocks(w, e.cls) or not held_already(w, t, at):
        return False
    if e.trylock != 0 or class_at(w, e.cls).keyed in (BY_ADDRESS, BY_PLACE):
        keep_only(w, t, at)
        return False
    e.marks |= AGAIN
    task_at(w, t).again = 1
    return True


@step
def again_at(w: Walk, t: int) -> int:
    """The innermost attempt that is held back, -1."""
    i = task_at(w, t).depth - 1
    while i >= 0 and not entry_at(w, t, i).marks & AGAIN:
        i -= 1
    return i


@step
def proves_progress(w: Walk, e: Entry, op: int, lock: int, name: int) -> int:
    """Whether a row says that the attempt of entry ``e`` is over: 1 it was got, 2 it may have failed, 0 neither."""
    same = lock in (e.lock, e.alias)
    if op == ACQUIRED_OP:
        return same
    if op == RELEASE:
        return 0 if not same else 2 if w.acquired > 0 else 1
    if op in (ACQUIRE, DETAIL):
        if same and e.marks & (ALONE if op == ACQUIRE else PENDING):
            return 0  # its own other event
        return spins(w, e.cls) != 0 or name_of(w, name).sleeps == LOGS_ACQUIRED
    return op in (SYS_ENTER, SYS_EXIT, TASK_EXIT) or op >= OF_SUBSYSTEMS


@step
def goes_on(w: Walk, t: int, op: int, lock: int, name: int) -> None:
    """A task that asked for what it seems to hold does something. While it waits only what mutex and rwsem do when they
    sleep is seen of it (wait_lock, run queues, sched_switch); anything else, and it had released the lock before."""
    at = again_at(w, t)
    if at < 0:
        task_at(w, t).again = 0
        return
    e = entry_at(w, t, at)
    if e.context != w.context:
        return
    how = proves_progress(w, e, op, lock, name)
    if how == 0:
        return
    e.marks &= ~AGAIN
    if how == 1:
        at = keep_only(w, t, at)
    emit_chain(w, t, at, entry_at(w, t, at).flags)


@step
def interrupt_over(w: Walk, t: int) -> None:
    """An interrupt is over and still seems to hold locks: their releases were missed. Softirqs that are only taken for
    such (O_SOFTIRQ) are the task's own."""
    task = task_at(w, t)
    lowest = max(w.context, w.fake_softirq)
    i, before = task.depth - 1, task.depth
    while i >= 0 and entry_at(w, t, i).context > lowest:
        w.unpaired += 1
        close(w, t, i, CUT)
        i -= 1
    if task.depth < before:
        w.stale += 1
        task.whole = 0
        task.unsure = 0


@inline
def contradict(w: Walk, t: int, op: int) -> None:
    """Before a row counts: what it says against what the task seems to hold."""
    task = task_at(w, t)
    if task.depth > 0 and entry_at(w, t, task.depth - 1).context > w.context:
        interrupt_over(w, t)
    if task.spins > 0 and op <= RELEASE and task.spins > level(w):
        doubt(w, t)
    if task.rival != 0 and w.ts > task.rival + SETTLED:
        doubt(w, t)


@step
def sure(w: Walk, t: int) -> None:
    """The task holds nothing, and all it held was released: the chains noted meanwhile are whole."""
    task = task_at(w, t)
    for i in range(task.unsure):
        w.chains[w.unsure[t, i]].whole = 1
    task.unsure = 0
