"""The largest graphs that kernels make: 3,000 classes, 50,000 edges, 170,000 chains, 48 locks deep (MAX_LOCK_DEPTH)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lockscope.checks.check import all_checks
from lockscope.evidence.evidence import Evidence
from lockscope.lockgraph.dependencies import dependencies
from lockscope.lockgraph.graph import lock_graph
from lockscope.pipeline import judged
from lockscope.rules.book import Rulebook
from lockscope.tables.events import TraceInfo
from lockscope.tables.ops import Op
from tests.walk.test_walk_growth import walk_of

CLASSES, DEPTH, CHOICES = 3_000, 48, 24
FIRST = 1 << 20  # address of the first lock


def ascending(chains: int) -> list[list[int]]:
    """Stacks of locks, each lock of a higher number than the one it is taken under: no ring."""
    random = np.random.default_rng(20)
    steps = np.sort(random.integers(1, CLASSES // DEPTH, (CLASSES, CHOICES)), axis=1)
    stacks = []
    for _ in range(chains // DEPTH):
        stack = [int(random.integers(CLASSES // 2))]
        while len(stack) < DEPTH and stack[-1] + CLASSES // DEPTH < CLASSES:
            stack.append(stack[-1] + int(steps[stack[-1], random.integers(CHOICES)]))
        stacks.append(stack)
    return stacks


def tangled(stacks: list[list[int]]) -> Evidence:
    """The evidence of a task for each stack, which takes its locks and gives them back."""
    rows: list[tuple[Op, int, int, int]] = []
    for pid, stack in enumerate(stacks, 1):
        rows += [(Op.ACQUIRE, pid, FIRST + lock, lock) for lock in stack]
        rows += [(Op.RELEASE, pid, FIRST + lock, lock) for lock in reversed(stack)]
    walk = walk_of(rows, [f"&object{i}->mutex" for i in range(CLASSES)], holds=False)
    recorded = {"lock:lock_acquire": 1, "lock:lock_release": 1}
    return Evidence(TraceInfo("memory", "memory"), Rulebook("none"), walk.classes(), walk.chains(), walk.anomalies(),
                    recorded, plain=True, end_ns=len(rows))  # fmt: skip


def found(evidence: Evidence) -> list[tuple[str, tuple[str, ...]]]:
    checks = [c for c in all_checks().values() if c.code < "LS2"]
    return [(f.code, f.classes) for f in judged(evidence, checks)[1]]


@pytest.mark.all
def test_the_largest_graph() -> None:
    stacks = ascending(230_000)
    evidence = tangled(stacks)
    graph = lock_graph(evidence)
    assert len(evidence.classes) > 2_900
    assert len(graph.tail) > 50_000
    assert len(evidence.chains) > 170_000
    assert max(map(len, stacks)) == DEPTH
    assert found(evidence) == []
    listed = dependencies(evidence)
    assert (len(listed.classes), listed.rings) == (len(evidence.classes), ())


@pytest.mark.all
def test_one_wrong_step_in_it() -> None:
    stacks = ascending(230_000)
    outer, inner = next((a, b) for stack in stacks for a, b in itertools.pairwise(stack) if a > CLASSES // 2)
    evidence = tangled([*stacks, [inner, outer]])
    assert found(evidence) == [("LS101", (f"&object{outer}->mutex", f"&object{inner}->mutex"))]


@pytest.mark.all
def test_one_big_tangle() -> None:
    """Every lock reaches every other: no enumeration of rings would end."""
    stacks = ascending(230_000)
    evidence = tangled([*stacks, [stack[-1] for stack in stacks[:40]][:DEPTH], [CLASSES - 1, 0]])
    rings = [classes for code, classes in found(evidence) if code == "LS101"]
    assert 0 < len(rings) < len(stacks)
