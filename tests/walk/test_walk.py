"""Holds and chains of plain lock events."""

from __future__ import annotations

from tests.builders.found import Hold, anomalies, chains, holds, walked
from tests.builders.records import PLAIN, PLAIN_INIT
from tests.builders.script import BH_OFF, HARDIRQ, IRQS_OFF, NMI, SOFTIRQ, Script

A, B, C = 0xFFFF888100000100, 0xFFFF888100000200, 0xFFFF888100000300


def signed(address: int) -> int:
    return address - (1 << 64)


def test_hold_from_attempt_to_release() -> None:
    s = Script()
    s.task("qemu", 100).acquire("&kvm->lock", A, at=10).acquired("&kvm->lock", A, at=13).release("&kvm->lock", A, at=20)
    assert holds(walked(s)) == [Hold("&kvm->lock", signed(A), 100, 10, 13, 20, 0, "both", "")]


def test_nesting_depth_and_order() -> None:
    s = Script()
    s.task("qemu", 100).sys_exit(at=1).take("&kvm->lock", A).take("&vcpu->mutex", B).release("&vcpu->mutex", B).release(
        "&kvm->lock", A
    )
    found = walked(s)
    assert [(h.name, h.depth) for h in holds(found)] == [("&kvm->lock", 0), ("&vcpu->mutex", 1)]
    assert chains(found) == ["&kvm->lock", "&kvm->lock > &vcpu->mutex"]


def test_same_situation_is_one_chain_with_its_first_witness() -> None:
    s = Script()
    qemu = s.task("qemu", 100)
    for _ in range(5):
        qemu.take("&kvm->lock", A).take("&vcpu->mutex", B).release("&vcpu->mutex", B).release("&kvm->lock", A)
    s.task("other", 101, cpu=1).take("&kvm->lock", A).take("&vcpu->mutex", B)
    found = walked(s)
    assert chains(found) == ["&kvm->lock x6?", "&kvm->lock > &vcpu->mutex x6?"]
    chain = found.evidence.chains[1]
    assert (chain.pid, chain.cpu, chain.next.ts_ns, chain.next.seq) == (100, 0, 1_002_000, 2)


def test_same_classes_of_another_vm_are_another_chain() -> None:
    s = Script()
    qemu = s.task("qemu", 100)
    for lock in (A, B):
        qemu.take("&kvm->lock", lock).take("&kvm->slots_lock", lock + 8)
        qemu.release("&kvm->slots_lock", lock + 8).release("&kvm->lock", lock)
    for lock in (A, B):
        qemu.take("&mm->mmap_lock", lock).release("&mm->mmap_lock", lock)
    found = walked(s)
    assert chains(found) == [
        "&kvm->lock?", "&kvm->lock > &kvm->slots_lock?",
        "&kvm->lock?", "&kvm->lock > &kvm->slots_lock?",
        "&mm->mmap_lock x2?",
    ]  # fmt: skip


def test_read_write_and_trylock() -> None:
    s = Script()
    t = s.task("qemu", 100)
    t.take("&mm->mmap_lock", A, read=True).release("&mm->mmap_lock", A)
    t.take("&mm->mmap_lock", A).release("&mm->mmap_lock", A)
    t.acquire("&kvm->lock", B, trylock=True).release("&kvm->lock", B)
    t.acquire("&kvm->srcu", C, read=True).release("&kvm->srcu", C)
    found = walked(s)
    assert [(h.name, h.how) for h in holds(found)] == [
        ("&mm->mmap_lock", "read"), ("&mm->mmap_lock", ""), ("&kvm->lock", "try"), ("&kvm->srcu", "rread"),
    ]  # fmt: skip
    numbers = found.walk.statistics()
    assert numbers["acquired"].tolist() == [2, 1, 1]
    assert numbers["reads"].tolist() == [1, 0, 1]
    assert numbers["trylocks"].tolist() == [0, 1, 0]


