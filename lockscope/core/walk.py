"""Follow every task's held locks through the tape: one pass, one row at a time, everything else is aggregated.

The situation at each acquisition (held locks, context, irq flags) is hashed; a situation seen before costs one look-up,
a new one is written out as a chain (``reconstruct.chains``). This is lockdep's own trick (its chain cache), so the
judging behind it sees each distinct chain once.
"""

from __future__ import annotations

from lockscope.core.c_types import Grid, Ints, inline, loop, ref, step
from lockscope.core.machine import mix
from lockscope.core.tape_rows import H_CPU, H_FLAGS, H_OP, H_PID, H_PREEMPT, H_SEQ, H_SLOTS, H_TS
from lockscope.core.walk_attempts import (
    HOW_READ,
    HOW_SLEEPS,
    attempt,
    bare,
    caller_known,
    enter_section,
    function_class,
    leave_last,
    leave_section,
    srcus_own,
    synchronize,
)
from lockscope.core.walk_doubts import (
    SETTLED,
    again_at,
    contradict,
    doubt,
    goes_on,
    got,
    leaked,
    level,
    owner_at,
    spins,
    unasked,
)
from lockscope.core.walk_locks import (
    completes,
    detail,
    drop_run_queues,
    enter,
    index_of,
    known_class,
    plain_acquire,
    push,
    release,
    settle,
    waited,
    wounded,
)
from lockscope.core.walk_memory import (
    ACQUIRE,
    ACQUIRED_OP,
    AGAIN,
    ALONE,
    ALWAYS_KEPT,
    ASKED_DEPTH,
    BY_ADDRESS,
    BY_INIT,
    BY_KEY,
    BY_PLACE,
    CONTENDED,
    CONTENDED_OP,
    CONTENTION_BEGIN,
    CONTENTION_END,
    COUNTED,
    CUT,
    DEPTH,
    DETAIL,
    FN_DEPTH,
    FN_ENTRY,
    FN_RETURN,
    FN_UNLOCK,
    FREE,
    FREED_HELD,
    GAP,
    HALF,
    HELD_AT_EXIT,
    HELD_AT_USER,
    INIT,
    INIT_HELD,
    IRQS_ON,
    KEPT_BY_NAME,
    KNOWN,
    LOGS_ACQUIRED,
    LOSS,
    OF_SUBSYSTEMS,
    QUEUE,
    RAW_UNLOCK,
    RELEASE,
    ROLES,
    SRCU_ASKED,
    SRCU_ENTER,
    SRCU_LEAVE,
    SRCU_SYNC,
    SWITCH,
    SWITCHED_ATOMIC,
    SYS_ENTER,
    SYS_EXIT,
    TAKEN_SLOTS,
    TASK_EXIT,
    WHOLE,
    WHOLE_SO_FAR,
    Walk,
    call_at,
    class_at,
    class_of,
    context_of,
    cpu_at,
    entry_at,
    is_tracing,
    name_of,
    recent_at,
    rehash_stack,
    task_at,
    task_of,
)
from lockscope.core.walk_notes import (
    catch_up,
    close,
    emit_chain,
    emit_odd,
    forget,
    lose,
    must_wait,
    seen_enabled,
    waits_for,
)


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
        n = emit_odd(w, t, SWITCHED_ATOMIC, held, 0, prev_state, 0, task_at(w, t).depth)
        if n >= 0 and counted > 0 and level(w) >= counted + 2:
            w.odd[n].proved = 1


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
        n = emit_odd(w, t, what, entry_at(w, t, top).cls, 0, number, 0, top + 1)
        if n >= 0:
            w.odd[n].proved |= task.spins > 0
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
    task.calls = 0
    task.wound_nest = 0
    task.deeper = 0
    task.again = 0
    task.unsure = 0


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
        emit_odd(w, t, INIT_HELD, e.cls, e.lock, key, 0, task_at(w, t).depth)
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


@inline
def fits(table: Ints, rows: int, spare: int) -> bool:
    """Whether a hash table and the rows behind it can take so many more."""
    return table[0] + spare <= rows and 4 * (table[0] + spare) <= len(table) - 2


@step
def room(w: Walk) -> bool:
    """Whether every region can take what one row may add."""
    if not (
        fits(w.task_table, len(w.tasks), 2)
        and fits(w.class_table, len(w.classes), 4)
        and fits(w.chain_table, len(w.chains), 2 * DEPTH)
        and fits(w.odd_table, len(w.odd), 4)
    ):
        return False
    if w.links_used + 2 * DEPTH * DEPTH > len(w.links) or w.odd_links_used + 4 * DEPTH > len(w.odd_links):
        return False
    return not w.with_holds or w.holds_used + 4 * DEPTH <= len(w.holds)


