"""Wait types: how long a lock may make its taker wait, and how long the context allows.

Follows check_wait_context of kernel/locking/lockdep.c (6.12). 1 FREE, 2 SPIN (raw), 3 CONFIG (sleeps on PREEMPT_RT),
4 SLEEP; a lock must not wait longer than the strictest of what is held inside the same irq context.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lockscope.evidence.evidence import Evidence
from lockscope.kvm.locks import wait_of, waits
from lockscope.kvm.versions import parse
from lockscope.lockgraph.graph import lock_graph
from lockscope.lockgraph.rows import CLS, TRYLOCK, Bools, Ints, Rows
from lockscope.walk.chains import HARDIRQ, NMI, SOFTIRQ, LockClass

SPIN, CONFIG, SLEEP, ANY = 2, 3, 4, 5
OVERRIDE = 2  # LD_LOCK_WAIT_OVERRIDE: not a lock, its wait type replaces what came before
WAIT_NAMES = {0: "no", 1: "FREE", 2: "SPIN", 3: "CONFIG", 4: "SLEEP"}


@dataclass(frozen=True, slots=True)
class TooLong:
    """A chain whose next waits longer than ``limit``; ``row`` is the held lock that sets it, -1 the context."""

    chain: int
    row: int
    limit: int
    outer: int


def _raw_nesting(classes: list[LockClass]) -> bool:
    """Whether the kernel tells spinlock_t from raw_spinlock_t (CONFIG_PROVE_RAW_LOCK_NESTING).

    Without it CONFIG equals SPIN and everything above is one lower (enum lockdep_wait_type), so that a mutex says 3.
    """
    told = [c for c in classes if c.wait_inner]
    low_mutex = any(c.kind == "mutex" and c.wait_inner == CONFIG for c in told)
    return not low_mutex or max(c.wait_inner for c in told) >= SLEEP


def wait_types(evidence: Evidence) -> tuple[Ints, Ints, Bools]:
    """(outer, inner, recorded) of every class; inferred from the kind of lock where they were not recorded.

    On a kernel without raw nesting the types are moved to where they would be with it, spinlocks counting as raw.
    """
    classes = evidence.classes
    shift = 0 if _raw_nesting(classes) else 1
    outer, inner = np.zeros((2, max(len(classes), 1)), np.int64)
    known = np.zeros(max(len(classes), 1), np.bool_)
    for i, c in enumerate(classes):
        told = c.keyed or c.wait_inner > 0
        known[i] = told or c.kind == "rcu"  # of RCU's maps there is one each, known by name
        by_name = waits(c.name) if c.kind == "rcu" else wait_of(c.kind)
        pair = (c.wait_outer, c.wait_inner) if told else by_name
        outer[i], inner[i] = (w + shift if told and w >= CONFIG else w for w in pair)
    return np.where(outer > 0, outer, inner), inner, known


def _limits(evidence: Evidence, rows: Rows, inner: Ints) -> tuple[Ints, Ints]:
    """Per chain the strictest inner type of what is held in its context, and the row that sets it, -1: the context."""
    cls = rows.entry[:, CLS]
    counts = rows.held & rows.same & (inner[cls] > 0)
    context = rows.context[rows.last]
    # A handler may be threaded, which no event says: a hard interrupt allows what spinlock_t asks for. With PREEMPT_RT
    # threaded ones run in tasks (force_irqthreads()), and what is left spins only (task_wait_context()).
    kernel = parse(evidence.info.kernel)
    in_hardirq = SPIN if kernel is not None and kernel.rt else CONFIG
    limit = np.select([context == HARDIRQ, context == SOFTIRQ], [in_hardirq, CONFIG], ANY).astype(np.int64)
    setter = np.full(len(rows.last), -1, np.int64)
    types = np.array([c.lock_type for c in evidence.classes] or [0], np.int64)
    override = counts & (types[cls] == OVERRIDE)
    # An override voids what was held before it, and the context.
    from_row = np.full(len(rows.last), -1, np.int64)
    np.maximum.at(from_row, rows.chain[override], np.flatnonzero(override))
    limit = np.where(from_row >= 0, ANY, limit)
    at = np.flatnonzero(counts & (np.arange(len(cls)) >= from_row[rows.chain]))
    order = at[np.lexsort((at, inner[cls[at]], rows.chain[at]))]
    chains, first = np.unique(rows.chain[order], return_index=True)
    strictest = order[first]
    tighter = inner[cls[strictest]] < limit[chains]
    limit[chains[tighter]] = inner[cls[strictest[tighter]]]
    setter[chains[tighter]] = strictest[tighter]
    return limit, setter


def too_long(evidence: Evidence) -> list[TooLong]:
    """Acquisitions that may wait longer than they are allowed to.

    Where types are inferred from names only sleeping locks are judged, under raw and spinning ones and RCU.
    """
    rows = lock_graph(evidence).rows
    if not len(rows.last):
        return []
    outer, inner, known = wait_types(evidence)
    limit, setter = _limits(evidence, rows, inner)
    nxt = rows.entry[rows.last, CLS]
    judged = rows.live & (inner[nxt] > 0) & (rows.entry[rows.last, TRYLOCK] == 0) & (rows.context[rows.last] != NMI)
    by_name = ~known[nxt] | ((setter >= 0) & ~known[rows.entry[np.maximum(setter, 0), CLS]])
    judged &= ~by_name | ((outer[nxt] >= SLEEP) & ((setter < 0) | (limit >= SPIN)))
    wrong = np.flatnonzero(judged & (outer[nxt] > limit))
    return [TooLong(int(c), int(setter[c]), int(limit[c]), int(outer[nxt[c]])) for c in wrong]


def undecided_in_hardirqs(evidence: Evidence) -> list[str]:
    """Classes of spinlock_t and rwlock_t waited for in hard interrupts: right in a handler that can be threaded, wrong
    in any other, and no event says which it is (check_wait_context(), hardirq_threaded)."""
    rows = lock_graph(evidence).rows
    if not len(rows.last):
        return []
    outer, inner, _ = wait_types(evidence)
    limit, _ = _limits(evidence, rows, inner)
    nxt = rows.entry[rows.last, CLS]
    judged = rows.live & (inner[nxt] > 0) & (rows.entry[rows.last, TRYLOCK] == 0)
    found = judged & (rows.context[rows.last] == HARDIRQ) & (outer[nxt] == CONFIG) & (limit == CONFIG)
    return sorted({evidence.classes[c].name for c in nxt[found].tolist()})
