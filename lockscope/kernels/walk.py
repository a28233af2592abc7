"""Follow every task's held locks through the tape: one pass, one row at a time, everything else is aggregated.

The situation at each acquisition (held locks, context, irq flags) is hashed; a situation seen before costs one look-up,
a new one is written out as a chain (``reconstruct.chains``). This is lockdep's own trick (its chain cache), so the
judging behind it sees each distinct chain once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lockscope.kernels.inner import inner
from lockscope.kernels.outer import outer
from lockscope.kernels.tape_rows import H_CPU, H_FLAGS, H_OP, H_PID, H_PREEMPT, H_SEQ, H_SLOTS, H_TS, HEAD_WIDTH
from lockscope.kernels.walk_attempts import *
from lockscope.kernels.walk_doubts import *
from lockscope.kernels.walk_locks import *
from lockscope.kernels.walk_memory import *
from lockscope.kernels.walk_notes import *


@inner("void(CPointer(i8), i8, i8)")
def switch(m: Any, t: int, prev_state: int) -> None:
    """The task is switched out: any spinning lock it holds is odd, but for the run queue's.

    That one is held until finish_lock_switch() hands it on, with what the event's other probes and the preempt
    notifiers (kvm_sched_out) take under it; ``drop_run_queues`` ends it where its release was not recorded.
    """
    m[K_SWITCHES] += 1
    if m[K_LOSSES] == 0 and m[K_GAPS] == 0 and m[task_at(m, t) + T_QUEUES] == 0:
        m[K_BARE] += 1
    hand_over(m, t)
    m[cpu_at(m, m[R_CPU])] = 0
    if m[K_GAPS] > 0:
        m[task_at(m, t) + T_EPOCH] = -1
    held, counted = np.int64(-1), np.int64(0)
    for i in range(m[task_at(m, t) + T_DEPTH] - 1, -1, -1):
        e = entry_at(m, t, i)
        if not m[e + MARKS] & (QUEUE | HALF) and m[e + CONTEXT] == 0 and spins(m, m[e + CLS]):
            held = m[e + CLS]
            counted += m[e + MARKS] & COUNTED != 0
    if counted > 0 and level(m) < counted + max(m[O_SWITCH], 1):
        doubt(m, t)
    elif held < 0:  # what sched_switch itself has: preemption off, and the run queue's lock
        seen = min(level(m), 2)
        m[O_SWITCH] = seen if m[O_SWITCH] == 0 else min(seen, m[O_SWITCH])
    elif counted == 0 and m[class_at(m, held) + C_KEYED] == BY_PLACE:
        doubt(m, t)  # a probe's miss (kprobes' nmissed) is no event: it takes the preempt count to believe it
    else:
        n = emit_odd(m, t, SWITCHED_ATOMIC, held, 0, prev_state, 0, m[task_at(m, t) + T_DEPTH])
        if n >= 0 and counted > 0 and level(m) >= counted + 2:
            m[m[ODD] + n * ODD_WIDTH + ODD_PROVED] = 1


@inner("void(CPointer(i8), i8, i8, i8)")
def to_user(m: Any, t: int, what: int, number: int) -> None:
    """Return to user space or the task's end: it must hold nothing, and from here on its held set is whole."""
    drop_run_queues(m, t, np.int64(0))
    settle(m, t, np.int64(0))
    task = task_at(m, t)
    if m[task + T_SPINS] > level(m):
        doubt(m, t)
    left, top = 0, -1
    for i in range(m[task + T_DEPTH]):
        e = entry_at(m, t, i)
        if not is_tracing(m, e):
            left += m[e + CONTEXT] == 0 and m[class_at(m, m[e + CLS]) + C_KEYED] < BY_ADDRESS
            top = i
    if left > 0:
        n = emit_odd(m, t, what, m[entry_at(m, t, top) + CLS], 0, number, 0, top + 1)
        if n >= 0:
            m[m[ODD] + n * ODD_WIDTH + ODD_PROVED] |= m[task + T_SPINS] > 0
            for i in range(top + 1):
                leaked(m, m[entry_at(m, t, i) + LOCK], n)
    leave(m, t)
    m[task + T_WHOLE] = WHOLE
    m[task + T_SINCE] = m[R_TS]
    m[task + T_MUTE] = left > 0


