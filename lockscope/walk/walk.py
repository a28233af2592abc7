"""Held locks, task by task: the tape in, chains, anomalies, statistics and holds out.

Owns the compiled walk's state, grows it when a table is full, and gives the numbers of names and classes their meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockscope.core import walk as compiled
from lockscope.core import walk_rows as kernel
from lockscope.core.tape_rows import H_TS
from lockscope.core.walk_memory import Walk
from lockscope.kvm.locks import is_kvm, kind_of, role_of, wait_of
from lockscope.tables.ops import Op
from lockscope.tables.tape import PackedTape, TapeBatch
from lockscope.tables.texts import Texts
from lockscope.walk.chains import Anomaly, Chains, Entry, LockClass
from lockscope.walk.lock_names import NAMELESS, UNNAMED, UNNAMED_SRCU, kind_of_function
from lockscope.walk.regions import Memory
from lockscope.walk.waiting import WaitingTask, waiting_tasks

_WHAT = (
    "release-not-held",
    "held-at-user",
    "held-at-exit",
    "switched-atomic",
    "init-held",
    "freed-held",
    "irqs-on-held",
    "ww-order",
    "gave-up",
    "nest-not-held",
)
HOLD_COLUMNS = kernel.Hold.fields()


@dataclass(frozen=True, slots=True)
class WalkOptions:
    """How the trace is to be read.

    ``detailed``: it has lockscope:lockdep_acquire. ``fake_softirq``, ``recursive_reads``: what ``--assume`` says.
    ``rt``: PREEMPT_RT, where spinlocks sleep. ``flags_say_irqs``: IRQS_OFF in the flags is true (not on 4.14 to 5.9,
    nor in text without flags). ``no_validate``: address of __lockdep_no_validate__, 0. ``srcu_checked``: lockdep checks
    SRCU (6.4 and later). ``contexts``: the flags tell interrupts from tasks. ``keep``: which rows ``feed`` returns, of
    lock events only those of KVM's locks and of SRCUs, or all with ``keep_locks``. ``holds``: make rows of the holds
    table. ``judged``: judge from the start (no windows). ``preempt_mask``: the bits of common_preempt_count that count
    preemption levels (four since 5.15, where migrate-disable got the others). ``split``: tracepoints leave preemption
    on (7.0 and later): anything can come between the two events of an acquisition.
    """

    detailed: bool = False
    fake_softirq: bool = False
    recursive_reads: bool = False
    rt: bool = False
    flags_say_irqs: bool = True
    no_validate: int = 0
    srcu_checked: bool = True
    hashed: bool = False
    holds: bool = False
    keep: frozenset[Op] = frozenset()
    keep_locks: bool = False
    judged: bool = True
    contexts: bool = True
    preempt_mask: int = 0x0F
    split: bool = True


_HELD_BATCHES = 3  # one being walked, one waiting, one in the hands of the facts


@dataclass(frozen=True, slots=True)
class Ended:
    """Holds that ended since the last were taken, by ``HOLD_COLUMNS``.

    ``told``: places in the trace (``seq``) of acquisitions that became part of a chain or an anomaly since then: what
    findings may name. ``kvm``: by class, whether it is one of the locks that KVM's checks go by.
    """

    holds: NDArray[np.int64]
    told: NDArray[np.int64]
    kvm: NDArray[np.bool_]


class LockWalk:
    """One pass over a trace. ``feed`` every tape batch in order, then read the results."""

    def __init__(self, texts: Texts, options: WalkOptions) -> None:
        self.texts, self.options = texts, options
        self.memory = Memory(holds=options.holds)
        _set_options(self.memory.w, options)
        self.kinds: NDArray[np.int64] = np.zeros((0, 2), np.int64)
        self._named = 0
        self._wanted = _wanted(options)
        self._kept: NDArray[np.int64] = np.zeros(0, np.int64)
        self._held: list[NDArray[np.int64]] = [np.zeros((0, kernel.ROLES), np.int64)] * _HELD_BATCHES
        self._told = [0, 0]
        self.waiting: list[WaitingTask] = []  # to the end of the trace; known when it is over

    @property
    def holds(self) -> list[NDArray[np.int64]]:
        """Rows of the holds table so far, by ``HOLD_COLUMNS``, in the order in which they ended."""
        return self.memory.drained

    def feed(self, tape: PackedTape, marks: Sequence[tuple[int, int]] = ()) -> TapeBatch:
        """Walk a batch; return the rows that are to be kept, with what their tasks ``held``.

        ``marks``: (row, window) where a judged window begins, -1 where it ends. ``held`` is overwritten some batches
        later.
        """
        self._learn_names()
        n = len(tape)
        self._kept_for(n)
        self.memory.w.kept_rows = 0
        begin = 0
        for row, window in marks:
            begin = self._run(tape, begin, row)
            self._mark(window, int(tape.head[min(row, n - 1), H_TS]) if n else 0)
        self._run(tape, begin, n)
        self.memory.drain()
        kept = self.memory.w.kept_rows
        batch = tape.rows(self._kept[:kept])
        batch.held = self._held[-1][:kept]
        return batch

    def ended(self) -> Ended:
        """Take the holds that ended since the last call; ``holds`` is empty then."""
        memory, told = self.memory, []
        for i, (region, count) in enumerate((("links", "links_used"), ("anomaly_links", "anomaly_links_used"))):
            now = memory.count(count)
            told.append(memory.region(region)["seq"][self._told[i] : now].copy())
            self._told[i] = now
        parts = memory.taken()
        holds = np.concatenate(parts) if parts else np.zeros((0, len(HOLD_COLUMNS)), np.int64)
        roles = memory.region("names")["role"][self._classes()["name"]]
        return Ended(holds, np.concatenate(told), roles > 0)

    def _kept_for(self, rows: int) -> None:
        """Room for the rows that are kept; memory is used in turns, since fresh memory costs more than the walk."""
        if len(self._kept) < rows:
            self._kept = np.empty(rows + rows // 8, np.int64)
        oldest = self._held.pop(0)
        if len(oldest) < rows:
            oldest = np.empty((rows + rows // 8, kernel.ROLES), np.int64)
        self._held.append(oldest)

    def _mark(self, window: int, ts: int) -> None:
        w = self.memory.w
        w.judging, w.window, w.ts = int(window >= 0), window, ts
        self.memory.forget_all()
        self.memory.region("owners")[:] = 0
        compiled.reset(w, int(window >= 0))

    def _run(self, tape: PackedTape, begin: int, end: int) -> int:
        while begin < end:
            begin = compiled.walk(
                self.memory.w, tape.head, tape.slots, self.kinds, self._wanted, begin, end, self._kept, self._held[-1]
            )
            if begin < end:
                self.memory.drain()
                self.memory.grow()
        return begin

    def _learn_names(self) -> None:
        words = self.texts.all()
        if self._named == len(words) and self._named:
            return
        if len(words) > self.memory.sizes["names"]:
            self.memory.resize({"names": 2 * len(words)})
        names = self.memory.region("names")
        for i in range(self._named, len(words)):
            names[i] = _name_row(words[i], self.options.srcu_checked, self.options.rt)
        self._named = len(words)
        returns = {w: i for i, w in enumerate(words)}
        self.kinds = np.array([_function_row(w, returns) for w in words] or [(0, -1)], np.int64)

    def finish(self, ts: int) -> None:
        """The trace is over: who waits does so for good, and what is still held has no known end."""
        memory = self.memory
        memory.w.ts = ts
        tasks = memory.used("tasks")
        self.waiting = waiting_tasks(memory, self.kinds)
        for t in np.flatnonzero(tasks["depth"] > 0).tolist():
            memory.make_room()
            compiled.stand(memory.w, t)
        for task in self.waiting:
            if task.function >= 0:
                memory.make_room()
                compiled.stand_attempt(memory.w, task.number, task.function, task.how)
        if self.options.holds:
            unpaired = memory.w.unpaired
            memory.forget_all()  # rows for what is still held; nothing was lost, the trace is over
            memory.w.unpaired = unpaired

    def classes(self) -> list[LockClass]:
        """All classes seen, by number."""
        words = self.texts.all()
        return [_lock_class(i, row, words, self.options.rt) for i, row in enumerate(self._classes().tolist())]

    def _classes(self) -> NDArray[Any]:
        return self.memory.used("classes")

    def statistics(self) -> dict[str, NDArray[np.int64]]:
        """Per class, by number: acquisitions, reads, trylocks, contended, waits and holds (sums and maxima, ns)."""
        c = self._classes()
        columns = ("count", "reads", "tries", "contended", "wait", "wait_max", "hold", "hold_max", "holds")
        names = (
            "acquired",
            "reads",
            "trylocks",
            "contended",
            "wait_ns",
            "wait_max_ns",
            "hold_ns",
            "hold_max_ns",
            "holds",
        )
        return {name: c[column] for name, column in zip(names, columns, strict=True)}

    def chains(self) -> Chains:
        """The distinct chains, in the order in which they were first seen."""
        m = self.memory
        c = m.used("chains")
        start = np.concatenate((c["first"], [m.w.links_used])).astype(np.int64)
        rows = _as_grid(m.region("links")[: start[-1]])
        return Chains(
            start,
            rows,
            c["count"].copy(),
            c["cpu"].astype(np.int32),
            c["pid"].astype(np.int32),
            c["preempt"].astype(np.int32),
            c["window"].astype(np.int32),
            c["whole"].astype(bool),
            c["last"].copy(),
            c["since"].copy(),
            c["whole"] == kernel.RELEASED,
        )

    def anomalies(self) -> list[Anomaly]:
        """What the walk met that no chain shows."""
        found = []
        links = _as_grid(self.memory.region("anomaly_links"))
        for row in self.memory.used("anomaly"):
            count = row["count"] - row["denied"]
            if count <= 0:
                continue
            held = tuple(Entry(*e) for e in links[row["first"] : row["first"] + row["length"]].tolist())
            o = dict(zip(kernel.Anomaly.fields(), row.tolist(), strict=True))
            found.append(
                Anomaly(
                    _WHAT[o["what"]],
                    o["ts"],
                    o["seq"],
                    o["cpu"],
                    o["pid"],
                    o["flags"],
                    o["preempt"],
                    o["cls"],
                    o["lock"],
                    held,
                    int(count),
                    o["window"],
                    o["detail"],
                    bool(o["proved"]),
                    o["since"],
                )
            )
        return found

    def tasks_left_out(self, cpus: int) -> bool:
        """Whether some tasks' events are not in the trace, of so many CPUs, though nothing was lost (a PID filter).

        Who is switched out took the run queue's lock just before (``__schedule()``, kernel/sched/core.c): where others
        were seen to and some were not, their lock events are missing. One could be a trace that begins in between; and
        without lockdep a run queue is learnt as it is handed over, which is each CPU's first switch.
        """
        usual = 1 if self.counter("lockdep_events") else max(cpus, 1)
        return usual < self.counter("bare_switches") < self.counter("switches")

    def last_taken(self, pid: int, lock: int) -> int:
        """When a task last asked for a lock, at the latest (ns); 0 if it never did."""
        return int(compiled.last_taken(self.memory.w, pid, lock))

    def first_seen(self) -> dict[int, int]:
        """When each task was first seen, at the latest (ns), by pid; without those that a very long trace forgot."""
        tasks = self.memory.used("tasks")
        seen: dict[int, int] = {}
        for pid, ts in zip(tasks["pid"].tolist(), tasks["first"].tolist(), strict=True):
            seen[pid] = min(ts, seen.get(pid, ts))
        return seen

    def counter(self, which: str) -> int:
        """One of the walk's counters (``core.walk_memory.Walk``), or how many keys one of its tables has."""
        return self.memory.count(which)


