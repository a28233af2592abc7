"""Attempts of probed lock functions, and waits for readers of an SRCU: what a task asks for and may never get.

lockdep adds a dependency when a lock is asked for, before the task waits (lock_acquire() in mutex_lock(),
kernel/locking/mutex.c). So must the walk: in a deadlock a probed lock function never returns. synchronize_srcu() waits
for every reader as an exclusive acquisition waits for every holder: lockdep annotates it so since 6.4 (lock_sync() in
srcu_lock_sync(), include/linux/srcu.h), which leaves no event; the probe on the function does.
"""

from __future__ import annotations

from lockscope.core.c_types import inline, ref, step
from lockscope.core.walk_doubts import held_already, sure
from lockscope.core.walk_locks import push
from lockscope.core.walk_memory import Walk, class_at, class_of, entry_at, rehash_stack, take_again, task_at
from lockscope.core.walk_notes import close, emit_chain
from lockscope.core.walk_rows import (
    ASKED_DEPTH, ASKED_PREEMPT, BY_ADDRESS, BY_PLACE, BY_SRCU, DEPTH, HOW_BH_OFF, HOW_IRQS_OFF, HOW_READ,
    HOW_TRIES, NEVER_HELD, OWN_FILE, SYNC, Call,
)  # fmt: skip


@step
def note_attempt(w: Walk, t: int, cls: int, lock: int, read: int, check: int, ip: int, ts: int, seq: int) -> int:
    """Note what the task holds as it asks for a lock that it does not have yet: the chain's number, or -1.

    The lock is on the stack no longer than that. Nothing is noted where the task seems to hold it already: a release
    may have been missed, and whether the task goes on will tell (``stand_attempt``).
    """
    task = task_at(w, t)
    depth = task.depth
    if depth >= DEPTH - 1:
        return -1
    e = entry_at(w, t, depth)
    w.stacks[t * DEPTH + depth] = w.no_entry[0]
    e.cls, e.lock, e.read, e.check = cls, lock, read, check
    e.context, e.ip, e.ts, e.seq = w.context, ip, ts, seq
    e.flags, e.cpu, e.alias = w.flags, w.cpu, lock
    e.marks = depth << ASKED_DEPTH | w.preempt << ASKED_PREEMPT
    if held_already(w, t, depth):
        return -1
    e.before = take_again(w, task.pid, lock)
    task.depth = depth + 1
    rehash_stack(w, t, depth)
    c = emit_chain(w, t, depth, w.flags)
    task.depth = depth
    return c


@inline
def function_class(w: Walk, lock: int, name: int, text: int) -> int:
    """The class of a lock of a kernel without lockdep: by its name where its place gives one, else its address."""
    cls = class_of(w, name, 0, 0, BY_PLACE) if name >= 0 else class_of(w, -2, lock, 0, BY_ADDRESS)
    class_at(w, cls).type = text
    return cls


@step
def attempt(w: Walk, t: int, f: Call, how: int) -> None:
    """A probed function that waits for its lock was entered: ``f`` is where that is noted."""
    if how == 0 or how & HOW_TRIES:
        return
    cls = function_class(w, f.lock, f.name, f.text)
    read = 1 if how & HOW_READ else 0
    entered = w.flags
    w.flags |= (0x01 if how & HOW_IRQS_OFF else 0) | (0x80 if how & HOW_BH_OFF else 0)
    c = note_attempt(w, t, cls, f.lock, read, 1, f.caller, f.ts, f.seq)
    w.flags = entered
    f.chain = c + 1


@step
def caller_known(w: Walk, f: Call, ip: int) -> None:
    """A probed function returned: its caller is certain now (the entry may show the return probe's trampoline)."""
    c = f.chain - 1
    if c < 0 or ip == 0:
        return
    last = ref(w.links[w.chains[c].first + w.chains[c].length - 1])
    if last.seq == f.seq:
        last.ip = ip


@step
def synchronize(w: Walk, t: int, ssp: int) -> None:
    """synchronize_srcu(): what the task holds now, it holds until all readers are gone."""
    if w.context == 0 and task_at(w, t).depth > 0:
        note_attempt(w, t, class_of(w, -2, ssp, 0, BY_SRCU), ssp, 0, SYNC, 0, w.ts, w.seq)


@inline
def bare(w: Walk) -> bool:
    """Whether the kernel has no lock events and lock functions are probed: SRCU's sections are told by probes too."""
    return w.functions_entered > 0 and w.lockdep_events == 0


@step
def enter_section(w: Walk, t: int, ssp: int) -> None:
    """__srcu_read_lock() on a kernel without lockdep: a section that is held as by a recursive reader.

    Before 6.9 a return probe sees no argument (``ssp`` 0), and the entry's event stands for the section.
    """
    if ssp == 0:
        return
    cls = class_of(w, -2, ssp, 0, BY_SRCU)
    at = push(w, t, cls, ssp, 2, 1, 0, 0, 0, 0)
    if at >= 0:
        entry_at(w, t, at).acquired = w.ts
        emit_chain(w, t, at, w.flags)


@inline
def srcus_own(caller: int, function: int) -> bool:
    """Whether a section was entered by SRCU's own code (call_srcu()), which lies around __srcu_read_lock() and may
    leave it without an event (``facts.srcu_sections``)."""
    return caller != 0 and function != 0 and -OWN_FILE < caller - function < OWN_FILE


@step
def leave_last(w: Walk, t: int, ssp: int) -> None:
    """A section was SRCU's own. Before 6.9 (``ssp`` 0) the entry's event stood for it (``enter_section``)."""
    i = task_at(w, t).depth - 1
    if ssp != 0 or i < 0:
        return
    e = entry_at(w, t, i)
    if class_at(w, e.cls).keyed == BY_SRCU and e.context == w.context:
        close(w, t, i, NEVER_HELD)


@step
def leave_section(w: Walk, t: int, ssp: int) -> None:
    """__srcu_read_unlock() on a kernel without lockdep."""
    i = task_at(w, t).depth - 1
    while i >= 0:
        e = entry_at(w, t, i)
        if e.lock == ssp and class_at(w, e.cls).keyed == BY_SRCU and e.context == w.context:
            close(w, t, i, NEVER_HELD)
            if task_at(w, t).depth == 0:
                sure(w, t)
            return
        i -= 1
