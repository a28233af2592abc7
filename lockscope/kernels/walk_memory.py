"""The compiled walk's memory: what lies where in its one array, and the small functions that find it.

All state of the walk lives in one int64 array ``m``: a head of counters, options and the row at hand, then the regions
of ``REGIONS``, each found by its base in the head. One array, no views, no tuples: numba compiles this in a few seconds
and runs it at some tens of nanoseconds a row; as a tuple of arrays it took half a minute and a microsecond.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from lockscope.kernels.inner import inner
from lockscope.kernels.outer import outer

DEPTH = 64  # lockdep stops at 48 (MAX_LOCK_DEPTH); deeper acquisitions are counted and left out
FN_DEPTH = 16
# An entry of a task's stack; the first thirteen are those of ``chains.Entry``.
(CLS, LOCK, READ, TRYLOCK, CHECK, CONTEXT, NEST, IP, TS, SEQ, FLAGS, BEFORE, CPU, ACQUIRED, HASH, MARKS, ROLE,
 ALIAS, CONTENDED_AT) = range(19)  # fmt: skip
ENTRY, WIDTH = 13, 19
# MARKS: PENDING its detail may follow, ALONE its plain event may, HALF one of the two does (nothing is held before
# both), COUNTED as a preemption level, RIVALLED another task got it, AGAIN held back, QUEUE a run queue's lock,
# UNNESTED its nest lock was not held, STAND_IN a ww_acquire_ctx's map that stands for the locks to come.
PENDING, CONTENDED, IRQS_SEEN_ON, BH_SEEN_ON, ALONE, COUNTED, RIVALLED, AGAIN = 1, 2, 4, 8, 16, 32, 64, 128
HALF, QUEUE, UNNESTED, STAND_IN = 256, 512, 1024, 2048
ASKED_DEPTH, ASKED_PREEMPT = 16, 24  # bits of MARKS from there on: locks held when it was asked for, preempt count
# A task: locks held, CPU last seen on, held set whole, probed functions entered, pid, quiet about releases after leaks,
# the ww_mutex at which its context was wounded, and that context, run queues locked, gaps seen so far, acquisitions
# left out because the stack was full, and what the last of them was; preemption levels that its locks take, since when
# another task has what it holds, whether an attempt is held back, chains that are not yet whole, when first seen,
# when it last did what no task does that waits for a lock; the lock that it waits for by contention_begin, since when;
# entries that are HALF, a nest lock that seemed not to be held and the oddity + 1 that says so.
(T_DEPTH, T_CPU, T_WHOLE, T_FN, T_PID, T_MUTE, T_WOUND, T_WOUND_NEST, T_QUEUES, T_EPOCH, T_DEEPER, T_LEFT_OUT, T_SPINS,
 T_RIVAL, T_AGAIN, T_UNSURE, T_FIRST, T_SINCE, T_ACTIVE,
 T_WAITS, T_WAITS_TS, T_HALVES, T_NEST, T_NEST_ODD, T_WIDTH) = range(25)  # fmt: skip
WHOLE, WHOLE_SO_FAR = 1, 2  # T_WHOLE: known; known, but what was taken before lock events were recorded is not
# A class: text number of its name, key, subclass, how it is known, wait types, lock type, then counters.
(
    C_NAME,
    C_KEY,
    C_SUBCLASS,
    C_KEYED,
    C_INNER,
    C_OUTER,
    C_TYPE,
    C_COUNT,
    C_READS,
    C_TRIES,
    C_CONTENDED,
    C_WAIT,
    C_WAIT_MAX,
    C_HOLD,
    C_HOLD_MAX,
    C_HOLDS,
    C_GOT,  # lock_acquired
    C_QUEUE,  # a run queue's lock: one task takes it and the next one releases it
    C_ANNOTATED,  # when a held lock was last given this class
) = range(19)
C_WIDTH = 19
# C_KEYED. BY_ADDRESS, BY_PLACE: kernels without lockdep. BY_INIT: with the key and wait types of the initialisation.
# BY_SRCU: an srcu_struct by its address, as probes on SRCU's functions say it.
BY_NAME, BY_KEY, BY_ADDRESS, BY_PLACE, BY_INIT, BY_SRCU = range(6)
# What is known of a name: role, read rule, check, spins, is a run queue's lock, sleeps, is no name at all, its rows are
# wanted, is a lock of tracing itself; acquisitions with both events, and with one alone.
(N_ROLE, N_READ, N_CHECK, N_SPINS, N_RQ, N_SLEEPS, N_NONE, N_KEPT, N_TRACING, N_JOINED, N_MISSED, N_WIDTH) = range(12)
NEVER_KEPT, KEPT_BY_NAME, ALWAYS_KEPT = range(3)  # what is wanted of an operation's rows
RAW_UNLOCK = 32  # of a probed function: it releases a raw_spinlock_t
LOGS_ACQUIRED = TAKES_LEVEL = 2  # N_SLEEPS: has lock_acquired events; N_SPINS: no lock, but preemption is off
CUT, KNOWN, NEVER_HELD = range(3)  # how a hold ends
READ_PLAIN, READ_RECURSIVE, READ_RWLOCK = 0, 1, 2  # what "read" in lock:lock_acquire means for a kind of lock
CHAIN_WIDTH, ODD_WIDTH, HOLD_WIDTH, FN_WIDTH = 10, 17, 14, 10
HAD_TO_WAIT, WAITED_FOR = 32, 64  # bits of a hold's mode: its task waited for it, others did while it lasted
# How often another task got what seems leaked; the preempt count says so too; when the task last held nothing.
ODD_DENIED, ODD_PROVED, ODD_SINCE = 14, 15, 16
LATEST = 64  # oddities that are looked through again
(RELEASE_NOT_HELD, HELD_AT_USER, HELD_AT_EXIT, SWITCHED_ATOMIC, INIT_HELD, FREED_HELD, IRQS_ON_HELD, WW_ORDER,
 GAVE_UP, NEST_NOT_HELD) = range(10)  # fmt: skip
ROLES, MODE, SRCU_DEPTH, MMU_LOCK, SRCU = 18, 16, 17, 1, 2
RECENT, CPUS, OWNED, TAKEN_SLOTS, WAITED = 1 << 16, 1 << 16, 1 << 12, 1 << 16, 1 << 12
MOST_UNSURE = 48
IMAGE = -0x80000000  # x86-64's kernel image and modules: 0xffffffff80000000 and up, as signed numbers
# The head of ``m``: counters, options, the row at hand, bases and sizes of regions.
(
    K_TASKS,
    K_CLASSES,
    K_CHAINS,
    K_ROWS,
    K_ODD,
    K_ODD_ROWS,
    K_TOO_DEEP,
    K_UNPAIRED,
    K_HOLDS,
    K_LOSSES,
    K_SWITCHES,
    K_SEEN,
    K_EPOCH,
    K_GAPS,
    K_GOT,
    K_STALE,
) = range(16)
(
    O_DETAILED,
    O_WINDOW,
    O_SOFTIRQ,
    O_RT,
    O_NOVALIDATE,
    O_FLAGS,
    O_HOLDS,
    O_RECURSIVE,
    O_HASHED,
    O_JUDGE,
    O_CONTEXTS,
    O_PREEMPT,
    O_SLEEP,
    O_SWITCH,
    K_FULL,
    K_FUNCTIONS,
) = range(16, 32)
# K_FUNCTIONS: probed lock functions entered.
# K_FULL: rows that found no room in their region. They are never written beyond it, and whoever runs the walk raises.
# R_START: K_EPOCH as the window began; R_COUNTS: spinning locks were seen to take preemption levels; R_KEPT: rows of
# this batch that others want to see. K_BARE: switches by tasks that were not seen to take a run queue's lock for it.
# R_WATCHED: a lock that somebody waits for, whose rows are wanted too until it is handed over.
# K_LOCKDEP: acquisitions by lockdep's events. K_PLAIN_FIRST, K_DETAIL_FIRST: acquisitions by which of their two events
# came first. K_RELEASES: releases seen. O_SPLIT: other events of the task may come between the two of an acquisition.
R_TS, R_SEQ, R_FLAGS, R_CPU, R_PREEMPT, R_CONTEXT, R_START, R_COUNTS, R_KEPT, K_BARE, R_WATCHED = range(32, 43)
K_LOCKDEP, K_PLAIN_FIRST, K_DETAIL_FIRST, K_RELEASES, O_SPLIT = range(43, 48)
BASES, SIZES, HEAD = 48, 80, 112
REGIONS = (
    "task_keys",
    "task_table",
    "tasks",
    "stacks",
    "functions",
    "held",
    "running",
    "class_keys",
    "class_table",
    "classes",
    "recent",
    "names",
    "chain_keys",
    "chain_table",
    "chains",
    "rows",
    "odd_keys",
    "odd_table",
    "odd",
    "odd_rows",
    "holds",
    "owners",
    "unsure",
    "taken",
    "waiters",
)
(
    TASK_KEYS,
    TASK_TABLE,
    TASKS,
    STACKS,
    FUNCTIONS,
    HELD,
    RUNNING,
    CLASS_KEYS,
    CLASS_TABLE,
    CLASSES,
    RECENTS,
    NAMES,
    CHAIN_KEYS,
    CHAIN_TABLE,
    CHAINS,
    ROWS,
    ODD_KEYS,
    ODD_TABLE,
    ODD,
    ODD_ROWS,
    HOLDS,
    OWNERS,
    UNSURE,
    TAKEN,
    WAITERS,
) = range(BASES, BASES + 25)
WIDTHS = (
    1,
    1,
    T_WIDTH,
    DEPTH * WIDTH,
    FN_DEPTH * FN_WIDTH,
    ROLES,
    4,
    1,
    1,
    C_WIDTH,
    2,
    N_WIDTH,
    1,
    1,
    CHAIN_WIDTH,
    ENTRY,
    1,
    1,
    ODD_WIDTH,
    ENTRY,
    HOLD_WIDTH,
    3,
    MOST_UNSURE,
    3,
    2,
)

(LOSS, ACQUIRE, DETAIL, ACQUIRED_OP, CONTENDED_OP, RELEASE, INIT) = range(1, 8)
CONTENTION_BEGIN = 8
CONTENTION_END, FN_ENTRY, FN_RETURN, FN_UNLOCK, SWITCH, SYS_ENTER, SYS_EXIT, TASK_EXIT = 9, 10, 11, 12, 16, 17, 18, 19
IRQS_ON, FREE, GAP, OF_SUBSYSTEMS = 24, 29, 30, 32
SRCU_ENTER, SRCU_ASKED, SRCU_LEAVE, SRCU_SYNC = 32, 33, 34, 35
EDEADLK = -35
SYNC = 2  # CHECK of a wait for all holders that takes nothing: lockdep's lock_sync()
# How near a ww_acquire_ctx has its first_lock_dep_map (7.x): of the class of the mutexes to come, and no lock itself.
NEXT_TO = 256


@intrinsic
def pointer(typingctx: Any, array: Any) -> Any:  # noqa: ARG001 (numba's signature)
    """To a contiguous array's first element, for the compiled functions behind the caller, which keeps the array alive.

    An array is seven words at each call, and its index may be negative: with a pointer the walk takes half the time.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


