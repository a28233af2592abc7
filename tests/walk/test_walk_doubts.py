"""Events that were missed unseen: what later ones say against it, and that real bugs stay."""

from __future__ import annotations

import pytest

from lockscope.evidence.gather import Gathered
from tests.builders.found import anomalies, chains, holds, walked
from tests.builders.records import PLAIN
from tests.builders.script import HARDIRQ, IRQS_OFF, Script, Task

A, B, C = 0x100, 0x200, 0x300


def stale(found: Gathered) -> int:
    return found.walk.counter("stale")


def spin(t: Task, name: str, lock: int) -> Task:
    """Take a spinning lock: preemption goes off before lock_acquire."""
    t.preempt += 1
    return t.take(name, lock)


def unspin(t: Task, name: str, lock: int) -> Task:
    """Release it: preemption comes back after lock_release."""
    t.release(name, lock)
    t.preempt -= 1
    return t


def test_fewer_preemption_levels_than_spinning_locks() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit()
    spin(t, "&base->lock", A)
    t.preempt = 0  # its release was missed
    t.take("&kvm->lock", B).release("&kvm->lock", B)
    found = walked(s)
    assert chains(found) == ["&base->lock?", "&kvm->lock?"]
    assert [(h.name, h.known) for h in holds(found)] == [("&base->lock", "begin"), ("&kvm->lock", "both")]
    assert (stale(found), anomalies(found)) == (1, [])


def test_level_of_the_next_spinning_lock_is_its_own() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit()
    spin(t, "&base->lock", A)
    t.preempt = 0
    unspin(spin(t, "&p->pi_lock", B), "&p->pi_lock", B)
    found = walked(s)
    assert chains(found) == ["&base->lock?", "&p->pi_lock?"]
    assert [(h.name, h.known) for h in holds(found)] == [("&base->lock", "begin"), ("&p->pi_lock", "both")]
    assert stale(found) == 1


def test_enough_levels_contradict_nothing() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit()
    spin(spin(t, "&base->lock", A), "&p->pi_lock", B)
    with t.context(HARDIRQ | IRQS_OFF):
        unspin(spin(t, "timekeeper_lock", C), "timekeeper_lock", C)
    unspin(unspin(t, "&p->pi_lock", B), "&base->lock", A).sys_exit()
    found = walked(s)
    assert chains(found) == ["&base->lock", "&base->lock > &p->pi_lock", "&base->lock > &p->pi_lock > timekeeper_lock"]
    assert stale(found) == 0


def test_kernels_that_do_not_count_contradict_nothing() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit().take("&base->lock", A).take("&kvm->lock", B)
    t.release("&kvm->lock", B).release("&base->lock", A)
    found = walked(s)
    assert chains(found) == ["&base->lock", "&base->lock > &kvm->lock"]
    assert stale(found) == 0


def test_full_counter_contradicts_nothing() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit()
    for i in range(20):
        t.preempt = min(i + 1, 15)
        t.take("&base->lock", A + 8 * i)
    assert stale(walked(s)) == 0


@pytest.mark.parametrize(("kernel", "stales"), [("5.10.1", 0), ("6.12.1", 1)])
def test_upper_bits_count_migrate_disable_since_5_15(kernel: str, stales: int) -> None:
    s = Script(kernel)
    t = s.task("qemu", 100).sys_exit()
    spin(t, "&base->lock", A)
    t.preempt = 0x10
    t.take("&kvm->lock", B)
    assert stale(walked(s)) == stales


def test_local_locks_take_no_level() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit()
    t.preempt = 1
    t.detail("&c->lock", A, waits="spin", lock_type=1)
    t.preempt = 0
    t.take("&kvm->lock", B)
    assert stale(walked(s)) == 0


def test_spinlocks_of_preempt_rt_take_no_level() -> None:
    s = Script("6.12.1-rt5")
    t = s.task("qemu", 100).sys_exit()
    t.preempt = 1
    t.detail("&zone->lock", A, waits="spin").take("&zone->lock", B)
    t.preempt = 0
    t.take("&kvm->lock", C)
    assert stale(walked(s)) == 0


def test_leak_of_a_spinning_lock_that_the_count_denies() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit()
    spin(t, "&base->lock", A)
    t.preempt = 0
    t.sys_exit()
    found = walked(s)
    assert (anomalies(found), stale(found)) == ([], 1)


