"""What single events mean to the walk: switches, system calls, initialisations, probed functions."""

from __future__ import annotations

from lockscope.core.c_types import Grid, Ints, step
from lockscope.core.walk_attempts import attempt, caller_known, function_class
from lockscope.core.walk_doubts import doubt, got, leaked, level, spins
from lockscope.core.walk_locks import drop_run_queues, enter, index_of, push, release, settle, waited
from lockscope.core.walk_memory import (
    Walk, call_at, class_at, class_of, cpu_at, entry_at, is_tracing, name_of, recent_at, rehash_stack, task_at,
)  # fmt: skip
from lockscope.core.walk_notes import close, emit_anomaly, forget, nothing_open, waits_for
from lockscope.core.walk_rows import (
    BY_ADDRESS, BY_INIT, BY_KEY, BY_PLACE, CONTENDED, COUNTED, CUT, FN_DEPTH, FN_ENTRY, FN_UNLOCK, HALF,
    HOW_SPINS, INIT_HELD, KNOWN, LOGS_ACQUIRED, QUEUE, RAW_UNLOCK, SWITCHED_ATOMIC, WHOLE, WHOLE_SO_FAR,
)  # fmt: skip


@step
def switch(w: Walk, t: int, prev_state: int) -> None:
    """The task is switched out: any spinning lock it holds is odd, but for the run queue's.

    That one is held until finish_lock_switch() hands it on, with what the event's other probes and the preempt
    notifiers (kvm_sched_out) take under it; ``drop_run_queues`` ends it where its release was not recorded.
    """
    w.switches += 1
    if w.losses == 0 and w.gaps == 0 and task_at(w, t).queues == 0:
        w.bare_switches += 1
    hand_over(w, t)
    cpu_at(w, w.cpu).task = 0
    if w.gaps > 0:
        task_at(w, t).epoch = -1
    held, counted = -1, 0
    for i in range(task_at(w, t).depth - 1, -1, -1):
        e = entry_at(w, t, i)
        if not e.marks & (QUEUE | HALF) and e.context == 0 and spins(w, e.cls):
            held = e.cls
            counted += e.marks & COUNTED != 0
    if counted > 0 and level(w) < counted + max(w.switch_level, 1):
        doubt(w, t)
    elif held < 0:  # what sched_switch itself has: preemption off, and the run queue's lock
        seen = min(level(w), 2)
        w.switch_level = seen if w.switch_level == 0 else min(seen, w.switch_level)
    elif counted == 0 and class_at(w, held).keyed == BY_PLACE:
        doubt(w, t)  # a probe's miss (kprobes' nmissed) is no event: it takes the preempt count to believe it
    else:
        n = emit_anomaly(w, t, SWITCHED_ATOMIC, held, 0, prev_state, 0, task_at(w, t).depth)
        if n >= 0 and counted > 0 and level(w) >= counted + 2:
            w.anomaly[n].proved = 1


@step
def to_user(w: Walk, t: int, what: int, number: int) -> None:
    """Return to user space or the task's end: it must hold nothing, and from here on its held set is whole."""
    drop_run_queues(w, t, 0)
    settle(w, t, 0)
    task = task_at(w, t)
    if task.spins > level(w):
        doubt(w, t)
    left, top = 0, -1
    for i in range(task.depth):
        e = entry_at(w, t, i)
        if not is_tracing(w, e):
            left += e.context == 0 and class_at(w, e.cls).keyed < BY_ADDRESS
            top = i
    if left > 0:
        n = emit_anomaly(w, t, what, entry_at(w, t, top).cls, 0, number, 0, top + 1)
        if n >= 0:
            w.anomaly[n].proved |= task.spins > 0
            for i in range(top + 1):
                leaked(w, entry_at(w, t, i).lock, n)
    leave(w, t)
    task.whole = WHOLE
    task.since = w.ts
    task.mute = left > 0


