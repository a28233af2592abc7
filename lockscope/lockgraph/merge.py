"""One lock graph from the dependencies of many traces.

A node is a lock class by an identity that holds from machine to machine (``nightly.identity``), an edge what some trace
saw; nothing of the traces themselves is needed any more. The result is a ``Graph`` as far as the search for rings looks
at one: every edge has one chain of two rows, the held lock and the one asked for, and the edge's number as its time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lockscope.lockgraph.graph import Graph
from lockscope.lockgraph.rows import CLS, TS, Rows
from lockscope.walk.chains import Entry


@dataclass(frozen=True, slots=True)
class Dependency:
    """``taken`` was asked for under ``held`` (identities), ``count`` times. ``kind``: see ``graph.KIND_NAMES``."""

    held: str
    taken: str
    kind: int
    count: int


def merged_graph(dependencies: Sequence[Dependency], labels: Mapping[str, str]) -> tuple[Graph, list[str]]:
    """The graph, its edges in the order given, and the identities of its nodes. ``labels``: lockdep's names of them."""
    names = sorted({end for d in dependencies for end in (d.held, d.taken)})
    place = {name: i for i, name in enumerate(names)}
    number = len(dependencies)
    ends = np.array([(place[d.held], place[d.taken]) for d in dependencies], np.int64).reshape(number, 2)
    first = 2 * np.arange(number, dtype=np.int64)
    return (
        Graph(
            _rows(ends, len(names)),
            tail=ends[:, 0].copy(),
            head=ends[:, 1].copy(),
            kind=np.array([d.kind for d in dependencies], np.int64),
            count=np.array([d.count for d in dependencies], np.int64),
            begin=np.arange(number + 1, dtype=np.int64),
            rows_of=first,
            recursions=np.zeros(0, np.int64),
            doubtful=np.zeros(0, np.int64),
            unnested=np.zeros(0, np.int64),
            rank=_ranks([labels[name] for name in names]),
            near=np.ones(number, np.bool_),
            lockdeps=np.ones(number, np.bool_),
        ),
        names,
    )


def _rows(ends: np.ndarray, nodes: int) -> Rows:
    number = len(ends)
    entry = np.zeros((2 * number, len(Entry._fields)), np.int64)
    entry[:, CLS] = ends.reshape(-1)
    entry[:, TS] = np.repeat(np.arange(number), 2)
    return Rows(
        entry=entry,
        chain=np.repeat(np.arange(number, dtype=np.int64), 2),
        last=2 * np.arange(number, dtype=np.int64) + 1,
        context=np.zeros(2 * number, np.int64),
        node=ends.reshape(-1).copy(),
        same=np.ones(2 * number, np.bool_),
        live=np.ones(number, np.bool_),
        node_class=np.arange(nodes, dtype=np.int64),
        node_lock=np.zeros(nodes, np.int64),
        node_window=np.full(nodes, -1, np.int64),
        node_type=np.zeros(nodes, np.int64),
    )


def _ranks(labels: list[str]) -> np.ndarray:
    _, rank = np.unique(np.array(labels or [""]), return_inverse=True)
    return rank.astype(np.int64)[: len(labels)]
