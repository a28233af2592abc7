"""The dependency graph: which edges an acquisition adds, and which rings of them can deadlock."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from lockscope.core.graph import components
from lockscope.evidence.evidence import Evidence
from lockscope.lockgraph.cycles import rings
from lockscope.lockgraph.graph import edges, lock_graph
from lockscope.lockgraph.states import peel, states_of
from tests.builders.chains import evidence_of


def edge_names(evidence: Evidence) -> set[str]:
    graph = lock_graph(evidence)
    of = graph.rows.node_class
    return {
        f"{evidence.label(int(of[graph.tail[e]]))}>{evidence.label(int(of[graph.head[e]]))} {graph.kind_name(e)}"
        for e in range(len(graph))
    }


def ring_names(evidence: Evidence) -> list[str]:
    graph = lock_graph(evidence)
    of = graph.rows.node_class
    return sorted("".join(evidence.label(int(of[graph.tail[e]])) for e in ring.edges) for ring in rings(graph))


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("t: spin:A spin:B", {"A>B EN"}),
        ("t: spin:A spin:B spin:C", {"A>B EN", "B>C EN"}),  # A>C is there by way of B
        ("t: spin:A spin:B? spin:C", {"A>C EN", "B>C EN"}),  # nobody waits at a trylock, so A>C is not implied
        ("t: spin:A spin:B?", set()),
        ("t: spin:A rcu:R spin:B", {"A>B EN"}),  # what is not checked is looked through
        ("t: spin:A spin:B!", set()),
        ("t: spin:A hardirq( spin:B -B ) -A", set()),
        ("t: spin:A hardirq( spin:B spin:C -C -B )", {"B>C EN"}),
        ("t: read:A spin:B", {"A>B SN"}),
        ("t: spin:A read:B", {"A>B EN"}),
        ("t: spin:A rread:B", {"A>B ER"}),
        ("t: rread:A rread:B", {"A>B SR"}),
        ("t: rread:A@1 rread:A@2", {"A>A SR"}),  # a recursive read is an edge, and no recursion
        ("t: mutex:N spin:A@1^N spin:B spin:A@2^N", {"N>A EN", "A>B EN"}),  # serialised by N: no edges
        ("t: spin:A spin:A/1", {"A>A/1 EN"}),
        ("t: spin:A spin:B -A spin:C", {"A>B EN", "B>C EN"}),
        ("t: spin:A spin:B spin:C -B", {"A>B EN", "B>C EN", "A>C EN"}),  # C is taken again without B
        ("t: nmi( spin:A spin:B )", set()),
    ],
)
def test_edges_of_a_chain(script: str, expected: set[str]) -> None:
    assert edge_names(evidence_of(script)) == expected


def test_interrupts_of_one_kind_see_their_own_locks_only() -> None:
    evidence = evidence_of("t: spin:A softirq( spin:B hardirq( spin:C spin:D -D -C ) spin:E -E -B )")
    assert edge_names(evidence) == {"C>D EN", "B>E EN"}


def test_selftest_softirq_is_a_context_of_its_own() -> None:
    script = "t: spin:A bh-off irqs-off spin:B"
    assert edge_names(evidence_of(script)) == {"A>B EN"}
    assert edge_names(evidence_of(script, assume=("selftest-softirq",))) == set()


def test_counts_and_first_witness() -> None:
    evidence = evidence_of("a: spin:A spin:B -B -A\nb: spin:A irqs-off spin:B -B -A\nb: irqs-on spin:A spin:B -B -A")
    graph = lock_graph(evidence)
    assert graph.count.tolist() == [3]
    makers = graph.makers(0)
    assert [int(evidence.chains.pid[graph.rows.chain[r]]) for r in makers] == [100, 101]
    assert list(edges(evidence)) == [(0, 1, 0b1000)]


def test_windows_have_nothing_in_common() -> None:
    evidence = evidence_of("== one\nt: spin:A spin:B -B -A\n== two\nt: spin:B spin:A -A -B")
    assert edge_names(evidence) == {"A>B EN", "B>A EN"}
    assert ring_names(evidence) == []


def test_names_alone_are_instances() -> None:
    two = "t: spin:s@1 spin:B -B -s@1\nt: spin:B spin:s@2 -s@2 -B"
    assert ring_names(evidence_of(two)) == ["Bs"]
    assert ring_names(evidence_of(two, told=False)) == []
    assert ring_names(evidence_of(two.replace("@2", "@1"), told=False)) == ["Bs"]


def test_two_variables_of_one_name_have_an_order() -> None:
    script = "t: mutex:lock@1 mutex:lock@2 -lock@2 -lock@1 mutex:lock@2 mutex:lock@1"
    assert ring_names(evidence_of(script, told=False)) == ["locklock"]
    # What is allocated can be another object the second time.
    assert ring_names(evidence_of(script, told=False, heap=True)) == []


@pytest.mark.parametrize(
    ("preempt", "flags", "ring"),
    [
        (1, 0, True),  # an rwlock_t: its readers wait for writers,
        (1, 0x80, False),  # but not where softirqs are off
        (0, 0, True),  # an rw_semaphore
    ],
)
def test_readers_of_an_unknown_kind(preempt: int, flags: int, ring: bool) -> None:
    off = "bh-off " if flags else ""
    script = f"t: {off}read:A spin:B -B -A\nu: {off}spin:B read:A -A -B\nu: write:A"
    evidence = evidence_of(script, told=False, acquired=True)
    evidence.classes[:] = [replace(c, kind="" if c.name == "A" else c.kind) for c in evidence.classes]
    evidence.chains.preempt[:] = preempt
    assert (ring_names(evidence) == ["AB"]) is ring
    assumed = evidence_of(script, told=False, acquired=True, assume=("recursive-read-locks",))
    assumed.classes[:] = evidence.classes
    assumed.chains.preempt[:] = 1
    assert ring_names(assumed) == []


def test_kvm_names_are_classes() -> None:
    script = "t: mutex:&kvm->lock@1 mutex:B -B -&kvm->lock@1\nt: mutex:B mutex:&kvm->lock@2"
    assert ring_names(evidence_of(script, told=False)) == ["&kvm->lockB"]


# lib/locking-selftest.c: DO_TESTCASE_6R(desc, name). Each line is what one context does.
PATTERNS = {
    "ABBA": "AB BA",
    "ABBCCA": "AB BC CA",
    "ABCABC": "AB CA BC",
    "ABBCCDDA": "AB BC CD DA",
    "ABCDBDDA": "AB CD BD DA",
    "ABCDBCDA": "AB CD BC DA",
}
KINDS = {
    "spin": True, "mutex": True, "write": True, "down": True, "dread": True, "read": True, "rread": False,
}  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("kind", KINDS)
def test_selftest_rings(pattern: str, kind: str) -> None:
    lines = [f"t: {kind}:{a} {kind}:{b} -{b} -{a}" for a, b in PATTERNS[pattern].split()]
    assert (len(ring_names(evidence_of("\n".join(lines)))) > 0) is KINDS[kind]


_RW_CASES = [  # lib/locking-selftest.c, "rlock W1R2/W2R3/W3R1" and so on; readers are recursive there
    ("W1R2 W2R3 W3R1", True),
    ("W1W2 R2R3 W3R1", True),
    ("W1W2 R2R3 R3W1", False),
    ("W1R2 R2R3 W3W1", False),
]


@pytest.mark.parametrize(("case", "bad"), _RW_CASES)
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_read_write_rings_in_any_order(case: str, bad: bool, order: tuple[int, ...]) -> None:
    kinds = {"W": "write", "R": "rread"}
    steps = case.split()
    lines = [
        f"t: {kinds[s[0]]}:L{s[1]} {kinds[s[2]]}:L{s[3]} -L{s[3]} -L{s[1]}" for s in (steps[i] for i in order)
    ]  # fmt: skip
    assert (len(ring_names(evidence_of("\n".join(lines)))) > 0) is bad


@pytest.mark.parametrize(
    ("script", "bad"),
    [
        ("t: rread:A mutex:B -B -A\nt: mutex:B write:A -A -B", True),  # mixed read-lock/lock-write
        ("t: rread:A mutex:B -B -A\nt: mutex:B rread:A -A -B", False),  # mixed read-lock/lock-read
        ("t: read:A mutex:B -B -A\nt: mutex:B read:A -A -B", True),
        ("t: write:A mutex:B -B -A\nt: mutex:B write:A -A -B", True),  # mixed write-lock/lock-write
        ("t: dread:A mutex:B -B -A\nt: mutex:B dread:A -A -B", True),
        ("t: rread:A spin:B -B -A\nt: rread:A spin:C -C -A\nt: spin:B write:A -A -B", True),  # chain cached
        ("t: hardirq( rread:A spin:B -B -A )\nt: spin:B read:A -A -B", True),  # RE_Er
        ("t: read:A spin:B -B -A\nt: hardirq( spin:B rread:A -A -B )", False),  # rE_ER
        ("t: spin:A spin:B -B -A\nt: spin:B spin:A? -A -B", False),
        ("t: spin:A? spin:B -B -A\nt: spin:B spin:A -A -B", True),  # what is held by trylock blocks others all the same
    ],
)
def test_read_and_trylock_pairs(script: str, bad: bool) -> None:
    assert (ring_names(evidence_of(script)) == ["AB"]) is bad


def test_a_weak_path_to_a_class_does_not_hide_a_strong_one() -> None:
    # B is reached first by a recursive read, which cannot go on to the shared step; the long way round can.
    script = "t: write:A rread:B\nu: rread:B write:C\nv: write:C write:A\nw: write:A write:D\nx: write:D write:B"
    assert ring_names(evidence_of(script)) == ["ADBC"]


def test_one_wrong_edge_is_one_ring_and_names_the_others() -> None:
    script = "t: spin:A spin:B -B -A\nt: spin:A spin:X -X -A\nt: spin:X spin:B -B -X\nu: spin:B spin:A -A -B"
    graph = lock_graph(evidence_of(script))
    found = rings(graph)
    assert [len(r.edges) for r in found] == [2]
    assert [r.also for r in found] == [2]


def test_two_unrelated_rings() -> None:
    script = "t: spin:A spin:B -B -A spin:B spin:A -A -B\nt: spin:C spin:D -D -C spin:D spin:C -C -D"
    assert ring_names(evidence_of(script)) == ["AB", "CD"]


def test_a_ring_reads_the_same_whatever_came_first() -> None:
    lines = ["t: spin:A spin:B -B -A", "t: spin:B spin:C -C -B", "t: spin:C spin:A -A -C"]
    assert {tuple(ring_names(evidence_of("\n".join(p)))) for p in itertools.permutations(lines)} == {("ABC",)}


def test_the_forbidden_edge_comes_first() -> None:
    evidence = evidence_of("t: spin:A spin:B -B -A\nt: spin:B spin:A -A -B")
    graph = lock_graph(evidence)
    wrong = next(e for e in range(len(graph)) if int(graph.rows.node_class[graph.tail[e]]) == 1)
    assert rings(graph, lambda edge: edge == wrong)[0].edges[0] == wrong


def test_random_graphs_agree_with_a_search_over_all_paths() -> None:
    random = np.random.default_rng(7)
    for _ in range(60):
        words = []
        for _ in range(int(random.integers(3, 9))):
            a, b = random.choice(5, 2, replace=False)
            first, second = random.choice(["write", "read", "rread"], 2)
            words.append(f"t: {first}:{'ABCDE'[a]} {second}:{'ABCDE'[b]} -{'ABCDE'[b]} -{'ABCDE'[a]}")
        evidence = evidence_of("\n".join(words))
        graph = lock_graph(evidence)
        triples = list(zip(graph.tail.tolist(), graph.head.tolist(), graph.kind.tolist(), strict=True))
        assert bool(rings(graph)) is _has_strong_ring(triples)


def _has_strong_ring(triples: list[tuple[int, int, int]]) -> bool:
    def strong(first: int, second: int) -> bool:
        return not (first & 2 == 0 and second & 1 == 0)

    def extend(path: list[tuple[int, int, int]]) -> bool:
        if path[-1][1] == path[0][0]:
            return strong(path[-1][2], path[0][2])
        visited = {t[0] for t in path}
        return any(
            extend([*path, t])
            for t in triples
            if t[0] == path[-1][1] and t[0] not in visited and strong(path[-1][2], t[2])
        )

    return any(extend([t]) for t in triples)


def test_peel_and_components_of_a_tail_and_a_ring() -> None:
    script = "t: spin:A spin:B -B -A spin:B spin:C -C -B spin:C spin:B -B -C spin:C spin:D -D -C"
    graph = lock_graph(evidence_of(script))
    states = states_of(graph)
    kept = states.without(peel(states))
    assert len(kept.edge) == 2
    number = components(states.start, states.target)
    assert len({int(number[2 * n]) for n in (1, 2)}) == 1
    assert len({int(number[2 * n]) for n in range(4)}) == 3


def test_no_chains() -> None:
    evidence = evidence_of("")
    assert len(lock_graph(evidence)) == 0
    assert rings(lock_graph(evidence)) == []