@inner("i8(i8, i8)", always=True)
def mix(h: int, v: int) -> Any:
    """Fold a value into a hash."""
    folded = (h ^ v) * np.int64(-7046029254386353131)
    return folded ^ (folded >> 29)


@inner("i8(CPointer(i8), i8, i8, i8, i8)")
def find(m: Any, keys: int, table: int, size: int, key: int) -> Any:
    """The slot of a key in an open-addressing table (number + 1, 0 = empty), or the empty slot where it belongs."""
    mask = size - 1
    slot = (key ^ (key >> 32)) & mask
    while m[table + slot] != 0 and m[keys + slot] != key:
        slot = (slot + 1) & mask
    return slot


@inner("i8(CPointer(i8), i8, i8, i8, i8)")
def number_of(m: Any, keys_at: int, table_at: int, count_at: int, key: int) -> Any:
    """The number of a key; a new one is given the next number, and is returned as -1 - number.

    Where the region behind the table is full, its last row is written over and K_FULL says so.
    """
    keys, table = m[keys_at], m[table_at]
    slot = find(m, keys, table, m[table_at - BASES + SIZES], key)
    known = m[table + slot]
    if known != 0:
        return known - 1
    n = m[count_at]
    rows = m[table_at + 1 - BASES + SIZES]  # REGIONS: keys, table, rows
    if n >= rows or 2 * n >= m[table_at - BASES + SIZES]:
        m[K_FULL] += 1
        return -rows
    m[count_at] = n + 1
    m[keys + slot] = key
    m[table + slot] = n + 1
    return -1 - n


