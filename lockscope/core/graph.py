"""Searches over the states of a dependency graph, for graphs that are one big tangle.

States and edges come as compressed rows: the edges out of state ``s`` are ``target[start[s] : start[s + 1]]``.
``lockscope.lockgraph.states`` says what a state is and why a path over states is one that can deadlock.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lockscope.core.c_types import Grid, Ints, loop

UNREACHED = 1 << 30


def components(start: NDArray[np.int64], target: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[states]: the strongly connected component of every state (Tarjan 1972, with its own stack).

    Components are numbered from 0; a state with no edge is one of its own.
    """
    states = len(start) - 1
    order, low, waiting, path = (np.zeros(states, np.int64) for _ in range(4))
    number = np.full(states, -1, np.int64)
    number_components(start, target, order, low, number, waiting, path, start[:-1].copy())
    return number


@loop
def number_components(
    start: Ints, target: Ints, order: Ints, low: Ints, number: Ints, waiting: Ints, path: Ints, edge: Ints
) -> None:
    """``components``: into ``number``; the rest is scratch."""
    states = len(start) - 1
    seen, named, depth, top = 0, 0, 0, 0
    for root in range(states):
        if order[root] != 0:
            continue
        path[0], depth = root, 1
        while depth > 0:
            here = path[depth - 1]
            if order[here] == 0:
                seen += 1
                order[here], low[here] = seen, seen
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


def cycle_lengths(
    start: NDArray[np.int64],  # [states + 1]
    target: NDArray[np.int64],  # [state edges]
    component: NDArray[np.int64],  # [states]; only states of one component are on a cycle together
    into: NDArray[np.int64],  # [edges]; the state an edge leads to, ascending: those with the same are one search
    tails: NDArray[np.int64],  # [edges, 2]; the states it may leave from
) -> NDArray[np.int64]:
    """int64[edges]: how many edges the shortest cycle through each edge has; UNREACHED where it is on none."""
    states = len(start) - 1
    length = np.full(len(into), UNREACHED, np.int64)
    distance, queue = np.full(states, UNREACHED, np.int64), np.zeros(states, np.int64)
    measure_cycles(start, target, component, into, np.ascontiguousarray(tails), length, distance, queue)
    return length


@loop
def measure_cycles(
    start: Ints, target: Ints, component: Ints, into: Ints, tails: Grid, length: Ints, distance: Ints, queue: Ints
) -> None:
    """``cycle_lengths``: into ``length``; ``distance`` is UNREACHED everywhere and is so again."""
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


def shortest_path(
    start: NDArray[np.int64],  # [states + 1]
    target: NDArray[np.int64],  # [state edges]
    root: int,  # the state to start from
    goals: NDArray[np.int64],  # states to arrive at
) -> NDArray[np.int64]:
    """Positions in ``target`` of the edges of a shortest path from the root to a goal; empty if there is none.

    A root that is a goal is left first: the path has at least one edge.
    """
    states = len(start) - 1
    came_by, came_from = np.full(states, -1, np.int64), np.full(states, -1, np.int64)
    queue, seen, goal = np.zeros(states, np.int64), np.zeros(states, np.int64), np.zeros(states, np.int64)
    goal[goals] = 1
    edge = search(start, target, root, goal, seen, came_by, came_from, queue)
    if edge < 0:
        return np.empty(0, np.int64)
    path, at = [edge], int(queue[0])
    while came_by[at] >= 0:
        path.append(int(came_by[at]))
        at = int(came_from[at])
    return np.array(path[::-1], np.int64)


@loop
def search(
    start: Ints, target: Ints, root: int, goal: Ints, seen: Ints, came_by: Ints, came_from: Ints, queue: Ints
) -> int:
    """The edge into the nearest goal, and in ``queue[0]`` the state that it leaves; -1 if none is reached."""
    seen[root] = 1
    queue[0] = root
    head, tail = 0, 1
    while head < tail:
        here = queue[head]
        head += 1
        for k in range(start[here], start[here + 1]):
            there = target[k]
            if goal[there]:
                queue[0] = here
                return k
            if not seen[there]:
                seen[there] = 1
                came_by[there] = k
                came_from[there] = here
                queue[tail] = there
                tail += 1
    return -1