def test_leak_of_a_spinning_lock_that_the_count_confirms() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit()
    spin(t, "&base->lock", A).sys_exit()
    (odd,) = walked(s).evidence.anomalies
    assert (odd.what, odd.proved) == ("held-at-user", True)


def test_sleep_under_a_spinning_lock_is_told_by_the_count() -> None:
    for level, what in ((2, []), (3, [("switched-atomic", True)])):  # schedule() takes one, the run queue's lock one
        s = Script()
        t, other = s.task("qemu", 100).sys_exit(), s.task("other", 101)
        other.preempt = 2
        other.switch_to(t)
        spin(t, "&base->lock", A)
        t.preempt = level
        t.switch_to(other)
        found = walked(s)
        assert [(o.what, o.proved) for o in found.evidence.anomalies] == what
        assert stale(found) == (not what)


def test_first_switch_of_a_trace_can_be_the_bug() -> None:
    s = Script()
    t, other = s.task("qemu", 100).sys_exit(), s.task("other", 101)
    spin(t, "&base->lock", A)
    t.preempt = 3
    t.switch_to(other)
    assert [(o.what, o.proved) for o in walked(s).evidence.anomalies] == [("switched-atomic", True)]


def test_unlock_that_the_count_confirms_as_unbalanced() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit()
    unspin(spin(t, "&base->lock", A), "&base->lock", A)
    t.release("&base->lock", A)
    assert [(o.what, o.proved) for o in walked(s).evidence.anomalies] == [("release-not-held", True)]


def test_unlock_whose_lock_was_missed() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit()
    unspin(spin(t, "&base->lock", A), "&base->lock", A)
    t.preempt = 1
    unspin(t, "&base->lock", A)
    t.release("&kvm->lock", B)
    assert [(o.what, o.proved) for o in walked(s).evidence.anomalies] == [("release-not-held", False)] * 2


def test_success_without_attempt_says_that_the_attempt_was_missed() -> None:
    for event in ("acquired", "contended"):
        s = Script()
        t = s.task("qemu", 100).sys_exit()
        getattr(t, event)("&kvm->lock", A).release("&kvm->lock", A)
        found = walked(s)
        assert (anomalies(found), stale(found)) == ([], 1)


def rivals(gap_ns: int, *, trylock: bool = False) -> tuple[Script, Task]:
    """Two tasks get one mutex; the first goes on so long after."""
    s = Script(events=PLAIN)
    one, two = s.task("one", 100, cpu=0).sys_exit(), s.task("two", 101, cpu=1).sys_exit()
    one.take("&kvm->lock", A)
    if trylock:
        two.acquire("&kvm->lock", A, trylock=True)
    else:
        two.take("&kvm->lock", A)
    s.at(s.now + gap_ns)
    return s, one


@pytest.mark.parametrize("trylock", [False, True])
def test_another_task_got_what_one_seems_to_hold(trylock: bool) -> None:
    s, one = rivals(2_000_000, trylock=trylock)
    one.take("&vcpu->mutex", B).release("&vcpu->mutex", B)
    found = walked(s)
    assert stale(found) == 1
    again = ["&kvm->lock", "&kvm->lock"] if trylock else ["&kvm->lock x2"]
    assert [c.rstrip("?") for c in chains(found)] == [*again, "&vcpu->mutex"]


def test_clocks_that_differ_a_little_are_no_contradiction() -> None:
    s, one = rivals(10_000)
    one.release("&kvm->lock", A).sys_exit()
    s.at(s.now + 5_000_000)
    one.take("&vcpu->mutex", B)
    found = walked(s)
    assert stale(found) == 0
    assert next(h.known for h in holds(found) if h.pid == 100) == "both"


def test_readers_and_maps_are_no_rivals() -> None:
    s = Script()
    one, two = s.task("one", 100, cpu=0).sys_exit(), s.task("two", 101, cpu=1).sys_exit()
    for t in (one, two):
        t.take("&mm->mmap_lock", A, read=True).acquire("(wq_completion)events", B)
        t.acquire("rcu_read_lock", C, read=True)
    s.at(s.now + 5_000_000)
    one.sys_exit()
    assert stale(walked(s)) == 0