@inner("i8(i8, i8)", always=True)
def context_of(flags: int, fake_softirq: int) -> Any:
    """0 task, 1 softirq, 2 hardirq, 3 NMI, from common_flags."""
    if flags & 0x40:
        return 3
    if flags & 0x08:
        return 2
    if flags & 0x10 or (fake_softirq and flags & 0x81 == 0x81):
        return 1
    return 0


@inner("i8(CPointer(i8), i8)", always=True)
def task_at(m: Any, t: int) -> Any:
    """Where task ``t`` begins."""
    return m[TASKS] + t * T_WIDTH


@inner("i8(CPointer(i8), i8, i8)", always=True)
def entry_at(m: Any, t: int, i: int) -> Any:
    """Where entry ``i`` of a task's stack begins."""
    return m[STACKS] + (t * DEPTH + i) * WIDTH


@inner("i8(CPointer(i8), i8)", always=True)
def cpu_at(m: Any, cpu: int) -> Any:
    """Where a CPU begins: the task last seen on it (number + 1, 0 = not known), whether events are missing now, the
    lock that was last taken when a task was switched out, and that task (number + 1)."""
    return m[RUNNING] + 4 * (cpu & (CPUS - 1))


@inner("i8(CPointer(i8), i8)", always=True)
def class_at(m: Any, c: int) -> Any:
    """Where class ``c`` begins."""
    return m[CLASSES] + c * C_WIDTH


