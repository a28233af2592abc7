"""Attempts of probed lock functions, and waits for readers of an SRCU: what a task asks for and may never get.

lockdep adds a dependency when a lock is asked for, before the task waits (lock_acquire() in mutex_lock(),
kernel/locking/mutex.c). So must the walk: in a deadlock a probed lock function never returns. synchronize_srcu() waits
for every reader as an exclusive acquisition waits for every holder: lockdep annotates it so since 6.4 (lock_sync() in
srcu_lock_sync(), include/linux/srcu.h), which leaves no event; the probe on the function does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lockscope.kernels.inner import inner
from lockscope.kernels.outer import outer
from lockscope.kernels.walk_doubts import *
from lockscope.kernels.walk_locks import *
from lockscope.kernels.walk_memory import *
from lockscope.kernels.walk_notes import *

# A probed function that was entered: its text, lock, when, event, name of the lock, contended since, chain + 1 of its
# attempt, caller, where and in which context.
F_TEXT, F_LOCK, F_TS, F_SEQ, F_NAME, F_CONTENDED, F_CHAIN, F_CALLER, F_CPU, F_CONTEXT = range(10)
OWN_FILE = 1 << 14  # bytes of code before and behind __srcu_read_lock() that are taken for SRCU's file
HOW_WAITS = 3  # bits: takes a lock, exclusively or to read
HOW_IRQS_OFF, HOW_BH_OFF = 64, 128  # the function turns these off itself, before it asks for the lock
HOW_READ, HOW_TRIES, HOW_SLEEPS = 2, 4, 16  # bits of a function's row in ``functions``; see ``walk.function_row``


@inner("i8(CPointer(i8), i8, i8, i8, i8, i8, i8, i8, i8)")
def note_attempt(m: Any, t: int, cls: int, lock: int, read: int, check: int, ip: int, ts: int, seq: int) -> Any:
    """Note what the task holds as it asks for a lock that it does not have yet: the chain's number, or -1.

    The lock is on the stack no longer than that. Nothing is noted where the task seems to hold it already: a release
    may have been missed, and whether the task goes on will tell (``stand_attempt``).
    """
    task = task_at(m, t)
    depth = m[task + T_DEPTH]
    if depth >= DEPTH - 1:
        return np.int64(-1)
    e = entry_at(m, t, depth)
    for k in range(WIDTH):
        m[e + k] = 0
    m[e + CLS], m[e + LOCK], m[e + READ], m[e + CHECK] = cls, lock, read, check
    m[e + CONTEXT], m[e + IP], m[e + TS], m[e + SEQ] = m[R_CONTEXT], ip, ts, seq
    m[e + FLAGS], m[e + CPU], m[e + ALIAS] = m[R_FLAGS], m[R_CPU], lock
    m[e + MARKS] = depth << ASKED_DEPTH | m[R_PREEMPT] << ASKED_PREEMPT
    if held_already(m, t, depth):
        return np.int64(-1)
    m[e + BEFORE] = take_again(m, m[task + T_PID], lock)
    m[task + T_DEPTH] = depth + 1
    rehash(m, t, depth)
    c = emit_chain(m, t, depth, m[R_FLAGS])
    m[task + T_DEPTH] = depth
    return c


@inner("i8(CPointer(i8), i8, i8, i8)", always=True)
def function_class(m: Any, lock: int, name: int, text: int) -> Any:
    """The class of a lock of a kernel without lockdep: by its name where its place gives one, else its address."""
    if name >= 0:
        return class_of(m, name, 0, 0, BY_PLACE)
    cls = class_of(m, -2, lock, 0, BY_ADDRESS)
    m[class_at(m, cls) + C_TYPE] = text
    return cls


@inner("void(CPointer(i8), i8, i8, i8)")
def attempt(m: Any, t: int, f: int, how: int) -> None:
    """A probed function that waits for its lock was entered: ``f`` is where that is noted."""
    if how == 0 or how & HOW_TRIES:
        return
    cls = function_class(m, m[f + F_LOCK], m[f + F_NAME], m[f + F_TEXT])
    read = 1 if how & HOW_READ else 0
    entered = m[R_FLAGS]
    m[R_FLAGS] |= (0x01 if how & HOW_IRQS_OFF else 0) | (0x80 if how & HOW_BH_OFF else 0)
    c = note_attempt(m, t, cls, m[f + F_LOCK], read, 1, m[f + F_CALLER], m[f + F_TS], m[f + F_SEQ])
    m[R_FLAGS] = entered
    m[f + F_CHAIN] = c + 1


@inner("void(CPointer(i8), i8, i8)")
def caller_known(m: Any, f: int, ip: int) -> None:
    """A probed function returned: its caller is certain now (the entry may show the return probe's trampoline)."""
    c = m[f + F_CHAIN] - 1
    if c < 0 or ip == 0:
        return
    row = m[CHAINS] + c * CHAIN_WIDTH
    last = m[ROWS] + (m[row] + m[row + 7] - 1) * ENTRY
    if m[last + SEQ] == m[f + F_SEQ]:
        m[last + IP] = ip


@inner("void(CPointer(i8), i8, i8)")
def synchronize(m: Any, t: int, ssp: int) -> None:
    """synchronize_srcu(): what the task holds now, it holds until all readers are gone."""
    if m[R_CONTEXT] == 0 and m[task_at(m, t) + T_DEPTH] > 0:
        note_attempt(m, t, class_of(m, -2, ssp, 0, BY_SRCU), ssp, 0, SYNC, 0, m[R_TS], m[R_SEQ])


@inner("b1(CPointer(i8))", always=True)
def bare(m: Any) -> Any:
    """Whether the kernel has no lock events and lock functions are probed: SRCU's sections are told by probes too."""
    return m[K_FUNCTIONS] > 0 and m[K_LOCKDEP] == 0


@inner("void(CPointer(i8), i8, i8)")
def enter_section(m: Any, t: int, ssp: int) -> None:
    """__srcu_read_lock() on a kernel without lockdep: a section that is held as by a recursive reader.

    Before 6.9 a return probe sees no argument (``ssp`` 0), and the entry's event stands for the section.
    """
    if ssp == 0:
        return
    cls = class_of(m, -2, ssp, 0, BY_SRCU)
    at = push(m, t, cls, ssp, 2, 1, 0, 0, 0, 0)
    if at >= 0:
        m[entry_at(m, t, at) + ACQUIRED] = m[R_TS]
        emit_chain(m, t, at, m[R_FLAGS])


@inner("b1(i8, i8)", always=True)
def srcus_own(caller: int, function: int) -> Any:
    """Whether a section was entered by SRCU's own code (call_srcu()), which lies around __srcu_read_lock() and may
    leave it without an event (``reconstruct.srcu_sections``)."""
    return caller != 0 and function != 0 and -OWN_FILE < caller - function < OWN_FILE


@inner("void(CPointer(i8), i8, i8)")
def leave_last(m: Any, t: int, ssp: int) -> None:
    """A section was SRCU's own. Before 6.9 (``ssp`` 0) the entry's event stood for it (``enter_section``)."""
    i = m[task_at(m, t) + T_DEPTH] - 1
    if ssp != 0 or i < 0:
        return
    e = entry_at(m, t, i)
    if m[class_at(m, m[e + CLS]) + C_KEYED] == BY_SRCU and m[e + CONTEXT] == m[R_CONTEXT]:
        close(m, t, i, NEVER_HELD)


@inner("void(CPointer(i8), i8, i8)")
def leave_section(m: Any, t: int, ssp: int) -> None:
    """__srcu_read_unlock() on a kernel without lockdep."""
    i = m[task_at(m, t) + T_DEPTH] - 1
    while i >= 0:
        e = entry_at(m, t, i)
        if m[e + LOCK] == ssp and m[class_at(m, m[e + CLS]) + C_KEYED] == BY_SRCU and m[e + CONTEXT] == m[R_CONTEXT]:
            close(m, t, i, NEVER_HELD)
            if m[task_at(m, t) + T_DEPTH] == 0:
                sure(m, t)
            return
        i -= 1


@outer("i8(i8[::1], i8, i8, i8)")
def stand_attempt(memory: Any, t: int, f: int, how: int) -> Any:
    """The trace is over and probed function number ``f`` of the task did not return: the chain of its attempt, or -1.

    An attempt at what the task seems to hold counts now (``note_attempt``): it had the whole rest of the trace to show
    that it got the lock. R_TS is the trace's end.
    """
    m = pointer(memory)
    at = m[FUNCTIONS] + (t * FN_DEPTH + f) * FN_WIDTH
    if m[at + F_CHAIN] > 0:
        c = m[at + F_CHAIN] - 1
    else:
        task = task_at(m, t)
        depth = m[task + T_DEPTH]
        if depth == 0 or depth >= DEPTH - 1:
            return np.int64(-1)
        e = entry_at(m, t, depth)
        for k in range(WIDTH):
            m[e + k] = 0
        m[e + CLS] = function_class(m, m[at + F_LOCK], m[at + F_NAME], m[at + F_TEXT])
        m[e + LOCK], m[e + READ], m[e + CHECK] = m[at + F_LOCK], 1 if how & HOW_READ else 0, 1
        m[e + IP], m[e + TS], m[e + SEQ], m[e + ALIAS] = m[at + F_CALLER], m[at + F_TS], m[at + F_SEQ], m[at + F_LOCK]
        m[e + CPU], m[e + MARKS] = m[at + F_CPU], depth << ASKED_DEPTH
        m[task + T_DEPTH] = depth + 1
        rehash(m, t, depth)
        c = emit_chain(m, t, depth, np.int64(0))
        m[task + T_DEPTH] = depth
    if c >= 0 and m[task_at(m, t) + T_WHOLE] and m[R_TS] - m[at + F_TS] >= SETTLED:
        m[m[CHAINS] + c * CHAIN_WIDTH + 6] = 1
    return c
