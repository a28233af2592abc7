"""Follow every task's held locks through the tape: one pass, one row at a time, everything else is aggregated.

The situation at each acquisition (held locks, context, irq flags) is hashed; a situation seen before costs one look-up,
a new one is written out as a chain (``reconstruct.chains``). This is lockdep's own trick (its chain cache), so the
judging behind it sees each distinct chain once.

All state lives in one int64 array ``m``: a head of counters, options and the row at hand, then the regions of
``REGIONS``, each found by its base in the head. One array, no views, no tuples: numba compiles this in a few seconds
and runs it at some tens of nanoseconds a row; as a tuple of arrays it took half a minute and a microsecond.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

DEPTH = 64  # lockdep stops at 48 (MAX_LOCK_DEPTH); deeper acquisitions are counted and left out
FN_DEPTH = 16
# An entry of a task's stack; the first eleven are those of ``chains.Entry``.
(CLS, LOCK, READ, TRYLOCK, CHECK, CONTEXT, NEST, IP, TS, SEQ, FLAGS, ACQUIRED, CPU, HASH, MARKS, ROLE) = range(16)
ENTRY, WIDTH = 11, 16
PENDING, CONTENDED, IRQS_SEEN_ON, BH_SEEN_ON = 1, 2, 4, 8  # MARKS
# A task: locks held, CPU last seen on, held set whole, probed functions entered, pid, quiet about releases after a leak.
T_DEPTH, T_CPU, T_WHOLE, T_FN, T_PID, T_MUTE, T_WIDTH = range(7)
# A class: text number of its name, key, subclass, how it is known, wait types, lock type, then counters.
(C_NAME, C_KEY, C_SUBCLASS, C_KEYED, C_INNER, C_OUTER, C_TYPE, C_COUNT, C_READS, C_TRIES, C_CONTENDED, C_WAIT, C_WAIT_MAX,
 C_HOLD, C_HOLD_MAX, C_HOLDS) = range(16)  # fmt: skip
C_WIDTH = 16
BY_NAME, BY_KEY, BY_ADDRESS = range(3)  # C_KEYED
# What is known of a name: role, read rule, check, spins, is a run queue's lock.
N_ROLE, N_READ, N_CHECK, N_SPINS, N_RQ, N_WIDTH = range(6)
READ_PLAIN, READ_RECURSIVE, READ_RWLOCK = 0, 1, 2  # what "read" in lock:lock_acquire means for a kind of lock
CHAIN_WIDTH, ODD_WIDTH, HOLD_WIDTH, FN_WIDTH = 8, 14, 13, 4
RELEASE_NOT_HELD, HELD_AT_USER, HELD_AT_EXIT, SWITCHED_ATOMIC, INIT_HELD, FREED_HELD, IRQS_ON_HELD = range(7)
ROLES, MODE, SRCU_DEPTH, MMU_LOCK, SRCU = 18, 16, 17, 1, 2
RECENT = 1 << 16

# The head of ``m``: counters, options, the row at hand, bases and sizes of regions.
K_TASKS, K_CLASSES, K_CHAINS, K_ROWS, K_ODD, K_ODD_ROWS, K_TOO_DEEP, K_UNPAIRED, K_HOLDS, K_LOSSES = range(10)
(O_DETAILED, O_WINDOW, O_SOFTIRQ, O_RT, O_NOVALIDATE, O_FLAGS, O_HOLDS, O_RECURSIVE, O_HASHED, O_JUDGE, O_HELD) = range(16, 27)  # fmt: skip
R_TS, R_SEQ, R_FLAGS, R_CPU, R_PREEMPT, R_CONTEXT = range(32, 38)
BASES, SIZES, HEAD = 48, 72, 96
REGIONS = ("task_keys", "task_table", "tasks", "stacks", "functions", "held", "running", "class_keys", "class_table",
           "classes", "recent", "names", "chain_keys", "chain_table", "chains", "rows", "odd_keys", "odd_table", "odd",
           "odd_rows", "holds")  # fmt: skip
(TASK_KEYS, TASK_TABLE, TASKS, STACKS, FUNCTIONS, HELD, RUNNING, CLASS_KEYS, CLASS_TABLE, CLASSES, RECENTS, NAMES,
 CHAIN_KEYS, CHAIN_TABLE, CHAINS, ROWS, ODD_KEYS, ODD_TABLE, ODD, ODD_ROWS, HOLDS) = range(BASES, BASES + 21)  # fmt: skip
WIDTHS = (1, 1, T_WIDTH, DEPTH * WIDTH, FN_DEPTH * FN_WIDTH, ROLES, 1, 1, 1, C_WIDTH, 2, N_WIDTH, 1, 1, CHAIN_WIDTH, ENTRY,
          1, 1, ODD_WIDTH, ENTRY, HOLD_WIDTH)  # fmt: skip

(LOSS, ACQUIRE, DETAIL, ACQUIRED_OP, CONTENDED_OP, RELEASE, INIT) = range(1, 8)
FN_ENTRY, FN_RETURN, FN_UNLOCK, SWITCH, SYS_EXIT, TASK_EXIT, IRQS_ON, FREE = 10, 11, 12, 16, 18, 19, 24, 29


def _inner(signature: str) -> Any:
    """A function that only other compiled ones call. One signature: numba would else compile it anew for each literal
    argument; no wrappers for Python: they cost more to compile than the function."""
    return njit(signature, nogil=True, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)


@_inner("i8(i8, i8)")
def mix(h: int, v: int) -> Any:
    """Fold a value into a hash."""
    h = (h ^ v) * np.int64(-7046029254386353131)
    return h ^ (h >> 29)


@njit("i8(i8[::1], i8, i8, i8, i8)", nogil=True, cache=True)
def find(m: Any, keys: int, table: int, size: int, key: int) -> Any:
    """The slot of a key in an open-addressing table (number + 1, 0 = empty), or the empty slot where it belongs."""
    mask = size - 1
    slot = (key ^ (key >> 32)) & mask
    while m[table + slot] != 0 and m[keys + slot] != key:
        slot = (slot + 1) & mask
    return slot


@_inner("i8(i8[::1], i8, i8, i8, i8)")
def number_of(m: Any, keys_at: int, table_at: int, count_at: int, key: int) -> Any:
    """The number of a key; a new one is given the next number, and is returned as -1 - number."""
    keys, table = m[keys_at], m[table_at]
    slot = find(m, keys, table, m[table_at - BASES + SIZES], key)
    known = m[table + slot]
    if known != 0:
        return known - 1
    n = m[count_at]
    m[count_at] = n + 1
    m[keys + slot] = key
    m[table + slot] = n + 1
    return -1 - n


@_inner("i8(i8, i8)")
def context_of(flags: int, fake_softirq: int) -> Any:
    """0 task, 1 softirq, 2 hardirq, 3 NMI, from common_flags."""
    if flags & 0x40:
        return 3
    if flags & 0x08:
        return 2
    if flags & 0x10 or (fake_softirq and flags & 0x81 == 0x81):
        return 1
    return 0


@_inner("i8(i8[::1], i8)")
def task_at(m: Any, t: int) -> Any:
    """Where task ``t`` begins."""
    return m[TASKS] + t * T_WIDTH


@_inner("i8(i8[::1], i8, i8)")
def entry_at(m: Any, t: int, i: int) -> Any:
    """Where entry ``i`` of a task's stack begins."""
    return m[STACKS] + (t * DEPTH + i) * WIDTH


