"""The kernel's locking self-tests as recorded events: what lock functions trace, word by word.

Words of a case (lib/locking-selftest.c, 6.12, says what each test does; ``selftest_cases`` has them all):

    s+A s-A          take and release a lock of kind ``s``; a word without a kind has that of the case
                     kinds: s spin, W write_lock, R read_lock (recursive, as the tests force it), Q read_lock (as it
                     is without), m mutex, w down_write, r down_read, t rt_mutex, S raw spin, l local_lock,
                     i b d rcu_read_lock, _bh, _sched, f fs_reclaim, n the MMU notifiers' map
    s!A              initialise it
    s+A^X1           take it with X1 as nest lock
    ( ) [ ]          enter and leave interrupts of the case's state, turn them off and on; ``h(``, ``z[``: hard, soft
    c+t c-t          ww_acquire_init(), ww_acquire_fini() of a context
    o+1:t o+1        ww_mutex_lock() with and without context
    o?1 o-1          trylock, unlock; o%1:t is told -EDEADLK
    o<1 o>1          held as by another context (locked, and its map released), and given back

Events, flags and preempt counts are as a recording of the tests on 6.12.117 has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.builders.script import BH_OFF, HARDIRQ, IRQS_OFF, Script, Task

_WORD = re.compile(r"(?P<kind>[A-Za-z]?)(?P<do>[-+!?%<>()\[\]])(?P<lock>[A-Z0-9t]*)(:(?P<ctx>t\d?))?(\^(?P<nest>\w+))?")
_IMAGE = 0xFFFF_FFFF_8216_0000
_WW_NEST = {"t": _IMAGE + 0x4B0, "t2": _IMAGE + 0x430}
START, END = "selftest begin", "selftest end"


class Kind(NamedTuple):
    """What a lock function's events are: ``deep`` preemption levels at the attempt and at the release."""

    family: str
    inner: int
    read: int = 0
    deep: tuple[int, int] = (1, 1)
    outer: int = 0
    check: int = 1
    lock_type: int = 0
    got: bool = True


KINDS = {
    "s": Kind("lock", 3),
    "S": Kind("raw_lock", 2),
    "W": Kind("rwlock", 3),
    "R": Kind("rwlock", 3, read=2),
    "Q": Kind("rwlock", 3, read=1),
    "m": Kind("mutex", 4, deep=(1, 0)),
    "w": Kind("rwsem", 4, deep=(0, 0)),
    "r": Kind("rwsem", 4, read=1, deep=(0, 0)),
    "t": Kind("rtmutex", 4, deep=(0, 0), got=False),
    "l": Kind("local", 3, lock_type=1, got=False),
    "i": Kind("rcu_read_lock", 3, 2, (0, 0), 1, 0, got=False),
    "b": Kind("rcu_read_lock_bh", 3, 2, (0, 0), 1, 0, got=False),
    "d": Kind("rcu_read_lock_sched", 2, 2, (1, 1), 1, 0, got=False),
    "f": Kind("fs_reclaim", 0, deep=(0, 0), got=False),
    "n": Kind("mmu_notifier_invalidate_range_start", 0, deep=(0, 0), got=False),
    "o": Kind("ww_lockdep_mutex", 4, deep=(1, 0)),
    "c": Kind("ww_lockdep_acquire", 0, deep=(0, 0), got=False),
}
_FAMILIES = sorted({k.family for k in KINDS.values()})
_GLOBAL = ("rcu_read_lock", "rcu_read_lock_bh", "rcu_read_lock_sched", "fs_reclaim",
           "mmu_notifier_invalidate_range_start")  # fmt: skip
_SHARED = {"lock": "lock", "rwlock": "rwlock", "mutex": "mutex", "rwsem": "rwsem", "rtmutex": "init_shared_classes"}


def address_of(family: str, lock: str) -> int:
    """The lockdep map of a lock."""
    if family == "ww_lockdep_acquire":
        return _WW_NEST[lock]
    letters = sum(ord(c) * 97**i for i, c in enumerate(lock)) % 4000
    return _IMAGE + 0x1000 + (_FAMILIES.index(family) << 14) + letters * 4


def named(family: str, lock: str) -> tuple[str, int]:
    """A lock's name and class key: X1 and X2 are two locks of a class, X1 and Y1 of two that share their name."""
    base = 0xFFFF_FFFF_8338_0000 + (_FAMILIES.index(family) << 12)
    if family in _GLOBAL or family.startswith("ww_"):
        return family, base
    key = base + 0x10 * (ord(lock[0]) - ord("A"))
    if lock[0] in "XYZ":
        return _SHARED[family], key
    if family == "rtmutex":
        return "reset_locks", key
    if family == "local":
        return "({ do { const void *__vpp_verify = (typeof((&local_A) + 0))((void *)0); (void)__vpp_verify; })", key
    return f"&{family}_{lock}", key


def _parsed(words: str) -> Iterator[re.Match[str]]:
    for word in words.split():
        found = _WORD.fullmatch(word)
        assert found is not None, word
        yield found


