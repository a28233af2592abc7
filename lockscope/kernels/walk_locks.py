"""How acquisitions and releases change what a task holds: plain events, their details, what is left out or odd."""

from __future__ import annotations

from typing import Any

import numpy as np

from lockscope.kernels.inner import inner
from lockscope.kernels.outer import outer
from lockscope.kernels.walk_doubts import *
from lockscope.kernels.walk_memory import *
from lockscope.kernels.walk_notes import *


@inner("void(CPointer(i8), i8, i8)")
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
        if not m[e + MARKS] & QUEUE:
            continue
        interrupted = m[e + CONTEXT] < m[R_CONTEXT] and m[R_CONTEXT] < 3
        # Hashed pointers do not say whether it is the same: two run queues at once are rare (double_rq_lock).
        same = m[e + LOCK] == asked or m[e + CPU] != m[R_CPU] or m[O_HASHED] != 0
        again = asked != 0 and m[e + CONTEXT] == m[R_CONTEXT] and same
        if interrupted or again or (on and m[e + CONTEXT] == 0):
            close(m, t, i, 0)


@inner("void(CPointer(i8), i8, i8, i8)")
def left_out(m: Any, task: int, lock: int, detailed: int) -> None:
    """Count an acquisition that has no room; its other event, plain or detailed, does not count again."""
    if m[task + T_LEFT_OUT] == mix(lock, ALONE - detailed):
        m[task + T_LEFT_OUT] = 0
        return
    m[task + T_LEFT_OUT] = mix(lock, detailed)
    m[task + T_DEEPER] += 1
    m[K_TOO_DEEP] += 1


@inner("i8(CPointer(i8), i8, i8, i8, i8, i8, i8, i8, i8, i8)")
def push(m: Any, t: int, cls: int, lock: int, how: int, check: int, nest: int, ip: int, marks: int, role: int) -> Any:
    """A new innermost entry, ``how`` = read | trylock << 2; return its index, -1 where the stack is full."""
    queue = is_queue(m, cls)
    drop_run_queues(m, t, lock if queue else np.int64(0))
    task = task_at(m, t)
    depth = m[task + T_DEPTH]
    if depth >= DEPTH - 1:
        left_out(m, task, lock, np.int64(marks & ALONE))
        return -1
    e = entry_at(m, t, depth)
    m[e + CLS], m[e + LOCK], m[e + READ], m[e + TRYLOCK], m[e + CHECK] = cls, lock, how & 3, how >> 2, check
    m[e + CONTEXT], m[e + NEST], m[e + IP], m[e + TS], m[e + SEQ] = m[R_CONTEXT], nest, ip, m[R_TS], m[R_SEQ]
    m[e + FLAGS], m[e + ACQUIRED], m[e + CPU], m[e + ROLE] = m[R_FLAGS], 0, m[R_CPU], role
    m[e + MARKS] = marks | (QUEUE if queue else 0) | depth << ASKED_DEPTH | (m[R_PREEMPT] & 0xFF) << ASKED_PREEMPT
    m[e + ALIAS], m[e + BEFORE] = lock, take_again(m, m[task + T_PID], lock)
    m[e + CONTENDED_AT] = 0
    m[task + T_DEPTH] = depth + 1
    m[task + T_QUEUES] += queue
    m[task + T_HALVES] += marks & HALF != 0
    rehash(m, t, depth)
    depth = count_level(m, t, depth)
    if role != 0:
        regard(m, t)
    return depth


@inner("void(CPointer(i8), i8, i8)")
def enter(m: Any, t: int, at: int) -> None:
    """An acquisition stands as its entry has it: count it, note the situation."""
    e = entry_at(m, t, at)
    if m[e + NEST] != 0 and not m[task_at(m, t) + T_WHOLE] and not m[e + MARKS] & STAND_IN:
        held = False
        for i in range(at):
            held = held or m[entry_at(m, t, i) + LOCK] == m[e + NEST]
        m[e + MARKS] |= 0 if held else UNNESTED
    c = class_at(m, m[e + CLS])
    m[c + C_COUNT] += 1
    m[c + C_READS] += m[e + READ] != 0
    m[c + C_TRIES] += m[e + TRYLOCK] != 0
    if at > 0 and held_back(m, t, at):
        return
    at = min(at, m[task_at(m, t) + T_DEPTH] - 1)  # it may be the only one left
    e = entry_at(m, t, at)
    if m[e + TRYLOCK]:
        got(m, t, at)
    emit_chain(m, t, at, m[e + FLAGS])