@inner("i8(CPointer(i8), i8, i8)", always=True)
def name_says(m: Any, name: int, what: int) -> Any:
    """What is known of a name; nothing (0) of a lock without one."""
    return m[m[NAMES] + name * N_WIDTH + what] if 0 <= name < m[NAMES - BASES + SIZES] else np.int64(0)


@inner("b1(CPointer(i8), i8)", always=True)
def is_queue(m: Any, cls: int) -> Any:
    """Whether a class is a run queue's lock, by its name or by having changed hands at a switch."""
    c = class_at(m, cls)
    return m[c + C_QUEUE] != 0 or name_says(m, m[c + C_NAME], N_RQ) != 0


@inner("b1(CPointer(i8), i8)", always=True)
def is_tracing(m: Any, e: int) -> Any:
    """Whether entry ``e`` is a lock that tracing took, not the task."""
    return name_says(m, m[class_at(m, m[e + CLS]) + C_NAME], N_TRACING) != 0


@inner("i8(CPointer(i8), i8, i8)")
def task_of(m: Any, pid: int, cpu: int) -> Any:
    """The task's number; the idle task is another one on each CPU."""
    t = number_of(m, TASK_KEYS, TASK_TABLE, K_TASKS, mix(pid if pid != 0 else -1 - cpu, 77))
    if t < 0:
        t = -1 - t
        a = task_at(m, t)
        for i in range(T_WIDTH):
            m[a + i] = 0
        m[a + T_PID] = pid
        m[a + T_FIRST] = m[R_TS]
        m[a + T_SINCE] = m[R_TS]
        m[a + T_EPOCH] = m[K_EPOCH]
        m[a + T_WHOLE] = m[O_WINDOW] >= 0 and m[K_EPOCH] == m[R_START]
    return t


