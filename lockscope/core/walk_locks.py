"""How acquisitions and releases change what a task holds: plain events, their details, what is left out or odd."""

from __future__ import annotations

from lockscope.core.c_types import Ints, inline, step
from lockscope.core.walk_doubts import count_level, got, held_back, level, released_by_other, spins, sure
from lockscope.core.walk_memory import (
    Walk, class_at, class_of, comes_twice, entry_at, is_queue, name_of, new_hold, recent_at, regard, rehash_stack,
    take_again, task_at, was_taken,
)  # fmt: skip
from lockscope.core.walk_notes import (
    close, deny_nest, emit_chain, emit_anomaly, left_out, seen_enabled, sleeps, waits_for,
)  # fmt: skip
from lockscope.core.walk_rows import (
    AGAIN, ALONE, ASKED_DEPTH, ASKED_PREEMPT, BY_ADDRESS, BY_KEY, BY_NAME, BY_PLACE, CUT, DEPTH, EDEADLK, GAVE_UP,
    HALF, KNOWN, LOGS_ACQUIRED, NEST_NOT_HELD, NEVER_HELD, NEXT_TO, PENDING, QUEUE, READ_RECURSIVE, READ_RWLOCK,
    RELEASE_NOT_HELD, STAND_IN, UNNESTED, WHOLE, WHOLE_SO_FAR, WW_ORDER, Entry,
)  # fmt: skip


@step
def drop_run_queues(w: Walk, t: int, asked: int) -> None:
    """Take off run-queue locks that were given up unseen, in a switch that was not recorded or that a filter cut.

    They are held with irqs off, so that an interrupt, or an acquisition with irqs on, says they are gone; and a task
    that comes back asks for that of its CPU again (finish_lock_switch, kernel/sched/core.c). ``asked``: the run-queue
    lock asked for now, 0.
    """
    if task_at(w, t).queues == 0:
        return
    on = w.context == 0 and w.flags & 1 == 0
    for i in range(task_at(w, t).depth - 1, -1, -1):
        e = entry_at(w, t, i)
        if not e.marks & QUEUE:
            continue
        interrupted = e.context < w.context and w.context < 3
        # Hashed pointers do not say whether it is the same: two run queues at once are rare (double_rq_lock).
        same = e.lock == asked or e.cpu != w.cpu or w.hashed != 0
        again = asked != 0 and e.context == w.context and same
        if interrupted or again or (on and e.context == 0):
            close(w, t, i, 0)


@step
def push(w: Walk, t: int, cls: int, lock: int, how: int, check: int, nest: int, ip: int, marks: int, role: int) -> int:
    """A new innermost entry, ``how`` = read | trylock << 2; return its index, -1 where the stack is full."""
    queue = is_queue(w, cls)
    drop_run_queues(w, t, lock if queue else 0)
    task = task_at(w, t)
    depth = task.depth
    if depth >= DEPTH - 1:
        left_out(w, task, lock, (marks & ALONE))
        return -1
    e = entry_at(w, t, depth)
    e.cls, e.lock, e.read, e.trylock, e.check = cls, lock, how & 3, how >> 2, check
    e.context, e.nest, e.ip, e.ts, e.seq = w.context, nest, ip, w.ts, w.seq
    e.flags, e.acquired, e.cpu, e.role = w.flags, 0, w.cpu, role
    e.marks = marks | (QUEUE if queue else 0) | depth << ASKED_DEPTH | (w.preempt & 0xFF) << ASKED_PREEMPT
    e.alias, e.before = lock, take_again(w, task.pid, lock)
    e.contended_at = 0
    task.depth = depth + 1
    task.queues += queue
    task.halves += marks & HALF != 0
    rehash_stack(w, t, depth)
    depth = count_level(w, t, depth)
    if role != 0:
        regard(w, t)
    return depth


@step
def enter(w: Walk, t: int, at: int) -> None:
    """An acquisition stands as its entry has it: count it, note the situation."""
    e = entry_at(w, t, at)
    if e.nest != 0 and not task_at(w, t).whole and not e.marks & STAND_IN:
        held = False
        for i in range(at):
            held = held or entry_at(w, t, i).lock == e.nest
        e.marks |= 0 if held else UNNESTED
    c = class_at(w, e.cls)
    c.count += 1
    c.reads += e.read != 0
    c.tries += e.trylock != 0
    if at > 0 and held_back(w, t, at):
        return
    at = min(at, task_at(w, t).depth - 1)  # it may be the only one left
    e = entry_at(w, t, at)
    if e.trylock:
        got(w, t, at)
    emit_chain(w, t, at, e.flags)


