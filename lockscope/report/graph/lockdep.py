"""The lock dependency graph in the form of /proc/lockdep, so that the two can be diffed.

A line a class: key, forward and backward dependencies, usage, name; below it the classes taken directly under it, and
an empty line (l_show, kernel/locking/lockdep_proc.c, 6.12). The kernel prints keys hashed and numbers classes of one
name (``#2``) in the order of their registration; here keys are as recorded, and nothing is numbered.
"""

from __future__ import annotations

from typing import TextIO

from lockscope.harmless import printable
from lockscope.results.findings import GraphClass, LockGraph

GRAPH = "lockdep"


def write_graph(graph: LockGraph, stream: TextIO) -> None:
    """Write the listing."""
    below: dict[int, list[GraphClass]] = {}
    for edge in graph.edges:
        if edge.direct and edge.held != edge.taken:
            below.setdefault(edge.held, []).append(graph.classes[edge.taken])
    stream.write("all lock classes:\n")
    for place, of in enumerate(graph.classes):
        counts = f"FD:{of.forward:5d} BD:{of.backward:5d}"
        stream.write(f"{of.key:016x} {counts} {of.usage}: {printable(of.label)}\n")
        for inner in below.get(place, ()):
            stream.write(f" -> [{inner.key:016x}] {printable(inner.label)}\n")
        stream.write("\n")
