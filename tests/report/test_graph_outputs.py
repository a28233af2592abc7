from __future__ import annotations

import io
import json

from lockscope.report.graph.output import graph_writers, narrowed
from lockscope.results.findings import GraphClass, GraphEdge, LockGraph


def of(name: str, subclass: int = 0, *, kvm: bool = False) -> GraphClass:
    label = f"{name}/{subclass}" if subclass else name
    return GraphClass(name, label, subclass, 0xFFFFFFFF82000000, kvm, "+.-.", 2, 1, 7)


GRAPH = LockGraph(
    'odd "name"\x1b.dat',
    None,
    keyed=True,
    classes=(of("fs\\reclaim"), of("&kvm->lock", kvm=True), of("&q[i].lock", 1), of("rcu")),
    edges=(
        GraphEdge(0, 1, {"EN": 3, "SR": 1}, direct=True, first_ns=5, rings=(0,)),
        GraphEdge(1, 0, {"EN": 1}, direct=True, first_ns=6, rings=(0,)),
        GraphEdge(1, 2, {"ER": 1200}, direct=False, first_ns=7),
        GraphEdge(3, 3, {"SR": 1}, direct=True, first_ns=8),
    ),
    rings=((0, 1),),
)


def written(name: str, graph: LockGraph = GRAPH) -> str:
    stream = io.StringIO()
    graph_writers()[name].write_graph(graph, stream)
    return stream.getvalue()


def test_dot_puts_kvm_first_and_quotes_what_comes_from_outside() -> None:
    assert written("dot").splitlines() == [
        "digraph locks {",
        r'  label="odd \"name\"\\x1b.dat\nunknown kernel";',
        "  rankdir=LR;",
        '  node [shape=box, fontname="monospace"];',
        r'  c1 [label="&kvm->lock\n{+.-.}", style=filled, fillcolor=lightblue];',
        r'  c0 [label="fs\\reclaim\n{+.-.}"];',
        r'  c2 [label="&q[i].lock/1\n{+.-.}"];',
        r'  c3 [label="rcu\n{+.-.}"];',
        '  c1 -> c0 [label="EN 1, LS101 ring 1", color=red, fontcolor=red, penwidth=2];',
        '  c1 -> c2 [label="ER 1,200", style=dashed];',
        '  c0 -> c1 [label="EN 3, SR 1, LS101 ring 1", color=red, fontcolor=red, penwidth=2];',
        '  c3 -> c3 [label="SR 1"];',
        "}",
    ]


def test_the_listing_has_the_kernels_form_and_only_direct_dependencies() -> None:
    key = "ffffffff82000000"
    assert written("lockdep").splitlines() == [
        "all lock classes:",
        f"{key} FD:    2 BD:    1 +.-.: fs\\reclaim",
        f" -> [{key}] &kvm->lock",
        "",
        f"{key} FD:    2 BD:    1 +.-.: &kvm->lock",
        f" -> [{key}] fs\\reclaim",
        "",
        f"{key} FD:    2 BD:    1 +.-.: &q[i].lock/1",
        "",
        f"{key} FD:    2 BD:    1 +.-.: rcu",
        "",
    ]


def test_json_has_every_field() -> None:
    document = json.loads(written("json"))
    assert document["classes"][2] == {
        "id": 2, "name": "&q[i].lock", "label": "&q[i].lock/1", "subclass": 1, "key": "0xffffffff82000000",
        "kvm": False, "usage": "+.-.", "forward": 2, "backward": 1, "count": 7,
    }  # fmt: skip
    assert document["edges"][0] == {
        "held": 0, "taken": 1, "kinds": {"EN": 3, "SR": 1}, "count": 4, "direct": True, "first_ns": 5, "rings": [0],
    }  # fmt: skip
    assert document["rings"] == [[0, 1]]


def test_narrowing_keeps_neighbours_and_renumbers() -> None:
    small = narrowed(GRAPH, ["&q[i].lock"])
    assert [c.label for c in small.classes] == ["&kvm->lock", "&q[i].lock/1"]
    assert small.edges == (GraphEdge(0, 1, {"ER": 1200}, direct=False, first_ns=7),)
    assert small.rings == ()
    ring = narrowed(GRAPH, ["fs*"])
    assert [(e.held, e.taken, e.rings) for e in ring.edges] == [(0, 1, (0,)), (1, 0, (0,))]
    assert ring.rings == ((0, 1),)


def test_no_pattern_narrows_nothing() -> None:
    assert narrowed(GRAPH, []) is GRAPH