def _as_grid(rows: NDArray[Any]) -> NDArray[np.int64]:
    """Rows as int64 of two dimensions: a view."""
    return rows.view(np.int64).reshape(len(rows), len(rows.dtype.names or ()))


def _wanted(o: WalkOptions) -> NDArray[np.int64]:
    wanted = np.zeros(max(Op) + 1, np.int64)
    for op in o.keep:
        by_name = op in LOCK_OPS and not o.keep_locks
        wanted[op] = kernel.KEPT_BY_NAME if by_name else kernel.ALWAYS_KEPT
    return wanted


def _set_options(w: Walk, o: WalkOptions) -> None:
    w.detailed, w.window, w.fake_softirq, w.rt = o.detailed, -1, o.fake_softirq, o.rt
    w.no_validate, w.says_irqs, w.with_holds = _signed(o.no_validate), o.flags_say_irqs, o.holds
    w.recursive_reads, w.hashed, w.judging = o.recursive_reads, o.hashed, o.judged
    w.contexts, w.preempt_mask, w.sleep_type, w.split = o.contexts, o.preempt_mask, 4, o.split


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


_RECURSIVE = ("rcu", "srcu", "seqcount", "map")
_SLEEPS = {"mutex": kernel.LOGS_ACQUIRED, "rwsem": kernel.LOGS_ACQUIRED, "percpu_rwsem": 1}
_NO_NAMES = ("", "(fault)", NAMELESS)  # what a probe prints of a name that it could not read
_SPINS, _SPINS_ON_RT = ("spinlock", "raw_spinlock", "rwlock"), ("raw_spinlock",)


