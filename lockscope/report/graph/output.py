"""What an output of the lock dependency graph is: a module of this folder with ``GRAPH`` and ``write_graph``.

``report/graph/NAME.py`` defines ``GRAPH`` (what ``lockscope graph --format`` takes) and ``write_graph(graph, stream)``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Protocol, TextIO, cast

from lockscope.patterns import class_fits
from lockscope.registry import modules
from lockscope.report.redaction.pseudonyms import Redactor
from lockscope.results.findings import LockGraph


class GraphWriter(Protocol):
    """An output of the graph, as a module is one."""

    GRAPH: str

    def write_graph(self, graph: LockGraph, stream: TextIO) -> None:
        """Write the whole graph."""
        ...


@cache
def graph_writers() -> dict[str, GraphWriter]:
    """Every output by name, sorted."""
    found = (cast("GraphWriter", m) for m in modules("lockscope.report.graph") if hasattr(m, "GRAPH"))
    return {w.GRAPH: w for w in sorted(found, key=lambda w: w.GRAPH)}


def shared(graph: LockGraph) -> LockGraph:
    """The graph fit to be shared: without directories and addresses; keys are numbered, so that classes stay apart."""
    red = Redactor()
    number = {key: n for n, key in enumerate(sorted({c.key for c in graph.classes} - {0}), 1)}
    classes = (
        replace(c, name=red.addresses(c.name), label=red.addresses(c.label), key=number.get(c.key, 0))
        for c in graph.classes
    )
    return replace(graph, path=red.path(graph.path), classes=tuple(classes))


def narrowed(graph: LockGraph, patterns: Iterable[str]) -> LockGraph:
    """The edges with an end that a pattern matches, by name or label, and the classes at them.

    Counts stay those of the whole graph; a ring stays where all its classes do.
    """
    wanted = list(patterns)
    if not wanted:
        return graph
    chosen = {
        i for i, c in enumerate(graph.classes) if any(class_fits(p, c.name) or class_fits(p, c.label) for p in wanted)
    }
    edges = [e for e in graph.edges if e.held in chosen or e.taken in chosen]
    kept = sorted(chosen | {end for e in edges for end in (e.held, e.taken)})
    place = {old: new for new, old in enumerate(kept)}
    rings = [i for i, ring in enumerate(graph.rings) if all(c in place for c in ring)]
    number = {old: new for new, old in enumerate(rings)}
    return replace(
        graph,
        classes=tuple(graph.classes[i] for i in kept),
        edges=tuple(
            replace(e, held=place[e.held], taken=place[e.taken], rings=tuple(number[r] for r in e.rings if r in number))
            for e in edges
        ),
        rings=tuple(tuple(place[c] for c in graph.rings[i]) for i in rings),
    )