def test_contention_and_wait() -> None:
    s = Script()
    t = s.task("qemu", 100)
    t.acquire("&kvm->lock", A, at=10).contended("&kvm->lock", A, at=12).acquired("&kvm->lock", A, at=50)
    t.release("&kvm->lock", A, at=70)
    t.acquire("&kvm->lock", A, at=80).acquired("&kvm->lock", A, at=81).release("&kvm->lock", A, at=90)
    found = walked(s)
    assert [(h.how, h.acquired - h.asked) for h in holds(found)] == [("contended", 40), ("", 1)]
    numbers = {name: column.tolist() for name, column in found.walk.statistics().items()}
    assert numbers == {
        "acquired": [2], "reads": [0], "trylocks": [0], "contended": [1], "wait_ns": [41], "wait_max_ns": [40],
        "hold_ns": [29], "hold_max_ns": [20], "holds": [2],
    }  # fmt: skip


def test_wait_is_not_known_without_lock_acquired() -> None:
    s = Script()
    s.task("qemu", 100).acquire("&kvm->lock", A, at=10).release("&kvm->lock", A, at=30)
    found = walked(s)
    assert holds(found) == [Hold("&kvm->lock", signed(A), 100, 10, 0, 30, 0, "both", "")]
    assert found.walk.statistics()["wait_ns"].tolist() == [0]
    assert found.walk.statistics()["hold_ns"].tolist() == [20]
    assert [c.acquired for c in found.evidence.classes] == [False]


def test_held_before_the_trace_began() -> None:
    s = Script()
    with s.task("qemu", 100).context(HARDIRQ | IRQS_OFF) as t:
        t.release("&rq->lock_x", A, at=30)
    found = walked(s)
    assert holds(found) == [Hold("&rq->lock_x", signed(A), 100, 30, 0, 30, 0, "end", "hardirq")]
    assert anomalies(found) == []
    assert found.walk.counter("unpaired") == 1


def test_still_held_at_the_end() -> None:
    s = Script()
    s.task("qemu", 100).take("&kvm->lock", A)
    s.task("other", 101, cpu=1).take("&vcpu->mutex", B).release("&vcpu->mutex", B, at=5_000_000)
    assert [(h.name, h.known, h.end) for h in holds(walked(s))] == [
        ("&kvm->lock", "begin", 5_000_000), ("&vcpu->mutex", "both", 5_000_000),
    ]  # fmt: skip


def test_release_out_of_order_judges_the_rest_anew() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit().take("&a->mutex", A).take("&b->mutex", B).take("&c->mutex", C)
    t.release("&a->mutex", A).release("&c->mutex", C).release("&b->mutex", B)
    found = walked(s)
    assert [(h.name, h.depth, h.known) for h in holds(found)] == [
        ("&a->mutex", 0, "both"), ("&b->mutex", 1, "both"), ("&c->mutex", 2, "both"),
    ]  # fmt: skip
    assert chains(found) == [
        "&a->mutex", "&a->mutex > &b->mutex", "&a->mutex > &b->mutex > &c->mutex", "&b->mutex", "&b->mutex > &c->mutex",
    ]  # fmt: skip


def test_innermost_of_several_entries_of_one_lock_is_released() -> None:
    s = Script()
    t = s.task("qemu", 100)
    t.acquire("&kvm->srcu", A, read=True, at=10).acquire("&kvm->srcu", A, read=True, at=20)
    t.release("&kvm->srcu", A, at=30).release("&kvm->srcu", A, at=40)
    assert [(h.asked, h.end, h.depth) for h in holds(walked(s))] == [(10, 40, 0), (20, 30, 1)]


