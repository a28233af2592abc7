"""Circular dependencies: for each edge that closes rings, a shortest one; never all of them.

Many rings usually mean one wrong edge: taking two locks the wrong way round once closes a ring with every correct path
between them. So a short ring is looked at first; the edge of it without which least is circular is its *suspect*, the
defect; it is taken out of the graph, and the next ring is looked at, until there is none. The rings that are gone with
it are kept beside the one told (``behind``): who knows that one may not know these.

A ring that a guard lock forbids takes nothing out of the graph: another one through the same edges may be free.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lockscope.core.graph import UNREACHED, components, cycle_lengths, shortest_path
from lockscope.lockgraph.graph import EXCLUSIVE, WAITS, Graph
from lockscope.lockgraph.rows import TS, Bools, Ints
from lockscope.lockgraph.states import States, peel, states_of

LIMIT = 100  # suspects told of one window: more are one tangle, and these show it
BEHIND = 12  # rings told beside one
_STEPS = 50_000  # of a search for a ring that no guard forbids

Guards = Callable[[int], frozenset[int]]


@dataclass(frozen=True, slots=True)
class Ring:
    """A circular dependency.

    ``edges`` in order, beginning with one that breaks a documented order, else where the least name is held, so that
    the same ring reads the same in every trace. ``also``: about how many more dependencies lie on rings only because of
    one of these edges. ``suspect``: the edge without which least would be circular. ``behind``: a shortest ring for
    each of these dependencies, as far as they differ, ``BEHIND`` at most; ``untold``: dependencies whose rings are not
    among them. ``cut``: more suspects of this window were not looked at.
    """

    edges: tuple[int, ...]
    also: int = 0
    suspect: int = -1
    behind: tuple[tuple[int, ...], ...] = ()
    untold: tuple[int, ...] = ()
    cut: bool = False


def _no_guards(edge: int) -> frozenset[int]:  # noqa: ARG001 (the shape of ``Guards``)
    return frozenset()


@dataclass(frozen=True, slots=True)
class Forbidding:
    """What keeps a ring from happening: ``of`` an edge, the guard classes over all its occurrences; ``ring``: whether
    one of them forbids a whole ring."""

    of: Guards = _no_guards
    ring: Callable[[tuple[int, ...]], bool] = lambda _: False


def rings(graph: Graph, forbidden: Callable[[int], bool] | None = None, guards: Forbidding | None = None) -> list[Ring]:
    """All circular dependencies, one for each suspect edge, in the order in which they closed; then those that a guard
    forbids, which have no suspect.

    Of edges that explain a ring equally well the suspect is one that breaks a documented order (``forbidden``), then
    the rarer, then the one seen last, which is the one lockdep would stop at.
    """
    states = states_of(graph)
    states = states.without(peel(states))
    if not len(states.edge):
        return []
    tangle = _Tangle(graph, states, forbidden or _nothing, guards or Forbidding())

    def closed(ring: Ring) -> int:
        return max(_seen(graph, e) for e in ring.edges)

    return [*sorted(tangle.unravel(), key=closed), *sorted(tangle.harmless(), key=closed)]


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

    def __init__(self, graph: Graph, states: States, forbidden: Callable[[int], bool], guards: Forbidding) -> None:
        self.graph, self.forbidden, self.guards = graph, forbidden, guards
        self.pair: Ints = graph.tail * graph.nodes + graph.head
        self.guarded: dict[tuple[int, ...], None] = {}
        self._keep(states)

    def unravel(self) -> list[Ring]:
        """The rings; by and large the shorter ones first, since lengths are those before anything was taken out."""
        found: list[Ring] = []
        told: Counter[int] = Counter()
        for edge in self._by_length().tolist():
            window = int(self.graph.rows.node_window[self.graph.tail[edge]])
            if told[window] == LIMIT:
                continue
            ring = self._free_ring(edge)
            if ring:
                told[window] += 1
                found.append(replace(self._tell(ring), cut=told[window] == LIMIT))
        return found

    def harmless(self) -> list[Ring]:
        """The rings that a guard forbids, as many as it takes to show each of their dependencies once."""
        shown: set[int] = set()
        found = []
        for ring in self.guarded:
            if not shown.issuperset(ring):
                shown.update(ring)
                found.append(Ring(self._turned(ring)))
        return found[:LIMIT]

    def _free_ring(self, edge: int) -> tuple[int, ...]:
        """A shortest ring through an edge that no guard forbids; empty if there is none."""
        ring = self._ring(edge)
        if not ring or not self.guards.ring(ring):
            return ring
        self.guarded.setdefault(ring)
        return self._around_guards(edge)

    def _around_guards(self, edge: int) -> tuple[int, ...]:
        """A search for a ring through an edge over states *and* the guards that all edges so far have in common."""
        states, guards = self.states, self.guards.of
        into, tails = self._into(np.array([edge])), set(self._tails(np.array([edge]))[0].tolist())
        queue: deque[tuple[int, frozenset[int], tuple[int, ...]]] = deque([(int(into[0]), guards(edge), (edge,))])
        seen = {(int(into[0]), guards(edge))}
        for _ in range(_STEPS):
            if not queue:
                break
            here, common, path = queue.popleft()
            nodes = {int(self.graph.tail[e]) for e in path}
            for at in range(int(states.start[here]), int(states.start[here + 1])):
                there, step = int(states.target[at]), int(states.edge[at])
                if here // 2 in nodes:
                    continue
                ring = (*path, step)
                if there in tails and not self.guards.ring(ring):
                    return ring
                key = there, common & guards(step)
                if key not in seen:
                    seen.add(key)
                    queue.append((*key, ring))
        return ()

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
        told = self._free_ring(suspect) or ring
        opened = len(tangle.edge) - rest[suspect] - len(told)
        without = self.states.without(self._other_pairs(self.states, suspect))
        behind, untold = self._behind(tangle, without, told)
        self._keep(without)
        return Ring(self._turned(told), max(opened, 0), suspect, behind, untold)

    def _behind(
        self, tangle: States, without: States, told: tuple[int, ...]
    ) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
        """The rings that are gone together with the one told, and the edges beyond those that are looked at."""
        left = np.zeros(len(self.graph), np.bool_)
        left[_circular(without)[0].edge] = True
        gone = np.unique(tangle.edge)
        gone = gone[~left[gone] & ~np.isin(self.pair[gone], self.pair[np.array(told)])]
        found: dict[tuple[int, ...], None] = {}
        covered: set[int] = set()
        for place, edge in enumerate(gone.tolist()):
            if len(found) == BEHIND:
                return tuple(found), tuple(e for e in gone[place:].tolist() if e not in covered)
            ring = () if edge in covered else self._free_ring(edge)
            if ring:
                found.setdefault(self._turned(ring))
                covered.update(ring)
        return tuple(found), ()

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
