"""The memory of the walk: what is known of tasks, locks and CPUs, and the small functions that find it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lockscope.core.c_types import Grid, Ints, Row, Rows, array_of, inline, ref, state, step
from lockscope.core.hashing import number
from lockscope.core.machine import mix

DEPTH = 64  # lockdep stops at 48 (MAX_LOCK_DEPTH); deeper acquisitions are counted and left out
FN_DEPTH = 16
# Entry.marks: PENDING its detail may follow, ALONE its plain event may, HALF one of the two does (nothing is held
# before both), COUNTED as a preemption level, RIVALLED another task got it, AGAIN held back, QUEUE a run queue's lock,
# UNNESTED its nest lock was not held, STAND_IN a ww_acquire_ctx's map that stands for the locks to come.
PENDING, CONTENDED, IRQS_SEEN_ON, BH_SEEN_ON, ALONE, COUNTED, RIVALLED, AGAIN = 1, 2, 4, 8, 16, 32, 64, 128
HALF, QUEUE, UNNESTED, STAND_IN = 256, 512, 1024, 2048
ASKED_DEPTH, ASKED_PREEMPT = 16, 24  # bits of marks from there on: locks held when it was asked for, preempt count
WHOLE, WHOLE_SO_FAR = 1, 2  # Task.whole: known; known, but what was taken before lock events were recorded is not
# Class.keyed. BY_ADDRESS, BY_PLACE: kernels without lockdep. BY_INIT: with the key and wait types of the
# initialisation. BY_SRCU: an srcu_struct by its address, as probes on SRCU's functions say it.
BY_NAME, BY_KEY, BY_ADDRESS, BY_PLACE, BY_INIT, BY_SRCU = range(6)
NEVER_KEPT, KEPT_BY_NAME, ALWAYS_KEPT = range(3)  # what is wanted of an operation's rows
RAW_UNLOCK = 32  # of a probed function: it releases a raw_spinlock_t
LOGS_ACQUIRED = TAKES_LEVEL = 2  # Name.sleeps: has lock_acquired events; Name.spins: no lock, but preemption is off
CUT, KNOWN, NEVER_HELD = range(3)  # how a hold ends
READ_PLAIN, READ_RECURSIVE, READ_RWLOCK = 0, 1, 2  # what "read" in lock:lock_acquire means for a kind of lock
HAD_TO_WAIT, WAITED_FOR = 32, 64  # bits of a hold's mode: its task waited for it, others did while it lasted
(RELEASE_NOT_HELD, HELD_AT_USER, HELD_AT_EXIT, SWITCHED_ATOMIC, INIT_HELD, FREED_HELD, IRQS_ON_HELD, WW_ORDER,
 GAVE_UP, NEST_NOT_HELD) = range(10)  # fmt: skip
ROLES, MODE, SRCU_DEPTH, MMU_LOCK, SRCU = 18, 16, 17, 1, 2
RECENT, CPUS, OWNED, TAKEN_SLOTS, WAITED = 1 << 16, 1 << 16, 1 << 12, 1 << 16, 1 << 12
MOST_UNSURE = 48
IMAGE = -0x80000000  # x86-64's kernel image and modules: 0xffffffff80000000 and up, as signed numbers

(LOSS, ACQUIRE, DETAIL, ACQUIRED_OP, CONTENDED_OP, RELEASE, INIT) = range(1, 8)
CONTENTION_BEGIN = 8
CONTENTION_END, FN_ENTRY, FN_RETURN, FN_UNLOCK, SWITCH, SYS_ENTER, SYS_EXIT, TASK_EXIT = 9, 10, 11, 12, 16, 17, 18, 19
IRQS_ON, FREE, GAP, OF_SUBSYSTEMS = 24, 29, 30, 32
SRCU_ENTER, SRCU_ASKED, SRCU_LEAVE, SRCU_SYNC = 32, 33, 34, 35
EDEADLK = -35
SYNC = 2  # Entry.check of a wait for all holders that takes nothing: lockdep's lock_sync()
# How near a ww_acquire_ctx has its first_lock_dep_map (7.x): of the class of the mutexes to come, and no lock itself.
NEXT_TO = 256


class Link(Row):
    """A lock of a chain, or of an oddity, as ``reconstruct.chains.Entry`` has it."""

    cls: int
    lock: int
    read: int
    trylock: int
    check: int
    context: int
    nest: int
    ip: int
    ts: int
    seq: int
    flags: int
    before: int
    cpu: int


class Entry(Row):
    """A lock on a task's stack: what a ``Link`` has, then what only the walk needs to know."""

    cls: int
    lock: int
    read: int
    trylock: int
    check: int
    context: int
    nest: int
    ip: int
    ts: int
    seq: int
    flags: int
    before: int
    cpu: int
    acquired: int
    hash: int
    marks: int
    role: int
    alias: int
    contended_at: int


