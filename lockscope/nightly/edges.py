"""A trace's lock dependencies in a form that can be merged with those of other traces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lockscope.evidence.evidence import Evidence
from lockscope.kvm.locks import Role, role_of
from lockscope.lockgraph.graph import Graph, chain_at, lock_graph
from lockscope.lockgraph.guards import is_lock, one_instance
from lockscope.lockgraph.rings import trace_rings
from lockscope.lockgraph.rows import LOCK, READ, Bools, Ints
from lockscope.nightly.identity import Identities, is_shared
from lockscope.results.findings import Report, Status


@dataclass(frozen=True, slots=True)
class Edge:
    """``taken`` was asked for under ``held`` (identities).

    ``guards``: locks that were held over every occurrence, "!" before those that were always held exclusively.
    ``told``: a ring that it closes is reported from this trace already. ``irq``: at some time an interrupt took it.
    ``detailed``: read kinds, keys and nest locks were recorded. ``task``, ``ts_ns``, ``at``, ``held_at``: of the first
    occurrence, who, when, and the functions that took the two.
    """

    held: str
    taken: str
    held_label: str
    taken_label: str
    subclass: int  # of the held class
    kind: int
    count: int
    direct: bool
    told: bool
    irq: bool
    detailed: bool
    guards: tuple[str, ...]
    ts_ns: int
    task: str
    held_at: str
    at: str


def edges_of(evidence: Evidence, report: Report, trace: str) -> list[Edge]:
    """The dependencies whose ends other traces can know, and those on the way between two such. Sorted.

    None where LS101 could not judge the trace: without releases, say, what was held when is a guess.
    """
    if not any(run.code == "LS101" and run.status is not Status.SKIPPED for run in report.checks):
        return []
    graph = lock_graph(evidence)
    names = _node_names(evidence, graph, Identities(evidence.info, trace))
    told = _told(evidence, graph) if any(f.code == "LS101" for f in report.findings) else frozenset[int]()
    guards = _guards(evidence, graph, names)
    kept = np.flatnonzero(_on_the_way(graph, np.array([is_shared(n) for n in names], np.bool_)))
    merged: dict[tuple[str, str, int], Edge] = {}
    for edge in kept.tolist():
        one = _edge(evidence, graph, names, edge, guards[edge], edge in told)
        key = one.held, one.taken, one.kind
        merged[key] = one if key not in merged else together(merged[key], one)
    return [merged[key] for key in sorted(merged)]


def together(a: Edge, b: Edge) -> Edge:
    """Two sightings of one dependency as one: the first stays the witness, guards must have been held over both."""
    return Edge(
        a.held,
        a.taken,
        a.held_label,
        a.taken_label,
        a.subclass,
        a.kind,
        a.count + b.count,
        a.direct or b.direct,
        a.told or b.told,
        a.irq or b.irq,
        a.detailed or b.detailed,
        common_guards(a.guards, b.guards),
        a.ts_ns,
        a.task,
        a.held_at,
        a.at,
    )


def common_guards(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
    """Guards of both; exclusive only if they are so in both."""
    mine, theirs = ({g.removeprefix("!"): g[0] == "!" for g in side} for side in (a, b))
    return tuple(sorted(("!" if mine[g] and theirs[g] else "") + g for g in mine.keys() & theirs.keys()))


def _node_names(evidence: Evidence, graph: Graph, identities: Identities) -> list[str]:
    rows = graph.rows
    nodes = zip(rows.node_class.tolist(), rows.node_lock.tolist(), strict=True)
    return [identities.of(evidence.classes[cls], lock) for cls, lock in nodes]


def _on_the_way(graph: Graph, shared: Bools) -> Bools:
    """Edges that may lie on a path from one shared node to another: dead ends among the trace's own are dropped."""
    kept = np.ones(len(graph), np.bool_)
    while True:
        entered, left = shared.copy(), shared.copy()
        entered[graph.head[kept]] = True
        left[graph.tail[kept]] = True
        rest: Bools = kept & entered[graph.tail] & left[graph.head]
        if rest.sum() == kept.sum():
            return rest
        kept = rest