@inner("void(CPointer(i8), i8)")
def leave(m: Any, t: int) -> None:
    """Between user space and the kernel: the task holds nothing but what tracing holds around the system call's events.

    That is taken before the event and released after it (include/linux/tracepoint.h, __DECLARE_TRACE_SYSCALL).
    """
    task = task_at(m, t)
    m[task + T_NEST] = 0  # a nest lock taken before the recording would have been released by now
    kept = 0
    for i in range(m[task + T_DEPTH] - 1, -1, -1):
        if is_tracing(m, entry_at(m, t, i)):
            kept += 1
        else:
            m[K_UNPAIRED] += 1
            close(m, t, i, CUT)
    if kept == 0:
        forget(m, t)
    m[task + T_FN] = 0
    m[task + T_WOUND_NEST] = 0
    m[task + T_DEEPER] = 0
    m[task + T_AGAIN] = 0
    m[task + T_UNSURE] = 0


@inner("void(CPointer(i8), i8)")
def from_user(m: Any, t: int) -> None:
    """A system call begins: whoever comes from user space holds nothing. What is released before it was asked for is
    odd only if lock events were being recorded already."""
    settle(m, t, np.int64(0))
    task = task_at(m, t)
    known = m[task + T_WHOLE] == WHOLE or m[K_RELEASES] > 0
    leave(m, t)
    m[task + T_WHOLE] = WHOLE if known else WHOLE_SO_FAR
    m[task + T_SINCE] = m[R_TS]


@inner("void(CPointer(i8), i8)")
def hand_over(m: Any, t: int) -> None:
    """A task is switched out: the lock it took last may be its run queue's, which the next task releases
    (finish_lock_switch(), kernel/sched/core.c). With lockdep its name says so; of a probed function only this does."""
    a, at = cpu_at(m, m[R_CPU]), m[task_at(m, t) + T_DEPTH] - 1
    m[a + 2] = m[a + 3] = 0
    if at < 0:
        return
    e = entry_at(m, t, at)
    keyed = m[class_at(m, m[e + CLS]) + C_KEYED]
    if m[e + CONTEXT] == 0 and m[e + READ] == 0 and (keyed == BY_ADDRESS or keyed == BY_PLACE):
        m[a + 2], m[a + 3] = m[e + LOCK], t + 1


@inner("b1(CPointer(i8), i8, i8)")
def handed_over(m: Any, t: int, lock: int) -> Any:
    """Whether a task releases what the one before it on this CPU had locked as it was switched out: a run queue."""
    a = cpu_at(m, m[R_CPU])
    other = m[a + 3] - 1
    if m[a + 2] != lock or other < 0 or other == t or m[R_CONTEXT] != 0:
        return False
    m[a + 2] = m[a + 3] = 0
    i = index_of(m, other, lock)
    if i < 0:
        return False
    m[class_at(m, m[entry_at(m, other, i) + CLS]) + C_QUEUE] = 1
    close(m, other, i, KNOWN)
    return True


@inner("void(CPointer(i8), i8, i8, i8, i8)")
def init_held(m: Any, t: int, at: int, name: int, key: int) -> None:
    """A held map is initialised. With its own key and name that is lock_set_subclass(): another class from here on.

    Which subclass is not recorded (__lock_set_class, kernel/locking/lockdep.c, initialises with 0); -1 stands for it.
    Where the key was not known it may be that as well: the scheduler does so all the time (double_unlock_balance()).
    """
    e = entry_at(m, t, at)
    c = class_at(m, m[e + CLS])
    keyed = m[c + C_KEYED] == BY_KEY or m[c + C_KEYED] == BY_INIT
    if m[c + C_NAME] != name or (keyed and m[c + C_KEY] != key):
        emit_odd(m, t, INIT_HELD, m[e + CLS], m[e + LOCK], key, 0, m[task_at(m, t) + T_DEPTH])
    elif m[c + C_KEYED] == BY_KEY:
        inner_type, outer_type, lock_type = m[c + C_INNER], m[c + C_OUTER], m[c + C_TYPE]
        m[e + CLS] = class_of(m, name, key, -1, BY_KEY)
        to = class_at(m, m[e + CLS])
        m[to + C_INNER], m[to + C_OUTER], m[to + C_TYPE] = inner_type, outer_type, lock_type
        m[to + C_ANNOTATED] = m[R_TS]
        rehash(m, t, at)


@inner("void(CPointer(i8), CPointer(i8), i8)")
def learn_class(m: Any, slots: Any, at: int) -> None:
    """A map is initialised: what is at this address has from here on another key. Where acquisitions do not say
    theirs, it is this one's."""
    lock, name, key = slots[at], slots[at + 1], slots[at + 2]
    r = m[RECENTS] + 2 * (mix(lock, 3) & (RECENT - 1))
    if m[O_DETAILED] or key == 0 or name_says(m, name, N_NONE):
        if m[r] == lock:
            m[r + 1] = 0
        return
    cls = class_of(m, name, key, 0, BY_INIT)
    c = class_at(m, cls)
    m[c + C_INNER], m[c + C_OUTER] = slots[at + 4], slots[at + 5]
    if slots[at + 4] == 3 and name_says(m, name, N_SLEEPS) == LOGS_ACQUIRED:
        m[O_SLEEP] = 3
    m[r], m[r + 1] = lock, cls + 1