@_inner("i8(i8[::1], i8)")
def class_at(m: Any, c: int) -> Any:
    """Where class ``c`` begins."""
    return m[CLASSES] + c * C_WIDTH


@_inner("i8(i8[::1], i8, i8)")
def name_says(m: Any, name: int, what: int) -> Any:
    """What is known of a name; nothing (0) of a lock without one."""
    return m[m[NAMES] + name * N_WIDTH + what] if name >= 0 else np.int64(0)


@_inner("i8(i8[::1], i8, i8)")
def task_of(m: Any, pid: int, cpu: int) -> Any:
    """The task's number; the idle task is another one on each CPU."""
    t = number_of(m, TASK_KEYS, TASK_TABLE, K_TASKS, mix(pid if pid != 0 else -1 - cpu, 77))
    if t < 0:
        t = -1 - t
        a = task_at(m, t)
        for i in range(T_WIDTH):
            m[a + i] = 0
        m[a + T_PID] = pid
    return t


@_inner("i8(i8[::1], i8, i8, i8, i8)")
def class_of(m: Any, name: int, key: int, subclass: int, keyed: int) -> Any:
    """The class of (key, subclass), or of a name where no key is known. With a key the name counts too: a key in module
    memory or on a stack is used again by another lock."""
    c = number_of(m, CLASS_KEYS, CLASS_TABLE, K_CLASSES, mix(mix(mix(keyed + 1, key), subclass), name))
    if c < 0:
        c = -1 - c
        a = class_at(m, c)
        for i in range(C_WIDTH):
            m[a + i] = 0
        m[a + C_NAME], m[a + C_KEY], m[a + C_SUBCLASS], m[a + C_KEYED] = name, key, subclass, keyed
    return c


