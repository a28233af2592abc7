"""The lock dependency graph for Graphviz: KVM's classes first and filled, edges on a reported ring red.

An edge from the held lock to the one taken under it, labelled with its kinds and how often each was seen; dashed where
another lock always lay between.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from lockscope.harmless import printable
from lockscope.results.findings import GraphClass, GraphEdge, LockGraph
from lockscope.units import count

GRAPH = "dot"


def write_graph(graph: LockGraph, stream: TextIO) -> None:
    """Write the graph in the DOT language."""
    for line in _lines(graph):
        stream.write(f"{line}\n")


def _lines(graph: LockGraph) -> Iterator[str]:
    order = sorted(range(len(graph.classes)), key=lambda i: not graph.classes[i].kvm)
    yield "digraph locks {"
    yield f"  label={_quoted(graph.path, graph.kernel or 'unknown kernel')};"
    yield "  rankdir=LR;"
    yield '  node [shape=box, fontname="monospace"];'
    for place in order:
        yield f"  c{place} [{_class(graph.classes[place])}];"
    rank = {place: i for i, place in enumerate(order)}
    for edge in sorted(graph.edges, key=lambda e: (rank[e.held], rank[e.taken])):
        yield f"  c{edge.held} -> c{edge.taken} [{_edge(edge)}];"
    yield "}"


def _class(of: GraphClass) -> str:
    style = ", style=filled, fillcolor=lightblue" if of.kvm else ""
    return f"label={_quoted(of.label, f'{{{of.usage}}}')}{style}"


def _edge(edge: GraphEdge) -> str:
    words = [f"{kind} {count(number)}" for kind, number in edge.kinds.items()]
    marks = ""
    if edge.rings:
        numbers = ", ".join(str(r + 1) for r in edge.rings)
        words.append(f"LS101 ring {numbers}")
        marks += ", color=red, fontcolor=red, penwidth=2"
    if not edge.direct:
        marks += ", style=dashed"
    return f"label={_quoted(', '.join(words))}{marks}"


def _quoted(*lines: str) -> str:
    r"""A DOT string; its lines are joined by DOT's own ``\n``."""
    # printable() first: the backslashes it writes are text, and doubled like all others.
    words = (printable(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(words) + '"'
