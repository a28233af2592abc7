"""What no chain shows: releases of what is not held, leaks, switches, initialisations, irqs seen on, wounds."""

from __future__ import annotations

import pytest

from tests.builders.found import anomalies, chains, holds, walked
from tests.builders.records import PLAIN_INIT
from tests.builders.script import BH_OFF, HARDIRQ, IRQS_OFF, SOFTIRQ, Script

A, B, C = 0x100, 0x200, 0x300


def test_release_of_what_a_known_task_does_not_hold() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit().take("&kvm->lock", A).release("&kvm->lock", A).take("&a->mutex", B)
    t.release("&kvm->lock", A)
    found = walked(s)
    assert anomalies(found) == [("release-not-held", "&kvm->lock", "&a->mutex")]
    odd = found.evidence.anomalies[0]
    assert (odd.lock, odd.pid, odd.cpu, odd.ts_ns, odd.seq, odd.count) == (A, 100, 0, 1_006_000, 6, 1)
    assert [(h.name, h.known) for h in holds(found)] == [("&kvm->lock", "both"), ("&a->mutex", "begin"),
                                                         ("&kvm->lock", "end")]  # fmt: skip
    assert found.walk.counter("unpaired") == 1


def test_the_same_again_is_counted() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit()
    for _ in range(4):
        t.release("&kvm->lock", A)
    found = walked(s)
    assert [(o.what, o.count) for o in found.evidence.anomalies] == [("release-not-held", 4)]


def test_held_on_return_to_user_space() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit().take("&kvm->lock", A).take("&kvm->srcu", B, read=True).sys_exit(16)
    found = walked(s)
    assert anomalies(found) == [("held-at-user", "&kvm->srcu", "&kvm->lock", "&kvm->srcu")]
    assert found.evidence.anomalies[0].detail == 16
    assert [h.known for h in holds(found)] == ["begin", "begin"]
    t.release("&kvm->lock", A)
    assert len(anomalies(walked(s))) == 1  # the release of what was leaked is no second finding


def test_after_a_clean_return_releases_are_judged_again() -> None:
    s = Script()
    t = s.task("qemu", 100).take("&kvm->lock", A).sys_exit().sys_exit().release("&kvm->lock", A)
    assert [o[0] for o in anomalies(walked(s))] == ["held-at-user", "release-not-held"]
    assert t.pid == 100


def test_held_at_the_tasks_end() -> None:
    s = Script()
    s.task("qemu", 100).take("&kvm->lock", A).exit()
    assert anomalies(walked(s)) == [("held-at-exit", "&kvm->lock", "&kvm->lock")]


def test_interrupts_on_top_are_not_the_tasks_leaks() -> None:
    s = Script()
    t = s.task("qemu", 100)
    with t.context(HARDIRQ | IRQS_OFF):
        t.take("&base->lock", A)
    t.sys_exit()
    assert anomalies(walked(s)) == []


def test_switched_out_with_a_spinning_lock() -> None:
    s = Script()
    t, other = s.task("qemu", 100), s.task("other", 101)
    with t.context(IRQS_OFF, preempt=3):
        t.take("&base->lock", A).take("&kvm->lock", B).switch_to(other, state=2)
    found = walked(s)
    assert anomalies(found) == [("switched-atomic", "&base->lock", "&base->lock", "&kvm->lock")]
    assert (found.evidence.anomalies[0].detail, found.evidence.anomalies[0].preempt) == (2, 3)


def test_switched_out_with_sleeping_locks_rcu_or_a_local_lock() -> None:
    s = Script()
    t, other = s.task("qemu", 100), s.task("other", 101)
    t.take("&kvm->lock", A).acquire("rcu_read_lock", B, read=True).detail("&c->lock", C, waits="map").switch_to(other)
    t.detail("rcu_read_lock", B, waits="rcu", read=2, check=0).switch_to(other)
    assert anomalies(walked(s)) == []


def test_wait_types_say_more_than_names() -> None:
    s = Script()
    t, other = s.task("qemu", 100), s.task("other", 101)
    t.preempt = 3
    t.detail("&unheard_of", A, waits="raw").switch_to(other)
    assert anomalies(walked(s)) == [("switched-atomic", "&unheard_of", "&unheard_of")]