@inner("void(CPointer(i8), i8, i8, CPointer(i8), i8, CPointer(i8))")
def function_row(m: Any, t: int, op: int, slots: Any, at: int, kinds: Any) -> None:
    """Probed lock functions of a stock kernel. ``kinds`` by function text: [1 exclusive, 2 read, +4 trylock, +8 may
    fail, +16 sleeps, RAW_UNLOCK; text of its return event]."""
    task = task_at(m, t)
    f = m[task + T_FN]
    base = m[FUNCTIONS] + t * FN_DEPTH * FN_WIDTH
    if op == FN_ENTRY:
        m[K_FUNCTIONS] += 1
        if f == FN_DEPTH:  # return probes that had no instance left (nmissed): the oldest will not come back
            f -= 1
            for k in range(base, base + f * FN_WIDTH):
                m[k] = m[k + FN_WIDTH]
        fresh = base + f * FN_WIDTH
        m[fresh], m[fresh + 1], m[fresh + 2], m[fresh + 3] = slots[at + 1], slots[at], m[R_TS], m[R_SEQ]
        m[fresh + 4], m[fresh + 5], m[fresh + F_CHAIN], m[fresh + F_CALLER] = slots[at + 3], 0, 0, slots[at + 2]
        m[fresh + F_CPU], m[fresh + F_CONTEXT] = m[R_CPU], m[R_CONTEXT]
        m[task + T_FN] = f + 1
        attempt(m, t, fresh, kinds[2 * slots[at + 1]])
        return
    if op == FN_UNLOCK:
        held = index_of(m, t, slots[at]) >= 0
        if not held and kinds[2 * slots[at + 1]] & RAW_UNLOCK and handed_over(m, t, slots[at]):
            return
        if slots[at + 2] < 0 and not held:
            m[class_at(m, class_of(m, -2, slots[at], 0, BY_ADDRESS)) + C_TYPE] = slots[at + 1]
        release(m, t, slots[at], -2 - slots[at + 2] if slots[at + 2] >= 0 else -1)
        return
    entered = np.int64(-1)
    while f > 0 and entered < 0:
        f -= 1
        # an interrupt's own call may lack its return (nmissed)
        if (
            kinds[2 * m[base + f * FN_WIDTH] + 1] == slots[at + 1]
            and m[base + f * FN_WIDTH + F_CONTEXT] == m[R_CONTEXT]
        ):
            entered = base + f * FN_WIDTH
    if entered < 0:
        return
    m[task + T_FN] = f
    if m[entered + 5] != 0:
        waits_for(m, m[entered + 1], -1)
    how, ret = kinds[2 * m[entered]], slots[at]
    if (how & 4 and ret == 0) or (how & 8 and ret != 0):
        return
    lock, name = m[entered + 1], m[entered + 4]
    caller_known(m, entered, slots[at + 2])
    cls = function_class(m, lock, name, m[entered])
    role = name_says(m, name, N_ROLE)
    i = push(m, t, cls, lock, (1 if how & 2 else 0) | (4 if how & 4 else 0), 1, 0, slots[at + 2], 0, role)
    if i < 0:
        return
    e = entry_at(m, t, i)
    m[e + TS], m[e + SEQ], m[e + CPU] = m[entered + 2], m[entered + 3], m[entered + F_CPU]
    waited(m, e)
    if m[entered + 5] != 0:
        m[e + CONTENDED_AT] = m[entered + 5]
        m[e + MARKS] |= CONTENDED
        m[class_at(m, cls) + C_CONTENDED] += 1
    got(m, t, i)
    if m[entered + F_CHAIN] == 0:
        enter(m, t, i)
        return
    c = class_at(m, cls)  # its attempt was noted
    m[c + C_COUNT] += 1
    m[c + C_READS] += m[e + READ] != 0


