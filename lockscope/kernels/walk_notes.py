"""What the compiled walk writes down: chains, oddities, ends of holds; and what it does when events are missing."""

from __future__ import annotations

from typing import Any

import numpy as np

from lockscope.kernels.inner import inner
from lockscope.kernels.outer import outer
from lockscope.kernels.walk_memory import *


@inner("i8(CPointer(i8), i8)")
def sleeps(m: Any, cls: int) -> Any:
    """Whether a class is of locks that sleep, by its wait type or its name."""
    c = class_at(m, cls)
    if m[c + C_INNER] != 0:
        return np.int64(m[c + C_INNER] == m[O_SLEEP])
    return np.int64(name_says(m, m[c + C_NAME], N_SLEEPS) != 0)


@inner("void(CPointer(i8), i8, i8)")
def perhaps_whole(m: Any, t: int, c: int) -> None:
    """A chain of a task whose held set is whole is so itself when all that is held was seen to be released; in a judged
    window at once."""
    row, task = m[CHAINS] + c * CHAIN_WIDTH, task_at(m, t)
    if m[row + 6] or not m[task + T_WHOLE]:
        return
    n = m[task + T_UNSURE]
    if m[O_WINDOW] >= 0:
        m[row + 6] = 1
    elif n < MOST_UNSURE:
        m[m[UNSURE] + t * MOST_UNSURE + n] = c
        m[task + T_UNSURE] = n + 1


@inner("i8(CPointer(i8), i8, i8, i8)")
def emit_chain(m: Any, t: int, at: int, flags: int) -> Any:
    """Note the situation in which entry ``at`` was asked for; its number, -1 where it does not count."""
    if not m[O_JUDGE]:
        return np.int64(-1)
    e = entry_at(m, t, at)
    if not m[O_CONTEXTS] and not sleeps(m, m[e + CLS]):
        return np.int64(-1)  # an interrupt's locks look nested in the task's; only what sleeps can't be an interrupt's
    lock, nest = m[e + LOCK], m[e + NEST]
    again = 0
    for i in range(at):
        if m[entry_at(m, t, i) + MARKS] & HALF:
            continue
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
        m[row + 8] = m[e + TS]
        perhaps_whole(m, t, c)
        return c
    first = end = m[K_ROWS]
    if first + at + 1 > m[ROWS - BASES + SIZES]:
        m[K_FULL] += 1
        return np.int64(-1)
    for i in range(at + 1):
        e, to = entry_at(m, t, i), m[ROWS] + end * ENTRY
        if i < at and m[e + MARKS] & HALF:
            continue  # asked for, but not held
        for k in range(ENTRY):
            m[to + k] = m[e + k]
        end += 1
    m[m[ROWS] + (end - 1) * ENTRY + FLAGS] = flags
    m[K_ROWS] = end
    row = m[CHAINS] + (-1 - c) * CHAIN_WIDTH
    e = entry_at(m, t, at)
    m[row], m[row + 1], m[row + 2], m[row + 3] = first, 1, m[e + CPU], m[task + T_PID]
    m[row + 4], m[row + 5], m[row + 6], m[row + 7] = m[e + MARKS] >> ASKED_PREEMPT & 0xFF, m[O_WINDOW], 0, end - first
    m[row + 8], m[row + 9] = m[e + TS], m[task + T_SINCE]
    perhaps_whole(m, t, -1 - c)
    return -1 - c


