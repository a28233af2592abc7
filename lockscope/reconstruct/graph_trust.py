"""How far a circular dependency can be believed: which tasks, which instances, and whether a guard lock forbids it.

lockdep judges classes and stops there. A trace also says who took which lock when; a ring whose sides were different
tasks, each waiting for the very lock that the next one held, with nothing that keeps them apart, has a schedule: let
each side run up to its second lock. That is a sync-preserving deadlock (SPDOffline, Tunc et al., PLDI 2023) as far as
lock events alone can tell; what orders tasks by other means (a completion, a thread's creation) is not recorded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lockscope.findings import Confidence
from lockscope.kernels.walk_memory import IMAGE
from lockscope.kvm.locks import Role, role_of
from lockscope.reconstruct.chains import HARDIRQ, SOFTIRQ, LockClass
from lockscope.reconstruct.evidence import Evidence
from lockscope.reconstruct.graph import Graph
from lockscope.reconstruct.graph_rows import CLS, LOCK, READ

_MAKERS = 48  # witnesses of an edge that are tried
_STEPS = 20_000  # combinations of them
_LOCKS = ("mutex", "spinlock", "raw_spinlock", "rwlock", "rwsem")


@dataclass(frozen=True, slots=True)
class Trust:
    """``sides``: the held row of a witness for every edge. ``guard``: class of the lock all sides are under, or -1."""

    confidence: Confidence
    sides: tuple[int, ...]
    guard: int
    why: str


def one_instance(cls: LockClass, lock: int) -> bool:
    """Whether chains that name this lock always mean this very instance.

    Chains keep apart the instances of KVM's own locks (``Role``); a static lock has but one: its key is its address.
    """
    return role_of(cls.name) is not Role.NONE or cls.key == lock or IMAGE <= lock < 0


def _is_lock(cls: LockClass) -> bool:
    return cls.wait_inner >= 2 if cls.keyed else cls.kind in _LOCKS


def _guards_of(evidence: Evidence, graph: Graph, edge: int) -> dict[int, bool]:
    """Locks (by address) held in the same context at every occurrence of an edge -> whether always exclusively."""
    entry, rows = graph.rows.entry, graph.rows
    common: dict[int, bool] | None = None
    for made in graph.makers(edge):
        chain = int(rows.chain[made])
        begin, last = int(evidence.chains.start[chain]), int(rows.last[chain])
        here: dict[int, bool] = {}
        for row in range(begin, last):
            cls, lock = int(entry[row, CLS]), int(entry[row, LOCK])
            known = _is_lock(evidence.classes[cls]) and one_instance(evidence.classes[cls], lock)
            if known and rows.same[row] and rows.node[row] not in (graph.tail[edge], graph.head[edge]):
                here[lock] = here.get(lock, False) or entry[row, READ] == 0
        if common is None:
            common = here
        else:
            common = {lock: strict and here[lock] for lock, strict in common.items() if lock in here}
        if not common:
            return {}
    return common or {}


def guard_of(evidence: Evidence, graph: Graph, edges: tuple[int, ...]) -> int:
    """The class of a lock that every side holds, so that no two sides are ever under way together; -1 without one.

    At most one side may hold it shared only: two readers do not keep each other out.
    """
    if any(_in_irq(graph, graph.first(e)) for e in edges):
        return -1  # an interrupt runs under whatever the task it hit was holding
    sides = [_guards_of(evidence, graph, e) for e in edges]
    nodes = {int(graph.tail[e]) for e in edges}
    shared = [lock for lock in sides[0] if all(lock in s for s in sides)]
    for lock in shared:
        if sum(not s[lock] for s in sides) > 1:
            continue
        rows = np.flatnonzero(graph.rows.entry[:, LOCK] == lock)
        inside = any(int(n) in nodes for n in graph.rows.node[rows])
        if not inside:
            return int(graph.rows.entry[rows[0], CLS])
    return -1


def _in_irq(graph: Graph, row: int) -> bool:
    return int(graph.rows.context[graph.rows.last[graph.rows.chain[row]]]) in (SOFTIRQ, HARDIRQ)


def _who(evidence: Evidence, graph: Graph, row: int) -> tuple[int, int]:
    """The task of a side; the idle tasks are told apart by CPU."""
    chain = int(graph.rows.chain[row])
    pid = int(evidence.chains.pid[chain])
    return pid, int(evidence.chains.cpu[chain]) if pid == 0 else 0


def _held_locks(evidence: Evidence, graph: Graph, row: int) -> dict[int, bool]:
    """What a side holds while it waits: address -> exclusively."""
    rows = graph.rows
    chain = int(rows.chain[row])
    begin, last = int(evidence.chains.start[chain]), int(rows.last[chain])
    return {
        int(rows.entry[r, LOCK]): bool(rows.entry[r, READ] == 0)
        for r in range(begin, last)
        if rows.same[r] and _is_lock(evidence.classes[int(rows.entry[r, CLS])])
    }


def _apart(evidence: Evidence, graph: Graph, a: int, b: int) -> bool:
    """Whether two sides can be under way at once: different tasks, and no lock that only one may hold."""
    if _who(evidence, graph, a) == _who(evidence, graph, b):
        return False
    mine, theirs = _held_locks(evidence, graph, a), _held_locks(evidence, graph, b)
    return not any(lock in theirs and (strict or theirs[lock]) for lock, strict in mine.items())


def _crosses(graph: Graph, a: int, b: int) -> bool:
    """Whether what side ``a`` waits for is the instance that side ``b`` holds."""
    rows = graph.rows
    return bool(rows.entry[rows.last[rows.chain[a]], LOCK] == rows.entry[b, LOCK])


def _search(evidence: Evidence, graph: Graph, edges: tuple[int, ...], crossing: bool) -> tuple[int, ...] | None:
    """One witness for every edge, all of different tasks that can wait at once; ``crossing``: on the same instances."""
    makers = [graph.makers(e, _MAKERS) for e in edges]
    steps = 0

    def extend(chosen: tuple[int, ...]) -> tuple[int, ...] | None:
        nonlocal steps
        if len(chosen) == len(makers):
            return chosen if not crossing or _crosses(graph, chosen[-1], chosen[0]) else None
        for row in makers[len(chosen)]:
            steps += 1
            if steps > _STEPS:
                return None
            if crossing and chosen and not _crosses(graph, chosen[-1], row):
                continue
            if all(_apart(evidence, graph, other, row) for other in chosen):
                done = extend((*chosen, row))
                if done is not None:
                    return done
        return None

    return extend(())


def trust(evidence: Evidence, graph: Graph, edges: tuple[int, ...]) -> Trust:
    """How far a ring of edges can be believed, and the witnesses that say so."""
    guard = guard_of(evidence, graph, edges)
    first = tuple(graph.first(e) for e in edges)
    if guard >= 0:
        return Trust(Confidence.POSSIBLE, first, guard, f"{evidence.label(guard)} is held over every side")
    crossed = _search(evidence, graph, edges, crossing=True)
    if crossed is not None:
        whole = all(bool(evidence.chains.whole[graph.rows.chain[r]]) for r in crossed)
        if whole and not any(_in_irq(graph, r) for r in crossed):
            return Trust(Confidence.CERTAIN, crossed, -1, "different tasks each wait for the lock the next one holds")
        return Trust(Confidence.LIKELY, crossed, -1, "different tasks, same locks; what else they held is not known")
    apart = _search(evidence, graph, edges, crossing=False)
    if apart is not None:
        return Trust(Confidence.LIKELY, apart, -1, "different tasks, but not all on the same instances")
    tasks = {_who(evidence, graph, r) for r in first}
    why = "one task took them all" if len(tasks) == 1 else "no witnesses that could have waited for each other at once"
    return Trust(Confidence.POSSIBLE, first, -1, why)