@step
def leave(w: Walk, t: int) -> None:
    """Between user space and the kernel: the task holds nothing but what tracing holds around the system call's events.

    That is taken before the event and released after it (include/linux/tracepoint.h, __DECLARE_TRACE_SYSCALL).
    """
    task = task_at(w, t)
    task.nest = 0  # a nest lock taken before the recording would have been released by now
    kept = 0
    for i in range(task.depth - 1, -1, -1):
        if is_tracing(w, entry_at(w, t, i)):
            kept += 1
        else:
            w.unpaired += 1
            close(w, t, i, CUT)
    if kept == 0:
        forget(w, t)
    nothing_open(task)


@step
def from_user(w: Walk, t: int) -> None:
    """A system call begins: whoever comes from user space holds nothing. What is released before it was asked for is
    odd only if lock events were being recorded already."""
    settle(w, t, 0)
    task = task_at(w, t)
    known = task.whole == WHOLE or w.releases > 0
    leave(w, t)
    task.whole = WHOLE if known else WHOLE_SO_FAR
    task.since = w.ts


@step
def hand_over(w: Walk, t: int) -> None:
    """A task is switched out: the lock it took last may be its run queue's, which the next task releases
    (finish_lock_switch(), kernel/sched/core.c). With lockdep its name says so; of a probed function only this does."""
    a, at = cpu_at(w, w.cpu), task_at(w, t).depth - 1
    a.lock, a.by = 0, 0
    if at < 0:
        return
    e = entry_at(w, t, at)
    keyed = class_at(w, e.cls).keyed
    if e.context == 0 and e.read == 0 and (keyed in (BY_ADDRESS, BY_PLACE)):
        a.lock, a.by = e.lock, t + 1


@step
def handed_over(w: Walk, t: int, lock: int) -> bool:
    """Whether a task releases what the one before it on this CPU had locked as it was switched out: a run queue."""
    a = cpu_at(w, w.cpu)
    other = a.by - 1
    if a.lock != lock or other < 0 or other == t or w.context != 0:
        return False
    a.lock, a.by = 0, 0
    i = index_of(w, other, lock)
    if i < 0:
        return False
    class_at(w, entry_at(w, other, i).cls).queue = 1
    close(w, other, i, KNOWN)
    return True


@step
def init_held(w: Walk, t: int, at: int, name: int, key: int) -> None:
    """A held map is initialised. With its own key and name that is lock_set_subclass(): another class from here on.

    Which subclass is not recorded (__lock_set_class, kernel/locking/lockdep.c, initialises with 0); -1 stands for it.
    Where the key was not known it may be that as well: the scheduler does so all the time (double_unlock_balance()).
    """
    e = entry_at(w, t, at)
    c = class_at(w, e.cls)
    keyed = c.keyed in (BY_KEY, BY_INIT)
    if c.name != name or (keyed and c.key != key):
        emit_anomaly(w, t, INIT_HELD, e.cls, e.lock, key, 0, task_at(w, t).depth)
    elif c.keyed == BY_KEY:
        inner_type, outer_type, lock_type = c.inner, c.outer, c.type
        e.cls = class_of(w, name, key, -1, BY_KEY)
        to = class_at(w, e.cls)
        to.inner, to.outer, to.type = inner_type, outer_type, lock_type
        to.annotated = w.ts
        rehash_stack(w, t, at)


@step
def learn_class(w: Walk, slots: Ints, at: int) -> None:
    """A map is initialised: what is at this address has from here on another key. Where acquisitions do not say
    theirs, it is this one's."""
    lock, name, key = slots[at], slots[at + 1], slots[at + 2]
    r = recent_at(w, lock)
    if w.detailed or key == 0 or name_of(w, name).none:
        if r.lock == lock:
            r.cls = 0
        return
    cls = class_of(w, name, key, 0, BY_INIT)
    c = class_at(w, cls)
    c.inner, c.outer = slots[at + 4], slots[at + 5]
    if slots[at + 4] == 3 and name_of(w, name).sleeps == LOGS_ACQUIRED:
        w.sleep_type = 3
    r.lock, r.cls = lock, cls + 1


