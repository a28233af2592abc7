"""What comes between the two halves of one thing: of an acquisition, of a call, of a run queue's hold."""

from __future__ import annotations

from tests.builders.found import Hold, anomalies, chains, holds, walked
from tests.builders.script import HARDIRQ, IRQS_OFF, Script, Task

A, B, RQ, RQ1 = 0xFFFF888100000100, 0xFFFF888100000200, 0xFFFF888100000300, 0xFFFF888100000380


def signed(address: int) -> int:
    return address - (1 << 64)


def taken(t: Task, name: str, lock: int, *, waits: str = "mutex", first: str = "plain", **more: int) -> Task:
    """Both events of an acquisition, one behind the other."""
    if first == "plain":
        t.acquire(name, lock)
    t.detail(name, lock, waits=waits, **more)
    return t if first == "plain" else t.acquire(name, lock)


def preempted(t: Task, *, first: str = "plain") -> Task:
    """Another task runs, and this one again: the run queue's lock is taken, and released by whoever comes."""
    with t.context(IRQS_OFF, preempt=1):
        taken(t, "&rq->__lock", RQ, waits="raw", first=first)
        other = t.script.task("other", 200, t.cpu)
        t.switch_to(other, state=0)
        other.release("&rq->__lock", RQ)
        taken(other, "&rq->__lock", RQ, waits="raw", first=first).switch_to(t)
        t.release("&rq->__lock", RQ)
    return t


def test_a_preemption_between_the_two_events_of_an_acquisition() -> None:
    s = Script("7.3.4")
    t = taken(s.task("qemu", 100).sys_exit(), "&b->lock", B).release("&b->lock", B).acquire("&a->lock", A)
    preempted(t).detail("&a->lock", A).release("&a->lock", A).sys_exit()
    found = walked(s)
    assert "&a->lock" in chains(found)
    assert not any("&a->lock >" in chain for chain in chains(found))  # asked for and not yet held
    assert [(h.name, h.known) for h in holds(found) if h.name == "&a->lock"] == [("&a->lock", "both")]
    assert anomalies(found) == []


def test_the_same_where_the_detail_comes_first() -> None:
    s = Script("7.3.4")
    t = s.task("qemu", 100).sys_exit()
    taken(t, "&b->lock", B, first="detail").release("&b->lock", B)
    t.detail("&a->lock", A)
    preempted(t, first="detail").acquire("&a->lock", A).release("&a->lock", A).sys_exit()
    found = walked(s)
    assert not any("&a->lock >" in chain for chain in chains(found))
    assert [(h.name, h.known) for h in holds(found) if h.name == "&a->lock"] == [("&a->lock", "both")]
    assert anomalies(found) == []


def test_locks_of_the_same_context_between_the_two_events() -> None:
    # 7.3 runs timer work on the way out of an interrupt, with neither the hard nor the soft bit set.
    s = Script("7.3.4")
    t = taken(s.task("qemu", 100).sys_exit(), "&c->lock", RQ1).release("&c->lock", RQ1)
    t.acquire("&a->lock", A)
    taken(t, "hrtimer_bases.lock", B, waits="raw").release("hrtimer_bases.lock", B)
    t.detail("&a->lock", A)
    taken(t, "&c->lock", RQ1).release("&c->lock", RQ1).release("&a->lock", A).sys_exit()
    found = walked(s)
    assert chains(found) == ["&c->lock", "hrtimer_bases.lock", "&a->lock", "&a->lock > &c->lock"]
    assert anomalies(found) == []


def test_an_acquisition_whose_detail_never_comes_is_one_once_the_task_goes_on() -> None:
    s = Script("7.3.4")
    t = s.task("qemu", 100).sys_exit()
    taken(t, "&b->lock", B).release("&b->lock", B)
    t.acquire("&a->lock", A).acquired("&a->lock", A)
    taken(t, "&b->lock", B).release("&b->lock", B).release("&a->lock", A).sys_exit()
    assert chains(walked(s)) == ["&b->lock", "&a->lock", "&a->lock > &b->lock"]


def test_names_that_come_without_detail_are_not_waited_for() -> None:
    s = Script("7.3.4")
    t = s.task("qemu", 100).sys_exit()
    taken(t, "&b->lock", B).release("&b->lock", B)
    for _ in range(2):  # a map: no lock_acquired says that it is held
        t.acquire("fs_reclaim", A)
        taken(t, "&b->lock", B).release("&b->lock", B).release("fs_reclaim", A)
    assert "fs_reclaim > &b->lock" in chains(walked(s))


