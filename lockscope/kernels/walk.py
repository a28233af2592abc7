"""Follow every task's held locks through the tape: one pass, one row at a time, everything else is aggregated.

The situation at each acquisition (held locks, context, irq flags) is hashed; a situation seen before costs one look-up,
a new one is written out as a chain (``reconstruct.chains``). This is lockdep's own trick (its chain cache), so the
judging behind it sees each distinct chain once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from lockscope.kernels.walk_memory import *
from lockscope.kernels.walk_notes import *


@inner("void(i8[::1], i8, i8)")
def drop_run_queues(m: Any, t: int, asked: int) -> None:
    """Take off run-queue locks that were given up unseen, in a switch that was not recorded or that a filter cut.

    They are held with irqs off, so that an interrupt, or an acquisition with irqs on, says they are gone; and a task
    that comes back asks for that of its CPU again (finish_lock_switch, kernel/sched/core.c). ``asked``: the run-queue
    lock asked for now, 0.
    """
    if m[task_at(m, t) + T_QUEUES] == 0:
        return
    on = m[R_CONTEXT] == 0 and m[R_FLAGS] & 1 == 0
    for i in range(m[task_at(m, t) + T_DEPTH] - 1, -1, -1):
        e = entry_at(m, t, i)
        if not name_says(m, m[class_at(m, m[e + CLS]) + C_NAME], N_RQ):
            continue
        interrupted = m[e + CONTEXT] < m[R_CONTEXT] and m[R_CONTEXT] < 3
        # Hashed pointers do not say whether it is the same: two run queues at once are rare (double_rq_lock).
        same = m[e + LOCK] == asked or m[e + CPU] != m[R_CPU] or m[O_HASHED] != 0
        again = asked != 0 and m[e + CONTEXT] == m[R_CONTEXT] and same
        if interrupted or again or (on and m[e + CONTEXT] == 0):
            close(m, t, i, 0)


@inner("void(i8[::1], i8, i8, i8)")
def left_out(m: Any, task: int, lock: int, detailed: int) -> None:
    """Count an acquisition that has no room; its other event, plain or detailed, does not count again."""
    if m[task + T_LEFT_OUT] == mix(lock, ALONE - detailed):
        m[task + T_LEFT_OUT] = 0
        return
    m[task + T_LEFT_OUT] = mix(lock, detailed)
    m[task + T_DEEPER] += 1
    m[K_TOO_DEEP] += 1


@inner("i8(i8[::1], i8, i8, i8, i8, i8, i8, i8, i8, i8)")
def push(m: Any, t: int, cls: int, lock: int, how: int, check: int, nest: int, ip: int, marks: int, role: int) -> Any:
    """A new innermost entry, ``how`` = read | trylock << 2; return its index, -1 where the stack is full."""
    drop_run_queues(m, t, lock if name_says(m, m[class_at(m, cls) + C_NAME], N_RQ) else np.int64(0))
    task = task_at(m, t)
    depth = m[task + T_DEPTH]
    if depth >= DEPTH - 1:
        left_out(m, task, lock, np.int64(marks & ALONE))
        return -1
    e = entry_at(m, t, depth)
    m[e + CLS], m[e + LOCK], m[e + READ], m[e + TRYLOCK], m[e + CHECK] = cls, lock, how & 3, how >> 2, check
    m[e + CONTEXT], m[e + NEST], m[e + IP], m[e + TS], m[e + SEQ] = m[R_CONTEXT], nest, ip, m[R_TS], m[R_SEQ]
    m[e + FLAGS], m[e + ACQUIRED], m[e + CPU], m[e + ROLE] = m[R_FLAGS], 0, m[R_CPU], role
    m[e + MARKS] = marks | depth << ASKED_DEPTH
    m[e + ALIAS] = lock
    m[task + T_DEPTH] = depth + 1
    m[task + T_QUEUES] += name_says(m, m[class_at(m, cls) + C_NAME], N_RQ)
    rehash(m, t, depth)
    if role != 0:
        regard(m, t)
    return depth


@inner("void(i8[::1], i8, i8)")
def enter(m: Any, t: int, at: int) -> None:
    """An acquisition stands as its entry has it: count it, note the situation."""
    e = entry_at(m, t, at)
    c = class_at(m, m[e + CLS])
    m[c + C_COUNT] += 1
    m[c + C_READS] += m[e + READ] != 0
    m[c + C_TRIES] += m[e + TRYLOCK] != 0
    emit_chain(m, t, at, m[e + FLAGS])


@inner("void(i8[::1], i8)")
def settle(m: Any, t: int) -> None:
    """An acquisition whose detail never came stands as the plain event told it."""
    depth = m[task_at(m, t) + T_DEPTH]
    if (
        depth == 0 or not m[O_CONTEXTS]
    ):  # where an interrupt's events look like the task's, the detail may be behind them
        return
    e = entry_at(m, t, depth - 1)
    if m[e + MARKS] & PENDING and m[e + CONTEXT] == m[R_CONTEXT]:
        m[e + MARKS] &= ~PENDING
        enter(m, t, depth - 1)


@inner("i8(i8[::1], i8, i8)")
def known_class(m: Any, lock: int, name: int) -> Any:
    """The keyed class that was last seen at this address under this name, else the class of the name."""
    r = m[RECENTS] + 2 * (mix(lock, 3) & (RECENT - 1))
    if m[r] == lock and m[r + 1] > 0 and m[class_at(m, m[r + 1] - 1) + C_NAME] == name:
        return m[r + 1] - 1
    return class_of(m, name, 0, 0, BY_NAME)


@inner("b1(i8[::1], i8, i8, i8)")
def detailed_before(m: Any, t: int, lock: int, name: int) -> Any:
    """Whether the detail of this acquisition came before its plain event: so it is where that was enabled first."""
    depth = m[task_at(m, t) + T_DEPTH]
    if depth == 0:
        return False
    e = entry_at(m, t, depth - 1)
    if not m[e + MARKS] & ALONE or m[e + CONTEXT] != m[R_CONTEXT]:
        return False
    m[e + MARKS] &= ~ALONE
    detailed = m[class_at(m, m[e + CLS]) + C_NAME]
    if m[e + LOCK] != lock and not (m[O_HASHED] and (detailed == name or name_says(m, detailed, N_NONE))):
        return False
    m[e + ALIAS] = lock
    return True


@inner("void(i8[::1], i8, i8, i8, i8)")
def plain_acquire(m: Any, t: int, lock: int, name: int, how: int) -> None:
    """lock:lock_acquire: the attempt, or a trylock's success. Read kind and check by what the name stands for."""
    if detailed_before(m, t, lock, name):
        return
    read = 0
    if how & 2:
        read = 1
        rule = name_says(m, name, N_READ)
        if rule == READ_RECURSIVE or (rule == READ_RWLOCK and (m[R_FLAGS] & 0xD8 or m[O_RECURSIVE])):
            read = 2
    detailed = m[O_DETAILED]
    cls = known_class(m, lock, name) if detailed else class_of(m, name, 0, 0, BY_NAME)
    at = push(
        m,
        t,
        cls,
        lock,
        read | (how & 1) << 2,
        name_says(m, name, N_CHECK),
        0,
        0,
        PENDING if detailed else 0,
        name_says(m, name, N_ROLE),
    )
    if at >= 0 and not detailed:
        enter(m, t, at)