def test_run_queue_changes_hands_at_a_switch() -> None:
    s = Script()
    t, other = s.task("qemu", 100).sys_exit(), s.task("other", 101).sys_exit()
    with t.context(IRQS_OFF, preempt=2):
        t.take("&rq->__lock", A).switch_to(other)
        t.release("&rq->__lock", A)  # finish_lock_switch()
    with other.context(IRQS_OFF, preempt=2):
        other.acquire("&rq->__lock", A).release("&rq->__lock", A)
    other.sys_exit()
    found = walked(s)
    assert anomalies(found) == []
    assert [(h.name, h.pid, h.known) for h in holds(found)] == [
        ("&rq->__lock", 100, "both"), ("&rq->__lock", 101, "both"),
    ]  # fmt: skip
    assert found.walk.counter("unpaired") == 0


def test_run_queue_that_was_got_is_held_though_the_attempt_is_missing() -> None:
    s = Script()
    t = s.task("qemu", 100).take("&a->mutex", A)
    with t.context(IRQS_OFF):
        t.acquired("&rq->__lock", B)  # a PID filter cut the attempt away
        t.take("&pid_list->lock", C).release("&pid_list->lock", C)
    assert chains(walked(s)) == ["&a->mutex?", "&a->mutex > &rq->__lock > &pid_list->lock?"]


def test_run_queue_given_up_unseen_is_gone_where_irqs_are_on() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit()
    with t.context(IRQS_OFF):
        t.take("&rq->__lock", A)  # the switch, and the release by the next task, were not recorded
    t.take("&kvm->lock", B).release("&kvm->lock", B)
    found = walked(s)
    assert chains(found) == ["&rq->__lock", "&kvm->lock"]
    assert [(h.name, h.known) for h in holds(found)] == [("&rq->__lock", "begin"), ("&kvm->lock", "both")]


def test_run_queue_given_up_unseen_is_no_leak() -> None:
    s = Script()
    t, other = s.task("qemu", 100).sys_exit(), s.task("other", 101)
    with t.context(IRQS_OFF):
        t.take("&rq->__lock", A)
    t.sys_exit()
    with t.context(IRQS_OFF):
        t.take("&rq->__lock", A).switch_to(other)
    t.event("raw_syscalls:sys_enter", id=1).sys_exit()
    found = walked(s)
    assert anomalies(found) == []
    assert [h.known for h in holds(found)] == ["begin", "begin"]


def test_held_map_initialised_or_freed() -> None:
    s = Script(events=PLAIN_INIT)
    t = s.task("qemu", 100).event("lockscope:lockdep_init", lock=A, key=0x76, name="&kvm->lock").take("&kvm->lock", A)
    t.event("lockscope:lockdep_init", lock=A, key=0x77, name="&kvm->lock").event("kmem:kfree", ptr=A)
    found = walked(s)
    assert anomalies(found) == [("init-held", "&kvm->lock", "&kvm->lock"), ("freed-held", "&kvm->lock", "&kvm->lock")]
    assert found.evidence.anomalies[0].detail == 0x77


@pytest.mark.parametrize("before", [0, 0x76])
def test_its_own_key_or_one_not_known_is_perhaps_set_subclass(before: int) -> None:
    s = Script(events=PLAIN_INIT)
    t = s.task("idle", 100)
    if before:
        t.event("lockscope:lockdep_init", lock=A, key=before, name="&rq->__lock")
    t.take("&rq->__lock", A).event("lockscope:lockdep_init", lock=A, key=0x76, name="&rq->__lock")
    assert anomalies(walked(s)) == []


def test_set_subclass_gives_a_held_lock_another_class() -> None:
    s = Script()
    t = s.task("qemu", 100).detail("&gpc->lock", A, key=0x7000, waits="spin")
    t.event("lockscope:lockdep_init", lock=A, key=0x7000, name="&gpc->lock").detail("&a->mutex", B)
    found = walked(s)
    assert anomalies(found) == []
    assert chains(found)[-1] == "&gpc->lock/? > &a->mutex?"


