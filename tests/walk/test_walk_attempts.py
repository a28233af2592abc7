"""Attempts that fail are no holds, and attempts at what is held already."""

from __future__ import annotations

from lockscope.evidence.gather import Gathered
from tests.builders.found import anomalies, chains, holds, walked
from tests.builders.script import HARDIRQ, IRQS_OFF, Script

A, B = 0x100, 0x200


def names(found: Gathered) -> list[str]:
    return [h.name for h in holds(found)]


def test_failed_interruptible_attempt_is_no_hold() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit().take("&kvm->lock", A).release("&kvm->lock", A)
    t.acquire("&kvm->lock", A).contended("&kvm->lock", A).release("&kvm->lock", A)
    found = walked(s)
    assert names(found) == ["&kvm->lock"]
    numbers = {name: column.tolist() for name, column in found.walk.statistics().items()}
    assert (numbers["acquired"], numbers["contended"], numbers["holds"], numbers["hold_ns"]) == ([2], [1], [1], [1000])


def test_edges_of_a_failed_attempt_are_real() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit().take("&kvm->lock", A).acquire("&vcpu->mutex", B).release("&vcpu->mutex", B)
    t.take("&kvm->slots_lock", B + 8).release("&kvm->slots_lock", B + 8).release("&kvm->lock", A)
    found = walked(s)
    assert chains(found) == ["&kvm->lock", "&kvm->lock > &vcpu->mutex", "&kvm->lock > &kvm->slots_lock"]
    assert names(found) == ["&kvm->lock", "&kvm->slots_lock"]


def test_first_attempt_of_a_mutex_can_fail_too() -> None:
    s = Script()
    s.task("other", 101, cpu=1).take("&a->mutex", B)
    t = s.task("qemu", 100).sys_exit().acquire("&kvm->lock", A).release("&kvm->lock", A)
    t.take("&kvm->lock", A).release("&kvm->lock", A)
    assert [(h.name, h.asked, h.known) for h in holds(walked(s))] == [
        ("&a->mutex", 1_000_000, "begin"), ("&kvm->lock", 1_005_000, "both"),
    ]  # fmt: skip


def test_times_of_one_microsecond_do_not_make_a_success_a_failure() -> None:
    s = Script()
    t = s.task("qemu", 100)
    t.acquire("&kvm->lock", A, at=5000).acquired("&kvm->lock", A, at=5000).release("&kvm->lock", A, at=5000)
    t.acquire("&kvm->lock", A, at=6000).release("&kvm->lock", A, at=6000)
    assert [h.asked for h in holds(walked(s))] == [5000]


def test_without_lock_acquired_in_the_trace_every_attempt_counts() -> None:
    s = Script()
    s.task("qemu", 100).acquire("&kvm->lock", A).release("&kvm->lock", A)
    assert names(walked(s)) == ["&kvm->lock"]


def test_what_has_no_lock_acquired_never_fails() -> None:
    s = Script()
    t = s.task("qemu", 100).take("&kvm->lock", B)
    t.acquire("&a->mutex", A, trylock=True).release("&a->mutex", A)
    t.acquire("&kvm->srcu", A, read=True).release("&kvm->srcu", A)
    t.acquire("fs_reclaim", A).release("fs_reclaim", A)
    t.acquire("cpu_hotplug_lock", A, read=True).release("cpu_hotplug_lock", A)
    t.acquire("&base->lock", A).release("&base->lock", A)  # spins: it cannot fail, its lock_acquired was missed
    found = names(walked(s))
    assert found == ["&kvm->lock", "&a->mutex", "&kvm->srcu", "fs_reclaim", "cpu_hotplug_lock", "&base->lock"]


def test_attempt_under_an_interrupt_of_its_own() -> None:
    s = Script()
    t = s.task("qemu", 100).take("&a->mutex", B).acquire("&kvm->lock", A)
    with t.context(HARDIRQ | IRQS_OFF):
        t.take("&base->lock", B + 8).release("&base->lock", B + 8)
    t.acquired("&kvm->lock", A).release("&kvm->lock", A).release("&a->mutex", B)
    assert [(h.name, h.depth) for h in holds(walked(s))] == [("&a->mutex", 0), ("&kvm->lock", 1), ("&base->lock", 2)]


def test_given_up_on_what_is_held_already_is_told() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit().take("&kvm->lock", A)
    t.acquire("&kvm->lock", A).release("&kvm->lock", A).release("&kvm->lock", A)
    found = walked(s)
    assert anomalies(found) == [("gave-up", "&kvm->lock", "&kvm->lock")]
    assert names(found) == ["&kvm->lock"]
