"""Strong paths: the ones along which tasks can wait for each other in a ring.

A recursive reader gets past a lock that is held shared, so ``-(*R)->`` followed by ``-(S*)->`` breaks a ring
(Documentation/locking/lockdep-design.rst, 6.12). Walking over *states*, nodes with "did we come as recursive reader",
makes every walk strong: state ``2 * node`` was entered by ``-(*N)->`` and may be left by any edge, ``2 * node + 1`` by
``-(*R)->`` and only left by ``-(E*)->``. lockdep's own search marks a class when it first sees it, whatever the
strength of the path so far, and so can miss a path; states can not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lockscope.lockgraph.graph import EXCLUSIVE, WAITS, Graph
from lockscope.lockgraph.rows import Bools, Ints


@dataclass(slots=True)
class States:
    """State edges as compressed rows; ``edge`` the graph's edge behind each; ``source`` its state."""

    start: Ints
    target: Ints
    source: Ints
    edge: Ints

    def without(self, keep: Bools) -> States:
        """Only the state edges marked; states stay as they are."""
        source = self.source[keep]
        return States(_starts(source, len(self.start) - 1), self.target[keep], source, self.edge[keep])


def _starts(source: Ints, states: int) -> Ints:
    start = np.zeros(states + 1, np.int64)
    np.cumsum(np.bincount(source, minlength=states), out=start[1:])
    return start


def states_of(graph: Graph, among: Ints | None = None, *, backwards: bool = False) -> States:
    """The states of a graph, or of some of its edges. ``backwards``: edges turned round, states mean the same."""
    edge = np.arange(len(graph), dtype=np.int64) if among is None else among
    edge = edge[graph.tail[edge] != graph.head[edge]]
    exclusive = edge[(graph.kind[edge] & EXCLUSIVE) != 0]
    source = np.concatenate((2 * graph.tail[edge], 2 * graph.tail[exclusive] + 1))
    edge = np.concatenate((edge, exclusive))
    target = 2 * graph.head[edge] + ((graph.kind[edge] & WAITS) == 0)
    if backwards:
        source, target = target, source
    # By name, so that the same graph gives the same shortest paths whatever was seen first.
    order = np.lexsort((edge, graph.rank[target // 2], source))
    return States(_starts(source, 2 * graph.nodes), target[order], source[order], edge[order])


def peel(states: States) -> Bools:
    """Which state edges may lie on a ring: what is left when edges to dead ends and from nowhere keep being dropped."""
    count = len(states.start) - 1
    alive = np.ones(len(states.edge), np.bool_)
    while True:
        leaves = np.bincount(states.source[alive], minlength=count) > 0
        enters = np.bincount(states.target[alive], minlength=count) > 0
        left = alive & leaves[states.target] & enters[states.source]
        if left.sum() == alive.sum():
            return alive
        alive = left