def _told(evidence: Evidence, graph: Graph) -> frozenset[int]:
    """Edges without which the rings that LS101 tells of this trace would not be."""
    pair = graph.tail * graph.nodes + graph.head
    suspects = [pair[ring.suspect] for ring in trace_rings(evidence).found if ring.suspect >= 0]
    return frozenset(np.flatnonzero(np.isin(pair, suspects)).tolist())


def _guards(evidence: Evidence, graph: Graph, names: list[str]) -> list[tuple[str, ...]]:
    """Per edge the locks that were held in the same context at every occurrence of it (cf. ``graph_trust``).

    Other machines have other instances: only KVM's own locks, of which a VM has one, and static ones can be guards.
    """
    rows = graph.rows
    guard = _can_guard(evidence, graph)
    edge = np.repeat(np.arange(len(graph)), np.diff(graph.begin))
    chain = rows.chain[graph.rows_of]
    begin, last = evidence.chains.start.astype(np.int64)[chain], rows.last[chain]
    # Every pair of an occurrence and a row of its chain.
    length = last - begin
    at = np.repeat(np.arange(len(chain)), length)
    row = np.arange(len(at)) - np.repeat(np.cumsum(length) - length, length) + begin[at]
    fit = guard[row] & (rows.node[row] != graph.tail[edge[at]]) & (rows.node[row] != graph.head[edge[at]])
    at, row = at[fit], row[fit]
    strict = rows.entry[row, READ] == 0
    # One chain may hold a lock twice, and may make an edge through several of its rows.
    once, back = np.unique(np.stack((edge[at], rows.node[row], at), axis=1), axis=0, return_inverse=True)
    held = np.zeros(len(once), np.bool_)
    np.logical_or.at(held, back.reshape(-1), strict)
    pairs, index, number = np.unique(once[:, :2], axis=0, return_inverse=True, return_counts=True)
    exclusive = np.bincount(index.reshape(-1), weights=held, minlength=len(pairs)).astype(np.int64)
    found: list[list[str]] = [[] for _ in range(len(graph))]
    occurrences = np.diff(graph.begin)
    for (e, node), n, x in zip(pairs.tolist(), number.tolist(), exclusive.tolist(), strict=True):
        if n == occurrences[e]:
            found[e].append(("!" if x == n else "") + names[node])
    return [tuple(sorted(set(g))) for g in found]


def _can_guard(evidence: Evidence, graph: Graph) -> Bools:
    rows = graph.rows
    lock = np.array([is_lock(c) for c in evidence.classes] or [False], np.bool_)
    kvms = np.array([role_of(c.name) is not Role.NONE for c in evidence.classes] or [False], np.bool_)
    cls, address = rows.node_class[rows.node], rows.entry[:, LOCK]
    candidates = np.flatnonzero(lock[cls] & ~kvms[cls] & rows.held & rows.same)
    pairs, place = np.unique(np.stack((cls[candidates], address[candidates]), axis=1), axis=0, return_inverse=True)
    static = np.array([one_instance(evidence.classes[c], a) for c, a in pairs.tolist()] or [False], np.bool_)
    can: Bools = lock[cls] & kvms[cls] & rows.held & rows.same
    can[candidates] = static[place.reshape(-1)] if len(candidates) else False
    return can


def _edge(evidence: Evidence, graph: Graph, names: list[str], edge: int, guards: tuple[str, ...], told: bool) -> Edge:
    tail, head = int(graph.tail[edge]), int(graph.head[edge])
    of = graph.rows.node_class
    held, taken = evidence.classes[int(of[tail])], evidence.classes[int(of[head])]
    chain, place = chain_at(evidence, graph.rows, graph.first(edge))
    return Edge(
        names[tail],
        names[head],
        held.label,
        taken.label,
        held.subclass,
        int(graph.kind[edge]),
        int(graph.count[edge]),
        bool(graph.near[edge]),
        told,
        _any_irq(graph, edge),
        evidence.detailed,
        guards,
        chain.next.ts_ns,
        f"{evidence.comm(chain.pid)}/{chain.pid}",
        evidence.symbol(chain.held[place].ip) or "",
        evidence.symbol(chain.next.ip) or "",
    )


def _any_irq(graph: Graph, edge: int) -> bool:
    rows: Ints = graph.rows_of[graph.begin[edge] : graph.begin[edge + 1]]
    return bool((graph.rows.context[graph.rows.last[graph.rows.chain[rows]]] != 0).any())