@_inner("void(i8[::1], i8, i8)")
def rehash(m: Any, t: int, begin: int) -> None:
    """The hash of each stack up to and including an entry, from entry ``begin`` on."""
    for i in range(begin, m[task_at(m, t) + T_DEPTH]):
        e = entry_at(m, t, i)
        h = mix(m[e - WIDTH + HASH] if i > 0 else np.int64(0), m[e + CLS])
        nested = 64 if m[e + NEST] != 0 else 0
        h = mix(h, m[e + READ] | m[e + TRYLOCK] << 2 | m[e + CHECK] << 3 | m[e + CONTEXT] << 4 | nested)
        if m[e + ROLE] != 0:  # a KVM lock: which VM's matters
            h = mix(h, m[e + LOCK])
        m[e + HASH] = h


@_inner("void(i8[::1], i8)")
def regard(m: Any, t: int) -> None:
    """Which KVM locks the task holds: outermost instance by role, mmu_lock's mode, srcu sections."""
    held = m[HELD] + t * ROLES
    for i in range(ROLES):
        m[held + i] = 0
    for i in range(m[task_at(m, t) + T_DEPTH]):
        e = entry_at(m, t, i)
        role = m[e + ROLE]
        if role == 0:
            continue
        if m[held + role] == 0:
            m[held + role] = m[e + LOCK]
        if role == MMU_LOCK:
            m[held + MODE] = max(m[held + MODE], 1 if m[e + READ] else 2)
        elif role == SRCU:
            m[held + SRCU_DEPTH] += 1


@_inner("void(i8[::1], i8, i8, i8)")
def emit_chain(m: Any, t: int, at: int, flags: int) -> None:
    """Note the situation in which entry ``at`` was asked for."""
    if not m[O_JUDGE]:
        return
    e = entry_at(m, t, at)
    lock, nest = m[e + LOCK], m[e + NEST]
    again = 0
    for i in range(at):
        other = m[entry_at(m, t, i) + LOCK]
        if other == lock:
            again |= 1
        if nest != 0 and other == nest:
            again |= 2
    h = mix(mix(m[e + HASH], (flags & 0xD9) | again << 8), m[O_WINDOW])
    c = number_of(m, CHAIN_KEYS, CHAIN_TABLE, K_CHAINS, h)
    task = task_at(m, t)
    if c >= 0:
        row = m[CHAINS] + c * CHAIN_WIDTH
        m[row + 1] += 1
        m[row + 6] |= m[task + T_WHOLE]
        return
    first = m[K_ROWS]
    for i in range(at + 1):
        e, to = entry_at(m, t, i), m[ROWS] + (first + i) * ENTRY
        for k in range(ENTRY):
            m[to + k] = m[e + k]
    m[m[ROWS] + (first + at) * ENTRY + FLAGS] = flags
    m[K_ROWS] = first + at + 1
    row = m[CHAINS] + (-1 - c) * CHAIN_WIDTH
    m[row], m[row + 1], m[row + 2], m[row + 3] = first, 1, m[R_CPU], m[task + T_PID]
    m[row + 4], m[row + 5], m[row + 6], m[row + 7] = m[R_PREEMPT], m[O_WINDOW], m[task + T_WHOLE], at + 1


