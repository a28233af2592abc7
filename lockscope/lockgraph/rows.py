"""The entries of all chains as columns that graph, usage and wait-type checks share, each made once.

A *row* is an entry of a chain: a held lock, or the one asked for (a chain's last row, its *next*). A *node* is what a
lock is to the graph: its class, in one judged window. Where only the name was recorded one name can stand for several
classes and subclasses, and nothing tells them apart; there a node is one instance, so that no path leads through two
locks that have no more than their name in common. KVM's own locks have a name each and stay classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lockscope.core.walk_rows import IMAGE, SYNC
from lockscope.evidence.evidence import Evidence
from lockscope.kvm import locks
from lockscope.walk.chains import HARDIRQ, NMI, SOFTIRQ, TASK, Entry

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

CLS, LOCK, READ, TRYLOCK, CHECK, CONTEXT, NEST, IP, TS, SEQ, FLAGS, BEFORE, CPU = range(len(Entry._fields))

__all__ = ["SYNC"]  # CHECK of a wait for an SRCU's readers

_SMALL = 1 << 24
IRQS_OFF, IRQS_UNKNOWN, IN_HARDIRQ, IN_SOFTIRQ, IN_NMI, BH_OFF = 0x01, 0x02, 0x08, 0x10, 0x40, 0x80
_IN_INTERRUPT = IN_HARDIRQ | IN_SOFTIRQ | IN_NMI | BH_OFF  # in_interrupt(), include/linux/preempt.h
_PREEMPT = 0x0F  # the preemption levels of common_preempt_count


@dataclass(slots=True)
class Rows:
    """Columns over the rows of all chains.

    ``entry`` int64[rows, fields of Entry]; ``chain`` the row's chain; ``last`` int64[chains]: a chain's next;
    ``context`` what the lock was asked for in, with the assumptions applied; ``node`` the row's node; ``same`` whether
    no interrupt lies between the row and its chain's next; ``live`` bool[chains]: lockdep looks at the acquisition.
    """

    entry: Ints
    chain: Ints
    last: Ints
    context: Ints
    node: Ints
    same: Bools
    live: Bools
    node_class: Ints
    node_lock: Ints  # 0 where a node is a class
    node_window: Ints
    node_type: Ints  # enum lockdep_lock_type

    @property
    def held(self) -> Bools:
        """Which rows are held locks."""
        flags = np.ones(len(self.chain), np.bool_)
        flags[self.last] = False
        return flags

    @property
    def next(self) -> Ints:
        """For every row, the row its chain asks for."""
        return self.last[self.chain]


def effective_context(context: Ints, flags: Ints, assumptions: frozenset[str]) -> Ints:
    """Contexts; by ``selftest-softirq`` BH and irqs off outside hardirq mean softirq (lib/locking-selftest.c)."""
    if "selftest-softirq" not in assumptions:
        return context
    both = IRQS_OFF | BH_OFF
    faked = (context == TASK) & ((flags & both) == both) & ((flags & (IN_HARDIRQ | IN_NMI)) == 0)
    return np.where(faked, SOFTIRQ, context)


def is_static(lock: Ints) -> Bools:
    """Which locks are variables of the kernel or of a module (x86-64), not part of what is allocated and freed."""
    inside: Bools = (lock >= IMAGE) & (lock < 0)
    return inside


def _last_where(condition: Bools, start: Ints) -> Ints:
    """Per chain the last row where the condition holds, -1 without one."""
    if len(start) < 2:
        return np.zeros(0, np.int64)
    marked = np.where(condition, np.arange(len(condition), dtype=np.int64), -1)
    return np.maximum.reduceat(marked, start[:-1])


def instance_known(evidence: Evidence) -> Bools:
    """bool[classes]: a class is one class of lockdep's, and not merely all locks of one name."""
    return np.array([c.keyed or locks.canonical(c.name) is not None for c in evidence.classes], np.bool_)