@inner("b1(CPointer(i8), i8)", always=True)
def comes_twice(m: Any, name: int) -> Any:
    """Whether the other event of an acquisition is to be waited for: not where those of this name have one alone."""
    return name_says(m, name, N_MISSED) <= name_says(m, name, N_JOINED)


@inner("void(CPointer(i8), i8, i8, i8)")
def completes(m: Any, t: int, at: int, joined: int) -> None:
    """Entry ``at`` is held from here on: its other event is there (``joined``), or will not come."""
    e = entry_at(m, t, at)
    name = m[class_at(m, m[e + CLS]) + C_NAME]
    if 0 <= name < m[NAMES - BASES + SIZES]:
        m[m[NAMES] + name * N_WIDTH + (N_JOINED if joined else N_MISSED)] += 1
    if m[e + MARKS] & HALF:
        m[e + MARKS] &= ~HALF
        m[task_at(m, t) + T_HALVES] -= 1
        rehash(m, t, at)


@inner("void(CPointer(i8), i8, i8)")
def settle(m: Any, t: int, low: int) -> None:
    """From entry ``low`` up, an acquisition of which one event came alone stands as that one told it: the task went on.

    Since 7.0 tracepoints leave preemption on (include/linux/tracepoint.h, guard(srcu_fast_notrace)): an interrupt, and
    another task, can come between the two events of one acquisition, so that no other lock's event says this.
    """
    task = task_at(m, t)
    i = low
    while m[task + T_HALVES] > 0 and i < m[task + T_DEPTH]:
        e, depth = entry_at(m, t, i), m[task + T_DEPTH]
        if m[e + MARKS] & HALF and m[e + CONTEXT] == m[R_CONTEXT]:
            completes(m, t, i, 0)
            enter(m, t, i)
        i = i + 1 if m[task + T_DEPTH] == depth else 0


@inner("i8(CPointer(i8), i8, i8)", always=True)
def known_class(m: Any, lock: int, name: int) -> Any:
    """The class with a key that was last seen at this address under this name, else the class of the name."""
    r = m[RECENTS] + 2 * (mix(lock, 3) & (RECENT - 1))
    if m[r] == lock and m[r + 1] > 0 and m[class_at(m, m[r + 1] - 1) + C_NAME] == name:
        return m[r + 1] - 1
    return class_of(m, name, 0, 0, BY_NAME)


@inner("void(CPointer(i8), i8, i8)")
def wounded(m: Any, t: int, ret: int) -> None:
    """contention_end with -EDEADLK: the innermost attempt under a ww context has to back off (ww-mutex-design.rst)."""
    if ret != EDEADLK:
        return
    i = m[task_at(m, t) + T_DEPTH] - 1
    while i >= 0:
        e = entry_at(m, t, i)
        if m[e + NEST] != 0 and not m[e + MARKS] & STAND_IN:
            m[task_at(m, t) + T_WOUND] = m[e + LOCK]
            m[task_at(m, t) + T_WOUND_NEST] = m[e + NEST]
            return
        i -= 1


@inner("void(CPointer(i8), i8, i8)", always=True)
def after_wound(m: Any, t: int, at: int) -> None:
    """The next acquisition of a wounded context must be of the lock it was wounded at, with all others dropped."""
    task, e = task_at(m, t), entry_at(m, t, at)
    nest = m[task + T_WOUND_NEST]
    if nest == 0 or m[e + NEST] != nest or m[e + TRYLOCK] or m[e + MARKS] & STAND_IN:
        return
    m[task + T_WOUND_NEST] = 0
    first = at
    for i in range(at):
        held = entry_at(m, t, i)
        if first == at and m[held + NEST] == nest and not m[held + MARKS] & STAND_IN:
            first = i
    if first < at or m[e + LOCK] != m[task + T_WOUND]:
        emit_odd(m, t, WW_ORDER, m[e + CLS], m[e + LOCK], 0, first, at)


@inner("b1(CPointer(i8), i8, i8, i8)")
def detailed_before(m: Any, t: int, lock: int, name: int) -> Any:
    """Whether the detail of this acquisition came before its plain event: so it is where that was enabled first."""
    for at in range(m[task_at(m, t) + T_DEPTH] - 1, -1, -1):
        e = entry_at(m, t, at)
        if not m[e + MARKS] & ALONE or m[e + CONTEXT] != m[R_CONTEXT]:
            continue
        detailed = m[class_at(m, m[e + CLS]) + C_NAME]
        if m[e + LOCK] != lock and not (m[O_HASHED] and (detailed == name or name_says(m, detailed, N_NONE))):
            continue
        m[K_DETAIL_FIRST] += 1
        m[e + MARKS] &= ~ALONE
        m[e + ALIAS] = lock
        half = m[e + MARKS] & HALF
        completes(m, t, at, 1)
        if half:
            after_wound(m, t, at)
            enter(m, t, at)
        return True
    return False


