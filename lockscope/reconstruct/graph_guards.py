"""Guard locks: what is held over every side of a ring, so that no two sides are ever under way together."""

from __future__ import annotations

import numpy as np

from lockscope.kernels.walk_memory import IMAGE
from lockscope.kvm.locks import Role, role_of
from lockscope.reconstruct.chains import HARDIRQ, SOFTIRQ, LockClass
from lockscope.reconstruct.evidence import Evidence
from lockscope.reconstruct.graph import Graph
from lockscope.reconstruct.graph_rows import CLS, LOCK, READ

_LOCKS = ("mutex", "spinlock", "raw_spinlock", "rwlock", "rwsem")


def one_instance(cls: LockClass, lock: int) -> bool:
    """Whether chains that name this lock always mean this very instance.

    Chains keep apart the instances of KVM's own locks (``Role``); a static lock has but one: its key is its address.
    """
    return role_of(cls.name) is not Role.NONE or cls.key == lock or IMAGE <= lock < 0


def is_lock(cls: LockClass) -> bool:
    """Whether somebody who holds it exclusively keeps others out: no map, RCU or seqcount."""
    return cls.wait_inner >= 2 if cls.keyed else cls.kind in _LOCKS


def in_irq(graph: Graph, row: int) -> bool:
    """Whether a row's chain asked for its lock in an interrupt."""
    return int(graph.rows.context[graph.rows.last[graph.rows.chain[row]]]) in (SOFTIRQ, HARDIRQ)


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
            known = is_lock(evidence.classes[cls]) and one_instance(evidence.classes[cls], lock)
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
    if any(in_irq(graph, graph.first(e)) for e in edges):
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
