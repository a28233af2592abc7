"""LS102 and LS103: pairs of locks against the rulebook."""

from __future__ import annotations

import pytest

from lockscope.checks.check import all_checks
from lockscope.results.findings import Confidence
from lockscope.rules.book import LeafRule, MustHoldRule, OrderRule, Rulebook, Scope
from tests.builders.chains import evidence_of, findings

BOOK = Rulebook(
    "test",
    orders=(
        OrderRule(id="o1", source="doc", outer="kvm->lock", inner="kvm->slots_lock"),
        OrderRule(id="o2", source="doc", outer="kvm_lock", inner="kvm->lock", scope=Scope.GLOBAL),
    ),
    leaves=(LeafRule(id="l1", source="doc", lock="kvm->irq_lock", inner=("kvm->irqfds.lock",)),),
)


@pytest.mark.parametrize(
    ("script", "pairs"),
    [
        ("t: mutex:&kvm->slots_lock mutex:&kvm->lock", [("&kvm->slots_lock", "&kvm->lock")]),
        ("t: mutex:&kvm->slots_lock mutex:X mutex:&kvm->lock", [("&kvm->slots_lock", "&kvm->lock")]),  # at any depth
        ("t: mutex:&kvm->lock mutex:&kvm->slots_lock", []),
        ("t: mutex:&kvm->slots_lock mutex:&kvm->lock?", []),  # a trylock cannot wait
        ("t: mutex:&kvm->slots_lock softirq( mutex:&kvm->lock", []),
        ("t: mutex:&kvm->lock mutex:kvm_lock", [("&kvm->lock", "kvm_lock")]),
    ],
)
def test_orders(script: str, pairs: list[tuple[str, str]]) -> None:
    assert [f.classes for f in findings("LS102", script, rules=BOOK)] == pairs


@pytest.mark.parametrize(
    ("vms", "confidence"),
    [((1, 1), [Confidence.CERTAIN]), ((None, 1), [Confidence.LIKELY]), ((1, 2), [])],
)
def test_a_rule_of_one_vm(vms: tuple[int | None, int | None], confidence: list[Confidence]) -> None:
    evidence = evidence_of("t: mutex:&kvm->slots_lock mutex:&kvm->lock", rules=BOOK)
    slots, lock = (int(row[1]) for row in evidence.chains.entries[1:])
    evidence.vm_of = {slots: vms[0], lock: vms[1]}.get
    assert [f.confidence for f in all_checks()["LS102"].run(evidence)[1]] == confidence


@pytest.mark.parametrize(
    ("script", "alone"),
    [
        ("t: mutex:kvm_lock -kvm_lock write:&(kvm)->mmu_lock -&(kvm)->mmu_lock spin:&kvm->arch.tdp_mmu_pages_lock", 1),
        ("t: write:&(kvm)->mmu_lock -&(kvm)->mmu_lock mutex:X spin:&kvm->arch.tdp_mmu_pages_lock", 1),
        ("t: write:&(kvm)->mmu_lock spin:&kvm->arch.tdp_mmu_pages_lock", 0),
        ("t: read:&(kvm)->mmu_lock spin:&kvm->arch.tdp_mmu_pages_lock", 0),
        ("t: spin:&kvm->arch.tdp_mmu_pages_lock", 0),  # mmu_lock was not recorded at all
    ],
)
def test_a_lock_that_is_not_taken_alone(script: str, alone: int) -> None:
    held = MustHoldRule(id="h", source="doc", lock="kvm->arch.tdp_mmu_pages_lock", held=("kvm->mmu_lock",))
    found = findings("LS102", script, rules=Rulebook("test", must_hold=(held,)))
    assert [(f.classes, f.title) for f in found] == [
        (("&kvm->arch.tdp_mmu_pages_lock",), "lock taken without the one that it belongs inside")
    ] * alone


def test_a_finding_names_its_rule() -> None:
    script = "t: mutex:&kvm->slots_lock mutex:&kvm->lock -&kvm->lock mutex:&kvm->lock"
    finding = findings("LS102", script, rules=BOOK)[0]
    assert finding.rule is not None
    assert (finding.rule.id, finding.rule.source, finding.count) == ("o1", "doc", 2)
    assert finding.title == "locks taken against the documented order"
    assert "  doc" in finding.story


@pytest.mark.parametrize(
    ("script", "pairs"),
    [
        ("t: mutex:&kvm->irq_lock mutex:&kvm->slots_lock", [("&kvm->irq_lock", "&kvm->slots_lock")]),
        ("t: mutex:&kvm->irq_lock spin:&kvm->irqfds.lock", []),
        ("t: mutex:&kvm->irq_lock spin:&c->lock", []),
        ("t: mutex:&kvm->irq_lock hardirq( spin:&ioapic->lock", []),
        ("t: mutex:&kvm->slots_lock mutex:&kvm->irq_lock", []),
        ("t: mutex:&kvm->irq_lock mutex:&kvm->irq_lock", []),  # recursion is LS104
    ],
)
def test_leaves(script: str, pairs: list[tuple[str, str]]) -> None:
    assert [f.classes for f in findings("LS103", script, rules=BOOK)] == pairs
    assert findings("LS102", script, rules=BOOK) == []


def test_what_breaks_an_order_is_told_once() -> None:
    book = Rulebook("b", orders=BOOK.orders, leaves=(LeafRule(id="l", source="d", lock="kvm->slots_lock"),))
    script = "t: mutex:&kvm->slots_lock mutex:&kvm->lock"
    assert len(findings("LS102", script, rules=book)) == 1
    assert findings("LS103", script, rules=book) == []