@_inner("void(i8[::1], i8, i8, i8, i8, i8, i8, i8)")
def emit_odd(m: Any, t: int, what: int, cls: int, lock: int, detail: int, low: int, high: int) -> None:
    """Note an oddity with entries ``low`` to ``high`` of what the task holds; the same again is counted."""
    if not m[O_JUDGE]:
        return
    h = mix(mix(what + 101, cls), m[O_WINDOW])
    if what == IRQS_ON_HELD:
        h = mix(mix(h, m[R_FLAGS] & 0xD9), m[entry_at(m, t, low) + READ])
    elif high > 0:
        h = mix(h, m[entry_at(m, t, high - 1) + HASH])
    n = number_of(m, ODD_KEYS, ODD_TABLE, K_ODD, h)
    if n >= 0:
        m[m[ODD] + n * ODD_WIDTH + 10] += 1
        return
    first = m[K_ODD_ROWS]
    for i in range(low, high):
        e, to = entry_at(m, t, i), m[ODD_ROWS] + (first + i - low) * ENTRY
        for k in range(ENTRY):
            m[to + k] = m[e + k]
    m[K_ODD_ROWS] = first + high - low
    row = m[ODD] + (-1 - n) * ODD_WIDTH
    m[row], m[row + 1], m[row + 2], m[row + 3], m[row + 4] = what, m[R_TS], m[R_SEQ], m[R_CPU], m[task_at(m, t) + T_PID]
    m[row + 5], m[row + 6], m[row + 7], m[row + 8], m[row + 9] = m[R_FLAGS], m[R_PREEMPT], cls, lock, first
    m[row + 10], m[row + 11], m[row + 12], m[row + 13] = 1, m[O_WINDOW], detail, high - low


@_inner("void(i8[::1], i8, i8, i8)")
def close(m: Any, t: int, i: int, known: int) -> None:
    """Take entry ``i`` off a task's stack: its hold ends here, or was cut (``known`` 0)."""
    e, task = entry_at(m, t, i), task_at(m, t)
    ts = m[R_TS]
    if m[O_HOLDS]:
        row = m[HOLDS] + m[K_HOLDS] * HOLD_WIDTH
        m[K_HOLDS] += 1
        mode = m[e + READ] | m[e + TRYLOCK] << 2 | m[e + CONTEXT] << 3 | (32 if m[e + MARKS] & CONTENDED else 0)
        m[row], m[row + 1], m[row + 2], m[row + 3], m[row + 4] = m[e + CLS], m[e + LOCK], m[task + T_PID], m[e + CPU], m[R_CPU]
        m[row + 5], m[row + 6], m[row + 7], m[row + 8], m[row + 9] = m[e + TS], m[e + ACQUIRED], ts, i, mode
        m[row + 10], m[row + 11], m[row + 12] = m[e + IP], m[e + SEQ], 1 | known << 1
    if known:
        c = class_at(m, m[e + CLS])
        lasted = ts - max(m[e + ACQUIRED], m[e + TS])
        m[c + C_HOLDS] += 1
        m[c + C_HOLD] += lasted
        m[c + C_HOLD_MAX] = max(m[c + C_HOLD_MAX], lasted)
    role = m[e + ROLE]
    depth = m[task + T_DEPTH] - 1
    for k in range(e, entry_at(m, t, depth)):
        m[k] = m[k + WIDTH]
    m[task + T_DEPTH] = depth
    rehash(m, t, i)
    if role != 0:
        regard(m, t)


