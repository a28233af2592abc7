"""Searches over the states of a dependency graph, for graphs that are one big tangle.

States and edges come as compressed rows: the edges out of state ``s`` are ``target[start[s] : start[s + 1]]``.
``lockscope.reconstruct.graph_states`` says what a state is and why a path over states is one that can deadlock.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lockscope.kernels.outer import outer

UNREACHED = 1 << 30


@outer()
def components(start: Any, target: Any) -> Any:
    """int64[states]: the strongly connected component of every state (Tarjan 1972, with its own stack).

    Components are numbered from 0; a state with no edge is one of its own.
    """
    states = len(start) - 1
    order = np.zeros(states, np.int64)
    low = np.zeros(states, np.int64)
    number = np.full(states, -1, np.int64)
    waiting = np.empty(states, np.int64)
    path = np.empty(states, np.int64)
    edge = start[:-1].copy()
    seen, named, depth, top = 0, 0, 0, 0
    for root in range(states):
        if order[root] != 0:
            continue
        path[0], depth = root, 1
        while depth > 0:
            here = path[depth - 1]
            if order[here] == 0:
                seen += 1
                order[here] = low[here] = seen
                waiting[top] = here
                top += 1
            if edge[here] < start[here + 1]:
                there = target[edge[here]]
                edge[here] += 1
                if order[there] == 0:
                    path[depth] = there
                    depth += 1
                elif number[there] < 0:
                    low[here] = min(low[here], order[there])
                continue
            depth -= 1
            if depth > 0:
                low[path[depth - 1]] = min(low[path[depth - 1]], low[here])
            if low[here] == order[here]:
                while number[here] < 0:
                    top -= 1
                    number[waiting[top]] = named
                named += 1
    return number


@outer()
def cycle_lengths(
    start: Any,  # int64[states + 1]
    target: Any,  # int64[state edges]
    component: Any,  # int64[states]; only states of one component are on a cycle together
    into: Any,  # int64[edges]; the state an edge leads to, ascending: edges with the same are searched together
    tails: Any,  # int64[edges, 2]; the states it may leave from
) -> Any:
    """int64[edges]: how many edges the shortest cycle through each edge has; UNREACHED where it is on none."""
    states = len(start) - 1
    length = np.full(len(into), UNREACHED, np.int64)
    distance = np.full(states, UNREACHED, np.int64)
    queue = np.empty(states, np.int64)
    e = 0
    while e < len(into):
        root = into[e]
        distance[root] = 0
        queue[0] = root
        head, tail = 0, 1
        while head < tail:
            here = queue[head]
            head += 1
            for k in range(start[here], start[here + 1]):
                there = target[k]
                if component[there] == component[root] and distance[there] == UNREACHED:
                    distance[there] = distance[here] + 1
                    queue[tail] = there
                    tail += 1
        while e < len(into) and into[e] == root:
            back = min(distance[tails[e, 0]], distance[tails[e, 1]])
            if back != UNREACHED:
                length[e] = back + 1
            e += 1
        for q in range(tail):
            distance[queue[q]] = UNREACHED
    return length


@outer()
def shortest_path(
    start: Any,  # int64[states + 1]
    target: Any,  # int64[state edges]
    root: int,  # the state to start from
    goals: Any,  # int64[:]; states to arrive at
) -> Any:
    """Positions in ``target`` of the edges of a shortest path from the root to a goal; empty if there is none.

    A root that is a goal is left first: the path has at least one edge.
    """
    states = len(start) - 1
    came_by = np.full(states, -1, np.int64)
    came_from = np.full(states, -1, np.int64)
    queue = np.empty(states, np.int64)
    seen = np.zeros(states, np.bool_)
    goal = np.zeros(states, np.bool_)
    goal[goals] = True
    seen[root] = True
    queue[0] = root
    head, tail = 0, 1
    while head < tail:
        here = queue[head]
        head += 1
        for k in range(start[here], start[here + 1]):
            there = target[k]
            if goal[there]:
                return _unwind(came_by, came_from, here, k)
            if not seen[there]:
                seen[there] = True
                came_by[there] = k
                came_from[there] = here
                queue[tail] = there
                tail += 1
    return np.empty(0, np.int64)


@outer()
def _unwind(came_by: Any, came_from: Any, last: int, edge: int) -> Any:
    steps = 1
    at = last
    while came_by[at] >= 0:
        at = came_from[at]
        steps += 1
    path = np.empty(steps, np.int64)
    path[steps - 1] = edge
    at = last
    for i in range(steps - 2, -1, -1):
        path[i] = came_by[at]
        at = came_from[at]
    return path
