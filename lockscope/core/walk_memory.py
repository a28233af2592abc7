"""The memory of the walk, and the small functions that find what is known of a task, a lock or a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lockscope.core.c_types import Grid, Ints, Rows, array_of, inline, ref, state, step
from lockscope.core.hashing import number
from lockscope.core.machine import mix
from lockscope.core.walk_rows import (
    BY_NAME, CPUS, DEPTH, FN_DEPTH, HALF, IMAGE, MMU_LOCK, MODE, RECENT, ROLES, SRCU, SRCU_DEPTH, TAKEN_SLOTS,
    WAITED, Call, Chain, Class, Cpu, Entry, Hold, Link, Name, Anomaly, Owner, Recent, Taken, Task, Waiter,
)  # fmt: skip


@state
class Walk:
    """All that the walk keeps. The first numbers are counters, then options, then the row at hand."""

    too_deep: int
    unpaired: int
    losses: int
    switches: int
    seen: int
    epoch: int
    gaps: int
    acquired: int  # lock_acquired events
    stale: int
    functions_entered: int
    bare_switches: int  # by tasks that were not seen to take a run queue's lock for it
    lockdep_events: int  # acquisitions by lockdep's events
    plain_first: int  # acquisitions by which of their two events came first
    detail_first: int
    releases: int
    links_used: int
    anomaly_links_used: int
    holds_used: int
    kept_rows: int  # rows of this batch that others want to see

    detailed: int
    window: int
    fake_softirq: int
    rt: int
    no_validate: int
    says_irqs: int
    with_holds: int
    recursive_reads: int
    hashed: int
    judging: int
    contexts: int
    preempt_mask: int
    sleep_type: int
    switch_level: int
    split: int  # other events of the task may come between the two of an acquisition

    ts: int
    seq: int
    flags: int
    cpu: int
    preempt: int
    context: int
    start_epoch: int  # epoch as the window began
    counts_levels: int  # spinning locks were seen to take preemption levels
    watched: int  # a lock that somebody waits for, whose rows are wanted too until it is handed over

    task_table: Ints
    tasks: Rows[Task]
    stacks: Rows[Entry]
    calls: Rows[Call]
    held: Grid
    unsure: Grid
    cpus: Rows[Cpu]
    class_table: Ints
    classes: Rows[Class]
    recent: Rows[Recent]
    names: Rows[Name]
    chain_table: Ints
    chains: Rows[Chain]
    links: Rows[Link]
    anomaly_table: Ints
    anomaly: Rows[Anomaly]
    anomaly_links: Rows[Link]
    holds: Rows[Hold]
    owners: Rows[Owner]
    taken: Rows[Taken]
    waiters: Rows[Waiter]
    no_task: Rows[Task]  # one of each, all zeros
    no_entry: Rows[Entry]
    no_class: Rows[Class]
    no_name: Rows[Name]

    def attach(self, a: Mapping[str, Any]) -> None:
        """Take these arrays from now on."""
        self.task_table, self.class_table = array_of(a["task_table"]), array_of(a["class_table"])
        self.chain_table, self.anomaly_table = array_of(a["chain_table"]), array_of(a["anomaly_table"])
        self.held, self.unsure = array_of(a["held"]), array_of(a["unsure"])
        self.tasks, self.stacks, self.calls = array_of(a["tasks"]), array_of(a["stacks"]), array_of(a["calls"])
        self.cpus, self.classes, self.recent = array_of(a["cpus"]), array_of(a["classes"]), array_of(a["recent"])
        self.names, self.chains, self.links = array_of(a["names"]), array_of(a["chains"]), array_of(a["links"])
        self.anomaly, self.anomaly_links, self.holds = (
            array_of(a["anomaly"]),
            array_of(a["anomaly_links"]),
            array_of(a["holds"]),
        )
        self.owners, self.taken, self.waiters = array_of(a["owners"]), array_of(a["taken"]), array_of(a["waiters"])
        self.no_task, self.no_entry = array_of(a["no_task"]), array_of(a["no_entry"])
        self.no_class, self.no_name = array_of(a["no_class"]), array_of(a["no_name"])


@inline
def context_of(flags: int, fake_softirq: int) -> int:
    """0 task, 1 softirq, 2 hardirq, 3 NMI, from common_flags."""
    if flags & 0x40:
        return 3
    if flags & 0x08:
        return 2
    if flags & 0x10 or (fake_softirq and flags & 0x81 == 0x81):
        return 1
    return 0


@inline
def task_at(w: Walk, t: int) -> Task:
    """Task ``t``."""
    return ref(w.tasks[t])


@inline
def entry_at(w: Walk, t: int, i: int) -> Entry:
    """Entry ``i`` of a task's stack."""
    return ref(w.stacks[t * DEPTH + i])


@inline
def call_at(w: Walk, t: int, f: int) -> Call:
    """Probed function ``f`` of those that a task is in."""
    return ref(w.calls[t * FN_DEPTH + f])


@inline
def cpu_at(w: Walk, cpu: int) -> Cpu:
    """A CPU."""
    return ref(w.cpus[cpu & (CPUS - 1)])


@inline
def class_at(w: Walk, c: int) -> Class:
    """Class ``c``."""
    return ref(w.classes[c])