class Task(Row):
    """A task."""

    depth: int  # locks held
    cpu: int  # last seen on
    whole: int  # whether what it holds is all known
    calls: int  # probed functions entered
    pid: int
    mute: int  # quiet about releases after leaks
    wound: int  # the ww_mutex at which its context was wounded
    wound_nest: int  # and that context
    queues: int  # run queues locked
    epoch: int  # gaps seen so far
    deeper: int  # acquisitions left out because the stack was full
    left_out: int  # and what the last of them was
    spins: int  # preemption levels that its locks take
    rival: int  # since when another task has what it holds
    again: int  # whether an attempt is held back
    unsure: int  # chains that are not yet whole
    first: int  # when first seen
    since: int  # when it last held nothing
    active: int  # when it last did what no task does that waits for a lock
    waits: int  # the lock that it waits for by contention_begin
    waits_ts: int  # since when
    halves: int  # entries that are HALF
    nest: int  # a nest lock that seemed not to be held
    nest_odd: int  # the oddity + 1 that says so


class Call(Row):
    """A probed function that a task entered."""

    text: int
    lock: int
    ts: int
    seq: int
    name: int  # of the lock
    contended: int  # since when
    chain: int  # of its attempt, + 1
    caller: int
    cpu: int
    context: int


class Cpu(Row):
    """A CPU."""

    task: int  # last seen on it, + 1; 0: not known
    missing: int  # whether events are missing now
    lock: int  # last taken when a task was switched out
    by: int  # that task, + 1


class Class(Row):
    """A lock class, and its statistics."""

    name: int  # text
    key: int
    subclass: int
    keyed: int  # how it is known
    inner: int  # wait types
    outer: int
    type: int  # lock type
    count: int
    reads: int
    tries: int
    contended: int
    wait: int
    wait_max: int
    hold: int
    hold_max: int
    holds: int
    got: int  # lock_acquired events
    queue: int  # a run queue's lock: one task takes it and the next one releases it
    annotated: int  # when a held lock was last given this class


class Name(Row):
    """What is known of a lock's name."""

    role: int
    read: int
    check: int
    spins: int
    rq: int  # a run queue
    sleeps: int
    none: int  # no name at all
    kept: int  # its rows are wanted
    tracing: int  # a lock of tracing itself
    joined: int  # acquisitions with both events
    missed: int  # and with one alone


class Chain(Row):
    """A situation in which a lock was taken."""

    first: int  # its first link
    count: int
    cpu: int
    pid: int
    preempt: int
    window: int
    whole: int
    length: int
    last: int  # when it was met last


class Odd(Row):
    """What a chain cannot show: see ``reconstruct.chains.Oddity``."""

    what: int
    ts: int
    seq: int
    cpu: int
    pid: int
    flags: int
    preempt: int
    cls: int
    lock: int
    first: int  # link
    count: int
    window: int
    detail: int
    length: int
    denied: int  # how often another task got what seems leaked
    proved: int  # the preempt count says so too
    since: int  # when the task last held nothing


class Hold(Row):
    """A hold that ended: ``reconstruct.walk.HOLD_COLUMNS``."""

    cls: int
    lock: int
    pid: int
    cpu: int
    end_cpu: int
    asked_ns: int
    acquired_ns: int
    end_ns: int
    depth: int
    mode: int
    ip: int
    seq: int
    known: int
    contended_ns: int


class Recent(Row):
    """The class last seen at an address, + 1."""

    lock: int
    cls: int


class Owner(Row):
    """The last exclusive owner of a lock."""

    lock: int
    task: int  # + 1
    odd: int  # the oddity + 1 of a leak


class Taken(Row):
    """When a task last asked for a lock."""

    key: int
    last: int
    other: int  # the latest of whoever used the place before


class Waiter(Row):
    """How many wait for a lock."""

    lock: int
    number: int


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
    odd_links_used: int
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
    odd_table: Ints
    odd: Rows[Odd]
    odd_links: Rows[Link]
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
        self.chain_table, self.odd_table = array_of(a["chain_table"]), array_of(a["odd_table"])
        self.held, self.unsure = array_of(a["held"]), array_of(a["unsure"])
        self.tasks, self.stacks, self.calls = array_of(a["tasks"]), array_of(a["stacks"]), array_of(a["calls"])
        self.cpus, self.classes, self.recent = array_of(a["cpus"]), array_of(a["classes"]), array_of(a["recent"])
        self.names, self.chains, self.links = array_of(a["names"]), array_of(a["chains"]), array_of(a["links"])
        self.odd, self.odd_links, self.holds = array_of(a["odd"]), array_of(a["odd_links"]), array_of(a["holds"])
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
