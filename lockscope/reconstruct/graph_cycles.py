"""Circular dependencies: for each edge that closes rings, a shortest one; never all of them.

Many rings usually mean one wrong edge: taking two locks the wrong way round once closes a ring with every correct path
between them. So a short ring is looked at first; the edge of it without which least is circular is its *suspect*, the
defect; it is taken out of the graph, and the next ring is looked at, until there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lockscope.kernels.graph import UNREACHED, components, cycle_lengths, shortest_path
from lockscope.reconstruct.graph import EXCLUSIVE, WAITS, Graph
from lockscope.reconstruct.graph_rows import TS, Bools, Ints
from lockscope.reconstruct.graph_states import States, peel, states_of

LIMIT = 100  # suspects told of one trace: more are one tangle, and these show it


@dataclass(frozen=True, slots=True)
class Ring:
    """A circular dependency.

    ``edges`` in order, beginning with one that breaks a documented order, else where the least name is held, so that
    the same ring reads the same in every trace. ``also``: about how many more dependencies lie on rings only because of
    one of these edges. ``suspect``: the edge without which least would be circular.
    """

    edges: tuple[int, ...]
    also: int = 0
    suspect: int = -1


def rings(graph: Graph, forbidden: Callable[[int], bool] | None = None) -> list[Ring]:
    """All circular dependencies, one for each suspect edge, in the order in which they closed.

    Of edges that explain a ring equally well the suspect is one that breaks a documented order (``forbidden``), then
    the rarer, then the one seen last, which is the one lockdep would stop at.
    """
    states = states_of(graph)
    states = states.without(peel(states))
    if not len(states.edge):
        return []
    found = _Tangle(graph, states, forbidden or _nothing).unravel()
    return sorted(found, key=lambda ring: max(_seen(graph, e) for e in ring.edges))


def _nothing(edge: int) -> bool:  # noqa: ARG001 (the shape of ``forbidden``)
    return False


def _seen(graph: Graph, edge: int) -> int:
    rows = graph.rows
    return int(rows.entry[rows.last[rows.chain[graph.first(edge)]], TS])


def _circular(states: States) -> tuple[States, Ints]:
    """The state edges that lie on rings, and the component of every state."""
    component: Ints = components(states.start, states.target)
    return states.without(component[states.source] == component[states.target]), component


class _Tangle:
    """The circular part of a graph, while suspects are taken out of it."""

    def __init__(self, graph: Graph, states: States, forbidden: Callable[[int], bool]) -> None:
        self.graph, self.forbidden = graph, forbidden
        self.pair: Ints = graph.tail * graph.nodes + graph.head
        self._keep(states)

    def unravel(self) -> list[Ring]:
        """The rings; by and large the shorter ones first, since lengths are those before anything was taken out."""
        found: list[Ring] = []
        for edge in self._by_length().tolist():
            if len(found) == LIMIT:
                break
            ring = self._ring(edge)
            if ring:
                found.append(self._tell(ring))
        return found

    def _tails(self, edge: Ints) -> Ints:
        plain = 2 * self.graph.tail[edge]
        return np.stack((plain, plain + ((self.graph.kind[edge] & EXCLUSIVE) != 0)), axis=-1)

    def _into(self, edge: Ints) -> Ints:
        states: Ints = 2 * self.graph.head[edge] + ((self.graph.kind[edge] & WAITS) == 0)
        return states

    def _by_length(self) -> Ints:
        """The edges that are on rings, those on the shortest first."""
        graph, states = self.graph, self.states
        edge = np.unique(states.edge)
        edge = edge[np.argsort(self._into(edge), kind="stable")]
        length = cycle_lengths(states.start, states.target, self.component, self._into(edge), self._tails(edge))
        order = np.lexsort((edge, graph.rank[graph.head[edge]], graph.rank[graph.tail[edge]], length))
        sorted_edges: Ints = edge[order[length[order] != UNREACHED]]
        return sorted_edges

    def _ring(self, edge: int) -> tuple[int, ...]:
        """A shortest ring through an edge in what is left, beginning with it; empty if there is none any more."""
        if not self.left[edge]:
            return ()
        at = np.array([edge])
        path = shortest_path(self.states.start, self.states.target, int(self._into(at)[0]), self._tails(at)[0])
        ring = (edge, *(int(e) for e in self.states.edge[path]))
        # A walk that meets a node twice has a shorter ring in it, which its own edges report.
        simple = len({int(self.graph.tail[e]) for e in ring}) == len(ring)
        return ring if len(path) and simple else ()

    def _tell(self, ring: tuple[int, ...]) -> Ring:
        """The ring's suspect is taken out; told is the shortest ring through it."""
        graph = self.graph
        mine = self.component[self.states.source] == self.component[2 * graph.tail[ring[0]]]
        tangle = self.states.without(mine)
        rest = {e: len(_circular(tangle.without(self._other_pairs(tangle, e)))[0].edge) for e in ring}
        suspect = min(ring, key=lambda e: (rest[e], not self.forbidden(e), int(graph.count[e]), -_seen(graph, e)))
        told = self._ring(suspect) or ring
        opened = len(tangle.edge) - rest[suspect] - len(told)
        self._keep(self.states.without(self._other_pairs(self.states, suspect)))
        return Ring(self._turned(told), max(opened, 0), suspect)

    def _other_pairs(self, states: States, edge: int) -> Bools:
        others: Bools = self.pair[states.edge] != self.pair[edge]
        return others

    def _keep(self, states: States) -> None:
        self.states, self.component = _circular(states)
        self.left = np.zeros(len(self.graph), np.bool_)
        self.left[self.states.edge] = True

    def _turned(self, ring: tuple[int, ...]) -> tuple[int, ...]:
        graph = self.graph
        wrong = [self.forbidden(e) for e in ring]
        at = min(range(len(ring)), key=lambda i: (not wrong[i], int(graph.rank[graph.tail[ring[i]]])))
        return ring[at:] + ring[:at]