@inner("void(i8[::1], i8, i8)")
def wounded(m: Any, t: int, ret: int) -> None:
    """contention_end with -EDEADLK: the innermost attempt under a ww context has to back off (ww-mutex-design.rst)."""
    if ret != EDEADLK:
        return
    i = m[task_at(m, t) + T_DEPTH] - 1
    while i >= 0:
        e = entry_at(m, t, i)
        if m[e + NEST] != 0:
            m[task_at(m, t) + T_WOUND] = m[e + LOCK]
            m[task_at(m, t) + T_WOUND_NEST] = m[e + NEST]
            return
        i -= 1


@inner("void(i8[::1], i8, i8)")
def after_wound(m: Any, t: int, at: int) -> None:
    """The next acquisition of a wounded context must be of the lock it was wounded at, with all others dropped."""
    task, e = task_at(m, t), entry_at(m, t, at)
    nest = m[task + T_WOUND_NEST]
    if nest == 0 or m[e + NEST] != nest or m[e + TRYLOCK]:
        return
    m[task + T_WOUND_NEST] = 0
    first = at
    for i in range(at):
        if first == at and m[entry_at(m, t, i) + NEST] == nest:
            first = i
    if first < at or m[e + LOCK] != m[task + T_WOUND]:
        emit_odd(m, t, WW_ORDER, m[e + CLS], m[e + LOCK], 0, first, at)