def test_what_tracing_holds_around_a_system_calls_event_is_not_the_tasks() -> None:
    for name in ("rcu_read_lock_trace", "rcu_tasks_trace_srcu_struct"):
        s = Script("7.3.4")
        t = s.task("qemu", 100)
        for call in (t.sys_enter, t.sys_exit, t.sys_enter):
            taken(t, name, RQ1, waits="map", read=2, check=0)
            call()
            t.release(name, RQ1)
        taken(t, "&a->lock", A).release("&a->lock", A).release("&b->lock", B)
        taken(t, name, RQ1, waits="map", read=2, check=0).sys_exit().release(name, RQ1)
        found = walked(s)
        assert anomalies(found) == [("release-not-held", "&b->lock")], name
        assert [(h.name, h.known) for h in holds(found) if h.name == name] == [(name, "both")] * 4


def test_a_leak_under_tracings_lock_is_told_without_it() -> None:
    s = Script("7.3.4")
    t = s.task("qemu", 100).sys_enter()
    taken(t, "&a->lock", A)
    taken(t, "rcu_read_lock_trace", RQ1, waits="map", read=2).sys_exit().release("rcu_read_lock_trace", RQ1)
    assert anomalies(walked(s)) == [("held-at-user", "&a->lock", "&a->lock")]


def test_a_double_release_in_the_first_system_call() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_enter()
    t.take("&a->lock", A).release("&a->lock", A).release("&a->lock", A)
    assert anomalies(walked(s)) == [("release-not-held", "&a->lock")]


def test_a_release_that_may_be_of_before_lock_events_were_recorded() -> None:
    s = Script()
    s.task("qemu", 100).sys_enter().release("&a->lock", A)
    assert anomalies(walked(s)) == []


def test_an_interrupt_releases_what_the_task_holds() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_enter().take("&a->lock", A)
    with t.context(HARDIRQ | IRQS_OFF):
        t.release("&a->lock", A)
    t.sys_exit()
    found = walked(s)
    assert anomalies(found) == [("release-not-held", "&a->lock", "&a->lock")]
    assert found.evidence.anomalies[0].detail == 1


def test_an_interrupt_releases_its_own() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_enter().acquire("rcu_read_lock", A, read=True)
    with t.context(HARDIRQ | IRQS_OFF):
        t.acquire("rcu_read_lock", A, read=True).release("rcu_read_lock", A)
    t.release("rcu_read_lock", A).sys_exit()
    assert anomalies(walked(s)) == []


def spin(t: Task, lock: int) -> Task:
    return t.event("lockscope:raw_spin_lock_entry", lock=lock, caller=0xDEAD).event("lockscope:raw_spin_lock")


def unspin(t: Task, lock: int) -> Task:
    return t.event("lockscope:raw_spin_unlock", lock=lock)


def test_a_probed_run_queue_is_taken_by_one_task_and_released_by_the_next() -> None:
    s = Script("7.3.4")
    alice, bob = s.task("alice", 100), s.task("bob", 200)
    with alice.context(IRQS_OFF, preempt=2):
        spin(alice, RQ).switch_to(bob)
    unspin(bob, RQ)
    idle = s.idle(1)
    spin(idle, RQ1).switch_to(alice)
    unspin(alice, RQ1)
    alice.event("lockscope:mutex_lock_entry", lock=A).event("lockscope:mutex_lock")
    alice.event("lockscope:mutex_unlock", lock=A)
    found = walked(s)
    assert all(len(found.evidence.chains[i].held) == 0 for i in range(len(found.evidence.chains)))
    assert [(h.lock, h.pid, h.known) for h in holds(found)] == [
        (signed(RQ), 100, "both"), (signed(RQ1), 0, "both"), (signed(A), 100, "both"),
    ]  # fmt: skip
    assert found.walk.counter("unpaired") == 0


def test_a_lock_that_is_kept_over_a_switch_is_no_run_queue() -> None:
    s = Script("7.3.4")
    alice, bob = s.task("alice", 100), s.task("bob", 200)
    spin(alice, A)
    with alice.context(IRQS_OFF), bob.context(IRQS_OFF):
        spin(alice, RQ).switch_to(bob)
        unspin(bob, RQ)
        spin(bob, RQ).switch_to(alice)
        unspin(alice, RQ)
    unspin(alice, A)
    assert [(h.lock, h.pid, h.known) for h in holds(walked(s))] == [
        (signed(A), 100, "both"), (signed(RQ), 100, "both"), (signed(RQ), 200, "both"),
    ]  # fmt: skip


