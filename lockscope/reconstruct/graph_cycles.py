"""Circular dependencies: for each edge that lies on a ring, a shortest one; never all of them.

Many rings usually mean one wrong edge: taking two locks the wrong way round once closes a ring with every correct path
between them. So rings are sorted by the edge they share; each such *suspect* is one defect, told by its shortest ring.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lockscope.kernels.graph import UNREACHED, cycle_lengths, shortest_path
from lockscope.reconstruct.graph import EXCLUSIVE, Graph
from lockscope.reconstruct.graph_rows import TS, Ints
from lockscope.reconstruct.graph_states import States, components, peel, states_of

LIMIT = 2000  # rings looked at; a trace with more is one tangle, and these tell it


@dataclass(frozen=True, slots=True)
class Ring:
    """A circular dependency.

    ``edges`` in order, beginning with one that breaks a documented order, else where the least name is held, so that
    the same ring reads the same in every trace. ``also``: other rings that share an edge with it.
    """

    edges: tuple[int, ...]
    also: tuple[tuple[int, ...], ...] = ()


def _ways_in(states: States, graph: Graph, component: Ints) -> tuple[Ints, Ints, Ints]:
    """Edges inside a component, sorted by the state they lead to, with the two states each may be closed at."""
    inside = component[states.source] == component[states.target]
    into = states.target[inside]
    edge, at = np.unique(states.edge[inside], return_index=True)
    into = into[at]
    plain = 2 * graph.tail[edge]
    tails = np.stack((plain, plain + ((graph.kind[edge] & EXCLUSIVE) != 0)), axis=1)
    order = np.lexsort((edge, into))
    return edge[order], into[order], tails[order]


def _rings(graph: Graph) -> list[tuple[int, ...]]:
    """Distinct shortest rings, one for every edge on any, shortest first."""
    states = states_of(graph)
    states = states.without(peel(states))
    if not len(states.edge):
        return []
    component = components(states)
    edge, into, tails = _ways_in(states, graph, component)
    length = cycle_lengths(states.start, states.target, component, into, tails)
    found: list[tuple[int, ...]] = []
    covered: set[int] = set()
    order = np.lexsort((edge, graph.rank[graph.head[edge]], graph.rank[graph.tail[edge]], length))
    goal = np.zeros(len(states.start) - 1, np.bool_)
    for i in order.tolist():
        if length[i] == UNREACHED or len(found) == LIMIT:
            break
        if int(edge[i]) in covered:
            continue
        goal[tails[i]] = True
        path = shortest_path(states.start, states.target, np.array([into[i]]), goal)
        goal[tails[i]] = False
        ring = (int(edge[i]), *(int(e) for e in states.edge[path]))
        covered.update(ring)
        # A walk that meets a node twice has a shorter ring in it, which its own edges report.
        if len({int(graph.tail[e]) for e in ring}) == len(ring):
            found.append(ring)
    return found


def _pair(graph: Graph, edge: int) -> tuple[int, int]:
    return int(graph.tail[edge]), int(graph.head[edge])


def _seen(graph: Graph, edge: int) -> int:
    return int(graph.rows.entry[graph.rows.next[graph.first(edge)], TS])


def _suspect(graph: Graph, left: list[tuple[int, ...]], against: dict[int, bool]) -> tuple[int, int]:
    """The pair of nodes that explains most, see ``rings``."""
    on: dict[tuple[int, int], list[int]] = {}
    for ring in left:
        for edge in ring:
            on.setdefault(_pair(graph, edge), []).append(edge)

    def weight(pair: tuple[int, int]) -> tuple[bool, int, int, int]:
        edges = on[pair]
        rarity = -min(int(graph.count[e]) for e in set(edges))
        return any(against[e] for e in edges), len(edges), rarity, max(_seen(graph, e) for e in set(edges))

    return max(on, key=weight)


def rings(graph: Graph, forbidden: Callable[[int], bool] | None = None) -> list[Ring]:
    """All circular dependencies, one for each suspect edge, in the order in which they closed.

    A suspect is an edge that breaks a documented order (``forbidden``) before one that does not, then one that many
    rings share, then the rarer, then the one seen last, which is the one lockdep would stop at.
    """
    left = _rings(graph)
    against = {edge: forbidden is not None and forbidden(edge) for ring in left for edge in ring}
    found: list[Ring] = []
    while left:
        suspect = _suspect(graph, left, against)
        mine = [r for r in left if any(_pair(graph, e) == suspect for e in r)]
        left = [r for r in left if all(_pair(graph, e) != suspect for e in r)]
        turned = [_turned(graph, ring, against) for ring in mine]
        found.append(Ring(turned[0], tuple(turned[1:])))
    return sorted(found, key=lambda ring: max(_seen(graph, e) for e in ring.edges))


def _turned(graph: Graph, ring: tuple[int, ...], against: dict[int, bool]) -> tuple[int, ...]:
    at = min(range(len(ring)), key=lambda i: (not against[ring[i]], int(graph.rank[graph.tail[ring[i]]])))
    return ring[at:] + ring[:at]