@inner("void(CPointer(i8), i8, i8)")
def contention(m: Any, t: int, lock: int) -> None:
    """contention_begin inside a probed lock function: that one has to wait. A mutex may begin twice, to spin and then
    to sleep (kernel/locking/mutex.c, __mutex_lock_common, v6.0 and later)."""
    task = task_at(m, t)
    if m[R_CONTEXT] == 0 and m[task + T_WAITS] != lock:
        m[task + T_WAITS], m[task + T_WAITS_TS] = lock, m[R_TS]
    base = m[FUNCTIONS] + t * FN_DEPTH * FN_WIDTH
    for f in range(m[task + T_FN] - 1, -1, -1):
        at = base + f * FN_WIDTH
        if m[at + 1] == lock:
            if m[at + 5] == 0:
                m[at + 5] = m[R_TS]
                waits_for(m, lock, 1)
            return


@inner("b1(CPointer(i8))")
def room(m: Any) -> bool:
    """Whether every region can take what one row may add."""
    for k, region, table, spare in (
        (K_TASKS, TASKS, TASK_TABLE, 2),
        (K_CLASSES, CLASSES, CLASS_TABLE, 4),
        (K_CHAINS, CHAINS, CHAIN_TABLE, 2 * DEPTH),
        (K_ODD, ODD, ODD_TABLE, 4),
        (K_ROWS, ROWS, 0, 2 * DEPTH * DEPTH),
        (K_ODD_ROWS, ODD_ROWS, 0, 4 * DEPTH),
    ):
        if m[k] + spare > m[region - BASES + SIZES] or (table and 2 * (m[k] + spare) > m[table - BASES + SIZES]):
            return False
    return not m[O_HOLDS] or m[K_HOLDS] + 4 * DEPTH <= m[HOLDS - BASES + SIZES]


@inner("void(CPointer(i8), i8, i8, CPointer(i8), CPointer(i8))", always=True)
def keep(m: Any, t: int, row: int, kept: Any, held: Any) -> None:
    """Note a row that others want to see, with the KVM locks that its task holds; ``t`` -1: nobody's."""
    n = m[R_KEPT]
    kept[n] = row
    base = m[HELD] + t * ROLES
    for k in range(ROLES):
        held[n * ROLES + k] = m[base + k] if t >= 0 else 0
    m[R_KEPT] = n + 1