@inner("void(CPointer(i8), i8, i8, i8, i8, i8)")
def plain_acquire(m: Any, t: int, lock: int, name: int, how: int, ip: int) -> None:
    """lock:lock_acquire: the attempt, or a trylock's success. Read kind and check by what the name stands for."""
    if detailed_before(m, t, lock, name):
        return
    if m[K_PLAIN_FIRST] + m[K_DETAIL_FIRST] == 0:  # the kernel has the event of the detail, and it was not recorded
        settle(m, t, np.int64(0))
    read = 0
    if how & 2:
        read = 1
        rule = name_says(m, name, N_READ)
        if rule == READ_RECURSIVE or (rule == READ_RWLOCK and (m[R_FLAGS] & 0xD8 or m[O_RECURSIVE])):
            read = 2
    half = m[O_DETAILED] != 0 and comes_twice(m, name)
    at = push(
        m,
        t,
        known_class(m, lock, name),
        lock,
        read | (how & 1) << 2,
        name_says(m, name, N_CHECK),
        0,
        ip,
        (PENDING | HALF if half else PENDING) if m[O_DETAILED] else 0,
        name_says(m, name, N_ROLE),
    )
    if at >= 0 and not half:
        enter(m, t, at)


@inner("void(CPointer(i8), i8, CPointer(i8), i8)")
def detail(m: Any, t: int, slots: Any, first: int) -> None:
    """lockscope:lockdep_acquire: all of lock_acquire()'s arguments. Joins the plain event of the same acquisition."""
    lock, name, key = slots[first], slots[first + 1], slots[first + 8]
    nameless = name_says(m, name, N_NONE)  # the probe could not read it: the plain event has it
    if key == 0:
        key = lock  # a static lock never initialised is its own key (lockdep.c, register_lock_class)
    r = m[RECENTS] + 2 * (mix(lock, 3) & (RECENT - 1))
    cls = m[r + 1] - 1
    c = class_at(m, max(cls, 0))
    same = m[r] == lock and cls >= 0 and m[c + C_KEYED] == BY_KEY
    if not (same and m[c + C_NAME] == name and m[c + C_KEY] == key and m[c + C_SUBCLASS] == slots[first + 2]):
        cls = class_of(m, name, key, slots[first + 2], BY_KEY)
        c = class_at(m, cls)
        m[r], m[r + 1] = lock, cls + 1
        if slots[first + 10] == 3 and name_says(m, name, N_SLEEPS) == LOGS_ACQUIRED:
            m[O_SLEEP] = 3  # without CONFIG_PROVE_RAW_LOCK_NESTING wait types CONFIG and SPIN are one
    m[c + C_OUTER], m[c + C_INNER], m[c + C_TYPE] = slots[first + 9], slots[first + 10], slots[first + 11]
    check = 0 if slots[first + 5] == 0 or key == m[O_NOVALIDATE] else 1
    trylock, read = slots[first + 3] != 0, slots[first + 4] & 3
    nest = slots[first + 6]
    marks = STAND_IN if nest != 0 and 0 < lock - nest < NEXT_TO else 0
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
        cls = class_of(m, name, key, slots[first + 2], BY_KEY)
        c = class_at(m, cls)
        m[c + C_OUTER], m[c + C_INNER], m[c + C_TYPE] = slots[first + 9], slots[first + 10], slots[first + 11]
        m[r + 1] = cls + 1
    if at >= 0:
        e = entry_at(m, t, at)
        if not m[e + MARKS] & HALF:  # it was counted as the plain event told it
            of = class_at(m, m[e + CLS])
            m[of + C_COUNT] -= 1
            m[of + C_READS] -= m[e + READ] != 0
            m[of + C_TRIES] -= m[e + TRYLOCK] != 0
        m[K_PLAIN_FIRST] += 1
        m[e + LOCK] = lock  # text prints the plain event's address hashed: that stays as its alias
        m[e + CLS], m[e + READ], m[e + TRYLOCK], m[e + CHECK] = cls, read, trylock, check
        m[e + NEST], m[e + IP] = nest, slots[first + 7]
        m[e + MARKS] = m[e + MARKS] & ~PENDING | marks
        completes(m, t, at, 1)
        rehash(m, t, at)
        at = count_level(m, t, at)
    else:
        if m[K_DETAIL_FIRST] > m[K_PLAIN_FIRST] and comes_twice(m, name):
            marks |= HALF
        role = name_says(m, name, N_ROLE)
        at = push(m, t, cls, lock, read | trylock << 2, check, nest, slots[first + 7], ALONE | marks, role)
    if at >= 0 and not m[entry_at(m, t, at) + MARKS] & HALF:
        after_wound(m, t, at)
        enter(m, t, at)