def test_interrupts_stack_on_the_task() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit().take("&kvm->lock", A)
    with t.context(SOFTIRQ):
        t.take("&base->lock", B)
        with t.context(HARDIRQ | IRQS_OFF):
            t.take("timekeeper_lock", C)
            with t.context(NMI):
                t.take("&x->wait", A + 8).release("&x->wait", A + 8)
            t.release("timekeeper_lock", C)
        t.release("&base->lock", B)
    t.release("&kvm->lock", A)
    found = walked(s)
    assert [(h.name, h.depth, h.how) for h in holds(found)] == [
        ("&kvm->lock", 0, ""), ("&base->lock", 1, "softirq"), ("timekeeper_lock", 2, "hardirq"), ("&x->wait", 3, "nmi"),
    ]  # fmt: skip
    last = found.evidence.chains[3]
    assert [e.context for e in (*last.held, last.next)] == [0, 1, 2, 3]


def test_flags_of_the_attempt_are_kept() -> None:
    s = Script()
    t = s.task("qemu", 100)
    with t.context(IRQS_OFF | BH_OFF, preempt=2):
        t.take("&a->mutex", A)
    chain = walked(s).evidence.chains[0]
    assert (chain.next.flags, chain.preempt) == (IRQS_OFF | BH_OFF, 2)


def test_idle_task_is_another_on_each_cpu() -> None:
    s = Script()
    one, other = s.idle(0), s.idle(1)
    one.take("&a->mutex", A)
    other.take("&b->mutex", B).release("&b->mutex", B)
    one.release("&a->mutex", A)
    found = walked(s)
    assert [(h.name, h.depth) for h in holds(found)] == [("&a->mutex", 0), ("&b->mutex", 0)]
    assert chains(found) == ["&a->mutex?", "&b->mutex?"]


def test_task_takes_its_locks_to_another_cpu() -> None:
    s = Script()
    t = s.task("qemu", 100).take("&a->mutex", A)
    t.on(3).take("&b->mutex", B).release("&b->mutex", B).on(5).release("&a->mutex", A)
    found = walked(s)
    rows = [row for part in found.walk.holds for row in part.tolist()]
    assert [(row[3], row[4]) for row in sorted(rows, key=lambda row: row[11])] == [(0, 5), (3, 3)]


def test_chain_is_whole_only_after_the_task_was_seen_to_hold_nothing() -> None:
    s = Script()
    t = s.task("qemu", 100).take("&a->mutex", A).release("&a->mutex", A)
    t.sys_exit().take("&b->mutex", B).release("&b->mutex", B)
    assert chains(walked(s)) == ["&a->mutex?", "&b->mutex"]


def test_plain_events_take_key_and_wait_types_of_the_initialisation() -> None:
    s = Script(events=PLAIN_INIT)
    t = s.task("qemu", 100)
    for lock, key in ((A, 0x71), (B, 0x72), (C, 0x71)):
        t.event("lockscope:lockdep_init", lock=lock, key=key, name="lock", wait_inner=4)
    for lock in (A, B, C, C + 0x100):
        t.take("lock", lock).release("lock", lock)
    t.event("lockscope:lockdep_init", lock=A, key=0x72, name="lock", wait_inner=4).take("lock", A)
    found = walked(s)
    assert [(c.key, c.keyed, c.wait_inner) for c in found.evidence.classes] == [
        (0x71, False, 4), (0x72, False, 4), (0, False, 0)]  # fmt: skip
    assert found.walk.statistics()["acquired"].tolist() == [2, 2, 1]


def test_variables_of_one_name_are_told_apart_by_address() -> None:
    def chains_with(first: int) -> list[str]:
        s = Script(events=PLAIN)
        t = s.task("qemu", 100)
        for lock in (first, first + 0x100):
            t.take("lock", lock).take("&b->mutex", B).release("&b->mutex", B).release("lock", lock)
        return chains(walked(s))

    assert chains_with(0xFFFFFFFF82160000) == ["lock?", "lock > &b->mutex?", "lock?", "lock > &b->mutex?"]
    assert chains_with(0xFFFF888100000000) == ["lock x2?", "lock > &b->mutex x2?"]


def test_empty_trace_has_nothing() -> None:
    found = walked(Script())
    assert (holds(found), chains(found), anomalies(found), found.events) == ([], [], [], 0)
    assert (found.evidence.start_ns, found.evidence.end_ns, found.evidence.lost) == (0, 0, 0)
