"""Boxes in columns, the outer lock to the left of the inner one; few crossings (Sugiyama, Tagawa and Toda 1981).

Everything is in abstract units: a column's number, and rows of height one. Long arrows bend at a point in each column
they cross.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from lockscope.drawing.folding import Folded

_SWEEPS = 12


@dataclass(slots=True)
class Layout:
    """``column[i]``, ``row[i]`` of each box; ``bends`` of each arrow: (column, row) between its ends."""

    column: list[int]
    row: list[float]
    bends: list[list[tuple[int, float]]]

    @property
    def columns(self) -> int:
        """How many columns there are."""
        return max(self.column, default=-1) + 1

    @property
    def height(self) -> float:
        """Rows taken, from 0."""
        rows = [*self.row, *(r for bends in self.bends for _, r in bends)]
        return max(rows, default=-1.0) + 1


def layout(graph: Folded) -> Layout:
    """Where each box goes."""
    column = _columns(graph)
    chains, members = _with_bends(graph, column)
    links: dict[int, list[int]] = defaultdict(list)
    for chain in chains:
        for a, b in pairwise(chain):
            links[a].append(b)
            links[b].append(a)
    _uncross(members, links)
    row = _rows(members, links, len(graph.boxes))
    of = {node: c for c, nodes in enumerate(members) for node in nodes}
    bends = [[(of[n], row[n]) for n in chain[1:-1]] for chain in chains]
    return Layout(column, [row[i] for i in range(len(graph.boxes))], bends)


def _columns(graph: Folded) -> list[int]:
    """The longest way from an outermost lock; then everything as near to what is taken under it as it can be."""
    after: dict[int, list[int]] = defaultdict(list)
    before: dict[int, list[int]] = defaultdict(list)
    for arrow in graph.arrows:
        if not arrow.back:
            after[arrow.held].append(arrow.taken)
            before[arrow.taken].append(arrow.held)
    column = [0] * len(graph.boxes)
    order = _topological(len(graph.boxes), after, before)
    for node in order:
        for n in after[node]:
            column[n] = max(column[n], column[node] + 1)
    for node in reversed(order):
        if after[node] and not before[node]:
            column[node] = min(column[n] for n in after[node]) - 1
    lonely = max(column, default=0)
    for node, box in enumerate(graph.boxes):
        if box.kind == "inside":
            column[node] = max(lonely, column[node])
    return column


def _topological(count: int, after: dict[int, list[int]], before: dict[int, list[int]]) -> list[int]:
    waiting = {n: len(before[n]) for n in range(count)}
    ready = [n for n in range(count) if not waiting[n]]
    order: list[int] = []
    while ready:
        node = ready.pop(0)
        order.append(node)
        for n in after[node]:
            waiting[n] -= 1
            if not waiting[n]:
                ready.append(n)
    return order + [n for n in range(count) if n not in set(order)]


def _with_bends(graph: Folded, column: list[int]) -> tuple[list[list[int]], list[list[int]]]:
    """Each arrow as a chain of nodes, one a column; and each column's nodes."""
    members: list[list[int]] = [[] for _ in range(max(column, default=0) + 1)]
    for node, c in enumerate(column):
        members[c].append(node)
    chains, fresh = [], len(graph.boxes)
    for arrow in graph.arrows:
        first, last = column[arrow.held], column[arrow.taken]
        way = range(first + 1, last) if last > first else range(first - 1, last, -1)
        chain = [arrow.held]
        for c in way:
            members[c].append(fresh)
            chain.append(fresh)
            fresh += 1
        chains.append([*chain, arrow.taken])
    return chains, members


def _uncross(members: list[list[int]], links: dict[int, list[int]]) -> None:
    """Order each column by where its neighbours are, from the left and from the right in turn."""
    for sweep in range(_SWEEPS):
        ways = range(1, len(members)) if sweep % 2 == 0 else range(len(members) - 2, -1, -1)
        side = -1 if sweep % 2 == 0 else 1
        for c in ways:
            place = {n: i for i, n in enumerate(members[c + side])}
            old = {n: i for i, n in enumerate(members[c])}

            def middle(node: int, place: dict[int, int] = place, old: dict[int, int] = old) -> float:
                near = [place[n] for n in links[node] if n in place]
                return sum(near) / len(near) if near else float(old[node])

            members[c].sort(key=middle)


def _rows(members: list[list[int]], links: dict[int, list[int]], boxes: int) -> dict[int, float]:
    """Heights: neighbours pull, and boxes in a column keep one row's distance, bends less."""
    row = {n: float(i) for nodes in members for i, n in enumerate(nodes)}

    def apart(a: int, b: int) -> float:
        return 1.0 if a < boxes and b < boxes else 0.6 if a < boxes or b < boxes else 0.3

    for sweep in range(2 * _SWEEPS):
        for nodes in members if sweep % 2 == 0 else reversed(members):
            wish = {n: sum(row[m] for m in links[n]) / len(links[n]) if links[n] else row[n] for n in nodes}
            _settle(nodes, wish, row, apart)
    low = min(row.values(), default=0.0)
    return {n: r - low for n, r in row.items()}


def _settle(
    nodes: list[int], wish: dict[int, float], row: dict[int, float], apart: Callable[[int, int], float]
) -> None:
    """Blocks of nodes that touch move as one, to the mean of what their members wish (pool adjacent violators)."""
    blocks: list[tuple[float, int, list[tuple[int, float]]]] = []  # mean, members, (node, offset)
    for node in nodes:
        block: tuple[float, int, list[tuple[int, float]]] = (wish[node], 1, [(node, 0.0)])
        while blocks:
            mean, size, inside = blocks[-1]
            gap = inside[-1][1] + apart(inside[-1][0], block[2][0][0])
            if mean + gap <= block[0]:
                break
            total = (mean * size + (block[0] - gap) * block[1]) / (size + block[1])
            block = (total, size + block[1], inside + [(n, o + gap) for n, o in block[2]])
            blocks.pop()
        blocks.append(block)
    for mean, _, inside in blocks:
        for node, offset in inside:
            row[node] = mean + offset