@inner("void(i8[::1], i8, i8[:,::1], i8)")
def detail(m: Any, t: int, slots: Any, row: int) -> None:
    """lockscope:lockdep_acquire: all of lock_acquire()'s arguments. Joins the plain event of the same acquisition."""
    lock, name, key = slots[row, 0], slots[row, 1], slots[row, 8]
    nameless = name_says(m, name, N_NONE)  # the probe could not read it: the plain event has it
    if key == 0:
        key = lock  # a static lock never initialised is its own key (lockdep.c, register_lock_class)
    r = m[RECENTS] + 2 * (mix(lock, 3) & (RECENT - 1))
    cls = m[r + 1] - 1
    c = class_at(m, max(cls, 0))
    same = m[r] == lock and cls >= 0 and m[c + C_KEYED] == BY_KEY
    if not (same and m[c + C_NAME] == name and m[c + C_KEY] == key and m[c + C_SUBCLASS] == slots[row, 2]):
        cls = class_of(m, name, key, slots[row, 2], BY_KEY)
        c = class_at(m, cls)
        m[r], m[r + 1] = lock, cls + 1
    m[c + C_OUTER], m[c + C_INNER], m[c + C_TYPE] = slots[row, 9], slots[row, 10], slots[row, 11]
    check = 0 if slots[row, 5] == 0 or key == m[O_NOVALIDATE] else 1
    trylock, read = slots[row, 3] != 0, slots[row, 4] & 3
    at = m[task_at(m, t) + T_DEPTH] - 1
    while at >= 0:
        e = entry_at(m, t, at)
        if m[e + MARKS] & PENDING and m[e + CONTEXT] == m[R_CONTEXT]:
            plain = m[class_at(m, m[e + CLS]) + C_NAME]
            if m[e + LOCK] == lock or (m[O_HASHED] and (plain == name or nameless)):
                break
        at -= 1
    if nameless and at >= 0:
        name = m[class_at(m, m[entry_at(m, t, at) + CLS]) + C_NAME]
        cls = class_of(m, name, key, slots[row, 2], BY_KEY)
        c = class_at(m, cls)
        m[c + C_OUTER], m[c + C_INNER], m[c + C_TYPE] = slots[row, 9], slots[row, 10], slots[row, 11]
        m[r + 1] = cls + 1
    if at >= 0:
        e = entry_at(m, t, at)
        m[e + LOCK] = lock  # text prints the plain event's address hashed: that stays as its alias
        m[e + CLS], m[e + READ], m[e + TRYLOCK], m[e + CHECK] = cls, read, trylock, check
        m[e + NEST], m[e + IP] = slots[row, 6], slots[row, 7]
        m[e + MARKS] &= ~PENDING
        rehash(m, t, at)
    else:
        at = push(
            m, t, cls, lock, read | trylock << 2, check, slots[row, 6], slots[row, 7], ALONE, name_says(m, name, N_ROLE)
        )
    if at >= 0:
        after_wound(m, t, at)
        enter(m, t, at)


@inner("i8(i8[::1], i8, i8)")
def index_of(m: Any, t: int, lock: int) -> Any:
    """The innermost entry of a lock, -1."""
    i = m[task_at(m, t) + T_DEPTH] - 1
    while i >= 0 and m[entry_at(m, t, i) + LOCK] != lock and m[entry_at(m, t, i) + ALIAS] != lock:
        i -= 1
    return i


@inner("b1(i8[::1], i8, i8)")
def gave_up(m: Any, t: int, i: int) -> Any:
    """Whether a release is that of an attempt that failed (interruptible, killable, ww_mutex): a lock that sleeps, of
    which lock_acquired was not seen though the trace has it. If the task already held it, that was no recursion."""
    e = entry_at(m, t, i)
    c = class_at(m, m[e + CLS])
    if m[e + ACQUIRED] != 0 or m[e + TRYLOCK] != 0 or m[K_GOT] == 0:
        return False
    if m[c + C_GOT] == 0 and name_says(m, m[c + C_NAME], N_SLEEPS) != LOGS_ACQUIRED:
        return False
    if not sleeps(m, m[e + CLS]):
        return False
    for j in range(i):
        if m[entry_at(m, t, j) + LOCK] == m[e + LOCK]:
            emit_odd(m, t, GAVE_UP, m[e + CLS], m[e + LOCK], 0, j, j + 1)
            break
    return True