@njit("void(i8[::1], i8)", nogil=True, cache=True)
def forget(m: Any, t: int) -> None:
    """What a task holds is no longer known."""
    task = task_at(m, t)
    while m[task + T_DEPTH] > 0:
        m[K_UNPAIRED] += 1
        close(m, t, m[task + T_DEPTH] - 1, 0)
    m[task + T_WHOLE] = 0
    m[task + T_FN] = 0


@_inner("void(i8[::1])")
def lose(m: Any) -> None:
    """Events of a CPU are missing: forget every task that may have run there, all but those running on another CPU."""
    m[K_LOSSES] += 1
    for t in range(m[K_TASKS]):
        task = task_at(m, t)
        on = m[task + T_CPU]
        if on == m[R_CPU] or not (m[m[RUNNING] + on] == t + 1 or m[task + T_PID] == 0):
            forget(m, t)


@njit("void(i8[::1], i8, i8)", nogil=True, cache=True)
def reset(m: Any, ts: int, whole: int) -> None:
    """Begin or end a judged window: nobody holds anything."""
    m[R_TS] = ts
    for t in range(m[K_TASKS]):
        forget(m, t)
        m[task_at(m, t) + T_WHOLE] = whole
        m[task_at(m, t) + T_MUTE] = 0


@_inner("void(i8[::1], i8, i8, i8)")
def seen_enabled(m: Any, t: int, at: int, flags: int) -> None:
    """An event under a hold with interrupts enabled proves that they can come while it lasts: note it once a hold."""
    if at < 0 or not m[O_FLAGS]:
        return
    e = entry_at(m, t, at)
    if m[e + CONTEXT] != m[R_CONTEXT] or flags & 1 or m[e + MARKS] & PENDING:
        return
    fresh = IRQS_SEEN_ON if flags & 0x90 else IRQS_SEEN_ON | BH_SEEN_ON
    if fresh & ~m[e + MARKS] == 0:
        return
    m[e + MARKS] |= fresh
    was = m[e + FLAGS]  # what was on already when the lock was asked for, its chain says
    if was & 1 == 0 and (was & 0x90 == 0 or not fresh & BH_SEEN_ON):
        return
    emit_odd(m, t, IRQS_ON_HELD, m[e + CLS], m[e + LOCK], 0, at, at + 1)


@_inner("i8(i8[::1], i8, i8, i8, i8, i8, i8, i8, i8, i8)")
def push(m: Any, t: int, cls: int, lock: int, how: int, check: int, nest: int, ip: int, marks: int, role: int) -> Any:
    """A new innermost entry, ``how`` = read | trylock << 2; return its index, -1 where the stack is full."""
    task = task_at(m, t)
    depth = m[task + T_DEPTH]
    if depth >= DEPTH - 1:
        m[K_TOO_DEEP] += 1
        return -1
    e = entry_at(m, t, depth)
    m[e + CLS], m[e + LOCK], m[e + READ], m[e + TRYLOCK], m[e + CHECK] = cls, lock, how & 3, how >> 2, check
    m[e + CONTEXT], m[e + NEST], m[e + IP], m[e + TS], m[e + SEQ] = m[R_CONTEXT], nest, ip, m[R_TS], m[R_SEQ]
    m[e + FLAGS], m[e + ACQUIRED], m[e + CPU], m[e + MARKS], m[e + ROLE] = m[R_FLAGS], 0, m[R_CPU], marks, role
    m[task + T_DEPTH] = depth + 1
    rehash(m, t, depth)
    if role != 0:
        regard(m, t)
    return depth


@_inner("void(i8[::1], i8, i8)")
def enter(m: Any, t: int, at: int) -> None:
    """An acquisition stands as its entry has it: count it, note the situation."""
    e = entry_at(m, t, at)
    c = class_at(m, m[e + CLS])
    m[c + C_COUNT] += 1
    m[c + C_READS] += m[e + READ] != 0
    m[c + C_TRIES] += m[e + TRYLOCK] != 0
    emit_chain(m, t, at, m[e + FLAGS])