@step
def function_row(w: Walk, t: int, op: int, slots: Ints, at: int, kinds: Grid) -> None:
    """Probed lock functions of a stock kernel. ``kinds`` by function text: [1 exclusive, 2 read, +4 trylock, +8 may
    fail, +16 sleeps, RAW_UNLOCK; text of its return event]."""
    task = task_at(w, t)
    f = task.calls
    if op == FN_ENTRY:
        w.functions_entered += 1
        if f == FN_DEPTH:  # return probes that had no instance left (nmissed): the oldest will not come back
            f -= 1
            for k in range(t * FN_DEPTH, t * FN_DEPTH + f):
                w.calls[k] = w.calls[k + 1]
        if f > 0 and w.context == 0:
            top = call_at(w, t, f - 1)
            if top.context == 0 and kinds[top.text, 0] & HOW_SPINS:
                task.active = w.ts  # it went on: that one's return was missed
        fresh = call_at(w, t, f)
        fresh.text, fresh.lock, fresh.ts, fresh.seq = slots[at + 1], slots[at], w.ts, w.seq
        fresh.name, fresh.contended, fresh.chain, fresh.caller = slots[at + 3], 0, 0, slots[at + 2]
        fresh.cpu, fresh.context = w.cpu, w.context
        task.calls = f + 1
        attempt(w, t, fresh, kinds[slots[at + 1], 0])
        return
    if op == FN_UNLOCK:
        held = index_of(w, t, slots[at]) >= 0
        if not held and kinds[slots[at + 1], 0] & RAW_UNLOCK and handed_over(w, t, slots[at]):
            return
        if slots[at + 2] < 0 and not held:
            class_at(w, class_of(w, -2, slots[at], 0, BY_ADDRESS)).type = slots[at + 1]
        release(w, t, slots[at], -2 - slots[at + 2] if slots[at + 2] >= 0 else -1)
        return
    found = False
    while f > 0 and not found:
        f -= 1
        # an interrupt's own call may lack its return (nmissed)
        found = kinds[call_at(w, t, f).text, 1] == slots[at + 1] and call_at(w, t, f).context == w.context
    if not found:
        return
    entered = call_at(w, t, f)
    task.calls = f
    if entered.contended != 0:
        waits_for(w, entered.lock, -1)
    how, ret = kinds[entered.text, 0], slots[at]
    if (how & 4 and ret == 0) or (how & 8 and ret != 0):
        return
    lock, name = entered.lock, entered.name
    caller_known(w, entered, slots[at + 2])
    cls = function_class(w, lock, name, entered.text)
    role = name_of(w, name).role
    i = push(w, t, cls, lock, (1 if how & 2 else 0) | (4 if how & 4 else 0), 1, 0, slots[at + 2], 0, role)
    if i < 0:
        return
    e = entry_at(w, t, i)
    e.ts, e.seq, e.cpu = entered.ts, entered.seq, entered.cpu
    waited(w, e)
    if entered.contended != 0:
        e.contended_at = entered.contended
        e.marks |= CONTENDED
        class_at(w, cls).contended += 1
    got(w, t, i)
    if entered.chain == 0:
        enter(w, t, i)
        return
    c = class_at(w, cls)  # its attempt was noted
    c.count += 1
    c.reads += e.read != 0


@step
def contention(w: Walk, t: int, lock: int) -> None:
    """contention_begin inside a probed lock function: that one has to wait. A mutex may begin twice, to spin and then
    to sleep (kernel/locking/mutex.c, __mutex_lock_common, v6.0 and later)."""
    task = task_at(w, t)
    if w.context == 0 and task.waits != lock:
        task.waits, task.waits_ts = lock, w.ts
    for f in range(task.calls - 1, -1, -1):
        at = call_at(w, t, f)
        if at.lock == lock:
            if at.contended == 0:
                at.contended = w.ts
                waits_for(w, lock, 1)
            return