def test_class_of_an_address_is_forgotten_when_it_is_initialised() -> None:
    s = Script()
    t = s.task("qemu", 100).acquire("&s->lock", A).detail("&s->lock", A, key=0x7001).release("&s->lock", A)
    t.event("lockscope:lockdep_init", lock=A, key=0x7002, name="&s->lock").acquire("&s->lock", A).release("&s->lock", A)
    assert [(c.key, c.keyed) for c in walked(s).evidence.classes] == [(0, False), (0x7001, True)]
    assert [h.how for h in holds(walked(s))] == ["", ""]


def test_irqs_seen_on_under_a_hold_once() -> None:
    s = Script()
    t = s.task("qemu", 100)
    with t.context(IRQS_OFF):
        t.acquire("&base->lock", A)
    for number in range(3):
        t.event("kvmmmu:kvm_tdp_mmu_spte_changed", gfn=number)
    t.event("preemptirq:irq_enable").release("&base->lock", A)
    found = walked(s)
    assert [(o[0], o[1]) for o in anomalies(found)] == [("irqs-on-held", "&base->lock")]
    assert found.evidence.anomalies[0].flags & IRQS_OFF == 0


def test_bottom_halves_seen_on_are_apart_from_irqs() -> None:
    s = Script()
    t = s.task("qemu", 100)
    with t.context(IRQS_OFF | BH_OFF):
        t.acquire("&base->lock", A)
    with t.context(BH_OFF):
        t.event("preemptirq:irq_enable")
    t.event("preemptirq:irq_enable").event("preemptirq:irq_enable")
    assert [o.flags for o in walked(s).evidence.anomalies] == [BH_OFF, 0]


def test_interrupts_on_top_do_not_prove_that_they_can_come() -> None:
    s = Script()
    t = s.task("qemu", 100)
    with t.context(IRQS_OFF):
        t.acquire("&base->lock", A)
    with t.context(SOFTIRQ):
        t.event("preemptirq:irq_enable")
    assert anomalies(walked(s)) == []


def wounded(script: Script) -> None:
    t = script.task("qemu", 100).detail("ww_acquire", 0x900, waits="map")
    t.detail("ww_mutex", A, nest=0x900).detail("ww_mutex", B, nest=0x900)
    t.event("lock:contention_end", lock_addr=B + 8, ret=-35).release("ww_mutex", B)


def test_wounded_context_that_takes_another_lock() -> None:
    s = Script()
    wounded(s)
    t = s.task("qemu", 100).release("ww_mutex", A).detail("ww_mutex", C, nest=0x900)
    assert anomalies(walked(s)) == [("ww-order", "ww_mutex")]
    assert t.pid == 100


def test_wounded_context_that_keeps_a_lock() -> None:
    s = Script()
    wounded(s)
    s.task("qemu", 100).detail("ww_mutex", B, nest=0x900)
    assert anomalies(walked(s)) == [("ww-order", "ww_mutex", "ww_mutex")]


def test_wounded_context_that_backs_off() -> None:
    s = Script()
    wounded(s)
    s.task("qemu", 100).release("ww_mutex", A).detail("ww_mutex", B, nest=0x900).detail("ww_mutex", A, nest=0x900)
    assert anomalies(walked(s)) == []


def test_wounded_context_that_ends() -> None:
    s = Script()
    wounded(s)
    t = s.task("qemu", 100).release("ww_mutex", A).release("ww_acquire", 0x900)
    t.detail("ww_acquire", 0x900, waits="map").detail("ww_mutex", C, nest=0x900)
    assert anomalies(walked(s)) == []


@pytest.mark.parametrize("ret", [-4, -110, -512, 0])
def test_an_attempt_that_fails_otherwise_wounds_no_context(ret: int) -> None:
    """-EINTR of ww_mutex_lock_interruptible(): the context goes on, and may take whatever comes next."""
    s = Script()
    t = s.task("qemu", 100).detail("ww_acquire", 0x900, waits="map")
    t.detail("ww_mutex", A, nest=0x900).detail("ww_mutex", B, nest=0x900)
    t.event("lock:contention_end", lock_addr=B + 8, ret=ret).release("ww_mutex", B)
    t.detail("ww_mutex", C, nest=0x900)
    assert anomalies(walked(s)) == []