@inner("void(i8[::1], i8, i8, i8)")
def release(m: Any, t: int, lock: int, name: int) -> None:
    """A release: ends the innermost hold of the lock, or is odd. ``name`` -1: not known."""
    i = index_of(m, t, lock)
    if m[task_at(m, t) + T_WOUND_NEST] == lock:
        m[task_at(m, t) + T_WOUND_NEST] = 0  # the context ends
    if i >= 0:
        seen_enabled(m, t, i, m[R_FLAGS])
        close(m, t, i, NEVER_HELD if gave_up(m, t, i) else KNOWN)
        # What lay above is judged anew without it, as lockdep does (reacquire_held_locks).
        for j in range(i, m[task_at(m, t) + T_DEPTH]):
            if not m[entry_at(m, t, j) + MARKS] & PENDING:
                emit_chain(m, t, j, m[entry_at(m, t, j) + FLAGS])
        return
    if name_says(m, name, N_RQ):
        return  # the next task releases the run queue that the last one locked
    task = task_at(m, t)
    if m[task + T_DEEPER] > 0:
        m[task + T_DEEPER] -= 1  # one of those that were left out
        return
    m[K_UNPAIRED] += 1
    cls = known_class(m, lock, name) if name >= 0 else class_of(m, -2, lock, 0, BY_ADDRESS)
    if m[O_HOLDS]:
        row = m[HOLDS] + m[K_HOLDS] * HOLD_WIDTH
        m[K_HOLDS] += 1
        m[row], m[row + 1], m[row + 2], m[row + 3], m[row + 4] = cls, lock, m[task + T_PID], m[R_CPU], m[R_CPU]
        m[row + 5], m[row + 6], m[row + 7], m[row + 8], m[row + 9] = m[R_TS], 0, m[R_TS], 0, m[R_CONTEXT] << 3
        m[row + 10], m[row + 11], m[row + 12] = 0, m[R_SEQ], 2
    # Probed functions are seldom all of a lock's functions: it may have been taken by one that was not probed.
    if name >= 0 and m[task + T_WHOLE] and not m[task + T_MUTE]:
        emit_odd(m, t, RELEASE_NOT_HELD, cls, lock, 0, 0, m[task + T_DEPTH])


@inner("void(i8[::1], i8)")
def waited(m: Any, e: int) -> None:
    """The wait of an entry ends at the present row."""
    wait = m[R_TS] - m[e + TS]
    m[e + ACQUIRED] = m[R_TS]
    c = class_at(m, m[e + CLS])
    m[c + C_GOT] += 1
    m[K_GOT] += 1
    m[c + C_WAIT] += wait
    m[c + C_WAIT_MAX] = max(m[c + C_WAIT_MAX], wait)


@inner("void(i8[::1], i8, i8)")
def switch(m: Any, t: int, prev_state: int) -> None:
    """The task is switched out: any spinning lock it holds is odd, but for the run queue's.

    That one is held until finish_lock_switch() hands it on, with what the event's other probes and the preempt
    notifiers (kvm_sched_out) take under it; ``drop_run_queues`` ends it where its release was not recorded.
    """
    m[K_SWITCHES] += 1
    m[cpu_at(m, m[R_CPU])] = 0
    if m[K_GAPS] > 0:
        m[task_at(m, t) + T_EPOCH] = -1
    i = m[task_at(m, t) + T_DEPTH] - 1
    spins = np.int64(-1)
    while i >= 0:
        e = entry_at(m, t, i)
        c = class_at(m, m[e + CLS])
        name = m[c + C_NAME]
        if not name_says(m, name, N_RQ) and m[e + CONTEXT] == 0 and not m[e + MARKS] & PENDING:
            if m[c + C_KEYED] == BY_KEY:
                # An RCU read section has an inner wait type too, and an outer one: switching out in it is legal.
                if (m[c + C_INNER] == 2 or m[c + C_INNER] == 3) and m[c + C_OUTER] == 0:
                    spins = m[e + CLS]
            elif name_says(m, name, N_SPINS):
                spins = m[e + CLS]
        i -= 1
    if spins >= 0 and not m[O_RT]:
        emit_odd(m, t, SWITCHED_ATOMIC, spins, 0, prev_state, 0, m[task_at(m, t) + T_DEPTH])


