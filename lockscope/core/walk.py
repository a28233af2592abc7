"""Follow every task's held locks through the tape: one pass, one row at a time, everything else is aggregated.

The situation at each acquisition (held locks, context, irq flags) is hashed; a situation seen before costs one look-up,
a new one is written out as a chain (``walk.chains``). This is lockdep's own trick (its chain cache), so the
judging behind it sees each distinct chain once.
"""

from __future__ import annotations

from lockscope.core.c_types import Grid, Ints, inline, loop, ref, step
from lockscope.core.machine import mix
from lockscope.core.tape_rows import H_CPU, H_FLAGS, H_OP, H_PID, H_PREEMPT, H_SEQ, H_SLOTS, H_TS
from lockscope.core.walk_attempts import (
    bare, enter_section, function_class, leave_last, leave_section, srcus_own, synchronize,
)  # fmt: skip
from lockscope.core.walk_doubts import SETTLED, again_at, contradict, goes_on, got, owner_at, unasked
from lockscope.core.walk_events import (
    contention, from_user, function_row, init_held, learn_class, switch, to_user,
)  # fmt: skip
from lockscope.core.walk_locks import (
    completes, detail, drop_run_queues, enter, index_of, known_class, plain_acquire, push, release, settle,
    waited, wounded,
)  # fmt: skip
from lockscope.core.walk_memory import (
    Walk, call_at, class_at, context_of, cpu_at, entry_at, name_of, rehash_stack, task_at, task_of,
)  # fmt: skip
from lockscope.core.walk_notes import catch_up, emit_chain, emit_anomaly, forget, lose, must_wait, seen_enabled
from lockscope.core.walk_rows import (
    ACQUIRE, ACQUIRED_OP, AGAIN, ALONE, ALWAYS_KEPT, ASKED_DEPTH, CONTENDED_OP, CONTENTION_BEGIN, CONTENTION_END,
    DEPTH, DETAIL, FN_ENTRY, FN_RETURN, FN_UNLOCK, FREE, FREED_HELD, GAP, HALF, HELD_AT_EXIT, HELD_AT_USER,
    HOW_READ, HOW_SLEEPS, INIT, IRQS_ON, KEPT_BY_NAME, LOSS, OF_SUBSYSTEMS, RELEASE, ROLES, SRCU_ASKED,
    SRCU_ENTER, SRCU_LEAVE, SRCU_SYNC, SWITCH, SYS_ENTER, SYS_EXIT, TAKEN_SLOTS, TASK_EXIT, WAITED,
)  # fmt: skip


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
        and fits(w.anomaly_table, len(w.anomaly), 4)
    ):
        return False
    if w.links_used + 2 * DEPTH * DEPTH > len(w.links) or w.anomaly_links_used + 4 * DEPTH > len(w.anomaly_links):
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
        made = w.task_table[0] + w.class_table[0] + w.chain_table[0] + w.anomaly_table[0] + w.holds_used
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
                emit_anomaly(w, t, FREED_HELD, entry_at(w, t, which).cls, slots[at], 0, 0, task_at(w, t).depth)
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
        row.whole = WAITED


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
        w.chains[c].whole = WAITED
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
