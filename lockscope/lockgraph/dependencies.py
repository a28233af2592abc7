"""The lock graph as plain records, for outputs: classes with usage and counts, edges, and the rings they lie on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lockscope.core.graph import components
from lockscope.evidence.evidence import Evidence
from lockscope.kvm import locks
from lockscope.lockgraph.graph import KIND_NAMES, Graph, lock_graph
from lockscope.lockgraph.rings import trace_rings
from lockscope.lockgraph.rows import CLS, TS, Ints
from lockscope.lockgraph.states import states_of
from lockscope.lockgraph.usage import Usage, lock_usage
from lockscope.results.findings import GraphClass, GraphEdge, LockGraph

_NO_USAGE = "...."


def dependencies(evidence: Evidence) -> LockGraph:
    """The graph of a trace. Classes in the order in which they were first seen, as /proc/lockdep has them."""
    graph = lock_graph(evidence)
    shown = np.unique(graph.rows.node_class)
    place = {int(cls): i for i, cls in enumerate(shown)}
    found = trace_rings(evidence).found
    of = graph.rows.node_class
    on_rings = tuple(tuple(place[int(of[graph.tail[e]])] for e in ring.edges) for ring in found)
    return LockGraph(
        path=evidence.info.path,
        kernel=evidence.info.kernel,
        keyed=evidence.detailed,
        classes=tuple(_classes(evidence, graph, shown)),
        edges=tuple(_edges(graph, place, on_rings)),
        rings=on_rings,
    )


def _classes(evidence: Evidence, graph: Graph, shown: Ints) -> list[GraphClass]:
    reached = _reached(graph, len(evidence.classes))
    forward, backward = reached.sum(axis=1, dtype=np.int64), reached.sum(axis=0, dtype=np.int64)
    usage = _usage(evidence, graph)
    asked = graph.rows.entry[graph.rows.last, CLS]
    count = np.zeros(len(evidence.classes), np.int64)
    np.add.at(count, asked, evidence.chains.count.astype(np.int64))
    made = []
    for cls in shown.tolist():
        known = evidence.classes[cls]
        made.append(
            GraphClass(
                name=known.name,
                label=known.label,
                subclass=known.subclass,
                key=known.key & (1 << 64) - 1,
                kvm=locks.is_kvm(known.name),
                usage=usage.letters(cls)[1:-1] or _NO_USAGE,
                forward=int(forward[cls]),
                backward=int(backward[cls]),
                count=int(count[cls]),
            )
        )
    return made


def _usage(evidence: Evidence, graph: Graph) -> Usage:
    """The usage of classes: that of all their nodes together."""
    usage = lock_usage(evidence)
    mask = np.zeros(max(len(evidence.classes), 1), np.int64)
    np.bitwise_or.at(mask, graph.rows.node_class, usage.mask)
    return Usage(mask, usage.rows, usage.by, usage.anomalies)


def _reached(graph: Graph, classes: int) -> NDArray[np.uint8]:
    """[classes, classes]: 1 where a strong path leads from the first to the second, or they are one.

    __lockdep_count_forward_deps and ..._backward_deps (kernel/locking/lockdep.c, 6.12) count a row and a column: a walk
    starts as if entered by -(*N)->, so that strong paths read the same from both ends. Where the kernel marks a class
    on a path that then proves weak, it counts less. Dependencies that lockdep does not see are left out.
    """
    states, of = states_of(graph, np.flatnonzero(graph.lockdeps)), graph.rows.node_class
    component = components(states.start, states.target)
    members = np.argsort(component, kind="stable").tolist()
    start, target, number = states.start.tolist(), states.target.tolist(), component.tolist()
    # Tarjan numbers a component after all that it leads to: when its turn comes they are done.
    beyond = [0] * (max(number, default=-1) + 1)
    for state in members:
        bits = 1 << int(of[state // 2])
        for at in range(start[state], start[state + 1]):
            bits |= beyond[number[target[at]]]
        beyond[number[state]] |= bits
    total = [1 << cls for cls in range(classes)]
    for node, cls in enumerate(of.tolist()):
        total[cls] |= beyond[number[2 * node]]
    width = (classes + 7) // 8
    packed = np.frombuffer(b"".join(bits.to_bytes(width, "little") for bits in total), np.uint8)
    return np.unpackbits(packed.reshape(classes, width), axis=1, count=classes, bitorder="little")


def _edges(graph: Graph, place: dict[int, int], on_rings: tuple[tuple[int, ...], ...]) -> list[GraphEdge]:
    pairs: dict[tuple[int, int], list[int]] = {}
    of = graph.rows.node_class
    ends = zip(of[graph.tail].tolist(), of[graph.head].tolist(), strict=True)
    for edge, (tail, head) in enumerate(ends):
        pairs.setdefault((place[tail], place[head]), []).append(edge)
    lies: dict[tuple[int, int], list[int]] = {}
    for number, ring in enumerate(on_rings):
        for pair in zip(ring, (*ring[1:], ring[0]), strict=True):
            lies.setdefault(pair, []).append(number)
    return [_edge(graph, pair, edges, tuple(lies.get(pair, ()))) for pair, edges in sorted(pairs.items())]


def _edge(graph: Graph, pair: tuple[int, int], edges: list[int], lies: tuple[int, ...]) -> GraphEdge:
    kinds = dict.fromkeys(reversed(KIND_NAMES), 0)
    for edge in edges:
        kinds[graph.kind_name(edge)] += int(graph.count[edge])
    rows = graph.rows
    first = min(int(rows.entry[rows.last[rows.chain[graph.first(e)]], TS]) for e in edges)
    direct = any(bool(graph.near[e]) for e in edges)
    return GraphEdge(*pair, {k: n for k, n in kinds.items() if n}, direct, first, lies)
