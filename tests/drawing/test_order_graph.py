"""A lock graph folded and laid out: what is kept, what follows from others, and that nothing overlaps."""

from __future__ import annotations

import random
from itertools import combinations

from lockscope.drawing.folding import folded
from lockscope.drawing.layers import layout
from lockscope.results.findings import GraphClass, GraphEdge, LockGraph


def graph(names: list[str], edges: list[tuple[str, str]], rings: tuple[tuple[str, ...], ...] = ()) -> LockGraph:
    place = {n: i for i, n in enumerate(names)}
    on = [tuple(place[n] for n in ring) for ring in rings]
    lies = {pair: (i,) for i, ring in enumerate(on) for pair in zip(ring, (*ring[1:], ring[0]), strict=True)}
    return LockGraph(
        "t.dat", "6.12", True,
        tuple(GraphClass(n, n, 0, 0, "kvm" in n, "....", 1, 1, 5) for n in names),
        tuple(
            GraphEdge(place[a], place[b], {"EN": 9 if (a, b) == edges[0] else 2}, True, 0,
                      lies.get((place[a], place[b]), ()))
            for a, b in edges
        ),
        tuple(on),
    )  # fmt: skip


def test_what_follows_is_left_out() -> None:
    g = folded(graph(["kvm_a", "b", "c"], [("kvm_a", "b"), ("b", "c"), ("kvm_a", "c")]))
    labels = [b.label for b in g.boxes]
    assert [(labels[a.held], labels[a.taken]) for a in g.arrows] == [("kvm_a", "b"), ("b", "c")]
    assert (g.implied, g.total, g.classes) == (1, 3, 3)


def test_a_ring_stays_whole_and_its_rare_side_runs_back() -> None:
    g = folded(graph(["kvm_a", "kvm_b"], [("kvm_a", "kvm_b"), ("kvm_b", "kvm_a")], (("kvm_a", "kvm_b"),)))
    assert [(a.held, a.taken, a.back, a.rings) for a in g.arrows] == [(0, 1, False, (0,)), (1, 0, True, (0,))]
    assert all(b.ring for b in g.boxes)
    assert layout(g).column == [0, 1]


def test_two_hundred_classes_fold_to_what_a_page_holds() -> None:
    names = [f"kvm_{i}" for i in range(20)] + [f"other_{i}" for i in range(180)]
    draw = random.Random(7)
    pairs = sorted({tuple(sorted(draw.sample(range(200), 2))) for _ in range(600)})
    g = folded(graph(names, [(names[a], names[b]) for a, b in pairs]))
    classes = [b for b in g.boxes if b.kind == "class"]
    assert len(classes) <= 36
    assert {b.label for b in classes if b.kvm} | set(g.alone) == set(names[:20])
    inside = [b for b in g.boxes if b.kind != "class"]
    assert sum(len(b.members) for b in inside) + len(classes) + len(g.alone) + g.apart == 200
    assert all(b.label == f"+ {len(b.members)} {b.kind.replace('outside', 'around')}" for b in inside)


def test_boxes_do_not_overlap_and_arrows_go_right() -> None:
    draw = random.Random(3)
    names = [f"kvm_{i}" for i in range(30)]
    pairs = sorted({tuple(sorted(draw.sample(range(30), 2))) for _ in range(70)})
    g = folded(graph(names, [(names[a], names[b]) for a, b in pairs]))
    places = layout(g)
    for a, b in combinations(range(len(g.boxes)), 2):
        if places.column[a] == places.column[b]:
            assert abs(places.row[a] - places.row[b]) >= 0.999
    assert all(places.column[a.held] < places.column[a.taken] for a in g.arrows)
    assert min(places.row) >= 0
    assert places.height <= len(names) + sum(map(len, places.bends))


def test_no_dependencies_and_no_classes() -> None:
    assert layout(folded(graph([], []))).columns == 0
    lonely = folded(graph(["kvm_a", "b"], []))
    assert ([b.label for b in lonely.boxes], lonely.apart) == (["kvm_a"], 1)
