"""The lock dependency graph as one JSON object.

``schema`` "lockscope-graph/1", ``path``, ``kernel``, ``keyed``, ``classes`` [{``id``, ``name``, ``label``,
``subclass``, ``key`` (hex or null), ``kvm``, ``usage``, ``forward``, ``backward``, ``count``}], ``edges`` [{``held``,
``taken`` (ids), ``kinds`` {"EN": times}, ``count``, ``direct``, ``first_ns``, ``rings``}], ``rings`` [[ids]].
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, TextIO

from lockscope.harmless import json_text
from lockscope.results.findings import GraphClass, GraphEdge, LockGraph

GRAPH = "json"
SCHEMA = "lockscope-graph/1"


def write_graph(graph: LockGraph, stream: TextIO) -> None:
    """Write the graph as one JSON object."""
    document = {
        "schema": SCHEMA,
        "path": graph.path,
        "kernel": graph.kernel,
        "keyed": graph.keyed,
        "classes": [_class(i, c) for i, c in enumerate(graph.classes)],
        "edges": [_edge(e) for e in graph.edges],
        "rings": graph.rings,
    }
    stream.write(json_text(document, indent=2))
    stream.write("\n")


def _class(place: int, of: GraphClass) -> dict[str, Any]:
    return {"id": place, **asdict(of), "key": f"0x{of.key:x}" if of.key else None}


def _edge(edge: GraphEdge) -> dict[str, Any]:
    return {**asdict(edge), "count": edge.count}
