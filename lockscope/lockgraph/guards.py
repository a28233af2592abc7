"""Guard locks: what is held over every side of a ring, so that no two sides are ever under way together."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

from lockscope.core.walk_rows import IMAGE
from lockscope.evidence.evidence import Evidence
from lockscope.kvm.locks import Role, known_lock, role_of
from lockscope.lockgraph.graph import Graph
from lockscope.lockgraph.rows import CLS, LOCK, READ
from lockscope.walk.chains import HARDIRQ, SOFTIRQ, LockClass

_LOCKS = ("mutex", "spinlock", "raw_spinlock", "rwlock", "rwsem")


class Scope(IntEnum):
    """How many share one lock of a class: the whole kernel, a VM, a part of a VM; 0 not known."""

    UNKNOWN = 0
    PART = 1  # of a vCPU, an interrupt, a cached page
    VM = 2
    KERNEL = 3


def one_instance(cls: LockClass, lock: int) -> bool:
    """Whether chains that name this lock always mean this very instance.

    Chains keep apart the instances of KVM's own locks (``Role``); a static lock has but one: its key is its address.
    """
    return role_of(cls.name) is not Role.NONE or is_static(cls, lock)


def is_static(cls: LockClass, lock: int) -> bool:
    """Whether a lock is a variable of the kernel or a module, so that its class has no other.

    Such a lock is its own key; where classes are told by address (no lockdep) that says nothing.
    """
    return IMAGE <= lock < 0 or (cls.keyed and cls.key == lock)


def is_lock(cls: LockClass) -> bool:
    """Whether somebody who holds it exclusively keeps others out: no map, RCU or seqcount."""
    return cls.wait_inner >= 2 if cls.keyed else cls.kind in _LOCKS


def in_irq(graph: Graph, row: int) -> bool:
    """Whether a row's chain asked for its lock in an interrupt."""
    return int(graph.rows.context[graph.rows.last[graph.rows.chain[row]]]) in (SOFTIRQ, HARDIRQ)


@lru_cache(1 << 12)
def _scope(name: str) -> Scope:
    lock = known_lock(name)
    if lock is None:
        return Scope.UNKNOWN
    if not lock.per_vm:
        return Scope.KERNEL
    return Scope.VM if lock.canonical.startswith("kvm") else Scope.PART


def _scope_of(cls: LockClass, lock: int) -> Scope:
    return Scope.KERNEL if is_static(cls, lock) else _scope(cls.name)


class GuardView:
    """The guards of one trace's dependencies. Answers are kept: searches ask for the same edges again and again."""

    def __init__(self, evidence: Evidence, graph: Graph) -> None:
        self.evidence, self.graph = evidence, graph
        self._of: dict[int, frozenset[int]] = {}
        self._over: dict[tuple[int, ...], int] = {}
        self._held: dict[int, dict[int, dict[int, bool]]] = {}

    def of(self, edge: int) -> frozenset[int]:
        """The classes of which a lock is held in the same context at every occurrence of an edge."""
        if edge not in self._of:
            common: frozenset[int] | None = None
            for row in self.graph.makers(edge):
                here = frozenset(self._holds(row))
                common = here if common is None else common & here
                if not common:
                    break
            self._of[edge] = (common or frozenset()) - self._ends((edge,))
        return self._of[edge]

    def over(self, edges: tuple[int, ...]) -> int:
        """The class of the lock that forbids a ring, -1 without one."""
        key = tuple(sorted(edges))
        if key not in self._over:
            common = frozenset.intersection(*(self.of(e) for e in edges)) - self._ends(edges)
            self._over[key] = next((g for g in sorted(common) if self._forbids(g, edges)), -1)
        return self._over[key]

    def _ends(self, edges: tuple[int, ...]) -> frozenset[int]:
        of, graph = self.graph.rows.node_class, self.graph
        return frozenset(int(of[end[e]]) for e in edges for end in (graph.tail, graph.head))

    def _holds(self, row: int) -> dict[int, dict[int, bool]]:
        """Class to its locks held at a row's chain in the same context, each with whether exclusively."""
        rows = self.graph.rows
        chain = int(rows.chain[row])
        if chain not in self._held:
            begin, last = int(self.evidence.chains.start[chain]), int(rows.last[chain])
            here: dict[int, dict[int, bool]] = {}
            for r in range(begin, last):
                cls, lock = int(rows.entry[r, CLS]), int(rows.entry[r, LOCK])
                if rows.same[r] and is_lock(self.evidence.classes[cls]):
                    locks = here.setdefault(cls, {})
                    locks[lock] = locks.get(lock, False) or bool(rows.entry[r, READ] == 0)
            self._held[chain] = here
        return self._held[chain]

    def _forbids(self, guard: int, edges: tuple[int, ...]) -> bool:
        """Whether a lock of this class keeps any two sides apart that could meet on the same locks of the ring.

        Sides of different objects have different guards, and different locks: they do not meet. But the guard must
        not be of something smaller than what the ring's locks are of: another vCPU holds another mutex and wants the
        same locks of the VM. And whoever is seen at one of the ring's locks must be there under one guard. At most one
        side may hold it shared only, as readers do not keep each other out.
        """
        rows, classes = self.graph.rows, self.evidence.classes
        over: dict[int, set[int]] = {}
        shared = 0
        for edge in edges:
            weak = False
            for row in self.graph.makers(edge):
                held, last = self._holds(row)[guard], int(rows.last[rows.chain[row]])
                weak |= not any(held.values())
                scope = min(_scope_of(classes[guard], lock) for lock in held)
                for r in (row, last):
                    cls, lock = int(rows.entry[r, CLS]), int(rows.entry[r, LOCK])
                    if scope < _scope_of(classes[cls], lock) >= Scope.VM:
                        return False
                    seen = over.setdefault(lock, set(held))
                    seen &= set(held)
                    if not seen:
                        return False
            shared += weak
        return shared <= 1