@inline
def keep(w: Walk, t: int, row: int, kept: Ints, held: Grid) -> None:
    """Note a row that others want to see, with the KVM locks that its task holds; ``t`` -1: nobody's."""
    n = w.kept_rows
    kept[n] = row
    for k in range(ROLES):
        held[n, k] = w.held[t, k] if t >= 0 else 0
    w.kept_rows = n + 1


@loop
def walk(
    w: Walk,
    head: Grid,  # [:, HEAD_WIDTH]
    slots: Ints,
    kinds: Grid,
    wanted: Ints,  # [operations]: NEVER_KEPT, KEPT_BY_NAME, ALWAYS_KEPT
    begin: int,
    end: int,
    kept: Ints,  # rows to keep, kept_rows of them so far; has room for all
    held: Grid,  # [:, ROLES]: what their tasks hold
) -> int:
    """Rows ``begin`` to ``end`` of a tape batch; return where it stopped (``end``, or a region must grow first)."""
    last_pid, last_cpu, t = -1 << 62, -1, 0
    w.seen = -1
    for i in range(begin, end):
        made = w.task_table[0] + w.class_table[0] + w.chain_table[0] + w.odd_table[0] + w.holds_used
        if made != w.seen:
            if not room(w):
                return i
            w.seen = made
        op, pid, flags, cpu, at = head[i, H_OP], head[i, H_PID], head[i, H_FLAGS], head[i, H_CPU], head[i, H_SLOTS]
        context = context_of(flags, w.fake_softirq)
        w.ts, w.seq, w.flags, w.cpu = head[i, H_TS], head[i, H_SEQ], flags, cpu
        w.preempt, w.context = head[i, H_PREEMPT], context
        if op in (LOSS, GAP):
            lose(w, (op == GAP))
            if wanted[op]:
                keep(w, -1, i, kept, held)
            continue
        if pid != last_pid or cpu != last_cpu:
            last_pid, last_cpu = pid, cpu
            t = task_of(w, last_pid, cpu)
        task_at(w, t).cpu = cpu
        catch_up(w, t, cpu)
        cpu_at(w, cpu).task = t + 1
        contradict(w, t, op)
        alone = op != DETAIL and task_at(w, t).halves > 0 and not w.split and w.contexts != 0
        if alone and (op != ACQUIRE or w.detail_first <= w.plain_first):
            settle(w, t, 0)
        if task_at(w, t).again != 0:
            goes_on(w, t, op, slots[at], slots[at + 1])
        if op <= RELEASE:
            lock, name = slots[at], slots[at + 1]
            if op == RELEASE:
                release(w, t, lock, name)
            elif op == ACQUIRE:
                w.lockdep_events += 1
                plain_acquire(w, t, lock, name, slots[at + 2], slots[at + 3])
            elif op == DETAIL:
                w.lockdep_events += 1
                detail(w, t, slots, at)
            else:
                which = index_of(w, t, lock)
                if which >= 0 and entry_at(w, t, which).marks & HALF:
                    settle(w, t, which)
                    which = index_of(w, t, lock)
                if which < 0:
                    unasked(w, t)
                    if op == ACQUIRED_OP and name_of(w, name).rq:  # it is held all the same, around a switch
                        push(w, t, known_class(w, lock, name), lock, 0, 1, 0, 0, 0, 0)
                elif op == ACQUIRED_OP:
                    entry_at(w, t, which).marks &= ~ALONE
                    waited(w, entry_at(w, t, which))
                    got(w, t, which)
                else:
                    e = entry_at(w, t, which)
                    e.marks &= ~ALONE
                    must_wait(w, e)
                    class_at(w, e.cls).contended += 1
            if context == 0 and op not in (DETAIL, CONTENDED_OP) and name_of(w, name).sleeps:
                task_at(w, t).active = w.ts
            watched = op == CONTENDED_OP or (lock == w.watched and op != DETAIL)
            if wanted[op] == ALWAYS_KEPT or (wanted[op] == KEPT_BY_NAME and (watched or name_of(w, name).kept)):
                keep(w, t, i, kept, held)
            if watched and op >= ACQUIRED_OP and op <= CONTENDED_OP:
                w.watched = lock if op == CONTENDED_OP and wanted[op] else 0
            continue
        if op in (INIT, FREE):
            which = index_of(w, t, slots[at])
            if which >= 0 and op == INIT:
                init_held(w, t, which, slots[at + 1], slots[at + 2])
            elif which >= 0:
                emit_odd(w, t, FREED_HELD, entry_at(w, t, which).cls, slots[at], 0, 0, task_at(w, t).depth)
            if op == INIT:
                learn_class(w, slots, at)
        elif op == CONTENTION_END:
            wounded(w, t, slots[at + 1])
            if context == 0:
                task_at(w, t).waits = 0
        elif op == CONTENTION_BEGIN:
            contention(w, t, slots[at])
        elif op == SRCU_SYNC:
            synchronize(w, t, slots[at])
        elif op == SRCU_ENTER and bare(w) and srcus_own(slots[at + 2], slots[at + 3]):
            leave_last(w, t, slots[at])
        elif (op in (SRCU_ENTER, SRCU_ASKED)) and bare(w):
            enter_section(w, t, slots[at])
        elif op == SRCU_LEAVE and bare(w):
            leave_section(w, t, slots[at])
        elif op == FN_RETURN or ((op in (FN_ENTRY, FN_UNLOCK)) and 0 <= slots[at + 1] < len(kinds)):
            if context == 0 and 0 <= slots[at + 1] < len(kinds) and kinds[slots[at + 1], 0] & HOW_SLEEPS:
                task_at(w, t).active = w.ts
            function_row(w, t, op, slots, at, kinds)
        elif context == 0 and op == SWITCH:
            switch(w, t, slots[at + 1])
        elif context == 0 and (op in (SYS_EXIT, TASK_EXIT)):
            to_user(w, t, HELD_AT_USER if op == SYS_EXIT else HELD_AT_EXIT, slots[at])
        elif context == 0 and op == SYS_ENTER:
            from_user(w, t)
        if wanted[op]:
            keep(w, t, i, kept, held)
        if context == 0 and (op in (SYS_EXIT, TASK_EXIT) or op >= OF_SUBSYSTEMS):
            task_at(w, t).active = w.ts
        if op >= SWITCH:
            drop_run_queues(w, t, 0)
            seen_enabled(w, t, task_at(w, t).depth - 1, flags & ~1 if op == IRQS_ON else flags)
    return end


