"""What the compiled walk writes down: chains, anomalies, ends of holds; and what it does when events are missing."""

from __future__ import annotations

from lockscope.core.c_types import inline, ref, step
from lockscope.core.hashing import number
from lockscope.core.machine import mix
from lockscope.core.walk_memory import (
    Walk, class_at, cpu_at, entry_at, link_to, name_of, new_hold, regard, rehash_stack, task_at, waiter_at,
)  # fmt: skip
from lockscope.core.walk_rows import (
    ALONE, ASKED_DEPTH, ASKED_PREEMPT, BH_SEEN_ON, CONTENDED, COUNTED, DEPTH, HAD_TO_WAIT, HALF, IRQS_ON_HELD,
    IRQS_SEEN_ON, KNOWN, LATEST, MOST_UNSURE, NEST_NOT_HELD, NEVER_HELD, QUEUE, RIVALLED, WAITED, WAITED_FOR,
    Entry, Task,
)  # fmt: skip


@step
def sleeps(w: Walk, cls: int) -> int:
    """Whether a class is of locks that sleep, by its wait type or its name."""
    c = class_at(w, cls)
    if c.inner != 0:
        return c.inner == w.sleep_type
    return name_of(w, c.name).sleeps != 0


@step
def perhaps_whole(w: Walk, t: int, c: int) -> None:
    """A chain of a task whose held set is whole is so itself when all that is held was seen to be released; in a judged
    window at once."""
    row, task = ref(w.chains[c]), task_at(w, t)
    if row.whole or not task.whole:
        return
    n = task.unsure
    if w.window >= 0:
        row.whole = 1
    elif n < MOST_UNSURE:
        w.unsure[t, n] = c
        task.unsure = n + 1


@step
def emit_chain(w: Walk, t: int, at: int, flags: int) -> int:
    """Note the situation in which entry ``at`` was asked for; its number, -1 where it does not count."""
    if not w.judging:
        return -1
    e = entry_at(w, t, at)
    if not w.contexts and not sleeps(w, e.cls):
        return -1  # an interrupt's locks look nested in the task's; only what sleeps can't be an interrupt's
    lock, nest = e.lock, e.nest
    again = 0
    for i in range(at):
        if entry_at(w, t, i).marks & HALF:
            continue
        other = entry_at(w, t, i).lock
        if other == lock:
            again |= 1
        if nest != 0 and other == nest:
            again |= 2
    h = mix(mix(e.hash, (flags & 0xD9) | again << 8), w.window)
    made = w.chain_table[0]
    c = number(w.chain_table, h)
    row = ref(w.chains[c])
    if c < made:
        row.count += 1
        row.last = e.ts
        perhaps_whole(w, t, c)
        return c
    first = end = w.links_used
    for i in range(at + 1):
        if i < at and entry_at(w, t, i).marks & HALF:
            continue  # asked for, but not held
        link_to(ref(w.links[end]), entry_at(w, t, i))
        end += 1
    w.links[end - 1].flags = flags
    w.links_used = end
    row.first, row.count, row.cpu, row.pid = first, 1, e.cpu, task_at(w, t).pid
    row.preempt, row.window, row.whole, row.length = e.marks >> ASKED_PREEMPT & 0xFF, w.window, 0, end - first
    row.last, row.since = e.ts, task_at(w, t).since
    perhaps_whole(w, t, c)
    return c


@step
def emit_anomaly(w: Walk, t: int, what: int, cls: int, lock: int, detail: int, low: int, high: int) -> int:
    """Note an anomaly with entries ``low`` to ``high`` of what the task holds; the same again is counted. Its number,
    -1 where it does not count."""
    if not w.judging:
        return -1
    h = mix(mix(mix(what + 101, 0), cls), w.window)
    if what == IRQS_ON_HELD:
        h = mix(mix(h, w.flags & 0xD9), entry_at(w, t, low).read)
    elif what == NEST_NOT_HELD:
        h = mix(h, detail)
    elif high > 0:
        h = mix(h, entry_at(w, t, high - 1).hash)
    made = w.anomaly_table[0]
    n = number(w.anomaly_table, h)
    row = ref(w.anomaly[n])
    if n < made:
        row.count += 1
        return n
    first = w.anomaly_links_used
    for i in range(low, high):
        link_to(ref(w.anomaly_links[first + i - low]), entry_at(w, t, i))
    w.anomaly_links_used = first + high - low
    row.what, row.ts, row.seq, row.cpu, row.pid = what, w.ts, w.seq, w.cpu, task_at(w, t).pid
    row.flags, row.preempt, row.cls, row.lock, row.first = w.flags, w.preempt, cls, lock, first
    row.count, row.window, row.detail, row.length = 1, w.window, detail, high - low
    row.denied, row.proved, row.since = 0, 0, task_at(w, t).since
    return n


@step
def waits_for(w: Walk, lock: int, change: int) -> None:
    """One more, or one fewer, waits for a lock. Of two locks in one place the first counts as long as any waits."""
    a = waiter_at(w, lock)
    if a.lock == lock:
        a.number = max(a.number + change, 0)
    elif change > 0 and a.number == 0:
        a.lock, a.number = lock, 1


@step
def must_wait(w: Walk, e: Entry) -> None:
    """The lock that entry ``e`` asks for is taken."""
    e.marks |= CONTENDED
    if e.contended_at == 0:
        e.contended_at = w.ts
        waits_for(w, e.lock, 1)