@inner("i8(CPointer(i8), i8, i8, i8, i8, i8, i8, i8)")
def emit_odd(m: Any, t: int, what: int, cls: int, lock: int, detail: int, low: int, high: int) -> Any:
    """Note an oddity with entries ``low`` to ``high`` of what the task holds; the same again is counted. Its number,
    -1 where it does not count."""
    if not m[O_JUDGE]:
        return np.int64(-1)
    h = mix(mix(mix(what + 101, 0), cls), m[O_WINDOW])
    if what == IRQS_ON_HELD:
        h = mix(mix(h, m[R_FLAGS] & 0xD9), m[entry_at(m, t, low) + READ])
    elif what == NEST_NOT_HELD:
        h = mix(h, detail)
    elif high > 0:
        h = mix(h, m[entry_at(m, t, high - 1) + HASH])
    n = number_of(m, ODD_KEYS, ODD_TABLE, K_ODD, h)
    if n >= 0:
        m[m[ODD] + n * ODD_WIDTH + 10] += 1
        return n
    first = m[K_ODD_ROWS]
    if first + high - low > m[ODD_ROWS - BASES + SIZES]:
        m[K_FULL] += 1
        return np.int64(-1)
    for i in range(low, high):
        e, to = entry_at(m, t, i), m[ODD_ROWS] + (first + i - low) * ENTRY
        for k in range(ENTRY):
            m[to + k] = m[e + k]
    m[K_ODD_ROWS] = first + high - low
    row = m[ODD] + (-1 - n) * ODD_WIDTH
    m[row], m[row + 1], m[row + 2], m[row + 3], m[row + 4] = what, m[R_TS], m[R_SEQ], m[R_CPU], m[task_at(m, t) + T_PID]
    m[row + 5], m[row + 6], m[row + 7], m[row + 8], m[row + 9] = m[R_FLAGS], m[R_PREEMPT], cls, lock, first
    m[row + 10], m[row + 11], m[row + 12], m[row + 13] = 1, m[O_WINDOW], detail, high - low
    m[row + ODD_DENIED], m[row + ODD_PROVED] = 0, 0
    m[row + ODD_SINCE] = m[task_at(m, t) + T_SINCE]
    return -1 - n


@inner("void(CPointer(i8), i8, i8)")
def waits_for(m: Any, lock: int, change: int) -> None:
    """One more, or one fewer, waits for a lock. Of two locks in one place the first counts as long as any waits."""
    a = m[WAITERS] + 2 * (mix(lock, 9) & (WAITED - 1))
    if m[a] == lock:
        m[a + 1] = max(m[a + 1] + change, 0)
    elif change > 0 and m[a + 1] == 0:
        m[a], m[a + 1] = lock, 1


@inner("void(CPointer(i8), i8)")
def must_wait(m: Any, e: int) -> None:
    """The lock that entry ``e`` asks for is taken."""
    m[e + MARKS] |= CONTENDED
    if m[e + CONTENDED_AT] == 0:
        m[e + CONTENDED_AT] = m[R_TS]
        waits_for(m, m[e + LOCK], 1)


@inner("void(CPointer(i8), i8, i8, i8)")
def close(m: Any, t: int, i: int, known: int) -> None:
    """Take entry ``i`` off a task's stack: its hold ends here, was cut, or never was one."""
    e, task = entry_at(m, t, i), task_at(m, t)
    ts = m[R_TS]
    if m[e + CONTENDED_AT] != 0 and m[e + ACQUIRED] == 0:
        waits_for(m, m[e + LOCK], -1)
    if m[O_HOLDS] and known != NEVER_HELD:
        row = hold_at(m)
        mode = m[e + READ] | m[e + TRYLOCK] << 2 | m[e + CONTEXT] << 3
        mode |= HAD_TO_WAIT if m[e + MARKS] & CONTENDED else 0
        w = m[WAITERS] + 2 * (mix(m[e + LOCK], 9) & (WAITED - 1))
        mode |= WAITED_FOR if m[w] == m[e + LOCK] and m[w + 1] > 0 else 0
        m[row], m[row + 1], m[row + 2], m[row + 3], m[row + 4] = (
            m[e + CLS],
            m[e + LOCK],
            m[task + T_PID],
            m[e + CPU],
            m[R_CPU],
        )
        m[row + 5], m[row + 6], m[row + 7], m[row + 9] = m[e + TS], m[e + ACQUIRED], ts, mode
        m[row + 8] = m[e + MARKS] >> ASKED_DEPTH & 0xFF
        m[row + 10], m[row + 11], m[row + 12] = m[e + IP], m[e + SEQ], 1 | known << 1
        m[row + 13] = m[e + CONTENDED_AT]
    if known == KNOWN:
        c = class_at(m, m[e + CLS])
        lasted = ts - max(m[e + ACQUIRED], m[e + TS])
        m[c + C_HOLDS] += 1
        m[c + C_HOLD] += lasted
        m[c + C_HOLD_MAX] = max(m[c + C_HOLD_MAX], lasted)
    role, marks = m[e + ROLE], m[e + MARKS]
    depth = m[task + T_DEPTH] - 1
    for k in range(e, entry_at(m, t, depth)):
        m[k] = m[k + WIDTH]
    m[task + T_DEPTH] = depth
    m[task + T_QUEUES] -= marks & QUEUE != 0
    m[task + T_HALVES] -= marks & HALF != 0
    m[task + T_SPINS] -= marks & COUNTED != 0
    if marks & RIVALLED:
        m[task + T_RIVAL] = 0
    rehash(m, t, i)
    if role != 0:
        regard(m, t)


