from __future__ import annotations

from lockscope.lockgraph.dependencies import dependencies
from lockscope.results.findings import LockGraph
from tests.builders.chains import evidence_of


def counts(graph: LockGraph) -> dict[str, tuple[int, int]]:
    return {c.label: (c.forward, c.backward) for c in graph.classes}


def named_edges(graph: LockGraph) -> dict[tuple[str, str], tuple[dict[str, int], bool]]:
    label = [c.label for c in graph.classes]
    return {(label[e.held], label[e.taken]): (e.kinds, e.direct) for e in graph.edges}


def test_a_path_counts_each_class_and_itself() -> None:
    graph = dependencies(evidence_of("a: mutex:A mutex:B -B -A\nb: mutex:B spin:C -C -B\nc: mutex:D -D"))
    assert counts(graph) == {"A": (3, 1), "B": (2, 2), "C": (1, 3), "D": (1, 1)}


def test_a_weak_path_leads_nowhere() -> None:
    """-(*R)-> then -(S*)->: a recursive reader is not kept waiting by who holds the lock shared."""
    weak = dependencies(evidence_of("a: mutex:A rread:L -L -A\nb: rread:L mutex:B -B -L"))
    assert counts(weak) == {"A": (2, 1), "L": (2, 2), "B": (1, 2)}
    strong = dependencies(evidence_of("a: mutex:A rread:L -L -A\nb: write:L mutex:B -B -L"))
    assert counts(strong) == {"A": (3, 1), "L": (2, 2), "B": (1, 3)}


def test_a_ring_counts_all_of_it_and_is_listed() -> None:
    graph = dependencies(evidence_of("a: mutex:A mutex:B -B -A\nb: mutex:B mutex:A -A -B\nc: mutex:A spin:C -C -A"))
    assert counts(graph) == {"A": (3, 2), "B": (3, 2), "C": (1, 3)}
    assert graph.rings == ((0, 1),)
    label = [c.label for c in graph.classes]
    assert [(label[e.held], label[e.taken]) for e in graph.edges if e.rings] == [("A", "B"), ("B", "A")]


def test_kinds_subclasses_and_what_lies_between() -> None:
    graph = dependencies(evidence_of("a: rread:A mutex:B? mutex:B/1 -B -B -A\nb: write:A mutex:B -B -A"))
    assert named_edges(graph) == {
        ("A", "B"): ({"EN": 1}, True),
        ("A", "B/1"): ({"SN": 1}, False),
        ("B", "B/1"): ({"EN": 1}, True),
    }
    assert [(c.label, c.count) for c in graph.classes][:2] == [("A", 2), ("B", 2)]


def test_windows_are_one_graph_with_the_usage_of_all() -> None:
    graph = dependencies(evidence_of("== one\na: hardirq( spin:A -A )\n== two\na: spin:A spin:B -B -A\n"))
    assert {c.label: (c.usage, c.forward) for c in graph.classes} == {"A": ("?.+.", 2), "B": ("+.+.", 1)}


def test_nothing_was_taken() -> None:
    graph = dependencies(evidence_of("a: user"))
    assert (graph.classes, graph.edges, graph.rings) == ((), (), ())
