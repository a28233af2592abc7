"""The circular dependencies of one trace: what its rulebook forbids and what its guard locks rule out, put together."""

from __future__ import annotations

from dataclasses import dataclass

from lockscope.evidence.evidence import Evidence
from lockscope.lockgraph.cycles import Forbidding, Ring, rings
from lockscope.lockgraph.graph import Graph, lock_graph
from lockscope.lockgraph.guards import GuardView

_CACHE = "lock_rings"


@dataclass(slots=True)
class Rings:
    """``found``: see ``graph_cycles.rings``. ``guards`` answers for them, and for whatever else is asked."""

    found: list[Ring]
    guards: GuardView


def trace_rings(evidence: Evidence) -> Rings:
    """The rings of a trace; looked for on first use and kept in its facts."""
    known = evidence.facts.get(_CACHE)
    if isinstance(known, Rings):
        return known
    graph = lock_graph(evidence)
    view = GuardView(evidence, graph)
    forbidding = Forbidding(view.of, lambda edges: view.over(edges) >= 0)
    made = Rings(rings(graph, lambda edge: _breaks_a_rule(evidence, graph, edge), forbidding), view)
    evidence.facts[_CACHE] = made
    return made


def _breaks_a_rule(evidence: Evidence, graph: Graph, edge: int) -> bool:
    of = graph.rows.node_class
    held, taken = (evidence.classes[int(of[end[edge]])].name for end in (graph.tail, graph.head))
    return evidence.rules.order_broken(held, taken) is not None