@_inner("void(i8[::1], i8)")
def settle(m: Any, t: int) -> None:
    """An acquisition whose detail never came stands as the plain event told it."""
    depth = m[task_at(m, t) + T_DEPTH]
    if depth == 0:
        return
    e = entry_at(m, t, depth - 1)
    if m[e + MARKS] & PENDING and m[e + CONTEXT] == m[R_CONTEXT]:
        m[e + MARKS] &= ~PENDING
        enter(m, t, depth - 1)


@_inner("i8(i8[::1], i8, i8)")
def known_class(m: Any, lock: int, name: int) -> Any:
    """The keyed class that was last seen at this address under this name, else the class of the name."""
    r = m[RECENTS] + 2 * (mix(lock, 3) & (RECENT - 1))
    if m[r] == lock and m[r + 1] > 0 and m[class_at(m, m[r + 1] - 1) + C_NAME] == name:
        return m[r + 1] - 1
    return class_of(m, name, 0, 0, BY_NAME)


@_inner("void(i8[::1], i8, i8, i8, i8)")
def plain_acquire(m: Any, t: int, lock: int, name: int, how: int) -> None:
    """lock:lock_acquire: the attempt, or a trylock's success. Read kind and check by what the name stands for."""
    read = 0
    if how & 2:
        read = 1
        rule = name_says(m, name, N_READ)
        if rule == READ_RECURSIVE or (rule == READ_RWLOCK and (m[R_FLAGS] & 0xD8 or m[O_RECURSIVE])):
            read = 2
    detailed = m[O_DETAILED]
    cls = known_class(m, lock, name) if detailed else class_of(m, name, 0, 0, BY_NAME)
    at = push(m, t, cls, lock, read | (how & 1) << 2, name_says(m, name, N_CHECK), 0, 0, PENDING if detailed else 0,
              name_says(m, name, N_ROLE))  # fmt: skip
    if at >= 0 and not detailed:
        enter(m, t, at)


@_inner("void(i8[::1], i8, i8[:,::1], i8)")
def detail(m: Any, t: int, slots: Any, row: int) -> None:
    """lockscope:lockdep_acquire: all of lock_acquire()'s arguments. Joins the plain event of the same acquisition."""
    lock, name, key = slots[row, 0], slots[row, 1], slots[row, 8]
    if key == 0:
        key = lock  # a static lock never initialised is its own key (lockdep.c, register_lock_class)
    cls = class_of(m, name, key, slots[row, 2], BY_KEY)
    c = class_at(m, cls)
    m[c + C_OUTER], m[c + C_INNER], m[c + C_TYPE] = slots[row, 9], slots[row, 10], slots[row, 11]
    r = m[RECENTS] + 2 * (mix(lock, 3) & (RECENT - 1))
    m[r], m[r + 1] = lock, cls + 1
    check = 0 if slots[row, 5] == 0 or key == m[O_NOVALIDATE] else 1
    trylock, read = slots[row, 3] != 0, slots[row, 4] & 3
    at = m[task_at(m, t) + T_DEPTH] - 1
    while at >= 0:
        e = entry_at(m, t, at)
        if m[e + MARKS] & PENDING:
            if m[e + LOCK] == lock or (m[O_HASHED] and m[class_at(m, m[e + CLS]) + C_NAME] == name):
                break
        at -= 1
    if at >= 0:
        e = entry_at(m, t, at)
        m[e + CLS], m[e + READ], m[e + TRYLOCK], m[e + CHECK] = cls, read, trylock, check
        m[e + NEST], m[e + IP] = slots[row, 6], slots[row, 7]
        m[e + MARKS] &= ~PENDING
        rehash(m, t, at)
    else:
        at = push(m, t, cls, lock, read | trylock << 2, check, slots[row, 6], slots[row, 7], 0, name_says(m, name, N_ROLE))
    if at >= 0:
        enter(m, t, at)


