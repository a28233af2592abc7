"""Evidence from a few words: tasks that take and release locks, walked as ``walk.walk`` would walk their trace.

One line a task's stretch, ``TASK: WORD WORD ...``; lines run one after the other. Words:

    KIND:NAME     take a lock: mutex spin raw write read rread down dread srcu rcu map local override. ``read`` waits
                  for writers, ``rread`` is recursive. NAME may end in ``/1`` (subclass), ``@2`` (instance), ``^NEST``
                  (nest lock), ``?`` (a trylock that got it), ``!`` (lockdep does not check it)
    sync:NAME     wait for the readers of an SRCU
    -NAME         release it (``-NAME@2``)
    hardirq( softirq( nmi( ... )    an interrupt on top of the task
    irqs-off irqs-on bh-off bh-on   what the task does to them
    init:NAME     the map is initialised, under another key; init=NAME: under its own
    user exit switch                return to user space, end, context switch
    == NAME       on a line of its own: a judged window begins; nobody holds anything
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from lockscope.checks.check import all_checks
from lockscope.evidence.evidence import Evidence, Window
from lockscope.evidence.lifetimes import Lifetimes
from lockscope.lockgraph.rows import SYNC
from lockscope.results.findings import CheckRun, Finding
from lockscope.rules.book import Rulebook
from lockscope.tables.events import TraceInfo
from lockscope.walk.chains import HARDIRQ, NMI, SOFTIRQ, TASK, Anomaly, Chains, Entry, LockClass


class Kind(NamedTuple):
    kind: str
    inner: int
    outer: int = 0
    read: int = 0
    check: int = 1
    lock_type: int = 0


KINDS = {
    "mutex": Kind("mutex", 4),
    "spin": Kind("spinlock", 3),
    "raw": Kind("raw_spinlock", 2),
    "write": Kind("rwlock", 3),
    "read": Kind("rwlock", 3, read=1),
    "rread": Kind("rwlock", 3, read=2),
    "down": Kind("rwsem", 4),
    "dread": Kind("rwsem", 4, read=1),
    "srcu": Kind("srcu", 0, read=2),
    "sync": Kind("srcu", 0, check=SYNC),
    "rcu": Kind("rcu", 3, 1, read=2, check=0),
    "map": Kind("map", 0),
    "local": Kind("local_lock", 3, lock_type=1),
    "override": Kind("map", 4, lock_type=2),
}
_LOCK = re.compile(r"(?P<name>[^/@^?!]+)(/(?P<sub>\d+))?(@(?P<at>\d+))?(\^(?P<nest>[^?!]+))?(?P<how>[?!]*)")
# context, its bit in common_flags, what is off when it begins
_CONTEXTS = {"hardirq(": (HARDIRQ, 0x08, 0x01), "softirq(": (SOFTIRQ, 0x10, 0), "nmi(": (NMI, 0x40, 0x01)}
_STATIC = -0x7E000000  # as signed numbers, in the kernel image
_HEAP = -0x777F00000000


@dataclass
class _Task:
    pid: int
    cpu: int
    held: list[Entry] = field(default_factory=list)
    frames: list[list[int]] = field(default_factory=lambda: [[TASK, 0, 0]])  # context, flag, what is off

    @property
    def flags(self) -> int:
        bits = self.frames[-1][2]
        for _, flag, off in self.frames:
            bits |= flag | off & 0x80
        return bits


@dataclass
class _Chain:
    held: tuple[Entry, ...]
    next: Entry
    task: _Task
    window: int
    count: int = 0


class _Walk:
    def __init__(self, told: bool, heap: bool, faked: bool) -> None:
        self.told, self.heap, self.faked = told, heap, faked
        self.classes: dict[tuple[str, int], LockClass] = {}
        self.addresses: dict[str, int] = {}
        self.tasks: dict[str, _Task] = {}
        self.chains: dict[tuple[object, ...], _Chain] = {}
        self.anomalies: list[Anomaly] = []
        self.windows: list[Window] = []
        self.now = 1_000_000_000
        self.seq = 0

    def run(self, script: str) -> None:
        for line in filter(None, (raw.split("#")[0].strip() for raw in script.splitlines())):
            if line.startswith("=="):
                self.windows.append(Window(line[2:].strip(), self.now, self.now))
                for task in self.tasks.values():
                    task.held.clear()
                continue
            name, _, words = line.partition(":")
            task = self.tasks.setdefault(name, _Task(100 + len(self.tasks), len(self.tasks)))
            for word in words.split():
                self.now += 1000
                self.seq += 1
                self.do(task, word)

    def do(self, task: _Task, word: str) -> None:
        if word in _CONTEXTS:
            task.frames.append(list(_CONTEXTS[word]))
        elif word == ")":
            task.frames.pop()
        elif word in ("irqs-off", "irqs-on", "bh-off", "bh-on"):
            bit = 0x01 if word.startswith("irqs") else 0x80
            frame = task.frames[-1]
            frame[2] = frame[2] | bit if word.endswith("off") else frame[2] & ~bit
        elif word in ("user", "exit"):
            if task.held:
                self.anomaly(task, "held-at-" + word, task.held[-1].cls, 0, tuple(task.held))
            task.held.clear()
        elif word == "switch":
            spins = [e for e in task.held if self.by_index(e.cls).kind in ("spinlock", "raw_spinlock", "rwlock")]
            if spins:
                self.anomaly(task, "switched-atomic", spins[0].cls, 0, tuple(task.held))
        elif word.startswith("-"):
            self.release(task, word[1:])
        elif word.startswith("sync:"):
            self.acquire(task, "sync", word[5:])
            task.held.pop()
        elif word.startswith("init"):
            self.init(task, word[5:], same=word[4] == "=")
        else:
            self.acquire(task, *word.split(":", 1))

    def address(self, name: str, at: str | None) -> int:
        base = _HEAP if self.heap else _STATIC
        return self.addresses.setdefault(f"{name}@{at or 1}", base + 0x100 * len(self.addresses))

    def by_index(self, index: int) -> LockClass:
        return list(self.classes.values())[index]

    def class_of(self, name: str, subclass: int, kind: Kind) -> LockClass:
        known = self.classes.get((name, subclass))
        if known is None:
            index, key = len(self.classes), 1000 + len(self.classes)
            if self.told:
                known = LockClass(index, name, key, subclass, True, kind.inner, kind.outer, kind.kind, kind.lock_type)
            else:
                known = LockClass(index, name, kind=kind.kind)
            self.classes[name, subclass] = known
        return known

    def context(self, task: _Task) -> int:
        context = task.frames[-1][0]
        return SOFTIRQ if self.faked and context == TASK and task.flags & 0x81 == 0x81 else context

    def acquire(self, task: _Task, kind_name: str, lock: str) -> None:
        found, kind = _LOCK.fullmatch(lock), KINDS[kind_name]
        assert found is not None, lock
        name, subclass = found["name"], int(found["sub"] or 0) if self.told else 0
        cls = self.class_of(name, subclass, kind)
        nest = 0
        if found["nest"] and self.told:
            outer, _, at = found["nest"].partition("@")
            nest = self.address(outer, at or None)
        check = 0 if "!" in found["how"] else kind.check
        entry = Entry(cls.index, self.address(name, found["at"]), kind.read, int("?" in found["how"]), check,
                      self.context(task), nest, 0, self.now, self.seq, task.flags)  # fmt: skip
        self.note(task, task.held, entry)
        task.held.append(entry)

    def note(self, task: _Task, held: list[Entry], entry: Entry) -> None:
        window = len(self.windows) - 1
        apart = not self.told and not self.heap  # as the walk does with variables of one name
        shape = tuple(
            (e.cls, e.read, e.trylock, e.check, e.context, e.nest != 0, e.lock * apart) for e in (*held, entry)
        )
        same = any(e.lock == entry.lock for e in held), any(e.lock == entry.nest for e in held)
        key = shape, entry.flags & 0xD9, window, same
        self.chains.setdefault(key, _Chain(tuple(held), entry, task, window)).count += 1

    def release(self, task: _Task, lock: str) -> None:
        name, _, at = lock.partition("@")
        address = self.address(name, at or None)
        i = next((i for i in range(len(task.held) - 1, -1, -1) if task.held[i].lock == address), None)
        if i is None:
            cls = self.class_of(name, 0, KINDS["mutex"])
            self.anomaly(task, "release-not-held", cls.index, address, tuple(task.held))
            return
        entry = task.held.pop(i)
        seen = ~task.flags & entry.flags & 0x81
        if seen and not task.flags & 1 and entry.context == self.context(task):
            self.anomaly(task, "irqs-on-held", entry.cls, address, (entry,))
        for j in range(i, len(task.held)):
            self.note(task, task.held[:j], task.held[j])

    def init(self, task: _Task, name: str, same: bool) -> None:
        address = self.address(name, None)
        for entry in task.held:
            if entry.lock == address:
                key = self.by_index(entry.cls).key if same else 77
                self.anomaly(task, "init-held", entry.cls, address, tuple(task.held), key)

    def anomaly(self, task: _Task, what: str, cls: int, lock: int, held: tuple[Entry, ...], detail: int = 0) -> None:
        spins = ("spinlock", "raw_spinlock", "rwlock")
        proved = any(self.by_index(c).kind in spins for c in (cls, *(e.cls for e in held)))
        self.anomalies.append(
            Anomaly(what, self.now, self.seq, task.cpu, task.pid, task.flags, 0, cls, lock, held, 1,
                   len(self.windows) - 1, detail, proved)
        )  # fmt: skip

    def columns(self, whole: bool) -> Chains:
        chains = list(self.chains.values())
        rows = [entry for c in chains for entry in (*c.held, c.next)]
        start = np.cumsum([0] + [len(c.held) + 1 for c in chains]).astype(np.int64)
        entries = np.array(rows, np.int64).reshape(len(rows), len(Entry._fields))
        cpu, pid = np.array([(c.task.cpu, c.task.pid) for c in chains], np.int32).reshape(-1, 2).T
        count, window = np.array([(c.count, c.window) for c in chains], np.int64).reshape(-1, 2).T
        asked = np.array([c.next.ts_ns for c in chains], np.int64)
        return Chains(start, entries, count, cpu, pid, np.zeros(len(chains), np.int32), window.astype(np.int32),
                      np.full(len(chains), whole), asked, asked, np.full(len(chains), whole))  # fmt: skip


def evidence_of(
    script: str,
    *,
    told: bool = True,
    heap: bool = False,
    acquired: bool = False,
    whole: bool = True,
    kernel: str | None = "6.12.0",
    rules: Rulebook | None = None,
    assume: tuple[str, ...] = (),
    lost: int | None = 0,
    filtered: bool = False,
    recorded: tuple[str, ...] = ("raw_syscalls:sys_exit", "sched:sched_switch", "lockscope:lockdep_init"),
) -> Evidence:
    """Evidence of a script.

    ``told``: with lockscope:lockdep_acquire; ``heap``: locks are not static; ``acquired``: with lock:lock_acquired.
    """
    walk = _Walk(told, heap, "selftest-softirq" in assume)
    walk.run(script)
    if acquired:
        walk.classes = {key: replace(c, acquired=True) for key, c in walk.classes.items()}
    events = {"lock:lock_acquire": 1, "lock:lock_release": 1, **dict.fromkeys(recorded, 1)}
    if told:
        events["lockscope:lockdep_acquire"] = 1
    info = TraceInfo("script", "test", kernel=kernel)
    return Evidence(
        info=info, rules=rules or Rulebook("none"), classes=list(walk.classes.values()), chains=walk.columns(whole),
        anomalies=walk.anomalies, recorded=events, lost=lost, filtered=filtered, detailed=told, plain=True,
        end_ns=walk.now, windows=walk.windows, windowed=bool(walk.windows), assumptions=frozenset(assume),
        comms={t.pid: name for name, t in walk.tasks.items()},
        lives=Lifetimes(seen={t.pid: 0 for t in walk.tasks.values()}),
    )  # fmt: skip


def run_check(code: str, script: str, **how: Any) -> tuple[CheckRun, list[Finding]]:
    """Run one check on the evidence of a script; ``how`` as for ``evidence_of``."""
    return all_checks()[code].run(evidence_of(script, **how))


def findings(code: str, script: str, **how: object) -> list[Finding]:
    """What one check finds in a script."""
    return run_check(code, script, **how)[1]