@outer("i8(i8[::1], i8[:, ::1], i8[::1], i8[:, ::1], i8[::1], i8, i8, i8[::1], i8[:, ::1])")
def walk(
    memory: Any,
    heads: Any,  # int64[:, HEAD_WIDTH]
    values: Any,  # int64[:]: slots
    functions: Any,
    wanted_ops: Any,  # int64[operations]: NEVER_KEPT, KEPT_BY_NAME, ALWAYS_KEPT
    begin: int,
    end: int,
    kept_rows: Any,  # int64[:]: rows to keep, R_KEPT of them so far; has room for all
    held_rows: Any,  # int64[:, ROLES]: what their tasks hold
) -> int:
    """Rows ``begin`` to ``end`` of a tape batch; return where it stopped (``end``, or a region must grow first)."""
    m, head, slots, kinds = pointer(memory), pointer(heads), pointer(values), pointer(functions)
    wanted, kept, held = pointer(wanted_ops), pointer(kept_rows), pointer(held_rows)
    last_pid, last_cpu, t = np.int64(-1) << 62, np.int64(-1), np.int64(0)
    m[K_SEEN] = -1
    for i in range(begin, end):
        made = m[K_TASKS] + m[K_CLASSES] + m[K_CHAINS] + m[K_ODD] + m[K_HOLDS]
        if made != m[K_SEEN]:
            if not room(m):
                return i
            m[K_SEEN] = made
        h = i * HEAD_WIDTH
        op, pid, flags, cpu, at = head[h + H_OP], head[h + H_PID], head[h + H_FLAGS], head[h + H_CPU], head[h + H_SLOTS]
        context = context_of(flags, m[O_SOFTIRQ])
        m[R_TS], m[R_SEQ], m[R_FLAGS], m[R_CPU] = head[h + H_TS], head[h + H_SEQ], flags, cpu
        m[R_PREEMPT], m[R_CONTEXT] = head[h + H_PREEMPT], context
        if op == LOSS or op == GAP:
            lose(m, np.int64(op == GAP))
            if wanted[op]:
                keep(m, -1, i, kept, held)
            continue
        if pid != last_pid or cpu != last_cpu:
            last_pid, last_cpu = pid, cpu
            t = task_of(m, last_pid, cpu)
        m[task_at(m, t) + T_CPU] = cpu
        catch_up(m, t, cpu)
        m[cpu_at(m, cpu)] = t + 1
        contradict(m, t, op)
        if op != DETAIL and m[task_at(m, t) + T_HALVES] > 0 and not m[O_SPLIT] and m[O_CONTEXTS]:
            if op != ACQUIRE or m[K_DETAIL_FIRST] <= m[K_PLAIN_FIRST]:
                settle(m, t, np.int64(0))
        if m[task_at(m, t) + T_AGAIN] != 0:
            goes_on(m, t, op, slots[at], slots[at + 1])
        if op <= RELEASE:
            lock, name = slots[at], slots[at + 1]
            if op == RELEASE:
                release(m, t, lock, name)
            elif op == ACQUIRE:
                m[K_LOCKDEP] += 1
                plain_acquire(m, t, lock, name, slots[at + 2], slots[at + 3])
            elif op == DETAIL:
                m[K_LOCKDEP] += 1
                detail(m, t, slots, at)
            else:
                which = index_of(m, t, lock)
                if which >= 0 and m[entry_at(m, t, which) + MARKS] & HALF:
                    settle(m, t, which)
                    which = index_of(m, t, lock)
                if which < 0:
                    unasked(m, t)
                    if op == ACQUIRED_OP and name_says(m, name, N_RQ):  # it is held all the same, around a switch
                        push(m, t, known_class(m, lock, name), lock, 0, 1, 0, 0, 0, 0)
                elif op == ACQUIRED_OP:
                    m[entry_at(m, t, which) + MARKS] &= ~ALONE
                    waited(m, entry_at(m, t, which))
                    got(m, t, which)
                else:
                    e = entry_at(m, t, which)
                    m[e + MARKS] &= ~ALONE
                    must_wait(m, e)
                    m[class_at(m, m[e + CLS]) + C_CONTENDED] += 1
            if context == 0 and op != DETAIL and op != CONTENDED_OP and name_says(m, name, N_SLEEPS):
                m[task_at(m, t) + T_ACTIVE] = m[R_TS]
            watched = op == CONTENDED_OP or (lock == m[R_WATCHED] and op != DETAIL)
            if wanted[op] == ALWAYS_KEPT or (wanted[op] == KEPT_BY_NAME and (watched or name_says(m, name, N_KEPT))):
                keep(m, t, i, kept, held)
            if watched and op >= ACQUIRED_OP and op <= CONTENDED_OP:
                m[R_WATCHED] = lock if op == CONTENDED_OP and wanted[op] else 0
            continue
        if op == INIT or op == FREE:
            which = index_of(m, t, slots[at])
            if which >= 0 and op == INIT:
                init_held(m, t, which, slots[at + 1], slots[at + 2])
            elif which >= 0:
                emit_odd(m, t, FREED_HELD, m[entry_at(m, t, which) + CLS], slots[at], 0, 0, m[task_at(m, t) + T_DEPTH])
            if op == INIT:
                learn_class(m, slots, at)
        elif op == CONTENTION_END:
            wounded(m, t, slots[at + 1])
            if context == 0:
                m[task_at(m, t) + T_WAITS] = 0
        elif op == CONTENTION_BEGIN:
            contention(m, t, slots[at])
        elif op == SRCU_SYNC:
            synchronize(m, t, slots[at])
        elif op == SRCU_ENTER and bare(m) and srcus_own(slots[at + 2], slots[at + 3]):
            leave_last(m, t, slots[at])
        elif (op == SRCU_ENTER or op == SRCU_ASKED) and bare(m):
            enter_section(m, t, slots[at])
        elif op == SRCU_LEAVE and bare(m):
            leave_section(m, t, slots[at])
        elif op == FN_RETURN or ((op == FN_ENTRY or op == FN_UNLOCK) and 0 <= slots[at + 1] < len(functions)):
            if context == 0 and 0 <= slots[at + 1] < len(functions) and kinds[2 * slots[at + 1]] & HOW_SLEEPS:
                m[task_at(m, t) + T_ACTIVE] = m[R_TS]
            function_row(m, t, op, slots, at, kinds)
        elif context == 0 and op == SWITCH:
            switch(m, t, slots[at + 1])
        elif context == 0 and (op == SYS_EXIT or op == TASK_EXIT):
            to_user(m, t, HELD_AT_USER if op == SYS_EXIT else HELD_AT_EXIT, slots[at])
        elif context == 0 and op == SYS_ENTER:
            from_user(m, t)
        if wanted[op]:
            keep(m, t, i, kept, held)
        if context == 0 and (op == SYS_EXIT or op == TASK_EXIT or op >= OF_SUBSYSTEMS):
            m[task_at(m, t) + T_ACTIVE] = m[R_TS]
        if op >= SWITCH:
            drop_run_queues(m, t, np.int64(0))
            seen_enabled(m, t, m[task_at(m, t) + T_DEPTH] - 1, flags & ~1 if op == IRQS_ON else flags)
    return end