@_inner("i8(i8[::1], i8, i8)")
def index_of(m: Any, t: int, lock: int) -> Any:
    """The innermost entry of a lock, -1."""
    i = m[task_at(m, t) + T_DEPTH] - 1
    while i >= 0 and m[entry_at(m, t, i) + LOCK] != lock:
        i -= 1
    return i


@_inner("void(i8[::1], i8, i8, i8)")
def release(m: Any, t: int, lock: int, name: int) -> None:
    """A release: ends the innermost hold of the lock, or is odd. ``name`` -1: not known."""
    i = index_of(m, t, lock)
    if i >= 0:
        seen_enabled(m, t, i, m[R_FLAGS])
        close(m, t, i, 1)
        return
    if name_says(m, name, N_RQ):
        return  # the next task releases the run queue that the last one locked
    m[K_UNPAIRED] += 1
    cls = known_class(m, lock, name) if name >= 0 else class_of(m, -2, lock, 0, BY_ADDRESS)
    task = task_at(m, t)
    if m[O_HOLDS]:
        row = m[HOLDS] + m[K_HOLDS] * HOLD_WIDTH
        m[K_HOLDS] += 1
        m[row], m[row + 1], m[row + 2], m[row + 3], m[row + 4] = cls, lock, m[task + T_PID], m[R_CPU], m[R_CPU]
        m[row + 5], m[row + 6], m[row + 7], m[row + 8], m[row + 9] = m[R_TS], 0, m[R_TS], 0, 0
        m[row + 10], m[row + 11], m[row + 12] = 0, m[R_SEQ], 2
    if m[task + T_WHOLE] and not m[task + T_MUTE]:
        emit_odd(m, t, RELEASE_NOT_HELD, cls, lock, 0, 0, m[task + T_DEPTH])


@_inner("void(i8[::1], i8)")
def waited(m: Any, e: int) -> None:
    """The wait of an entry ends at the present row."""
    wait = m[R_TS] - m[e + TS]
    m[e + ACQUIRED] = m[R_TS]
    c = class_at(m, m[e + CLS])
    m[c + C_WAIT] += wait
    m[c + C_WAIT_MAX] = max(m[c + C_WAIT_MAX], wait)


@_inner("void(i8[::1], i8, i8)")
def switch(m: Any, t: int, prev_state: int) -> None:
    """The task is switched out: run queues change hands here; any other spinning lock it holds is odd."""
    i = m[task_at(m, t) + T_DEPTH] - 1
    spins = np.int64(-1)
    while i >= 0:
        e = entry_at(m, t, i)
        c = class_at(m, m[e + CLS])
        name = m[c + C_NAME]
        if name_says(m, name, N_RQ):
            close(m, t, i, 1)
        elif m[e + CONTEXT] == 0 and not m[e + MARKS] & PENDING:
            if m[c + C_KEYED] == BY_KEY:
                # An RCU read section has an inner wait type too, and an outer one: switching out in it is legal.
                if (m[c + C_INNER] == 2 or m[c + C_INNER] == 3) and m[c + C_OUTER] == 0:
                    spins = m[e + CLS]
            elif name_says(m, name, N_SPINS):
                spins = m[e + CLS]
        i -= 1
    if spins >= 0 and not m[O_RT]:
        emit_odd(m, t, SWITCHED_ATOMIC, spins, 0, prev_state, 0, m[task_at(m, t) + T_DEPTH])


@_inner("void(i8[::1], i8, i8, i8)")
def to_user(m: Any, t: int, what: int, number: int) -> None:
    """Return to user space or the task's end: it must hold nothing, and from here on its held set is whole."""
    task = task_at(m, t)
    left = 0
    for i in range(m[task + T_DEPTH]):
        left += m[entry_at(m, t, i) + CONTEXT] == 0
    if left > 0:
        depth = m[task + T_DEPTH]
        emit_odd(m, t, what, m[entry_at(m, t, depth - 1) + CLS], 0, number, 0, depth)
        forget(m, t)
    m[task + T_WHOLE] = 1
    m[task + T_MUTE] = left > 0