def test_run_queue_that_another_task_got_is_taken_off_at_once() -> None:
    s = Script()
    one, two = s.task("one", 100, cpu=0).sys_exit(), s.task("two", 101, cpu=0).sys_exit()
    with one.context(IRQS_OFF, preempt=2):
        one.take("&rq->__lock", A)
    with two.context(IRQS_OFF, preempt=2):
        two.take("&rq->__lock", A).release("&rq->__lock", A)
    with one.context(IRQS_OFF, preempt=1):
        one.take("&p->pi_lock", B)
    found = walked(s)
    assert (chains(found)[-1], stale(found)) == ("&p->pi_lock?", 0)


def test_going_on_after_asking_for_what_is_held() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit().take("&kvm->lock", A)  # its release was missed
    t.acquire("&kvm->lock", A).acquired("&kvm->lock", A).take("&vcpu->mutex", B)
    t.release("&vcpu->mutex", B).release("&kvm->lock", A).sys_exit()
    found = walked(s)
    assert chains(found) == ["&kvm->lock x2?", "&kvm->lock > &vcpu->mutex?"]
    assert [(h.name, h.known, h.depth) for h in holds(found)] == [
        ("&kvm->lock", "begin", 0), ("&kvm->lock", "both", 1), ("&vcpu->mutex", "both", 1),
    ]  # fmt: skip
    assert (stale(found), anomalies(found)) == (1, [])


@pytest.mark.parametrize("how", ["release", "other", "user"])
def test_going_on_where_lock_acquired_is_not_recorded(how: str) -> None:
    s = Script(events=PLAIN)
    t = s.task("qemu", 100).sys_exit().acquire("&kvm->lock", A).acquire("&kvm->lock", A)
    if how == "release":
        t.release("&kvm->lock", A)
    elif how == "other":
        t.acquire("&vcpu->mutex", B)
    else:
        t.sys_exit()
    found = walked(s)
    assert stale(found) == 1
    assert chains(found)[0] == "&kvm->lock x2?"


def wait_in_vain(t: Task, other: Task) -> None:
    t.contended("&kvm->lock", A).event("lock:contention_begin", lock_addr=A)
    with t.context(IRQS_OFF, preempt=1):
        t.acquire("&lock->wait_lock", A + 8).release("&lock->wait_lock", A + 8)
    with t.context(IRQS_OFF, preempt=2):
        t.take("&rq->__lock", C).switch_to(other, state=2)
        t.release("&rq->__lock", C)


def test_deadlock_with_oneself_stands_at_the_traces_end() -> None:
    s = Script()
    t, other = s.task("qemu", 100).sys_exit(), s.task("other", 101)
    t.take("&kvm->lock", A).acquire("&kvm->lock", A)
    wait_in_vain(t, other)
    s.at(s.now + 5_000_000)
    other.sys_exit()
    found = walked(s)
    assert "&kvm->lock > &kvm->lock" in chains(found)
    assert stale(found) == 0
    chain = found.evidence.chains[chains(found).index("&kvm->lock > &kvm->lock")]
    assert (chain.whole, chain.count, chain.pid, chain.cpu) == (True, 1, 100, 0)


def test_deadlock_that_another_owner_explains_is_not_sure() -> None:
    s = Script()
    t, other = s.task("qemu", 100, cpu=0).sys_exit(), s.task("other", 101, cpu=1)
    t.take("&kvm->lock", A)
    other.take("&kvm->lock", A)
    t.acquire("&kvm->lock", A)
    s.at(s.now + 5_000_000)
    s.task("third", 102, cpu=1).sys_exit()
    assert "&kvm->lock > &kvm->lock?" in chains(walked(s))


def test_real_deadlock_of_two_tasks_is_sure() -> None:
    s = Script()
    one, two = s.task("one", 100, cpu=0).sys_exit(), s.task("two", 101, cpu=1).sys_exit()
    third = s.task("third", 102, cpu=2).take("&kvm->lock", A).release("&kvm->lock", A)
    third.take("&vcpu->mutex", B).release("&vcpu->mutex", B)
    one.take("&kvm->lock", A).acquire("&vcpu->mutex", B)
    two.take("&vcpu->mutex", B).acquire("&kvm->lock", A)
    s.at(s.now + 5_000_000)
    third.sys_exit()
    found = chains(walked(s))
    assert "&kvm->lock > &vcpu->mutex" in found
    assert "&vcpu->mutex > &kvm->lock" in found


