"""How far a circular dependency can be believed: which tasks, which instances, and what keeps them apart.

lockdep judges classes and stops there. A trace also says who took which lock when. A ring whose sides were different
tasks, each waiting for the very lock that the next one held, and all of which a schedule of what was recorded brings to
their attempts (``graph_schedule``), is certain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lockscope.evidence.evidence import Evidence
from lockscope.lockgraph.graph import Graph
from lockscope.lockgraph.guards import GuardView, in_irq
from lockscope.lockgraph.rows import CLS, IP, TS
from lockscope.lockgraph.schedule import Side, apart, crosses, ordered, side_of, unscheduled
from lockscope.results.findings import Confidence

_MAKERS = 48  # witnesses of an edge that are tried
_SOON_NS = 1_000_000
TRIES = 20_000  # combinations of them

Reasons = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Trust:
    """``sides``: the held row of a witness for every edge. ``guard``: class of the lock all sides are under, or -1.

    ``why`` is what decided; ``reasons`` all that was looked at, as (what, answer). ``reused``: nothing says
    that the sides' locks are the same ones.
    """

    confidence: Confidence
    sides: tuple[int, ...]
    guard: int
    why: str
    reasons: Reasons = ()
    reused: bool = False


class _Judge:
    """One ring's evidence."""

    def __init__(self, evidence: Evidence, graph: Graph, edges: tuple[int, ...], tries: int) -> None:
        self.evidence, self.graph, self.edges, self.tries = evidence, graph, edges, tries
        self.makers = [graph.makers(e, _MAKERS) for e in edges]
        self.sides = {row: side_of(evidence, graph, row) for rows in self.makers for row in rows}

    def search(self, crossing: bool, fits: Callable[[list[Side]], bool]) -> tuple[int, ...] | None:
        """One witness for every edge, all of different tasks that can wait at once; ``crossing``: on the same
        instances.
        """
        makers, sides = self.makers, self.sides
        steps = 0

        def extend(chosen: tuple[int, ...]) -> tuple[int, ...] | None:
            nonlocal steps
            if len(chosen) == len(makers):
                closed = not crossing or crosses(sides[chosen[-1]], sides[chosen[0]])
                return chosen if closed and fits([sides[r] for r in chosen]) else None
            for row in makers[len(chosen)]:
                steps += 1
                if steps > self.tries:
                    return None
                if crossing and chosen and not crosses(sides[chosen[-1]], sides[row]):
                    continue
                if all(apart(sides[other], sides[row]) for other in chosen):
                    done = extend((*chosen, row))
                    if done is not None:
                        return done
            return None

        return extend(())

    def whole(self, rows: tuple[int, ...]) -> bool:
        """Whether all that these witnesses held is known, and none of it is an interrupt's."""
        chains = self.evidence.chains
        known = all(bool(chains.whole[self.graph.rows.chain[r]]) for r in rows)
        return known and not any(in_irq(self.graph, r) for r in rows)

    def best(self) -> tuple[tuple[int, ...], bool]:
        """The most telling witnesses, and whether their instances cross."""
        wanted: tuple[tuple[bool, Callable[[list[Side]], bool]], ...] = (
            (True, lambda sides: not ordered(self.evidence, sides) and not unscheduled(self.evidence, sides)),
            (True, lambda sides: not ordered(self.evidence, sides)),
            (True, lambda _: True),
            (False, lambda sides: not ordered(self.evidence, sides)),
            (False, lambda _: True),
        )
        for crossing, fits in wanted:
            found = self.search(crossing, fits)
            if found is not None:
                return found, crossing
        return (), False

    def tasks(self, rows: tuple[int, ...]) -> str:
        """``qemu/100 on CPU 0, qemu/101 on CPU 1``."""
        sides = [self.sides[r] for r in rows]
        return ", ".join(f"{self.evidence.comm(s.pid)}/{s.pid} on CPU {s.cpu}" for s in sides)

    def may_be_others(self) -> bool:
        """Whether the locks of one side may be gone, and their memory others' of the same kind, before the next side
        came.

        Without lockdep nothing tells of a lock's end, and one that no place and no symbol names may lie in memory that
        is freed: two dentries swapped their addresses within 0.8 s in a recording of 7.3.4, and the locks of page
        tables again and again where a task forks (copy_page_range()). Of one kind are locks that one function takes
        both of. Sides that were seen within a millisecond of each other are of the same locks.
        """
        graph, chains = self.graph, self.evidence.chains
        of = graph.rows.node_class
        classes = {int(of[graph.tail[e]]) for e in self.edges}
        takers = [self._takers(c) for c in classes if self.evidence.classes[c].unplaced]
        if not any(one & other for one, other in combinations(takers, 2)):
            return False
        every = [graph.rows.chain[graph.makers(e)] for e in self.edges]
        asked = graph.rows.entry[:, TS]
        # of each chain the first and the last time are known
        times = [np.unique(np.concatenate((asked[graph.rows.last[c]], chains.last_ns[c]))) for c in every]
        return any(_nearest(one, other) > _SOON_NS for one, other in combinations(times, 2))

    def _takers(self, cls: int) -> frozenset[str]:
        """The functions that take locks of a class."""
        entries = self.evidence.chains.entries
        sites = np.unique(entries[entries[:, CLS] == cls, IP])
        symbols = self.evidence.info.symbols()
        return frozenset(name.split("+")[0] for ip in sites.tolist() if ip and (name := symbols.name(ip)))

    def verdict(self, guard: int) -> Trust:
        evidence, graph = self.evidence, self.graph
        first = tuple(graph.first(e) for e in self.edges)
        if guard < 0 and self.may_be_others():
            why = "the sides are far apart in time, and nothing tells whether these are the same locks at both"
            return Trust(Confidence.POSSIBLE, first, -1, why, (("instances", why),), reused=True)
        if guard >= 0:
            why = f"{evidence.label(guard)} is held over every side"
            return Trust(Confidence.POSSIBLE, first, guard, why, (("guard", why),))
        reasons = [("guard", "no lock keeps all sides apart")]
        rows, crossing = self.best()
        if not rows:
            one = len({self.sides[r].who for r in first}) == 1
            why = "one task took them all" if one else "no witnesses that could have waited for each other at once"
            return Trust(Confidence.POSSIBLE, first, -1, why, (*reasons, ("tasks", f"{self.tasks(first)}: {why}")))
        sides = [self.sides[r] for r in rows]
        reasons.append(("tasks", f"{self.tasks(rows)}: none holds what another must not"))
        same = "each waits for the very lock that the next one holds" if crossing else "not all on the same instances"
        reasons.append(("instances", same))
        order, missing = ordered(evidence, sides), unscheduled(evidence, sides)
        reasons.append(("order", order or "nothing recorded makes one wait for another's end or start"))
        if order:
            return Trust(Confidence.POSSIBLE, rows, -1, order, tuple(reasons))
        if not crossing:
            return Trust(
                Confidence.LIKELY, rows, -1, "different tasks, but not all on the same instances", tuple(reasons)
            )
        reasons.append(("schedule", missing or "each side can run up to its attempt with no lock changing hands else"))
        known = self.whole(rows)
        reasons.append(("held", "all that they held is known" if known else "what else they held is not known"))
        if missing or not known:
            why = f"different tasks, same locks; {missing or 'what else they held is not known'}"
            return Trust(Confidence.LIKELY, rows, -1, why, tuple(reasons))
        why = "different tasks each wait for the lock the next one holds"
        return Trust(Confidence.CERTAIN, rows, -1, why, tuple(reasons))


def _nearest(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """How close two sets of times, in order, come to each other."""
    at = np.searchsorted(other, one)
    before, after = other[np.maximum(at - 1, 0)], other[np.minimum(at, len(other) - 1)]
    return int(np.minimum(np.abs(one - before), np.abs(after - one)).min())


def trust(evidence: Evidence, graph: Graph, guards: GuardView, edges: tuple[int, ...], tries: int = TRIES) -> Trust:
    """How far a ring of edges can be believed, and the witnesses that say so, of ``tries`` combinations of them."""
    return _Judge(evidence, graph, edges, tries).verdict(guards.over(edges))