def test_an_interrupts_call_without_return_does_not_stand_for_the_tasks() -> None:
    s = Script("6.1.0-56-amd64")
    t = s.task("qemu", 100).event("lockscope:raw_spin_lock_entry", lock=A)
    with t.context(HARDIRQ | IRQS_OFF):
        t.event("lockscope:raw_spin_lock_entry", lock=B)  # its return was missed
    t.event("lockscope:raw_spin_lock").event("lockscope:raw_spin_unlock", lock=A)
    assert [(h.lock, h.known) for h in holds(walked(s))] == [(signed(A), "both")]


def test_a_lock_was_taken_where_its_task_ran_then() -> None:
    s = Script()
    t = s.task("alice", 100).sys_exit().take("&a->lock", A)
    t.on(1).take("&b->lock", B).release("&b->lock", B).release("&a->lock", A)
    found = walked(s)
    chain = next(c for c in (found.evidence.chains[i] for i in range(len(found.evidence.chains))) if c.held)
    assert (chain.held[0].cpu, chain.next.cpu, chain.cpu) == (0, 1, 1)
    assert found.evidence.witness(chain.held[0], chain.cpu, 100).cpu == 0


def test_a_probed_lock_was_asked_for_where_its_function_began() -> None:
    s = Script("6.1.0-56-amd64")
    t = s.task("qemu", 100).event("lockscope:mutex_lock_entry", lock=A)
    t.on(1).event("lockscope:mutex_lock").event("lockscope:mutex_unlock", lock=A)
    found = walked(s)
    assert found.evidence.chains[0].next.cpu == 0
    assert holds(found) == [Hold(holds(found)[0].name, signed(A), 100, 1_000_000, 1_001_000, 1_002_000, 0, "both", "")]


def test_a_ww_contexts_stand_in_is_no_lock_that_a_wounded_context_keeps() -> None:
    # 7.x: ww_acquire_init() takes ctx->dep_map, then ctx->first_lock_dep_map beside it, nested under the first.
    s = Script("7.3.4")
    t = s.task("qemu", 100).sys_exit()
    taken(t, "ww_acquire", 0x9000, waits="map")
    taken(t, "ww_mutex", 0x9030, key=0x77, nest=0x9000)
    for lock in (A, B):
        taken(t, "ww_mutex", lock, key=0x77, nest=0x9000)
    t.event("lock:contention_end", lock_addr=B + 8, ret=-35).release("ww_mutex", B).release("ww_mutex", A)
    taken(t, "ww_mutex", B, key=0x77, nest=0x9000).release("ww_mutex", B)
    t.release("ww_mutex", 0x9030).release("ww_acquire", 0x9000).sys_exit()
    assert anomalies(walked(s)) == []


def test_a_nest_lock_that_was_never_seen() -> None:
    s = Script()
    t = s.task("qemu", 100)
    for lock in (A, B):
        taken(t, "&c->m", lock, nest=RQ).acquired("&c->m", lock)
    t.release("&c->m", B).release("&c->m", A)
    (odd,) = walked(s).evidence.anomalies
    assert (odd.what, odd.count, odd.detail, odd.held[0].nest) == ("nest-not-held", 2, signed(RQ), signed(RQ))


def test_a_nest_lock_that_was_taken_before_the_recording() -> None:
    s = Script()
    t = s.task("qemu", 100)
    for lock in (A, B):
        taken(t, "&c->m", lock, nest=RQ).acquired("&c->m", lock)
    t.release("&c->m", B).release("&c->m", A).release("&p->lock", RQ)
    assert anomalies(walked(s)) == []


def test_locks_of_two_classes_nested_under_it() -> None:
    """mm_take_all_locks(): i_mmap_rwsem and anon_vma's rwsem are nested under mmap_lock; only the last was denied."""
    s = Script()
    t = s.task("qemu", 100)
    taken(t, "&mapping->i_mmap_rwsem", A, nest=RQ).acquired("&mapping->i_mmap_rwsem", A)
    taken(t, "&anon_vma->rwsem", B, key=0x88, nest=RQ).acquired("&anon_vma->rwsem", B)
    t.release("&mapping->i_mmap_rwsem", A).release("&anon_vma->rwsem", B)
    assert len(anomalies(walked(s))) == 2
    t.release("&mm->mmap_lock", RQ)
    assert anomalies(walked(s)) == []