# Locks that a tracepoint takes around its probes, so that they are held at the very event. System calls: guard(
# rcu_tasks_trace) since 6.13 (include/linux/tracepoint.h, __DECLARE_TRACE_SYSCALL), whose map is rcu_trace_lock_map at
# first and that of rcu_tasks_trace_srcu_struct since 7.0 (include/linux/rcupdate_trace.h). All other tracepoints: since
# 7.0 tracepoint_srcu, by srcu_read_lock_fast_notrace(), which lockdep does not see; before, preemption is off.
_TRACING = frozenset({"rcu_read_lock_trace", "rcu_tasks_trace_srcu_struct", "tracepoint_srcu"})


def is_tracing(name: str) -> bool:
    """Whether tracing takes locks of this class, and not the task whose events show them."""
    return name in _TRACING


def _name_row(name: str, srcu_checked: bool, rt: bool) -> tuple[int, ...]:
    kind, role = kind_of(name), role_of(name)
    read = (
        kernel.READ_RECURSIVE if kind in _RECURSIVE else kernel.READ_RWLOCK if kind == "rwlock" else kernel.READ_PLAIN
    )
    check = int(not (name.startswith("rcu_") or (kind == "srcu" and not srcu_checked)))
    run_queue = int(name in ("&rq->__lock", "&rq->lock"))  # renamed in 5.13
    nameless = int(name in _NO_NAMES)
    spins = int(kind in (_SPINS_ON_RT if rt else _SPINS))
    if name == "rcu_read_lock_sched":
        spins = kernel.TAKES_LEVEL
    kept = int(role != 0 or kind == "srcu" or is_kvm(name))
    return int(role), read, check, spins, run_queue, _SLEEPS.get(kind, 0), nameless, kept, int(is_tracing(name)), 0, 0


