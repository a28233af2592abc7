"""The dependency graph as lockdep builds it: an edge is "this was asked for while that was held".

Follows kernel/locking/lockdep.c (6.12): validate_chain, check_deadlock, check_prevs_add and calc_dep decide which edges
an acquisition adds and of what kind. Unlike lockdep's, each edge keeps every chain that made it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lockscope.evidence.evidence import Evidence
from lockscope.lockgraph.rows import (
    CHECK,
    CLS,
    LOCK,
    NEST,
    READ,
    SYNC,
    TRYLOCK,
    TS,
    Bools,
    Ints,
    Rows,
    is_static,
    make_rows,
)
from lockscope.walk.chains import Chain

# An edge's kind: what the held lock lets through, and whether the asked one waits for readers.
EXCLUSIVE = 1  # the held lock is held exclusively (-(E*)->), else shared (-(S*)->)
WAITS = 2  # asked for other than as a recursive reader (-(*N)->), else as one (-(*R)->)
KIND_NAMES = ("SR", "ER", "SN", "EN")

_CACHE = "lock_graph"


@dataclass(slots=True)
class Graph:
    """The dependencies of a trace, all windows in one: nodes of two windows have no edge in common.

    Edge ``e`` leads from node ``tail[e]`` to ``head[e]`` with ``kind[e]``. It was made by the held rows
    ``rows_of[begin[e] : begin[e + 1]]``, earliest first; each one's chain asked for the head. ``count`` is how often.
    """

    rows: Rows
    tail: Ints
    head: Ints
    kind: Ints
    count: Ints
    begin: Ints
    rows_of: Ints
    recursions: Ints  # held rows that their chain's next must not be taken under (check_deadlock)
    doubtful: Ints  # held rows of the same name as next where nothing tells a subclass or nest lock from recursion
    unnested: Ints  # chains whose nest lock is not held
    rank: Ints  # int64[nodes]: place among all class labels, sorted
    near: Bools  # whether nothing, not even an unchecked lock, ever lay between: /proc/lockdep lists only these
    lockdeps: Bools  # whether lockdep draws it too: it stops at recursive readers

    def __len__(self) -> int:
        return len(self.tail)

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self.rows.node_class)

    def first(self, edge: int) -> int:
        """The held row of an edge's first witness."""
        return int(self.rows_of[self.begin[edge]])

    def makers(self, edge: int, limit: int | None = None) -> list[int]:
        """The held rows that made an edge, earliest first."""
        end = int(self.begin[edge + 1])
        begin = int(self.begin[edge])
        return [int(r) for r in self.rows_of[begin : end if limit is None else min(end, begin + limit)]]

    def kind_name(self, edge: int) -> str:
        """``EN``, ``ER``, ``SN`` or ``SR``, as Documentation/locking/lockdep-design.rst has them."""
        return KIND_NAMES[int(self.kind[edge])]


def chain_at(evidence: Evidence, rows: Rows, row: int) -> tuple[Chain, int]:
    """The chain a row belongs to, and the row's place in it (``len(chain.held)`` is its next)."""
    chain = int(rows.chain[row])
    return evidence.chains[chain], row - int(evidence.chains.start[chain])


def lock_graph(evidence: Evidence) -> Graph:
    """The graph of a trace; built on first use and kept in its facts."""
    graph = evidence.facts.get(_CACHE)
    if not isinstance(graph, Graph):
        graph = _build(evidence)
        evidence.facts[_CACHE] = graph
    return graph


def edges(evidence: Evidence, *, near: bool = False) -> Iterator[tuple[int, int, int]]:
    """Every dependency as (held class, asked class, kinds): bit ``k`` of kinds for kind ``k``. All windows together.

    ``near``: only those that /proc/lockdep lists (l_show, kernel/locking/lockdep_proc.c: distance 1).
    """
    graph = lock_graph(evidence)
    of = graph.rows.node_class
    shown = np.flatnonzero(graph.near) if near else np.arange(len(graph))
    found: dict[tuple[int, int], int] = {}
    columns = of[graph.tail[shown]].tolist(), of[graph.head[shown]].tolist(), graph.kind[shown].tolist()
    for tail, head, kind in zip(*columns, strict=True):
        found[tail, head] = found.get((tail, head), 0) | 1 << kind
    for (tail, head), kinds in sorted(found.items()):
        yield tail, head, kinds


def _first_row(condition: Bools, chain: Ints, chains: int) -> Ints:
    """Per chain the first row where the condition holds; a very large number without one."""
    first = np.full(chains, np.iinfo(np.int64).max, np.int64)
    rows = np.flatnonzero(condition)
    np.minimum.at(first, chain[rows], rows)
    return first