@step
def completes(w: Walk, t: int, at: int, joined: int) -> None:
    """Entry ``at`` is held from here on: its other event is there (``joined``), or will not come."""
    e = entry_at(w, t, at)
    name = class_at(w, e.cls).name
    if 0 <= name < len(w.names):
        if joined:
            w.names[name].joined += 1
        else:
            w.names[name].missed += 1
    if e.marks & HALF:
        e.marks &= ~HALF
        task_at(w, t).halves -= 1
        rehash_stack(w, t, at)


@step
def settle(w: Walk, t: int, low: int) -> None:
    """From entry ``low`` up, an acquisition of which one event came alone stands as that one told it: the task went on.

    Since 7.0 tracepoints leave preemption on (include/linux/tracepoint.h, guard(srcu_fast_notrace)): an interrupt, and
    another task, can come between the two events of one acquisition, so that no other lock's event says this.
    """
    task = task_at(w, t)
    i = low
    while task.halves > 0 and i < task.depth:
        e, depth = entry_at(w, t, i), task.depth
        if e.marks & HALF and e.context == w.context:
            completes(w, t, i, 0)
            enter(w, t, i)
        i = i + 1 if task.depth == depth else 0


@inline
def known_class(w: Walk, lock: int, name: int) -> int:
    """The class with a key that was last seen at this address under this name, else the class of the name."""
    r = recent_at(w, lock)
    if r.lock == lock and r.cls > 0 and class_at(w, r.cls - 1).name == name:
        return r.cls - 1
    return class_of(w, name, 0, 0, BY_NAME)


@step
def wounded(w: Walk, t: int, ret: int) -> None:
    """contention_end with -EDEADLK: the innermost attempt under a ww context has to back off (ww-mutex-design.rst)."""
    if ret != EDEADLK:
        return
    i = task_at(w, t).depth - 1
    while i >= 0:
        e = entry_at(w, t, i)
        if e.nest != 0 and not e.marks & STAND_IN:
            task_at(w, t).wound = e.lock
            task_at(w, t).wound_nest = e.nest
            return
        i -= 1


@inline
def after_wound(w: Walk, t: int, at: int) -> None:
    """The next acquisition of a wounded context must be of the lock it was wounded at, with all others dropped."""
    task, e = task_at(w, t), entry_at(w, t, at)
    nest = task.wound_nest
    if nest == 0 or e.nest != nest or e.trylock or e.marks & STAND_IN:
        return
    task.wound_nest = 0
    first = at
    for i in range(at):
        held = entry_at(w, t, i)
        if first == at and held.nest == nest and not held.marks & STAND_IN:
            first = i
    if first < at or e.lock != task.wound:
        emit_anomaly(w, t, WW_ORDER, e.cls, e.lock, 0, first, at)


@step
def detailed_before(w: Walk, t: int, lock: int, name: int) -> bool:
    """Whether the detail of this acquisition came before its plain event: so it is where that was enabled first."""
    for at in range(task_at(w, t).depth - 1, -1, -1):
        e = entry_at(w, t, at)
        if not e.marks & ALONE or e.context != w.context:
            continue
        detailed = class_at(w, e.cls).name
        if e.lock != lock and not (w.hashed and (detailed == name or name_of(w, detailed).none)):
            continue
        w.detail_first += 1
        e.marks &= ~ALONE
        e.alias = lock
        half = e.marks & HALF
        completes(w, t, at, 1)
        if half:
            after_wound(w, t, at)
            enter(w, t, at)
        return True
    return False


@step
def plain_acquire(w: Walk, t: int, lock: int, name: int, how: int, ip: int) -> None:
    """lock:lock_acquire: the attempt, or a trylock's success. Read kind and check by what the name stands for."""
    if detailed_before(w, t, lock, name):
        return
    if w.plain_first + w.detail_first == 0:  # the kernel has the event of the detail, and it was not recorded
        settle(w, t, 0)
    read = 0
    if how & 2:
        read = 1
        rule = name_of(w, name).read
        if rule == READ_RECURSIVE or (rule == READ_RWLOCK and (w.flags & 0xD8 or w.recursive_reads)):
            read = 2
    half = w.detailed != 0 and comes_twice(w, name)
    check, role = name_of(w, name).check, name_of(w, name).role
    marks = 0
    if w.detailed:
        marks = PENDING | HALF if half else PENDING
    at = push(w, t, known_class(w, lock, name), lock, read | (how & 1) << 2, check, 0, ip, marks, role)
    if at >= 0 and not half:
        enter(w, t, at)