def _function_row(name: str, numbers: dict[str, int]) -> tuple[int, int]:
    """What a probed function does with its lock (see ``core.walk.function_row``), and the number of its return
    event.
    """
    plain = name.removesuffix("_entry")
    sleeps = _sleeps(plain)
    if plain == name or "unlock" in plain:
        return sleeps | (kernel.RAW_UNLOCK if "raw_spin_unlock" in plain else 0), -1
    how = (2 if "read" in plain else 1) | sleeps | (kernel.HOW_SPINS if plain.startswith("raw_") else 0)
    # _raw_spin_lock_irqsave() and kin turn irqs, or softirqs, off before they wait (include/linux/spinlock_api_smp.h).
    how |= kernel.HOW_IRQS_OFF if "_irq" in plain else kernel.HOW_BH_OFF if plain.endswith("_bh") else 0
    if "trylock" in plain:
        how |= 4
    elif "killable" in plain or "interruptible" in plain:
        how |= 8
    return how, numbers.get(plain, -1)


def _sleeps(function: str) -> int:
    """The bit that says that a probed lock function sleeps: a task that enters it does not wait for another lock."""
    return kernel.HOW_SLEEPS if function.startswith(("mutex_", "down_", "up_", "rt_mutex_")) else 0


def _lock_class(index: int, row: tuple[int, ...], words: list[str], rt: bool) -> LockClass:
    c = dict(zip(kernel.Class.fields(), row, strict=True))
    name, key, subclass, keyed, inner, outer, lock_type = row[:7]
    if keyed in (kernel.BY_ADDRESS, kernel.BY_PLACE):  # its lock type is the number of the function that took it
        text = words[name] if keyed == kernel.BY_PLACE else f"{UNNAMED}{key & (1 << 64) - 1:x}"
        return _by_function(index, text, key, kind_of_function(words[lock_type], rt), rt)
    if keyed == kernel.BY_SRCU:
        return LockClass(index, UNNAMED_SRCU + f"{key & (1 << 64) - 1:x}", key, 0, False, 0, 0, "srcu", 0)
    text = words[name] or NAMELESS
    waited = c["got"] > 0
    return LockClass(
        index,
        text,
        key,
        subclass,
        keyed == kernel.BY_KEY,
        inner,
        outer,
        kind_of(text),
        lock_type,
        waited,
        c["annotated"],
    )


def _by_function(index: int, text: str, key: int, kind: str, rt: bool) -> LockClass:
    """A class of a kernel without lockdep. With PREEMPT_RT each type of lock has functions of its own, so that the
    function tells the wait type; without, a spinlock may be raw or not, and where the name says more it counts."""
    if rt:
        outer, inner = wait_of(kind)
        return LockClass(index, text, key, 0, False, inner, outer, kind)
    return LockClass(index, text, key, kind=kind_of(text) or kind)


LOCK_OPS = frozenset({Op.ACQUIRE, Op.DETAIL, Op.ACQUIRED, Op.CONTENDED, Op.RELEASE})
WALKED_OPS = LOCK_OPS | {
    Op.INIT,
    Op.FN_ENTRY,
    Op.FN_RETURN,
    Op.FN_UNLOCK,
    Op.CONTENTION_BEGIN,
    Op.CONTENTION_END,
    Op.SRCU_LOCK,
    Op.SRCU_LOCK_ENTRY,
    Op.SRCU_UNLOCK,
    Op.SRCU_SYNC,
    Op.SWITCH,
    Op.SYS_ENTER,
    Op.SYS_EXIT,
    Op.TASK_EXIT,
    Op.IRQS_ON,
    Op.FREE,
}