def test_recursion_in_a_window_is_told_at_once() -> None:
    s = Script()
    s.marker("begin one")
    t = s.task("qemu", 100).take("&kvm->lock", A).take("&kvm->lock", A)
    s.marker("end")
    t.sys_exit()
    found = walked(s, window_start=r"begin (?P<name>\w+)", window_end="end")
    assert chains(found) == ["&kvm->lock", "&kvm->lock > &kvm->lock"]
    assert stale(found) == 0


def test_trylock_that_got_what_is_held_says_that_it_was_not() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit().take("&kvm->lock", A).acquire("&kvm->lock", A, trylock=True)
    t.take("&vcpu->mutex", B).release("&vcpu->mutex", B).release("&kvm->lock", A).sys_exit()
    found = walked(s)
    assert (stale(found), anomalies(found)) == (1, [])
    assert chains(found)[-1] == "&kvm->lock > &vcpu->mutex?"


def test_interrupt_that_takes_the_tasks_lock_is_told_at_once() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit().take("&base->lock", A)
    with t.context(HARDIRQ | IRQS_OFF):
        t.acquire("&base->lock", A)
    assert chains(walked(s)) == ["&base->lock?", "&base->lock > &base->lock?"]


def test_recursive_readers_are_told_at_once() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit()
    for name in ("&mm->mmap_lock", "&kvm->srcu"):
        t.acquire(name, A, read=True).acquire(name, A, read=True).release(name, A).release(name, A)
    found = walked(s)
    assert stale(found) == 0
    assert chains(found)[1] == "&mm->mmap_lock > &mm->mmap_lock"


def test_leak_that_is_taken_again_without_a_release_is_none() -> None:
    s = Script()
    one, two = s.task("one", 100).sys_exit(), s.task("two", 101, cpu=1)
    one.take("&kvm->lock", A).sys_exit()
    two.take("&kvm->lock", A)
    found = walked(s)
    assert anomalies(found) == []


def test_leak_that_is_released_later_is_one() -> None:
    s = Script()
    one, two = s.task("one", 100).sys_exit(), s.task("two", 101, cpu=1)
    one.take("&kvm->lock", A).sys_exit().release("&kvm->lock", A).sys_exit()
    two.take("&kvm->lock", A)
    assert [o[0] for o in anomalies(walked(s))] == ["held-at-user"]


def test_chain_whose_locks_are_never_released_is_not_whole() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit().take("&kvm->lock", A).take("&vcpu->mutex", B).release("&vcpu->mutex", B)
    assert chains(walked(s)) == ["&kvm->lock?", "&kvm->lock > &vcpu->mutex?"]
    t.release("&kvm->lock", A)
    assert chains(walked(s)) == ["&kvm->lock", "&kvm->lock > &vcpu->mutex"]


def test_mutexes_have_wait_type_three_without_raw_lock_nesting() -> None:
    s = Script()
    t, other = s.task("qemu", 100).sys_exit(), s.task("other", 101)
    t.event("lockscope:lockdep_acquire", lock=A, key=0x70, check=1, wait_inner=3, name="&kvm->lock").switch_to(other)
    assert anomalies(walked(s)) == []


def test_contradictions_are_in_the_coverage() -> None:
    from lockscope import pipeline

    s, one = rivals(2_000_000)
    one.sys_exit()
    reader, options = s.reader(), pipeline.AnalyzeOptions()
    found, how = pipeline.gathered(reader, pipeline.selected_checks(("LS101",)), options)
    unpaired = pipeline._summary(reader.info, found, how).coverage["unpaired"]
    assert unpaired["states of held locks discarded because later events contradicted them"] == 1


def test_an_interrupt_that_is_over_holds_nothing() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit()
    with t.context(HARDIRQ | IRQS_OFF):
        t.take("&irq->lock", A)  # its release is missing
    t.take("&a->mutex", B).release("&a->mutex", B)
    with t.context(HARDIRQ | IRQS_OFF):
        t.take("&other->lock", C).release("&other->lock", C)
    found = walked(s)
    assert chains(found) == ["&irq->lock?", "&a->mutex?", "&other->lock?"]
    assert found.walk.counter("stale") == 1


def test_rcu_sched_section_that_was_left_unseen() -> None:
    s = Script(events=PLAIN)
    t = s.task("qemu", 100).sys_exit()
    t.preempt = 1
    t.acquire("rcu_read_lock_sched", A, read=True)  # its release is missing
    t.preempt = 0
    t.take("&a->mutex", B).release("&a->mutex", B)
    assert chains(walked(s)) == ["rcu_read_lock_sched?", "&a->mutex?"]