@inner("i8(CPointer(i8), i8, i8, i8, i8)")
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


@inner("i8(CPointer(i8))", always=True)
def hold_at(m: Any) -> Any:
    """Where the next ended hold begins; the region's last row where it is full, and K_FULL says so."""
    n = m[K_HOLDS]
    if n >= m[HOLDS - BASES + SIZES]:
        m[K_FULL] += 1
        return m[HOLDS] + (m[HOLDS - BASES + SIZES] - 1) * HOLD_WIDTH
    m[K_HOLDS] = n + 1
    return m[HOLDS] + n * HOLD_WIDTH


@inner("i8(CPointer(i8), i8, i8)")
def take_again(m: Any, pid: int, lock: int) -> Any:
    """A task asks for a lock now; when it last did.

    A slot belongs to whoever used it last, and keeps the latest time of all before: what is forgotten is never too
    early.
    """
    key = mix(pid, lock)
    a = m[TAKEN] + 3 * ((key ^ key >> 32) & (TAKEN_SLOTS - 1))
    if m[a] != key:
        m[a], m[a + 2] = key, max(m[a + 1], m[a + 2])
        m[a + 1] = m[a + 2]
    before = m[a + 1]
    m[a + 1] = m[R_TS]
    return before


@inner("b1(CPointer(i8), i8, i8)")
def was_taken(m: Any, pid: int, lock: int) -> Any:
    """Whether a task asked for a lock before, for all that is remembered."""
    key = mix(pid, lock)
    return m[m[TAKEN] + 3 * ((key ^ key >> 32) & (TAKEN_SLOTS - 1))] == key


@inner("void(CPointer(i8), i8, i8)")
def rehash(m: Any, t: int, begin: int) -> None:
    """The hash of each stack up to and including an entry, from entry ``begin`` on."""
    for i in range(begin, m[task_at(m, t) + T_DEPTH]):
        e = entry_at(m, t, i)
        below = m[e - WIDTH + HASH] if i > 0 else np.int64(0)
        if m[e + MARKS] & HALF:
            m[e + HASH] = below
            continue
        h = mix(below, m[e + CLS])
        nested = 64 if m[e + NEST] != 0 else 0
        h = mix(h, m[e + READ] | m[e + TRYLOCK] << 2 | m[e + CHECK] << 3 | m[e + CONTEXT] << 4 | nested)
        lock = m[e + LOCK]
        # A KVM lock: which VM's matters. A variable known by no more than its name: the name may be that of several.
        if m[e + ROLE] != 0 or (IMAGE <= lock < 0 and m[class_at(m, m[e + CLS]) + C_KEYED] == BY_NAME):
            h = mix(h, lock)
        m[e + HASH] = h


@inner("void(CPointer(i8), i8)")
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


@outer("i8(i8[::1], i8, i8, i8, i8)")
def find_in(memory: Any, keys: int, table: int, size: int, key: int) -> int:
    """``find`` for Python."""
    return find(pointer(memory), keys, table, size, key)


@outer("i8(i8[::1], i8, i8)")
def last_taken(m: Any, pid: int, lock: int) -> int:
    """For Python: when a task last asked for a lock, at the latest; 0 if it never did."""
    key = mix(pid, lock)
    a = m[TAKEN] + 3 * ((key ^ key >> 32) & (TAKEN_SLOTS - 1))
    return m[a + 1] if m[a] == key else m[a + 2]