@step
def close(w: Walk, t: int, i: int, known: int) -> None:
    """Take entry ``i`` off a task's stack: its hold ends here, was cut, or never was one."""
    e, task = entry_at(w, t, i), task_at(w, t)
    ts = w.ts
    if e.contended_at != 0 and e.acquired == 0:
        waits_for(w, e.lock, -1)
    if w.with_holds and known != NEVER_HELD:
        row = new_hold(w)
        mode = e.read | e.trylock << 2 | e.context << 3
        mode |= HAD_TO_WAIT if e.marks & CONTENDED else 0
        a = waiter_at(w, e.lock)
        mode |= WAITED_FOR if a.lock == e.lock and a.number > 0 else 0
        row.cls, row.lock, row.pid, row.cpu, row.end_cpu = (
            e.cls, e.lock, task.pid, e.cpu, w.cpu,
        )  # fmt: skip
        row.asked_ns, row.acquired_ns, row.end_ns, row.mode = e.ts, e.acquired, ts, mode
        row.depth = e.marks >> ASKED_DEPTH & 0xFF
        row.ip, row.seq, row.known = e.ip, e.seq, 1 | known << 1
        row.contended_ns = e.contended_at
    if known == KNOWN:
        c = class_at(w, e.cls)
        lasted = ts - max(e.acquired, e.ts)
        c.holds += 1
        c.hold += lasted
        c.hold_max = max(c.hold_max, lasted)
    role, marks = e.role, e.marks
    depth = task.depth - 1
    for k in range(t * DEPTH + i, t * DEPTH + depth):
        w.stacks[k] = w.stacks[k + 1]
    task.depth = depth
    task.queues -= marks & QUEUE != 0
    task.halves -= marks & HALF != 0
    task.spins -= marks & COUNTED != 0
    if marks & RIVALLED:
        task.rival = 0
    rehash_stack(w, t, i)
    if role != 0:
        regard(w, t)


@step
def deny_nest(w: Walk, t: int) -> None:
    """A nest lock that seemed not to be held may have been: it was taken before the recording began.

    Locks of several classes may be nested under it (mm_take_all_locks(): i_mmap_rwsem and anon_vma's rwsem under
    mmap_lock); what was noted of others than the last one is among the latest."""
    task = task_at(w, t)
    if task.nest != 0:
        row = ref(w.anomaly[task.nest_anomaly - 1])
        row.denied = row.count
        for n in range(max(w.anomaly_table[0] - LATEST, 0), w.anomaly_table[0]):
            if w.anomaly[n].what == NEST_NOT_HELD and w.anomaly[n].detail == task.nest:
                w.anomaly[n].denied = w.anomaly[n].count
        task.nest = 0


@step
def nothing_open(task: Task) -> None:
    """It is in no probed function, and nothing of what came before counts."""
    task.calls, task.wound_nest, task.deeper, task.again, task.unsure = 0, 0, 0, 0, 0


@step
def forget(w: Walk, t: int) -> None:
    """What a task holds is no longer known."""
    task = task_at(w, t)
    while task.depth > 0:
        w.unpaired += 1
        close(w, t, task.depth - 1, 0)
    deny_nest(w, t)
    task.whole = 0
    nothing_open(task)


@step
def lose(w: Walk, begins: int) -> None:
    """A gap in a CPU's events begins or ends here. Nobody is known to run on it; every task must show that it was not
    there (``catch_up``)."""
    a = cpu_at(w, w.cpu)
    w.gaps += begins - a.missing
    a.missing = begins
    a.task = 0
    for i in range(WAITED):  # whoever waits may have got it meanwhile
        w.waiters[i].lock, w.waiters[i].number = 0, 0
    w.epoch += 1
    w.losses += 1 - begins


@inline
def catch_up(w: Walk, t: int, cpu: int) -> None:
    """A task shows up after a gap began or ended somewhere. Unless it has run on this CPU all the while (where task
    switches are recorded), it may have been on the CPU whose events are missing: what it holds is not known."""
    task = task_at(w, t)
    if task.epoch == w.epoch:
        return
    task.epoch = w.epoch
    if w.switches == 0 or cpu_at(w, cpu).task != t + 1:
        forget(w, t)


@inline
def seen_enabled(w: Walk, t: int, at: int, flags: int) -> None:
    """An event under a hold with interrupts enabled proves that they can come while it lasts: note it once a hold."""
    if at < 0 or not w.says_irqs:
        return
    e = entry_at(w, t, at)
    if e.context != w.context or flags & 1 or e.marks & HALF:
        return
    fresh = IRQS_SEEN_ON if flags & 0x90 else IRQS_SEEN_ON | BH_SEEN_ON
    if fresh & ~e.marks == 0:
        return
    e.marks |= fresh
    was = e.flags  # what was on already when the lock was asked for, its chain says
    if was & 1 == 0 and (was & 0x90 == 0 or not fresh & BH_SEEN_ON):
        return
    emit_anomaly(w, t, IRQS_ON_HELD, e.cls, e.lock, 0, at, at + 1)


@step
def left_out(w: Walk, task: Task, lock: int, detailed: int) -> None:
    """Count an acquisition that has no room; its other event, plain or detailed, does not count again."""
    if task.left_out == mix(lock, ALONE - detailed):
        task.left_out = 0
        return
    task.left_out = mix(lock, detailed)
    task.deeper += 1
    w.too_deep += 1