@_inner("void(i8[::1], i8, i8, i8[:,::1], i8, i8[:,::1])")
def function_row(m: Any, t: int, op: int, slots: Any, row: int, kinds: Any) -> None:
    """Probed lock functions of a stock kernel. ``kinds`` by function text: [1 exclusive, 2 read, +4 trylock, +8 may fail;
    text of its return event]."""
    task = task_at(m, t)
    f = m[task + T_FN]
    base = m[FUNCTIONS] + t * FN_DEPTH * FN_WIDTH
    if op == FN_ENTRY:
        if f < FN_DEPTH:
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


@_inner("b1(i8[::1])")
def room(m: Any) -> bool:
    """Whether every region can take what one row may add."""
    for k, region, table, spare in (
        (K_TASKS, TASKS, TASK_TABLE, 2), (K_CLASSES, CLASSES, CLASS_TABLE, 4), (K_CHAINS, CHAINS, CHAIN_TABLE, 4),
        (K_ODD, ODD, ODD_TABLE, 4), (K_ROWS, ROWS, 0, 3 * DEPTH), (K_ODD_ROWS, ODD_ROWS, 0, 4 * DEPTH),
    ):  # fmt: skip
        if m[k] + spare > m[region - BASES + SIZES] or (table and 2 * (m[k] + spare) > m[table - BASES + SIZES]):
            return False
    return not m[O_HOLDS] or m[K_HOLDS] + DEPTH * (m[K_TASKS] + 2) <= m[HOLDS - BASES + SIZES]


@njit(nogil=True, cache=True)
def walk(
    m: Any, ts: Any, cpus: Any, pids: Any, flagss: Any, preempts: Any, ops: Any, slots: Any, seqs: Any, kinds: Any,
    begin: int, end: int, held: Any,
) -> int:  # fmt: skip
    """Rows ``begin`` to ``end`` of a tape batch; return where it stopped (``end``, or a region must grow first)."""
    for i in range(begin, end):
        if not room(m):
            return i
        op = ops[i]
        cpu = np.int64(cpus[i])
        flags = flagss[i]
        context = context_of(flags, m[O_SOFTIRQ])
        m[R_TS], m[R_SEQ], m[R_FLAGS], m[R_CPU], m[R_PREEMPT], m[R_CONTEXT] = ts[i], seqs[i], flags, cpu, preempts[i], context
        if op == LOSS:
            lose(m)
            continue
        t = task_of(m, pids[i], cpu)
        m[task_at(m, t) + T_CPU] = cpu
        m[m[RUNNING] + cpu] = t + 1
        show = op >= SWITCH
        if op != DETAIL and context == m[R_CONTEXT]:
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
                if at >= 0 and op == ACQUIRED_OP:
                    waited(m, entry_at(m, t, at))
                elif at >= 0:
                    e = entry_at(m, t, at)
                    m[e + MARKS] |= CONTENDED
                    m[class_at(m, m[e + CLS]) + C_CONTENDED] += 1
        elif op == INIT or op == FREE:
            at = index_of(m, t, slots[i, 0])
            if at >= 0:
                what = INIT_HELD if op == INIT else FREED_HELD
                emit_odd(m, t, what, m[entry_at(m, t, at) + CLS], slots[i, 0], 0, 0, m[task_at(m, t) + T_DEPTH])
            if op == INIT:
                r = m[RECENTS] + 2 * (mix(slots[i, 0], 3) & (RECENT - 1))
                if m[r] == slots[i, 0]:
                    m[r + 1] = 0
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
        if op >= SWITCH:
            seen_enabled(m, t, m[task_at(m, t) + T_DEPTH] - 1, flags & ~1 if op == IRQS_ON else flags)
    return end
