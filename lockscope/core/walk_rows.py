"""What the walk knows of tasks, locks and CPUs: the rows of its memory, and the numbers in them."""

from __future__ import annotations

from lockscope.core.c_types import Row

DEPTH = 64  # lockdep stops at 48 (MAX_LOCK_DEPTH); deeper acquisitions are counted and left out
FN_DEPTH = 16
# Entry.marks: PENDING its detail may follow, ALONE its plain event may, HALF one of the two does (nothing is held
# before both), COUNTED as a preemption level, RIVALLED another task got it, AGAIN held back, QUEUE a run queue's lock,
# UNNESTED its nest lock was not held, STAND_IN a ww_acquire_ctx's map that stands for the locks to come.
PENDING, CONTENDED, IRQS_SEEN_ON, BH_SEEN_ON, ALONE, COUNTED, RIVALLED, AGAIN = 1, 2, 4, 8, 16, 32, 64, 128
HALF, QUEUE, UNNESTED, STAND_IN = 256, 512, 1024, 2048
ASKED_DEPTH, ASKED_PREEMPT = 16, 24  # bits of marks from there on: locks held when it was asked for, preempt count
RELEASED, WAITED = 1, 2  # Chain.whole: all that was held was seen to be released; the task waits as the trace ends
WHOLE, WHOLE_SO_FAR = 1, 2  # Task.whole: known; known, but what was taken before lock events were recorded is not
# Class.keyed. BY_ADDRESS, BY_PLACE: kernels without lockdep. BY_INIT: with the key and wait types of the
# initialisation. BY_SRCU: an srcu_struct by its address, as probes on SRCU's functions say it.
BY_NAME, BY_KEY, BY_ADDRESS, BY_PLACE, BY_INIT, BY_SRCU = range(6)
NEVER_KEPT, KEPT_BY_NAME, ALWAYS_KEPT = range(3)  # what is wanted of an operation's rows
RAW_UNLOCK = 32  # of a probed function: it releases a raw_spinlock_t
LOGS_ACQUIRED = TAKES_LEVEL = 2  # Name.sleeps: has lock_acquired events; Name.spins: no lock, but preemption is off
LATEST = 64  # anomalies that are looked through again
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
CONTENTION_BEGIN, CONTENDED_RELEASE = 8, 13
CONTENTION_END, FN_ENTRY, FN_RETURN, FN_UNLOCK, SWITCH, SYS_ENTER, SYS_EXIT, TASK_EXIT = 9, 10, 11, 12, 16, 17, 18, 19
IRQS_ON, FREE, GAP, OF_SUBSYSTEMS = 24, 29, 30, 32
SRCU_ENTER, SRCU_ASKED, SRCU_LEAVE, SRCU_SYNC = 32, 33, 34, 35
EDEADLK = -35
SYNC = 2  # Entry.check of a wait for all holders that takes nothing: lockdep's lock_sync()
# How near a ww_acquire_ctx has its first_lock_dep_map (7.x): of the class of the mutexes to come, and no lock itself.
NEXT_TO = 256
OWN_FILE = 1 << 14  # bytes of code before and behind __srcu_read_lock() that are taken for SRCU's file
HOW_WAITS = 3  # bits: takes a lock, exclusively or to read
HOW_IRQS_OFF, HOW_BH_OFF = 64, 128  # the function turns these off itself, before it asks for the lock
HOW_SPINS = 256  # it calls no other lock function while it waits
HOW_READ, HOW_TRIES, HOW_SLEEPS = 2, 4, 16  # bits of a function's row in ``functions``; see ``walk.function_row``


class Link(Row):
    """A lock of a chain, or of an anomaly, as ``walk.chains.Entry`` has it."""

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
    nest_anomaly: int  # the anomaly + 1 that says so


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
    since: int  # when the task had last held nothing as it was met first


class Anomaly(Row):
    """What a chain cannot show: see ``walk.chains.Anomaly``."""

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
    """A hold that ended: ``walk.walk.HOLD_COLUMNS``."""

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
    anomaly: int  # the anomaly + 1 of a leak


class Taken(Row):
    """When a task last asked for a lock."""

    key: int
    last: int
    other: int  # the latest of whoever used the place before


class Waiter(Row):
    """How many wait for a lock."""

    lock: int
    number: int