@step
def detail(w: Walk, t: int, slots: Ints, first: int) -> None:
    """lockscope:lockdep_acquire: all of lock_acquire()'s arguments. Joins the plain event of the same acquisition."""
    lock, name, key = slots[first], slots[first + 1], slots[first + 8]
    nameless = name_of(w, name).none  # the probe could not read it: the plain event has it
    if key == 0:
        key = lock  # a static lock never initialised is its own key (lockdep.c, register_lock_class)
    r = recent_at(w, lock)
    cls = r.cls - 1
    c = class_at(w, max(cls, 0))
    same = r.lock == lock and cls >= 0 and c.keyed == BY_KEY
    if not (same and c.name == name and c.key == key and c.subclass == slots[first + 2]):
        cls = class_of(w, name, key, slots[first + 2], BY_KEY)
        c = class_at(w, cls)
        r.lock, r.cls = lock, cls + 1
        if slots[first + 10] == 3 and name_of(w, name).sleeps == LOGS_ACQUIRED:
            w.sleep_type = 3  # without CONFIG_PROVE_RAW_LOCK_NESTING wait types CONFIG and SPIN are one
    c.outer, c.inner, c.type = slots[first + 9], slots[first + 10], slots[first + 11]
    check = 0 if slots[first + 5] == 0 or key == w.no_validate else 1
    trylock, read = slots[first + 3] != 0, slots[first + 4] & 3
    nest = slots[first + 6]
    marks = STAND_IN if nest != 0 and 0 < lock - nest < NEXT_TO else 0
    at = task_at(w, t).depth - 1
    while at >= 0:
        e = entry_at(w, t, at)
        if e.marks & PENDING and e.context == w.context:
            plain = class_at(w, e.cls).name
            if e.lock == lock or (w.hashed and (plain == name or nameless)):
                break
        at -= 1
    if nameless and at >= 0:
        name = class_at(w, entry_at(w, t, at).cls).name
        cls = class_of(w, name, key, slots[first + 2], BY_KEY)
        c = class_at(w, cls)
        c.outer, c.inner, c.type = slots[first + 9], slots[first + 10], slots[first + 11]
        r.cls = cls + 1
    if at >= 0:
        e = entry_at(w, t, at)
        if not e.marks & HALF:  # it was counted as the plain event told it
            of = class_at(w, e.cls)
            of.count -= 1
            of.reads -= e.read != 0
            of.tries -= e.trylock != 0
        w.plain_first += 1
        e.lock = lock  # text prints the plain event's address hashed: that stays as its alias
        e.cls, e.read, e.trylock, e.check = cls, read, trylock, check
        e.nest, e.ip = nest, slots[first + 7]
        e.marks = e.marks & ~PENDING | marks
        completes(w, t, at, 1)
        rehash_stack(w, t, at)
        at = count_level(w, t, at)
    else:
        if w.detail_first > w.plain_first and comes_twice(w, name):
            marks |= HALF
        role = name_of(w, name).role
        at = push(w, t, cls, lock, read | trylock << 2, check, nest, slots[first + 7], ALONE | marks, role)
    if at >= 0 and not entry_at(w, t, at).marks & HALF:
        after_wound(w, t, at)
        enter(w, t, at)


@step
def index_of(w: Walk, t: int, lock: int) -> int:
    """The innermost entry of a lock, -1."""
    i = task_at(w, t).depth - 1
    while i >= 0 and entry_at(w, t, i).lock != lock and entry_at(w, t, i).alias != lock:
        i -= 1
    return i


@step
def gives_up(w: Walk, e: Entry) -> bool:
    """Whether a release of entry ``e`` would be that of an attempt that failed (interruptible, killable, ww_mutex): a
    lock that sleeps, of which lock_acquired was not seen though the trace has it."""
    c = class_at(w, e.cls)
    if e.acquired != 0 or e.trylock != 0 or w.acquired == 0:
        return False
    if c.got == 0 and name_of(w, c.name).sleeps != LOGS_ACQUIRED:
        return False
    return sleeps(w, e.cls) != 0


@step
def gave_up(w: Walk, t: int, i: int) -> bool:
    """Whether a release is that of an attempt that failed. If the task already held the lock, that was no recursion."""
    e = entry_at(w, t, i)
    if not gives_up(w, e):
        return False
    for j in range(i):
        if entry_at(w, t, j).lock == e.lock:
            emit_anomaly(w, t, GAVE_UP, e.cls, e.lock, 0, j, j + 1)
            break
    return True