class Player:
    """Plays cases into a script, each between its markers. ``told``: with the probe pack's events."""

    def __init__(self, script: Script, *, inits: bool = True) -> None:
        self.script, self.inits = script, inits
        self.task = script.task("selftest", 53)

    def play(self, name: str, words: str, kind: str = "", soft: bool = False) -> None:
        """One case. ``kind`` of the words that name none; ``soft``: its interrupts are softirqs."""
        self.kind, self.soft = kind, soft
        task = self.task
        task.flags = task.preempt = 0
        if self.inits:
            self._reset(words)
        self.script.marker(f"{START} {name}")
        for word in _parsed(words):
            self._do(task, word)
        task.flags = task.preempt = 0
        self.script.marker(END)

    def _reset(self, words: str) -> None:
        """reset_locks(): every lock is initialised anew before a case."""
        locks = {(KINDS[w["kind"] or self.kind].family, w["lock"]) for w in _parsed(words) if w["lock"]}
        for family, lock in sorted(locks):
            if family not in (*_GLOBAL, "ww_lockdep_acquire"):
                self._init(family, lock, 0)

    def _do(self, task: Task, word: re.Match[str]) -> None:
        do = word["do"]
        if do in "()[]":
            self._interrupts(task, do, soft=word["kind"] == "z" or (self.soft and not word["kind"]))
            return
        kind = KINDS[word["kind"] or self.kind]
        if kind.family.startswith("ww_"):
            self._ww(task, kind, do, word["lock"], word["ctx"])
        elif do == "+":
            nest = 0 if word["nest"] is None else address_of(kind.family, word["nest"])
            self._take(task, kind, word["lock"], nest=nest)
        elif do == "-":
            self._leave(task, kind, word["lock"])
        else:
            self._init(kind.family, word["lock"], 0x8000)

    def _interrupts(self, task: Task, do: str, *, soft: bool) -> None:
        """HARDIRQ_ENTER and so on. The tests fake softirqs: BH and irqs off, not serving one."""
        whole = (IRQS_OFF | BH_OFF) if soft else (IRQS_OFF | HARDIRQ)
        bits = whole if do in "()" else BH_OFF if soft else IRQS_OFF
        task.flags = task.flags | bits if do in "([" else task.flags & ~bits

    def _take(self, task: Task, kind: Kind, lock: str, *, nest: int = 0, trylock: bool = False) -> None:
        """The attempt in both events, and the success."""
        if kind.family == "rcu_read_lock_bh":
            task.flags |= BH_OFF
        name, key = named(kind.family, lock)
        where = address_of(kind.family, lock)
        read = 2 if kind.read == 1 and kind.family == "rwlock" and task.flags & (HARDIRQ | BH_OFF) else kind.read
        task.preempt += 0 if trylock else kind.deep[0]
        task.acquire(name, where, trylock=trylock, read=read > 0)
        task.preempt += 1  # the probe's own
        task.event("lockscope:lockdep_acquire", lock=where, key=key, trylock=trylock, read=read, check=kind.check,
                   nest=nest, wait_outer=kind.outer, wait_inner=kind.inner, lock_type=kind.lock_type,
                   name=name)  # fmt: skip
        task.preempt -= 1
        if kind.got and not trylock:
            task.acquired(name, where)
        if kind.deep == (1, 0) and not trylock:
            task.preempt -= 1

    def _leave(self, task: Task, kind: Kind, lock: str) -> None:
        task.release(named(kind.family, lock)[0], address_of(kind.family, lock))
        task.preempt = max(task.preempt - kind.deep[1], 0)
        if kind.family == "rcu_read_lock_bh":
            task.flags &= ~BH_OFF

    def _init(self, family: str, lock: str, other: int) -> None:
        name, key = named(family, lock)
        kind = next(k for k in KINDS.values() if k.family == family)
        self.task.event("lockscope:lockdep_init", lock=address_of(family, lock), key=key + other, name=name,
                        wait_inner=kind.inner, wait_outer=kind.outer)  # fmt: skip

    def _ww(self, task: Task, kind: Kind, do: str, lock: str, ctx: str | None) -> None:
        nest = _WW_NEST[ctx] if ctx else 0
        if kind.family == "ww_lockdep_acquire":
            if do == "+":
                self._init(kind.family, lock, 0)
                self._take(task, kind, lock)
            else:
                self._leave(task, kind, lock)
        elif do in "+<":
            self._take(task, kind, lock, nest=nest)
            self._contended(task, lock, 0)
            if do == "<":
                self._leave(task, kind, lock)
        elif do in "?>":
            self._take(task, kind, lock, trylock=True)
            if do == ">":
                self._leave(task, kind, lock)
        elif do == "%":
            self._take(task, kind._replace(got=False), lock, nest=nest)
            self._contended(task, lock, -35)
            self._leave(task, kind, lock)
        else:
            self._leave(task, kind, lock)

    def _contended(self, task: Task, lock: str, ret: int) -> None:
        where = address_of("ww_lockdep_mutex", lock) - 112  # the mutex, of which the map is a part
        task.event("lock:contention_begin", lock_addr=where, flags=33)
        task.event("lock:contention_end", lock_addr=where, ret=ret)