@inner("void(i8[::1], i8, i8, i8)")
def to_user(m: Any, t: int, what: int, number: int) -> None:
    """Return to user space or the task's end: it must hold nothing, and from here on its held set is whole."""
    drop_run_queues(m, t, np.int64(0))
    task = task_at(m, t)
    left = 0
    for i in range(m[task + T_DEPTH]):
        e = entry_at(m, t, i)
        left += m[e + CONTEXT] == 0 and m[class_at(m, m[e + CLS]) + C_KEYED] != BY_ADDRESS
    if left > 0:
        depth = m[task + T_DEPTH]
        emit_odd(m, t, what, m[entry_at(m, t, depth - 1) + CLS], 0, number, 0, depth)
    forget(m, t)
    m[task + T_WHOLE] = 1
    m[task + T_MUTE] = left > 0


@inner("void(i8[::1], i8, i8, i8, i8)")
def init_held(m: Any, t: int, at: int, name: int, key: int) -> None:
    """A held map is initialised. With its own key and name that is lock_set_subclass(): another class from here on.

    Which subclass is not recorded (__lock_set_class, kernel/locking/lockdep.c, initialises with 0); -1 stands for it.
    """
    e = entry_at(m, t, at)
    c = class_at(m, m[e + CLS])
    if m[c + C_KEYED] == BY_KEY and m[c + C_KEY] == key and m[c + C_NAME] == name:
        inner_type, outer_type, lock_type = m[c + C_INNER], m[c + C_OUTER], m[c + C_TYPE]
        m[e + CLS] = class_of(m, name, key, -1, BY_KEY)
        to = class_at(m, m[e + CLS])
        m[to + C_INNER], m[to + C_OUTER], m[to + C_TYPE] = inner_type, outer_type, lock_type
        rehash(m, t, at)
    else:
        emit_odd(m, t, INIT_HELD, m[e + CLS], m[e + LOCK], key, 0, m[task_at(m, t) + T_DEPTH])


@inner("void(i8[::1], i8, i8, i8[:,::1], i8, i8[:,::1])")
def function_row(m: Any, t: int, op: int, slots: Any, row: int, kinds: Any) -> None:
    """Probed lock functions of a stock kernel. ``kinds`` by function text: [1 exclusive, 2 read, +4 trylock, +8 may
    fail;
    text of its return event]."""
    task = task_at(m, t)
    f = m[task + T_FN]
    base = m[FUNCTIONS] + t * FN_DEPTH * FN_WIDTH
    if op == FN_ENTRY:
        if f == FN_DEPTH:  # return probes that had no instance left (nmissed): the oldest will not come back
            f -= 1
            for k in range(base, base + f * FN_WIDTH):
                m[k] = m[k + FN_WIDTH]
        at = base + f * FN_WIDTH
        m[at], m[at + 1], m[at + 2], m[at + 3] = slots[row, 1], slots[row, 0], m[R_TS], m[R_SEQ]
        m[task + T_FN] = f + 1
        return
    if op == FN_UNLOCK:
        release(m, t, slots[row, 0], -1)
        return
    entered = np.int64(-1)
    while f > 0 and entered < 0:
        f -= 1
        if kinds[m[base + f * FN_WIDTH], 1] == slots[row, 1]:
            entered = base + f * FN_WIDTH
    if entered < 0:
        return
    m[task + T_FN] = f
    how, ret = kinds[m[entered], 0], slots[row, 0]
    if (how & 4 and ret == 0) or (how & 8 and ret != 0):
        return
    lock = m[entered + 1]
    cls = class_of(m, -2, lock, 0, BY_ADDRESS)
    m[class_at(m, cls) + C_TYPE] = m[entered]
    at = push(m, t, cls, lock, (1 if how & 2 else 0) | (4 if how & 4 else 0), 1, 0, slots[row, 2], 0, 0)
    if at < 0:
        return
    e = entry_at(m, t, at)
    m[e + TS], m[e + SEQ] = m[entered + 2], m[entered + 3]
    waited(m, e)
    enter(m, t, at)


@inner("b1(i8[::1])")
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