@inner("i8(CPointer(i8), i8, i8)")
def index_of(m: Any, t: int, lock: int) -> Any:
    """The innermost entry of a lock, -1."""
    i = m[task_at(m, t) + T_DEPTH] - 1
    while i >= 0 and m[entry_at(m, t, i) + LOCK] != lock and m[entry_at(m, t, i) + ALIAS] != lock:
        i -= 1
    return i


@inner("b1(CPointer(i8), i8)")
def gives_up(m: Any, e: int) -> Any:
    """Whether a release of entry ``e`` would be that of an attempt that failed (interruptible, killable, ww_mutex): a
    lock that sleeps, of which lock_acquired was not seen though the trace has it."""
    c = class_at(m, m[e + CLS])
    if m[e + ACQUIRED] != 0 or m[e + TRYLOCK] != 0 or m[K_GOT] == 0:
        return False
    if m[c + C_GOT] == 0 and name_says(m, m[c + C_NAME], N_SLEEPS) != LOGS_ACQUIRED:
        return False
    return sleeps(m, m[e + CLS]) != 0


@inner("b1(CPointer(i8), i8, i8)")
def gave_up(m: Any, t: int, i: int) -> Any:
    """Whether a release is that of an attempt that failed. If the task already held the lock, that was no recursion."""
    e = entry_at(m, t, i)
    if not gives_up(m, e):
        return False
    for j in range(i):
        if m[entry_at(m, t, j) + LOCK] == m[e + LOCK]:
            emit_odd(m, t, GAVE_UP, m[e + CLS], m[e + LOCK], 0, j, j + 1)
            break
    return True


@inner("b1(CPointer(i8), i8)")
def in_another_context(m: Any, e: int) -> Any:
    """Whether an interrupt releases what the task below it holds: lockdep looks no further than its own context
    (find_held_lock(), kernel/locking/lockdep.c). Softirqs that are only taken for such are no context of their own."""
    above = m[e + CONTEXT] < m[R_CONTEXT] and m[R_CONTEXT] < 3
    return above and m[O_SOFTIRQ] == 0 and m[O_CONTEXTS] != 0


@inner("void(CPointer(i8), i8, i8)")
def nested_under(m: Any, t: int, i: int) -> None:
    """Entry ``i`` is released. If its nest lock was not seen to be held, it either was not or was taken before the
    recording began; then the task releases it later (``deny_nest``)."""
    e, task = entry_at(m, t, i), task_at(m, t)
    if m[e + MARKS] & UNNESTED and m[O_WINDOW] < 0 and not gives_up(m, e):
        n = emit_odd(m, t, NEST_NOT_HELD, m[e + CLS], m[e + LOCK], m[e + NEST], i, i + 1)
        m[task + T_NEST], m[task + T_NEST_ODD] = (m[e + NEST], n + 1) if n >= 0 else (np.int64(0), np.int64(0))