@inline
def recent_at(w: Walk, lock: int) -> Recent:
    """Where the class that was last seen at an address is noted."""
    return ref(w.recent[mix(lock, 3) & (RECENT - 1)])


@inline
def waiter_at(w: Walk, lock: int) -> Waiter:
    """Where it is noted how many wait for a lock."""
    return ref(w.waiters[mix(lock, 9) & (WAITED - 1)])


@inline
def name_of(w: Walk, name: int) -> Name:
    """What is known of a name; nothing (0) of a lock without one."""
    return ref(w.names[name]) if 0 <= name < len(w.names) else ref(w.no_name[0])


@inline
def is_queue(w: Walk, cls: int) -> bool:
    """Whether a class is a run queue's lock, by its name or by having changed hands at a switch."""
    c = class_at(w, cls)
    return c.queue != 0 or name_of(w, c.name).rq != 0


@inline
def is_tracing(w: Walk, e: Entry) -> bool:
    """Whether an entry is a lock that tracing took, not the task."""
    return name_of(w, class_at(w, e.cls).name).tracing != 0


@step
def task_of(w: Walk, pid: int, cpu: int) -> int:
    """The task's number; the idle task is another one on each CPU."""
    made = w.task_table[0]
    t = number(w.task_table, mix(pid if pid != 0 else -1 - cpu, 77))
    if t == made:
        w.tasks[t] = w.no_task[0]
        task = task_at(w, t)
        task.pid, task.first, task.since, task.epoch = pid, w.ts, w.ts, w.epoch
        task.whole = 1 if w.window >= 0 and w.epoch == w.start_epoch else 0
    return t


@step
def class_of(w: Walk, name: int, key: int, subclass: int, keyed: int) -> int:
    """The class of (key, subclass), or of a name where no key is known. With a key the name counts too: a key in module
    memory or on a stack is used again by another lock."""
    made = w.class_table[0]
    c = number(w.class_table, mix(mix(mix(keyed + 1, key), subclass), name))
    if c == made:
        w.classes[c] = w.no_class[0]
        fresh = class_at(w, c)
        fresh.name, fresh.key, fresh.subclass, fresh.keyed = name, key, subclass, keyed
    return c


@inline
def new_hold(w: Walk) -> Hold:
    """The next ended hold."""
    w.holds_used += 1
    return ref(w.holds[w.holds_used - 1])


@step
def take_again(w: Walk, pid: int, lock: int) -> int:
    """A task asks for a lock now; when it last did.

    A slot belongs to whoever used it last, and keeps the latest time of all before: what is forgotten is never too
    early.
    """
    key = mix(pid, lock)
    a = ref(w.taken[(key ^ key >> 32) & (TAKEN_SLOTS - 1)])
    if a.key != key:
        a.key, a.other = key, max(a.last, a.other)
        a.last = a.other
    before = a.last
    a.last = w.ts
    return before


@step
def was_taken(w: Walk, pid: int, lock: int) -> bool:
    """Whether a task asked for a lock before, for all that is remembered."""
    key = mix(pid, lock)
    return w.taken[(key ^ key >> 32) & (TAKEN_SLOTS - 1)].key == key


@inline
def link_to(to: Link, e: Entry) -> None:
    """Copy what a link has of an entry."""
    to.cls, to.lock, to.read, to.trylock, to.check, to.context = e.cls, e.lock, e.read, e.trylock, e.check, e.context
    to.nest, to.ip, to.ts, to.seq, to.flags, to.before, to.cpu = e.nest, e.ip, e.ts, e.seq, e.flags, e.before, e.cpu


@step
def rehash_stack(w: Walk, t: int, begin: int) -> None:
    """The hash of each stack up to and including an entry, from entry ``begin`` on."""
    for i in range(begin, task_at(w, t).depth):
        e = entry_at(w, t, i)
        below = entry_at(w, t, i - 1).hash if i > 0 else 0
        if e.marks & HALF:
            e.hash = below
            continue
        h = mix(below, e.cls)
        nested = 64 if e.nest != 0 else 0
        h = mix(h, e.read | e.trylock << 2 | e.check << 3 | e.context << 4 | nested)
        # A KVM lock: which VM's matters. A variable known by no more than its name: the name may be that of several.
        if e.role != 0 or (IMAGE <= e.lock < 0 and class_at(w, e.cls).keyed == BY_NAME):
            h = mix(h, e.lock)
        e.hash = h


@step
def regard(w: Walk, t: int) -> None:
    """Which KVM locks the task holds: outermost instance by role, mmu_lock's mode, srcu sections."""
    for i in range(ROLES):
        w.held[t, i] = 0
    for i in range(task_at(w, t).depth):
        e = entry_at(w, t, i)
        if e.role == 0:
            continue
        if w.held[t, e.role] == 0:
            w.held[t, e.role] = e.lock
        if e.role == MMU_LOCK:
            w.held[t, MODE] = max(w.held[t, MODE], 1 if e.read else 2)
        elif e.role == SRCU:
            w.held[t, SRCU_DEPTH] += 1


@inline
def comes_twice(w: Walk, name: int) -> bool:
    """Whether the other event of an acquisition is to be waited for: not where those of this name have one alone."""
    return name_of(w, name).missed <= name_of(w, name).joined