@njit(
    "i8(i8[::1], i8[::1], i4[::1], i8[:], i8[:], i8[:], i8[:], i8[:, ::1], i8[::1], i8[:, ::1], i8, i8, i8[:, ::1])",
    nogil=True,
    cache=True,
)
def walk(
    memory: Any,
    ts: Any,
    cpus: Any,
    pids: Any,
    flagss: Any,
    preempts: Any,
    ops: Any,
    rows: Any,
    seqs: Any,
    functions: Any,
    begin: int,
    end: int,
    held: Any,
) -> int:
    """Rows ``begin`` to ``end`` of a tape batch; return where it stopped (``end``, or a region must grow first)."""
    m, slots, kinds = borrowed(memory), borrowed(rows), borrowed(functions)
    last_pid, last_cpu, t = np.int64(-1) << 62, np.int64(-1), np.int64(0)
    m[K_SEEN] = -1
    for i in range(begin, end):
        made = m[K_TASKS] + m[K_CLASSES] + m[K_CHAINS] + m[K_ODD] + m[K_HOLDS]
        if made != m[K_SEEN]:
            if not room(m):
                return i
            m[K_SEEN] = made
        op = ops[i]
        cpu = np.int64(cpus[i])
        flags = flagss[i]
        context = context_of(flags, m[O_SOFTIRQ])
        m[R_TS], m[R_SEQ], m[R_FLAGS], m[R_CPU], m[R_PREEMPT], m[R_CONTEXT] = (
            ts[i],
            seqs[i],
            flags,
            cpu,
            preempts[i],
            context,
        )
        if op == LOSS or op == GAP:
            lose(m, np.int64(op == GAP))
            if m[O_HELD]:
                for k in range(ROLES):
                    held[i, k] = 0
            continue
        if pids[i] != last_pid or cpu != last_cpu:
            last_pid, last_cpu = pids[i], cpu
            t = task_of(m, last_pid, cpu)
        m[task_at(m, t) + T_CPU] = cpu
        catch_up(m, t, cpu)
        m[cpu_at(m, cpu)] = t + 1
        show = op >= SWITCH
        if op != DETAIL:
            settle(m, t)
        if op <= RELEASE:
            lock, name = slots[i, 0], slots[i, 1]
            if op == RELEASE:
                release(m, t, lock, name)
                show = name_says(m, name, N_ROLE) != 0
            elif op == ACQUIRE:
                plain_acquire(m, t, lock, name, slots[i, 2])
                show = name_says(m, name, N_ROLE) != 0
            elif op == DETAIL:
                detail(m, t, slots, i)
                show = name_says(m, name, N_ROLE) != 0
            else:
                at = index_of(m, t, lock)
                if at >= 0:
                    m[entry_at(m, t, at) + MARKS] &= ~ALONE
                if at >= 0 and op == ACQUIRED_OP:
                    waited(m, entry_at(m, t, at))
                elif at >= 0:
                    e = entry_at(m, t, at)
                    m[e + MARKS] |= CONTENDED
                    m[class_at(m, m[e + CLS]) + C_CONTENDED] += 1
        elif op == INIT or op == FREE:
            at = index_of(m, t, slots[i, 0])
            if at >= 0 and op == INIT:
                init_held(m, t, at, slots[i, 1], slots[i, 2])
            elif at >= 0:
                emit_odd(m, t, FREED_HELD, m[entry_at(m, t, at) + CLS], slots[i, 0], 0, 0, m[task_at(m, t) + T_DEPTH])
            if op == INIT:
                r = m[RECENTS] + 2 * (mix(slots[i, 0], 3) & (RECENT - 1))
                if m[r] == slots[i, 0]:
                    m[r + 1] = 0
        elif op == CONTENTION_END:
            wounded(m, t, slots[i, 1])
        elif op == FN_ENTRY or op == FN_RETURN or op == FN_UNLOCK:
            function_row(m, t, op, slots, i, kinds)
        elif context == 0 and op == SWITCH:
            switch(m, t, slots[i, 1])
        elif context == 0 and (op == SYS_EXIT or op == TASK_EXIT):
            to_user(m, t, HELD_AT_USER if op == SYS_EXIT else HELD_AT_EXIT, slots[i, 0])
        if show and m[O_HELD]:
            base = m[HELD] + t * ROLES
            for k in range(ROLES):
                held[i, k] = m[base + k]
        elif m[O_HELD]:
            for k in range(ROLES):
                held[i, k] = 0
        if op >= SWITCH:
            drop_run_queues(m, t, np.int64(0))
            seen_enabled(m, t, m[task_at(m, t) + T_DEPTH] - 1, flags & ~1 if op == IRQS_ON else flags)
    return end