@inner("void(CPointer(i8), i8, i8, i8)")
def release(m: Any, t: int, lock: int, name: int) -> None:
    """A release: ends the innermost hold of the lock, or is odd. ``name`` -1: not known; -2 - N: N, by its place."""
    i = index_of(m, t, lock)
    m[K_RELEASES] += 1
    if m[task_at(m, t) + T_WOUND_NEST] == lock:
        m[task_at(m, t) + T_WOUND_NEST] = 0  # the context ends
    if i >= 0 and m[task_at(m, t) + T_HALVES] > 0:
        settle(m, t, i)
        i = index_of(m, t, lock)
    if i >= 0 and name >= 0 and in_another_context(m, entry_at(m, t, i)):
        emit_odd(m, t, RELEASE_NOT_HELD, m[entry_at(m, t, i) + CLS], lock, 1, 0, m[task_at(m, t) + T_DEPTH])
        close(m, t, i, CUT)
        return
    if i >= 0:
        nested_under(m, t, i)
        seen_enabled(m, t, i, m[R_FLAGS])
        close(m, t, i, NEVER_HELD if gave_up(m, t, i) else KNOWN)
        if m[task_at(m, t) + T_DEPTH] == 0:
            sure(m, t)
        # What lay above is judged anew without it, as lockdep does (reacquire_held_locks).
        for j in range(i, m[task_at(m, t) + T_DEPTH]):
            if not m[entry_at(m, t, j) + MARKS] & (HALF | AGAIN):
                emit_chain(m, t, j, m[entry_at(m, t, j) + FLAGS])
        return
    if name_says(m, name, N_RQ) or name_says(m, name, N_TRACING):
        return  # the next task releases the run queue that the last one locked; tracing began before its own event
    task = task_at(m, t)
    if m[task + T_NEST] == lock:
        deny_nest(m, t)
    if m[task + T_DEEPER] > 0:
        m[task + T_DEEPER] -= 1  # one of those that were left out
        return
    m[K_UNPAIRED] += 1
    released_by_other(m, lock)
    if name >= 0:
        cls = known_class(m, lock, name)
    elif name == -1:
        cls = class_of(m, -2, lock, 0, BY_ADDRESS)
    else:
        cls = class_of(m, -2 - name, 0, 0, BY_PLACE)
    if m[O_HOLDS]:
        row = hold_at(m)
        m[row], m[row + 1], m[row + 2], m[row + 3], m[row + 4] = cls, lock, m[task + T_PID], m[R_CPU], m[R_CPU]
        m[row + 5], m[row + 6], m[row + 7], m[row + 8], m[row + 9] = m[R_TS], 0, m[R_TS], 0, m[R_CONTEXT] << 3
        m[row + 10], m[row + 11], m[row + 12], m[row + 13] = 0, m[R_SEQ], 2, 0
    # Probed functions are seldom all of a lock's functions: it may have been taken by one that was not probed.
    told = m[task + T_WHOLE] == WHOLE or (m[task + T_WHOLE] == WHOLE_SO_FAR and was_taken(m, m[task + T_PID], lock))
    if name >= 0 and told and not m[task + T_MUTE]:
        n = emit_odd(m, t, RELEASE_NOT_HELD, cls, lock, 0, 0, m[task + T_DEPTH])
        # Were it held, it would still take a preemption level here.
        if n >= 0 and spins(m, cls) and m[R_COUNTS] and level(m) == m[task + T_SPINS]:
            m[m[ODD] + n * ODD_WIDTH + ODD_PROVED] = 1


@inner("void(CPointer(i8), i8)")
def waited(m: Any, e: int) -> None:
    """The wait of an entry ends at the present row."""
    wait = max(m[R_TS] - m[e + TS], np.int64(0))
    if m[e + CONTENDED_AT] != 0 and m[e + ACQUIRED] == 0:
        waits_for(m, m[e + LOCK], -1)
    m[e + ACQUIRED] = m[R_TS]
    c = class_at(m, m[e + CLS])
    m[c + C_GOT] += 1
    m[K_GOT] += 1
    m[c + C_WAIT] += wait
    m[c + C_WAIT_MAX] = max(m[c + C_WAIT_MAX], wait)


@outer("void(i8[::1], i8)")
def stand(memory: Any, t: int) -> None:
    """The trace is over: what the task still waits for, it waits for in vain. R_TS is the trace's end."""
    m = pointer(memory)
    i = np.int64(0)
    while i < m[task_at(m, t) + T_DEPTH]:  # what is entered may be the only one left (``keep_only``)
        if m[entry_at(m, t, i) + MARKS] & HALF:
            completes(m, t, i, 0)
            enter(m, t, i)
        i += 1
    at = again_at(m, t)
    recursion = at >= 0
    if recursion:
        m[entry_at(m, t, at) + MARKS] &= ~AGAIN
    else:
        at = m[task_at(m, t) + T_DEPTH] - 1
        while at >= 0 and m[entry_at(m, t, at) + CONTEXT] != 0:
            at -= 1
    if at < 0:
        return
    e = entry_at(m, t, at)
    waits = m[e + ACQUIRED] == 0 and not m[e + TRYLOCK] and m[class_at(m, m[e + CLS]) + C_GOT] > 0
    if not (recursion or waits):
        return
    o = owner_at(m, m[e + LOCK])
    elsewhere = recursion and m[o] == m[e + LOCK] and m[o + 1] != t + 1
    c = emit_chain(m, t, at, m[e + FLAGS])
    if c < 0:
        return
    row = m[CHAINS] + c * CHAIN_WIDTH
    m[row + 1] -= not recursion  # it was counted when it was asked for
    if m[task_at(m, t) + T_WHOLE] and not elsewhere and m[R_TS] - m[e + TS] >= SETTLED:
        m[row + 6] = 1