@loop
def reset(w: Walk, whole: int) -> None:
    """Begin or end a judged window: nobody holds anything, nor does who comes new."""
    w.start_epoch = w.epoch
    for t in range(w.task_table[0]):
        forget(w, t)
        task_at(w, t).whole = whole
        task_at(w, t).mute = 0


@loop
def forget_task(w: Walk, t: int) -> None:
    """``forget`` for Python."""
    forget(w, t)


@loop
def stand(w: Walk, t: int) -> None:
    """The trace is over: what the task still waits for, it waits for in vain. R_TS is the trace's end."""
    i = 0
    while i < task_at(w, t).depth:  # what is entered may be the only one left (``keep_only``)
        if entry_at(w, t, i).marks & HALF:
            completes(w, t, i, 0)
            enter(w, t, i)
        i += 1
    at = again_at(w, t)
    recursion = at >= 0
    if recursion:
        entry_at(w, t, at).marks &= ~AGAIN
    else:
        at = task_at(w, t).depth - 1
        while at >= 0 and entry_at(w, t, at).context != 0:
            at -= 1
    if at < 0:
        return
    e = entry_at(w, t, at)
    waits = e.acquired == 0 and not e.trylock and class_at(w, e.cls).got > 0
    if not (recursion or waits):
        return
    o = owner_at(w, e.lock)
    elsewhere = recursion and o.lock == e.lock and o.task != t + 1
    c = emit_chain(w, t, at, e.flags)
    if c < 0:
        return
    row = ref(w.chains[c])
    row.count -= not recursion  # it was counted when it was asked for
    if task_at(w, t).whole and not elsewhere and w.ts - e.ts >= SETTLED:
        row.whole = 1


@loop
def stand_attempt(w: Walk, t: int, f: int, how: int) -> int:
    """The trace is over and probed function number ``f`` of the task did not return: the chain of its attempt, or -1.

    An attempt at what the task seems to hold counts now (``note_attempt``): it had the whole rest of the trace to show
    that it got the lock. R_TS is the trace's end.
    """
    at = call_at(w, t, f)
    if at.chain > 0:
        c = at.chain - 1
    else:
        task = task_at(w, t)
        depth = task.depth
        if depth == 0 or depth >= DEPTH - 1:
            return -1
        e = entry_at(w, t, depth)
        w.stacks[t * DEPTH + depth] = w.no_entry[0]
        e.cls = function_class(w, at.lock, at.name, at.text)
        e.lock, e.read, e.check = at.lock, 1 if how & HOW_READ else 0, 1
        e.ip, e.ts, e.seq, e.alias = at.caller, at.ts, at.seq, at.lock
        e.cpu, e.marks = at.cpu, depth << ASKED_DEPTH
        task.depth = depth + 1
        rehash_stack(w, t, depth)
        c = emit_chain(w, t, depth, 0)
        task.depth = depth
    if c >= 0 and task_at(w, t).whole and w.ts - at.ts >= SETTLED:
        w.chains[c].whole = 1
    return c


@loop
def last_taken(w: Walk, pid: int, lock: int) -> int:
    """When a task last asked for a lock, at the latest; 0 if it never did."""
    key = mix(pid, lock)
    a = ref(w.taken[(key ^ key >> 32) & (TAKEN_SLOTS - 1)])
    return a.last if a.key == key else a.other


def new() -> Walk:
    """A walk that has seen nothing."""
    return Walk()