def _recursions(evidence: Evidence, rows: Rows, asks: Bools) -> tuple[Ints, Ints, Bools]:
    """check_deadlock over all chains: offending held rows, doubtful ones, and bool[chains] "adds no edges"."""
    entry, nxt = rows.entry, rows.next
    told = np.array([c.keyed for c in evidence.classes], np.bool_) & evidence.detailed
    twin = rows.held & asks[rows.chain] & (entry[:, CLS] == entry[nxt, CLS])
    twin &= ~((entry[nxt, READ] == 2) & (entry[:, READ] != 0))
    twin &= entry[nxt, CHECK] != SYNC  # of a reader that waits for itself LS205 tells
    # Without subclass and nest lock only the very same lock is recursion for sure.
    sure = twin & (told[entry[:, CLS]] | (entry[:, LOCK] == entry[nxt, LOCK]))
    nest = rows.held & (entry[:, LOCK] == entry[nxt, NEST]) & (entry[nxt, NEST] != 0)
    chains = len(rows.last)
    first, guarded = _first_row(sure, rows.chain, chains), _first_row(nest, rows.chain, chains)
    found = first < np.iinfo(np.int64).max
    bad = found & (guarded > first)
    return first[bad], np.flatnonzero(twin & ~sure), found


def _edge_rows(evidence: Evidence, rows: Rows, asks: Bools) -> tuple[Ints, Bools]:
    """Held rows that make an edge, and which of them lockdep's own check_prevs_add finds.

    check_prevs_add: from the top of the stack down to the first lock that was not a trylock, in one context.

    What lies below that one depends on the new lock by way of it; but not by way of a recursive reader, which waits for
    nobody behind it, so that such a path is weak. lockdep stops there all the same, and since 6.4 at SRCU sections too
    (until then their check=0 let it look past them): A, srcu_read_lock(), B and B, A is a deadlock that it misses.
    """
    entry = rows.entry
    # Up to 6.3 lockdep does not check SRCU (f0f44752f5f6); who waits for readers does so all the same.
    waited = np.zeros(max(len(evidence.classes), 1), np.bool_)
    waited[entry[rows.last[entry[rows.last, CHECK] == SYNC], CLS]] = True
    checked = entry[:, CHECK] != 0
    candidate = rows.held & rows.same & (checked | waited[entry[:, CLS]]) & asks[rows.chain]
    blocking = candidate & (entry[:, TRYLOCK] == 0)
    made = np.flatnonzero(_down_to(candidate, blocking & (entry[:, READ] != 2), rows))
    return made, _down_to(candidate & checked, blocking & checked, rows)[made]


def _down_to(candidate: Bools, last: Bools, rows: Rows) -> Bools:
    """The candidates of each chain from the top of its stack down to the first that is ``last``."""
    at = np.flatnonzero(last)
    lowest = np.full(len(rows.last), -1, np.int64)
    np.maximum.at(lowest, rows.chain[at], at)
    kept: Bools = candidate & (np.arange(len(candidate)) >= lowest[rows.chain])
    return kept


def _unnested(rows: Rows, asks: Bools) -> Ints:
    nest = rows.entry[rows.last, NEST]
    held = rows.held & (rows.entry[:, LOCK] == nest[rows.chain])
    present = np.zeros(len(rows.last), np.bool_)
    present[rows.chain[held]] = True
    return np.flatnonzero(asks & (nest != 0) & ~present)


def _build(evidence: Evidence) -> Graph:
    rows = make_rows(evidence)
    entry, last = rows.entry, rows.last
    asks = rows.live & (entry[last, CHECK] != 0) & (entry[last, TRYLOCK] == 0)
    bad, doubtful, barren = _recursions(evidence, rows, asks)
    made, lockdeps = _edge_rows(evidence, rows, asks & ~barren)
    nxt = last[rows.chain[made]]
    tail, head = rows.node[made], rows.node[nxt]
    # One name, several instances: their order is their subclasses', which were not recorded. It can turn round as
    # objects are allocated anew, or moved below others; that of two variables can not.
    told = rows.node_class[tail] != rows.node_class[head]
    told |= (tail == head) | (is_static(entry[made, LOCK]) & is_static(entry[nxt, LOCK]))
    made, nxt, tail, head, lockdeps = made[told], nxt[told], tail[told], head[told], lockdeps[told]
    kind = EXCLUSIVE * (entry[made, READ] == 0) + WAITS * (entry[nxt, READ] != 2)
    nodes = max(len(rows.node_class), 1)
    key = (tail * nodes + head) * 4 + kind
    order = np.lexsort((entry[nxt, TS], key))
    unique, begin = np.unique(key[order], return_index=True)
    ends, kinds = np.divmod(unique, 4)
    counted = evidence.chains.count.astype(np.int64)[rows.chain[made[order]]]
    total = np.add.reduceat(counted, begin) if len(begin) else np.zeros(0, np.int64)
    seen = np.logical_or.reduceat(lockdeps[order], begin) if len(begin) else np.zeros(0, np.bool_)
    nearest = np.minimum.reduceat((nxt - made)[order], begin) if len(begin) else np.zeros(0, np.int64)
    return Graph(
        rows,
        tail=ends // nodes,
        head=ends % nodes,
        kind=kinds,
        count=total,
        begin=np.append(begin, len(order)).astype(np.int64),
        rows_of=made[order],
        recursions=bad,
        doubtful=doubtful,
        unnested=_unnested(rows, rows.live),
        rank=_ranks(evidence, rows),
        near=nearest == 1,
        lockdeps=seen,
    )


def _ranks(evidence: Evidence, rows: Rows) -> Ints:
    labels = np.array([c.label for c in evidence.classes] or [""])
    _, rank = np.unique(labels, return_inverse=True)
    return rank.astype(np.int64)[rows.node_class]
