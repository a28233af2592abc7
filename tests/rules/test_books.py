"""What the rulebooks that come with lockscope say: the document's sentences, and nothing against a correct kernel."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lockscope.kvm import locks, versions
from lockscope.rules import load
from lockscope.rules.book import Rulebook, SrcuKind

EVERY = load.names()
SINCE_5_14 = EVERY[1:]
SINCE_6_2 = EVERY[3:]


def book(name: str) -> Rulebook:
    return load.load(name)


@pytest.mark.parametrize("name", EVERY)
def test_every_rule_says_where_it_is_from(name: str) -> None:
    rules = list(book(name).rules())

    assert len({rule.id for rule in rules}) == len(rules) > 50
    for rule in rules:
        origin, _, place = rule.source.partition(", ")
        assert place.strip(), rule.id
        assert origin.endswith(")"), rule.id
        assert origin.rpartition("(")[2].removeprefix("since ")[0].isdigit(), rule.id


@pytest.mark.parametrize("name", EVERY)
def test_every_lock_of_a_book_has_a_name_of_ours(name: str) -> None:
    found = book(name)
    named = {lock for r in found.orders for lock in (r.outer, r.inner)}
    named |= {lock for r in found.leaves for lock in (r.lock, *r.inner)} | set(found.notifiers)
    named |= {lock for r in found.srcu for lock in (r.srcu, r.lock)}
    named |= {lock for r in found.must_hold for lock in (r.lock, *r.held)} | {r.lock for r in found.reference}

    assert [lock for lock in sorted(named) if locks.canonical(lock) != lock] == []


@pytest.mark.parametrize("name", EVERY)
def test_no_book_contradicts_itself(name: str) -> None:
    found = book(name)

    for rule in found.orders:
        assert found.order_broken(rule.inner, rule.outer) is rule
        assert found.order_broken(rule.outer, rule.inner) is None
        assert found.leaf_broken(rule.outer, rule.inner) is None, rule.id
    for of_srcu in found.srcu:
        if of_srcu.kind is SrcuKind.INSIDE:
            assert found.srcu_rule(of_srcu.srcu, of_srcu.lock, SrcuKind.NOT_INSIDE) is None
        assert found.srcu_rule(of_srcu.srcu, of_srcu.lock, of_srcu.kind) is of_srcu


# (held, taken) that break the four orders of the 4.14 document, in 4.14's own spelling
ORDERS_4_14 = {
    "kvm-lock/vcpu-mutex": ("&vcpu->mutex", "&kvm->lock"),
    "kvm-lock/slots-lock": ("&kvm->slots_lock", "&kvm->lock"),
    "kvm-lock/irq-lock": ("&kvm->irq_lock", "&kvm->lock"),
    "slots-lock/irq-lock": ("&kvm->irq_lock", "&kvm->slots_lock"),
    "vcpu-mutex/hv-lock": ("&kvm->arch.hyperv.hv_lock", "&vcpu->mutex"),
}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("ident", ORDERS_4_14)
def test_the_orders_of_4_14_hold_in_every_version(ident: str, name: str) -> None:
    held, taken = ORDERS_4_14[ident]
    broken = book(name).order_broken(held, taken)

    assert broken is not None
    assert (broken.id, broken.scope) == (ident, "vm")
    assert f"({book(name).version}), 1. Acquisition Orders" in broken.source


def test_4_14_has_no_other_order_and_says_nothing_of_srcu() -> None:
    assert {rule.id for rule in book("kvm-4.14").orders} == set(ORDERS_4_14)
    assert book("kvm-4.14").srcu == ()
    assert {rule.id for rule in book("kvm-4.14").orders if rule.arch == "x86"} == {"vcpu-mutex/hv-lock"}


def test_the_reference_table_of_4_14() -> None:
    documented = {r.lock: (r.type, r.arch) for r in book("kvm-4.14").reference if "3. Reference" in r.source}

    assert documented == {
        "kvm_lock": ("mutex", "any"),
        "kvm_count_lock": ("raw_spinlock_t", "any"),
        "kvm->arch.tsc_write_lock": ("raw_spinlock_t", "x86"),
        "kvm->mmu_lock": ("spinlock_t", "any"),
        "kvm->srcu": ("srcu", "any"),
        "blocked_vcpu_on_cpu_lock": ("spinlock_t", "x86"),
    }
    assert next(r for r in book("kvm-4.14").reference if r.lock == "kvm->srcu").protects == (
        "kvm->memslots",
        "kvm->buses",
    )


@pytest.mark.parametrize("name", EVERY)
def test_preempt_notifiers_come_inside_what_preempt_rt_switches_out(name: str) -> None:
    found = book(name)
    assert set(found.preempted) < set(found.notifiers)
    kernel = versions.parse("7.3.4")
    assert kernel is not None
    stock, rt = (found.for_kernel(replace(kernel, rt=rt)) for rt in (False, True))
    for taken in found.preempted:
        assert stock.leaf_broken("&(kvm)->mmu_lock", taken) is not None
        assert rt.leaf_broken("&(kvm)->mmu_lock", taken) is None
        assert rt.leaf_broken("&kvm->arch.tsc_write_lock", taken) is not None  # a raw one spins there too
    assert rt.leaf_broken("&(kvm)->mmu_lock", "&kvm->slots_lock") is not None


@pytest.mark.parametrize("name", SINCE_5_14)
def test_notifiers_take_no_slots_lock(name: str) -> None:
    for lock in ("&kvm->slots_lock", "&kvm->slots_arch_lock"):
        broken = book(name).order_broken("mmu_notifier_invalidate_range_start", lock)
        assert broken is not None
        assert broken.scope == "global"  # the map is everybody's
        assert book("kvm-4.14").order_broken("mmu_notifier_invalidate_range_start", lock) is None


def test_the_srcu_rules_by_version() -> None:
    inside = {
        name: {r.lock for r in book(name).srcu if r.kind is SrcuKind.NOT_INSIDE and r.srcu == "kvm->srcu"}
        for name in EVERY
    }

    assert inside["kvm-4.14"] == set()
    assert inside["kvm-5.15"] == inside["kvm-6.1"] == {"kvm->slots_lock"}
    for name in SINCE_6_2:
        assert inside[name] == {"kvm->lock", "vcpu->mutex", "kvm->slots_lock"}
    for name in SINCE_5_14:
        assert book(name).srcu_rule("&kvm->srcu", "&kvm->slots_arch_lock", SrcuKind.INSIDE) is not None
        assert book(name).srcu_rule("&kvm->srcu", "&kvm->slots_arch_lock", SrcuKind.NOT_AROUND) is not None


def test_what_came_and_went() -> None:
    hotplug = [name for name in EVERY if book(name).order_broken("kvm_lock", "cpu_hotplug_lock")]
    assert hotplug == ["kvm-6.3", "kvm-6.6", "kvm-6.12", "kvm-7.2", "kvm-7.3"]
    xen = [name for name in EVERY if book(name).order_broken("&kvm->arch.xen.xen_lock", "&vcpu->mutex")]
    assert xen == SINCE_6_2
    count = [
        name for name in EVERY if any(r.lock == "kvm_count_lock" for r in (*book(name).leaves, *book(name).reference))
    ]
    assert count == ["kvm-4.14", "kvm-5.15", "kvm-6.1", "kvm-6.2"]
    inside_mmu_lock = [
        name for name in EVERY if book(name).order_broken("&kvm->arch.tdp_mmu_pages_lock", "&(kvm)->mmu_lock")
    ]
    assert inside_mmu_lock == ["kvm-5.15", "kvm-6.1", "kvm-6.2", "kvm-6.3", "kvm-6.6"]
    assert [name for name in EVERY if len(book(name).must_hold) == 2] == SINCE_5_14


# Edges between KVM's locks in recordings of a correct 6.12.117: the held lock, and what was taken inside.
CLEAN = {
    "&kvm->lock": "irq_lock irqfds.lock slots_lock vcpu->mutex",
    "&kvm->irq_lock": "irqfds.lock",
    "&kvm->slots_lock": "mmu_lock tdp_mmu_pages_lock mn_invalidate_lock slots_arch_lock",
    "&kvm->slots_arch_lock": "mn_invalidate_lock",
    "&(kvm)->mmu_lock": "tdp_mmu_pages_lock",
    "&ioapic->lock": "irq_srcu",
    "&kvm->srcu": "mmu_lock refresh_lock hv_lock ioapic tdp_mmu_pages_lock tsc_write_lock gpc_lock irq_srcu "
    "mn_invalidate_lock srcu async_pf",
    "&vcpu->mutex": "mmu_lock refresh_lock hv_lock ioapic tdp_mmu_pages_lock tsc_write_lock gpc_lock irq_srcu "
    "mn_invalidate_lock srcu async_pf irq_lock irqfds.lock slots_lock slots_arch_lock nx_once notifier",
    "mmu_notifier_invalidate_range_start": "gpc_lock mn_invalidate_lock srcu mmu_lock",
    "&kvm->arch.apic_map_lock": "notifier",
    "&kvm->arch.nx_once": "notifier",
}
CLEAN |= {
    held: f"{CLEAN[held]} notifier"
    for held in ("&kvm->slots_lock", "&kvm->slots_arch_lock", "&kvm->lock", "&kvm->srcu")
}
# From the source of 6.12: what a correct kernel does, and these recordings did not show.
READ = {
    "kvm_lock": "slots_lock",
    "&kvm->gpc_lock": "gpc->lock",
    "&gpc->refresh_lock": "gpc->lock gpc_lock",
    "&kvm->arch.xen.xen_lock": "srcu",
    "&kvm->arch.apicv_update_lock": "srcu mmu_lock",
    "&(kvm)->mmu_lock": "unsync",
    "&kvm->lock": "vcpu->mutex lock",
}
SHORT = {
    "irq_lock": "&kvm->irq_lock", "irqfds.lock": "&kvm->irqfds.lock", "slots_lock": "&kvm->slots_lock",
    "vcpu->mutex": "&vcpu->mutex", "mmu_lock": "&(kvm)->mmu_lock", "slots_arch_lock": "&kvm->slots_arch_lock",
    "tdp_mmu_pages_lock": "&kvm->arch.tdp_mmu_pages_lock", "mn_invalidate_lock": "&kvm->mn_invalidate_lock",
    "irq_srcu": "&kvm->irq_srcu", "refresh_lock": "&gpc->refresh_lock", "hv_lock": "&hv->hv_lock",
    "ioapic": "&ioapic->lock", "tsc_write_lock": "&kvm->arch.tsc_write_lock", "gpc_lock": "&kvm->gpc_lock",
    "srcu": "&kvm->srcu", "async_pf": "&vcpu->async_pf.lock", "nx_once": "&kvm->arch.nx_once",
    "gpc->lock": "&gpc->lock", "notifier": "mmu_notifier_invalidate_range_start", "lock": "&kvm->lock",
    "unsync": "&kvm->arch.mmu_unsync_pages_lock",
}  # fmt: skip
# What is taken inside anything, KVM's leaves too (slab, RCU, scheduler); and what is, where its holder may sleep.
FOREIGN = (
    "&c->lock", "&n->list_lock", "rcu_read_lock", "&rq->__lock", "&p->pi_lock", "&pool->lock", "fs_reclaim",
    "&____s->seqcount",
)  # fmt: skip
FOREIGN_SLEEPING = ("&mm->mmap_lock", "pcpu_alloc_mutex", "cpu_hotplug_lock")
EDGES = [(held, SHORT[short]) for table in (CLEAN, READ) for held, text in table.items() for short in text.split()]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(("held", "taken"), EDGES)
def test_a_correct_kernel_breaks_no_rule(name: str, held: str, taken: str) -> None:
    found = load.choose("6.12.117", name)[0]

    assert found.order_broken(held, taken) is None
    assert found.srcu_rule(held, taken, SrcuKind.NOT_INSIDE) is None
    # 4.14's leaves are older than some of these locks: that a newer kernel nests them there says nothing of 4.14.
    if name != "kvm-4.14" or taken not in ("&kvm->mn_invalidate_lock", "&kvm->arch.mmu_unsync_pages_lock"):
        assert found.leaf_broken(held, taken) is None


@pytest.mark.parametrize("name", EVERY)
def test_locks_of_others_are_taken_inside_leaves(name: str) -> None:
    found = book(name)

    for leaf in found.leaves:
        assert [lock for lock in FOREIGN if found.leaf_broken(leaf.lock, lock)] == []
        broken = [lock for lock in FOREIGN_SLEEPING if found.leaf_broken(leaf.lock, lock)]
        assert broken == ([] if leaf.sleeping else list(FOREIGN_SLEEPING))


@pytest.mark.parametrize("name", EVERY)
def test_leaves_that_spin_hold_nothing_that_sleeps(name: str) -> None:
    for leaf in book(name).leaves:
        kind = locks.kind_of(leaf.lock)
        assert leaf.sleeping is leaf.notifiers is locks.sleeps(kind)
        assert not any(
            locks.sleeps(locks.kind_of(inner)) and inner != "kvm->irq_srcu" for inner in leaf.inner if not leaf.sleeping
        )


@pytest.mark.parametrize("name", EVERY)
def test_a_leaf_with_another_lock_inside(name: str) -> None:
    found = book(name)
    broken = {pair: found.leaf_broken(*pair) for pair in (
        ("&kvm->irq_lock", "&kvm->slots_lock"),
        ("&kvm->mmu_lock", "&kvm->irq_lock"),
        ("&(kvm)->mmu_lock", "&kvm->slots_lock"),
        ("&kvm->irqfds.lock", "&kvm->irq_lock"),
        ("&kvm->arch.tsc_write_lock", "&kvm->mmu_lock"),
        ("&hv->hv_lock", "&kvm->lock"),
        ("kvm_lock", "&vcpu->mutex"),
    )}  # fmt: skip

    assert [pair for pair, rule in broken.items() if rule is None] == []
    assert found.leaf_broken("&kvm->slots_lock", "&kvm->irq_lock") is None  # no leaf
    assert found.leaf_broken("&kvm->irq_lock", "&kvm->irq_lock") is None  # recursion, another check's


def test_flush_flows() -> None:
    def window(release: str, ident: str) -> str | None:
        return next((f.window for f in load.choose(release)[0].flows if f.id == ident), None)

    assert window("5.14.21", "flow/sync-page") == "deferred"
    assert window("5.15.100", "flow/sync-page") is None
    assert window("6.1.50", "flow/tdp-zap-atomic") == "mmu_lock"
    assert window("6.8.1", "flow/tdp-zap-atomic") == "around"
    assert window("6.12.5", "flow/tdp-zap-atomic") == "before"
    assert window("6.13.5", "flow/tdp-zap-atomic") is None
    assert window("6.13.5", "flow/collapsible-in-place") == "mmu_lock"
    assert window("7.3.4", "flow/tdp-zap-atomic") is None
    assert window("7.3.4", "flow/nx-recovery") == "mmu_lock"
    assert window("6.12.5", "flow/reset-dirty-rings") == "ioctl"
    assert window("5.10.1", "flow/reset-dirty-rings") is None
    assert window("6.13.1", "flow/clear-flush-young") is None
    assert window("6.13.1", "flow/clear-flush-young-elided") == "none"


def test_the_order_that_7_2_wrote_down() -> None:
    """Documentation/virt/kvm/locking.rst of 7.2.13 and 7.3.4: vcpu->mutex outside slots_lock and slots_arch_lock."""
    for held in ("&kvm->slots_lock", "&kvm->slots_arch_lock"):
        rule = load.choose("7.3.4")[0].order_broken(held, "&vcpu->mutex")
        assert rule is not None
        assert rule.source == (
            "Documentation/virt/kvm/locking.rst (7.3), 1. Acquisition Orders: vcpu->mutex outside kvm->slots_lock and "
            "kvm->slots_arch_lock"
        )
        assert load.choose("7.3.4")[0].order_broken("&vcpu->mutex", held) is None
    assert load.choose("6.12.9")[0].order_broken("&kvm->slots_arch_lock", "&vcpu->mutex") is None


def test_what_a_rule_cites_is_of_the_traced_version() -> None:
    for release, version in (("6.12.117", "6.12"), ("7.2.13", "7.2"), ("7.3.4", "7.3")):
        found = load.choose(release)[0]
        of_document = [r.source for r in found.rules() if "locking.rst" in r.source.partition(",")[0]]
        assert len(of_document) > 20
        assert {source.partition(",")[0] for source in of_document} == {
            f"Documentation/virt/kvm/locking.rst ({version})"
        }


@pytest.mark.parametrize(
    ("held", "taken", "broken"),
    [("mapping.invalidate_lock", "&kvm->slots_lock", True), ("&kvm->slots_lock", "mapping.invalidate_lock", False),
     ("&(kvm)->mmu_lock", "mapping.invalidate_lock", True), ("mapping.invalidate_lock", "&(kvm)->mmu_lock", False)],
)  # fmt: skip
def test_guest_memfds_lock_is_between_slots_lock_and_mmu_lock(held: str, taken: str, broken: bool) -> None:
    assert (load.choose("7.3.4")[0].order_broken(held, taken) is not None) is broken


# a fact and what it is on a kernel
FACTS = [
    ("fast_page_fault.ret_fixed", {"4.14.3": None, "5.10.1": 3, "5.17.1": 3, "6.0.1": None, "6.1.1": 4, "6.12.1": 5}),
    ("fast_page_fault.result", {"4.14.355": "retry", "5.10.198": "ret", "6.12.117": "ret"}),
    ("fast_page_fault.large", {"4.14.1": "never", "5.15.9": "never", "5.17.1": "not-while-dirty-logging"}),
    ("lock_events.irqs_off_flag", {"4.14.355": False, "5.9.1": False, "5.10.198": True, "6.12.1": True}),
    ("trace.bh_off_flag", {"5.15.9": False, "6.1.1": True, "6.12.1": True}),
    ("srcu.lockdep_checks", {"4.14.1": False, "6.1.1": False, "6.3.9": False, "6.4.1": True, "6.12.1": True}),
    ("aging.holds_mmu_lock", {"4.14.1": True, "6.12.1": True, "6.14.1": True, "6.15.1": False}),
    ("flush.full_request_mask", {"4.14.1": 0x4FF, "6.12.1": 0x4FF}),
    ("flush.mmu_spte_update", {
        "5.15.9": ("locklessly-writable-lost", "accessed-lost", "dirty-lost"),
        "6.12.1": ("mmu-writable-lost-write", "accessed-lost", "dirty-lost"),
        "6.13.1": ("mmu-writable-lost",),
    }),
    ("access.memslots", {"4.14.1": ("kvm->srcu", "kvm->slots_lock"), "6.12.1": ("kvm->srcu", "kvm->slots_lock")}),
]  # fmt: skip


@pytest.mark.parametrize(("about", "expected"), FACTS, ids=[about for about, _ in FACTS])
def test_facts(about: str, expected: dict[str, object]) -> None:
    assert {release: load.choose(release)[0].value(about) for release in expected} == expected


@pytest.mark.parametrize(
    "release",
    [
        "4.14.1",
        "5.9",
        "5.10.1",
        "5.14.1",
        "5.19",
        "6.1.1",
        "6.3.1",
        "6.5",
        "6.11.1",
        "6.12.1",
        "6.16",
        "7.1.2",
        "7.2.1",
        "7.3.4",
    ],
)
def test_no_fact_is_known_twice_for_one_kernel(release: str) -> None:
    known = [fact.about for fact in load.choose(release)[0].facts]

    assert len(known) == len(set(known))