@step
def in_another_context(w: Walk, e: Entry) -> bool:
    """Whether an interrupt releases what the task below it holds: lockdep looks no further than its own context
    (find_held_lock(), kernel/locking/lockdep.c). Softirqs that are only taken for such are no context of their own."""
    above = e.context < w.context and w.context < 3
    return above and w.fake_softirq == 0 and w.contexts != 0


@step
def nested_under(w: Walk, t: int, i: int) -> None:
    """Entry ``i`` is released. If its nest lock was not seen to be held, it either was not or was taken before the
    recording began; then the task releases it later (``deny_nest``)."""
    e, task = entry_at(w, t, i), task_at(w, t)
    if e.marks & UNNESTED and w.window < 0 and not gives_up(w, e):
        n = emit_anomaly(w, t, NEST_NOT_HELD, e.cls, e.lock, e.nest, i, i + 1)
        task.nest, task.nest_anomaly = e.nest if n >= 0 else 0, n + 1


@step
def release(w: Walk, t: int, lock: int, name: int) -> None:
    """A release: ends the innermost hold of the lock, or is odd. ``name`` -1: not known; -2 - N: N, by its place."""
    i = index_of(w, t, lock)
    w.releases += 1
    if task_at(w, t).wound_nest == lock:
        task_at(w, t).wound_nest = 0  # the context ends
    if i >= 0 and task_at(w, t).halves > 0:
        settle(w, t, i)
        i = index_of(w, t, lock)
    if i >= 0 and name >= 0 and in_another_context(w, entry_at(w, t, i)):
        emit_anomaly(w, t, RELEASE_NOT_HELD, entry_at(w, t, i).cls, lock, 1, 0, task_at(w, t).depth)
        close(w, t, i, CUT)
        return
    if i >= 0:
        nested_under(w, t, i)
        seen_enabled(w, t, i, w.flags)
        close(w, t, i, NEVER_HELD if gave_up(w, t, i) else KNOWN)
        if task_at(w, t).depth == 0:
            sure(w, t)
        # What lay above is judged anew without it, as lockdep does (reacquire_held_locks).
        for j in range(i, task_at(w, t).depth):
            if not entry_at(w, t, j).marks & (HALF | AGAIN):
                emit_chain(w, t, j, entry_at(w, t, j).flags)
        return
    if name_of(w, name).rq or name_of(w, name).tracing:
        return  # the next task releases the run queue that the last one locked; tracing began before its own event
    task = task_at(w, t)
    if task.nest == lock:
        deny_nest(w, t)
    if task.deeper > 0:
        task.deeper -= 1  # one of those that were left out
        return
    w.unpaired += 1
    released_by_other(w, lock)
    if name >= 0:
        cls = known_class(w, lock, name)
    elif name == -1:
        cls = class_of(w, -2, lock, 0, BY_ADDRESS)
    else:
        cls = class_of(w, -2 - name, 0, 0, BY_PLACE)
    if w.with_holds:
        row = new_hold(w)
        row.cls, row.lock, row.pid, row.cpu, row.end_cpu = cls, lock, task.pid, w.cpu, w.cpu
        row.asked_ns, row.acquired_ns, row.end_ns, row.depth, row.mode = w.ts, 0, w.ts, 0, w.context << 3
        row.ip, row.seq, row.known, row.contended_ns = 0, w.seq, 2, 0
    # Probed functions are seldom all of a lock's functions: it may have been taken by one that was not probed.
    told = task.whole == WHOLE or (task.whole == WHOLE_SO_FAR and was_taken(w, task.pid, lock))
    if name >= 0 and told and not task.mute:
        n = emit_anomaly(w, t, RELEASE_NOT_HELD, cls, lock, 0, 0, task.depth)
        # Were it held, it would still take a preemption level here.
        if n >= 0 and spins(w, cls) and w.counts_levels and level(w) == task.spins:
            w.anomaly[n].proved = 1


@step
def waited(w: Walk, e: Entry) -> None:
    """The wait of an entry ends at the present row."""
    wait = max(w.ts - e.ts, 0)
    if e.contended_at != 0 and e.acquired == 0:
        waits_for(w, e.lock, -1)
    e.acquired = w.ts
    c = class_at(w, e.cls)
    c.got += 1
    w.acquired += 1
    c.wait += wait
    c.wait_max = max(c.wait_max, wait)