def _nodes(evidence: Evidence, entry: Ints, window: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    known = instance_known(evidence)
    lock = np.zeros(len(entry), np.int64) if known.all() else np.where(known[entry[:, CLS]], 0, entry[:, LOCK])
    places, place = _distinct(lock) if lock.any() else (np.zeros(1, np.int64), lock)
    classes = max(len(evidence.classes), 1)
    nodes, node = _distinct(((window + 1) * classes + entry[:, CLS]) * len(places) + place)
    rest, at = np.divmod(nodes, len(places))
    return node, rest % classes, places[at], rest // classes - 1


def _distinct(values: Ints) -> tuple[Ints, Ints]:
    """The distinct values, sorted, and the place of each value among them; by counting where they are small."""
    if len(values) and values.min() >= 0 and values.max() < _SMALL:
        seen = np.zeros(int(values.max()) + 1, np.bool_)
        seen[values] = True
        return np.flatnonzero(seen), (np.cumsum(seen) - 1)[values]
    distinct, place = np.unique(values, return_inverse=True)
    return distinct, place.astype(np.int64)


def _top_merges(entry: Ints, last: Ints, start: Ints) -> Bools:
    """Chains whose next is of the top lock's class and taken under a nest lock.

    lockdep counts such an acquisition as a further reference to the held lock, before any check (__lock_acquire).
    """
    deep = (last - start[:-1]) > 0
    top = np.where(deep, last - 1, last)
    merged: Bools = deep & (entry[top, CLS] == entry[last, CLS]) & (entry[last, NEST] != 0)
    return merged


def _reads(evidence: Evidence, entry: Ints, last: Ints) -> Ints:
    """Read kinds; where neither events nor the name tell, by how the class behaves.

    What has readers and is waited for (lock_acquired) is an rw_semaphore, whose readers wait for writers, or an
    rwlock_t, if it is never asked for with preemption on: its readers do so outside of interrupts and of sections that
    keep softirqs off (read_lock_is_recursive, kernel/locking/lockdep.c, 5.10 to 6.12). Any other reader of unknown kind
    is taken for a recursive one, which can only hide a ring.
    """
    unknown = np.array([not c.keyed and not c.kind for c in evidence.classes] or [False], np.bool_)
    if not unknown.any():
        return entry[:, READ]
    nxt = entry[last]
    off = (evidence.chains.preempt & _PREEMPT) != 0
    awake = (nxt[:, READ] != 0) & ~off & (nxt[:, CONTEXT] == TASK)
    waits, spins = np.zeros(len(unknown), np.bool_), np.ones(len(unknown), np.bool_)
    waits[nxt[awake, CLS]] = True
    spins[nxt[~off, CLS]] = False
    recursive = (entry[:, FLAGS] & _IN_INTERRUPT) != 0
    if evidence.assumptions:  # the kernel's self-tests, which force recursive readers
        recursive[:] = True
    cls = entry[:, CLS]
    known = np.array([c.acquired for c in evidence.classes], np.bool_)[cls]
    waiting = known & (waits[cls] | (spins[cls] & ~recursive))
    return np.where(unknown[cls] & (entry[:, READ] != 0), np.where(waiting, 1, 2), entry[:, READ])


def _types(evidence: Evidence) -> Ints:
    """enum lockdep_lock_type of every class. A class without lock_acquired on a kernel that has it is no lock that
    anybody spins on: a local_lock, or a lockdep map."""
    has = any(c.acquired for c in evidence.classes)
    spun = [c.keyed or (c.kind != "local_lock" and (c.acquired or not has)) for c in evidence.classes]
    return np.array([c.lock_type or int(not s) for c, s in zip(evidence.classes, spun, strict=True)], np.int64)


def make_rows(evidence: Evidence) -> Rows:
    """All rows. Chains in NMI context are not ``live``: lockdep keeps its hands off there (nmi_enter, lockdep_off)."""
    chains = evidence.chains
    start, entry = chains.start.astype(np.int64), chains.entries.astype(np.int64)
    depth = np.diff(start)
    chain = np.repeat(np.arange(len(chains), dtype=np.int64), depth)
    last = start[1:] - 1
    entry[:, READ] = _reads(evidence, entry, last)
    context = effective_context(entry[:, CONTEXT], entry[:, FLAGS], evidence.assumptions)
    crossing: Bools = context != context[last[chain]]
    same: Bools = np.arange(len(chain)) > _last_where(crossing, start)[chain]
    node, node_class, node_lock, node_window = _nodes(evidence, entry, chains.window.astype(np.int64)[chain])
    types = _types(evidence)
    live = (context[last] != NMI) & ~_top_merges(entry, last, start)
    return Rows(entry, chain, last, context, node, same, live, node_class, node_lock, node_window, types[node_class])


def contexts_unknown(evidence: Evidence) -> bool:
    """Whether the trace does not say what ran in an interrupt: text without the irq-info column.

    The walk then makes chains of sleeping locks only: what is held around those is the task's own.
    """
    return bool(evidence.info.options.get("flags_unknown", False))


def hardirq_of(context: Ints, flags: Ints) -> Bools:
    """Which acquisitions ran in a hard interrupt."""
    inside: Bools = (context == HARDIRQ) | ((flags & IN_HARDIRQ) != 0)
    return inside


def softirq_of(context: Ints, flags: Ints) -> Bools:
    """Which ran in a softirq, or in a hard interrupt of one: there lockdep counts both (mark_usage)."""
    inside: Bools = (context == SOFTIRQ) | ((flags & IN_SOFTIRQ) != 0)
    return inside