@inner("void(CPointer(i8), i8)")
def deny_nest(m: Any, t: int) -> None:
    """A nest lock that seemed not to be held may have been: it was taken before the recording began.

    Locks of several classes may be nested under it (mm_take_all_locks(): i_mmap_rwsem and anon_vma's rwsem under
    mmap_lock); what was noted of others than the last one is among the latest."""
    task = task_at(m, t)
    if m[task + T_NEST] != 0:
        row = m[ODD] + (m[task + T_NEST_ODD] - 1) * ODD_WIDTH
        m[row + ODD_DENIED] = m[row + 10]
        for n in range(max(m[K_ODD] - LATEST, np.int64(0)), m[K_ODD]):
            row = m[ODD] + n * ODD_WIDTH
            if m[row] == NEST_NOT_HELD and m[row + 12] == m[task + T_NEST]:
                m[row + ODD_DENIED] = m[row + 10]
        m[task + T_NEST] = 0


@inner("void(CPointer(i8), i8)")
def forget(m: Any, t: int) -> None:
    """What a task holds is no longer known."""
    task = task_at(m, t)
    while m[task + T_DEPTH] > 0:
        m[K_UNPAIRED] += 1
        close(m, t, m[task + T_DEPTH] - 1, 0)
    deny_nest(m, t)
    m[task + T_WHOLE] = 0
    m[task + T_FN] = 0
    m[task + T_WOUND_NEST] = 0
    m[task + T_DEEPER] = 0
    m[task + T_AGAIN] = 0
    m[task + T_UNSURE] = 0


@outer("void(i8[::1], i8)")
def reset(memory: Any, whole: int) -> None:
    """Begin or end a judged window: nobody holds anything, nor does who comes new."""
    m = pointer(memory)
    m[R_START] = m[K_EPOCH]
    for t in range(m[K_TASKS]):
        forget(m, t)
        m[task_at(m, t) + T_WHOLE] = whole
        m[task_at(m, t) + T_MUTE] = 0


@inner("void(CPointer(i8), i8)")
def lose(m: Any, begins: int) -> None:
    """A gap in a CPU's events begins or ends here. Nobody is known to run on it; every task must show that it was not
    there (``catch_up``)."""
    a = cpu_at(m, m[R_CPU])
    m[K_GAPS] += begins - m[a + 1]
    m[a + 1] = begins
    m[a] = 0
    for i in range(2 * WAITED):  # whoever waits may have got it meanwhile
        m[m[WAITERS] + i] = 0
    m[K_EPOCH] += 1
    m[K_LOSSES] += 1 - begins


@inner("void(CPointer(i8), i8, i8)", always=True)
def catch_up(m: Any, t: int, cpu: int) -> None:
    """A task shows up after a gap began or ended somewhere. Unless it has run on this CPU all the while (where task
    switches are recorded), it may have been on the CPU whose events are missing: what it holds is not known."""
    task = task_at(m, t)
    if m[task + T_EPOCH] == m[K_EPOCH]:
        return
    m[task + T_EPOCH] = m[K_EPOCH]
    if m[K_SWITCHES] == 0 or m[cpu_at(m, cpu)] != t + 1:
        forget(m, t)


@inner("void(CPointer(i8), i8, i8, i8)", always=True)
def seen_enabled(m: Any, t: int, at: int, flags: int) -> None:
    """An event under a hold with interrupts enabled proves that they can come while it lasts: note it once a hold."""
    if at < 0 or not m[O_FLAGS]:
        return
    e = entry_at(m, t, at)
    if m[e + CONTEXT] != m[R_CONTEXT] or flags & 1 or m[e + MARKS] & HALF:
        return
    fresh = IRQS_SEEN_ON if flags & 0x90 else IRQS_SEEN_ON | BH_SEEN_ON
    if fresh & ~m[e + MARKS] == 0:
        return
    m[e + MARKS] |= fresh
    was = m[e + FLAGS]  # what was on already when the lock was asked for, its chain says
    if was & 1 == 0 and (was & 0x90 == 0 or not fresh & BH_SEEN_ON):
        return
    emit_odd(m, t, IRQS_ON_HELD, m[e + CLS], m[e + LOCK], 0, at, at + 1)


@outer("void(i8[::1], i8)")
def forget_task(memory: Any, t: int) -> None:
    """``forget`` for Python."""
    forget(pointer(memory), t)
