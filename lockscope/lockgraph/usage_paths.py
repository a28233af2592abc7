"""From irq-safe locks to irq-unsafe ones: the dependencies through which an interrupt can close a ring.

An interrupt that hits the holder of an unsafe lock and asks for a safe one adds the dependency unsafe -> safe; a strong
path safe -> ... -> unsafe makes a ring of it. Read kinds as in check_irq_usage, usage_accumulate and usage_match of
kernel/locking/lockdep.c (6.12), whose code, not comments, is followed: a recursive reader in the interrupt only waits
for a path that begins exclusively, and a lock held shared only stops a path that ends other than as a recursive reader.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from lockscope.lockgraph.graph import Graph
from lockscope.lockgraph.rows import Bools
from lockscope.lockgraph.states import States, states_of
from lockscope.lockgraph.usage import ENABLED_BIT, READ_BIT, STATE_BITS, WAITING_READ, Usage


@dataclass(frozen=True, slots=True)
class Inversion:
    """A path from a lock used in irqs to one held with these irqs on.

    ``edges`` lead from ``safe`` to ``unsafe``; the bits are of ``usage``.
    """

    state: int  # 0 hardirq, 1 softirq
    safe: int
    unsafe: int
    safe_bit: int
    unsafe_bit: int
    edges: tuple[int, ...]


def _only_locks(graph: Graph, states: States) -> States:
    """Without local_lock and wait-type overrides: nobody spins on those (usage_skip, LD_LOCK_NORMAL)."""
    normal: Bools = graph.rows.node_type == 0
    return states.without(normal[states.source // 2] & normal[states.target // 2])


def _arrivals(states: States, roots: list[int], stop: Bools) -> tuple[dict[int, int], list[int]]:
    """Breadth first from the roots, not past states to stop at: (state -> state edge it was reached by, stops met)."""
    start, target = states.start.tolist(), states.target
    came: dict[int, int] = dict.fromkeys(roots, -1)
    met: list[int] = []
    queue = deque(roots)
    while queue:
        here = queue.popleft()
        for k in range(start[here], start[here + 1]):
            there = int(target[k])
            if there in came:
                continue
            came[there] = k
            if stop[there]:
                met.append(there)
            else:
                queue.append(there)
    return came, met


def _roots(graph: Graph, usage: Usage, state: int) -> list[int]:
    """Where a path may begin: anywhere, or only with an exclusive edge where the irq is but a recursive reader."""
    bit = state * STATE_BITS
    waits = usage.having(bit) | usage.having(WAITING_READ + state)
    reads = usage.having(bit + READ_BIT) & ~waits
    normal = graph.rows.node_type == 0
    roots = np.concatenate((2 * np.flatnonzero(waits & normal), 2 * np.flatnonzero(reads & normal) + 1))
    return [int(r) for r in np.sort(roots)]


def _stops(graph: Graph, usage: Usage, state: int) -> Bools:
    """bool[states]: a path that arrives here has met an unsafe lock."""
    bit = state * STATE_BITS + ENABLED_BIT
    stops = np.zeros(2 * graph.nodes, np.bool_)
    stops[0::2] = usage.having(bit) | usage.having(bit + READ_BIT)
    stops[1::2] = usage.having(bit)
    return stops


def _bits(usage: Usage, state: int, safe: int, unsafe_state: int) -> tuple[int, int]:
    used, enabled = state * STATE_BITS, state * STATE_BITS + ENABLED_BIT
    safe_bit = used if usage.has(safe, used) else used + READ_BIT
    write = usage.has(unsafe_state // 2, enabled)
    return safe_bit, enabled if write else enabled + READ_BIT


def inversions(graph: Graph, usage: Usage) -> list[Inversion]:
    """The nearest irq-safe lock before each irq-unsafe one, with nothing of either kind in between.

    What lies behind an unsafe lock, and what depends on a safe one, has the same cause and is not told again.
    """
    states = _only_locks(graph, states_of(graph))
    found: list[Inversion] = []
    for state in (0, 1):
        roots = _roots(graph, usage, state)
        if not roots:
            continue
        came, met = _arrivals(states, roots, _stops(graph, usage, state))
        for arrival in met:
            edges: list[int] = []
            at = arrival
            while came[at] >= 0:
                edges.append(int(states.edge[came[at]]))
                at = int(states.source[came[at]])
            safe = at // 2
            if safe != arrival // 2:
                bits = _bits(usage, state, safe, arrival)
                found.append(Inversion(state, safe, arrival // 2, *bits, tuple(reversed(edges))))
    return _distinct(found)


def _distinct(found: list[Inversion]) -> list[Inversion]:
    """One for each pair of locks and kind of interrupt: an unsafe lock can be met in both its states."""
    seen: set[tuple[int, int, int]] = set()
    kept = []
    for inversion in found:
        key = inversion.state, inversion.safe, inversion.unsafe
        if key not in seen:
            seen.add(key)
            kept.append(inversion)
    return kept
