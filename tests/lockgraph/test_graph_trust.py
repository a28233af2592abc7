"""How far a ring is believed: tasks, instances, creation and join, and a schedule of what was recorded."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lockscope.checks.check import all_checks
from lockscope.evidence.lifetimes import Lifetimes
from lockscope.results.findings import Confidence, Finding
from tests.builders.found import walked
from tests.builders.script import Script, Task

A, B, C = 0xFFFF888100000100, 0xFFFF888100000200, 0xFFFF888100000300
NAMES = {A: "&a->mutex", B: "&b->mutex", C: "&c->mutex"}


def nested(task: Task, *locks: int) -> None:
    """Take locks one in the other, and release them."""
    for lock in locks:
        task.detail(NAMES[lock], lock).acquired(NAMES[lock], lock)
    for lock in reversed(locks):
        task.release(NAMES[lock], lock)


def fork(parent: Task, child: Task) -> None:
    parent.event("sched:sched_process_fork", parent_comm=parent.comm, parent_pid=parent.pid,
                 child_comm=child.comm, child_pid=child.pid)  # fmt: skip


def found(play: Callable[[Script, Task, Task], None], *, there: bool = True, clock: str = "global") -> Finding:
    """What LS101 finds when two tasks play; ``there``: both are seen before anything happens."""
    script = Script(clock=clock)
    one, two = script.task("qemu", 100, 0), script.task("vcpu", 101, 1)
    one.sys_exit()
    if there:
        two.sys_exit()
    play(script, one, two)
    return all_checks()["LS101"].run(walked(script).evidence)[1][0]


def opposite(_: Script, one: Task, two: Task) -> None:
    nested(one, A, B)
    nested(two, B, A)


def test_a_schedule_of_what_was_recorded_is_certain() -> None:
    finding = found(opposite)
    assert finding.confidence is Confidence.CERTAIN
    assert finding.details["trust"] == {
        "guard": "no lock keeps all sides apart",
        "tasks": "qemu/100 on CPU 0, vcpu/101 on CPU 1: none holds what another must not",
        "instances": "each waits for the very lock that the next one holds",
        "order": "nothing recorded makes one wait for another's end or start",
        "schedule": "each side can run up to its attempt with no lock changing hands else",
        "held": "all that they held is known",
    }
    assert "confidence: certain" in finding.story


def test_who_was_not_there_may_not_have_been() -> None:
    finding = found(opposite, there=False)
    assert finding.confidence is Confidence.LIKELY
    assert finding.details["trust"]["schedule"] == "vcpu/101 is not known to have been there all the while"


def test_a_lock_that_changed_hands_in_between_forces_the_order() -> None:
    def play(_: Script, one: Task, two: Task) -> None:
        nested(one, A, B)
        nested(two, A)  # after that of ``one``: in the recorded order ``one`` has let go of it by now
        nested(two, B, A)

    finding = found(play)
    assert finding.confidence is Confidence.LIKELY
    assert finding.details["trust"]["schedule"] == "vcpu/101 took a lock of the others in between"


def test_a_lock_taken_before_all_of_it_forces_nothing() -> None:
    def play(_: Script, one: Task, two: Task) -> None:
        nested(two, A)
        nested(one, B)
        nested(one, A, B)
        nested(two, B, A)

    assert found(play).confidence is Confidence.CERTAIN


@pytest.mark.parametrize(("clock", "confidence"), [("global", Confidence.CERTAIN), ("local", Confidence.LIKELY)])
def test_clocks_of_cpus_differ(clock: str, confidence: Confidence) -> None:
    def play(script: Script, one: Task, two: Task) -> None:
        script.at(100_000_000)
        nested(two, A)
        nested(one, A, B)
        nested(two, B, A)

    assert found(play, clock=clock).confidence is confidence


def test_created_afterwards() -> None:
    def play(_: Script, one: Task, two: Task) -> None:
        nested(one, A, B)
        fork(one, two)
        nested(two, B, A)

    finding = found(play, there=False)
    assert finding.confidence is Confidence.POSSIBLE
    assert "vcpu/101 was created by qemu/100 afterwards" in finding.message


def test_created_before_is_there() -> None:
    def play(_: Script, one: Task, two: Task) -> None:
        fork(one, two)
        two.sys_exit()
        nested(one, A, B)
        nested(two, B, A)

    assert found(play, there=False).confidence is Confidence.CERTAIN


def test_whose_end_was_perhaps_waited_for() -> None:
    def play(_: Script, one: Task, two: Task) -> None:
        fork(one, two)
        nested(two, A, B)
        two.exit()
        nested(one, B, A)

    finding = found(play, there=False)
    assert finding.confidence is Confidence.POSSIBLE
    assert "qemu/100 can have waited for the end of vcpu/101" in finding.message


def test_other_witnesses_of_the_same_order_are_tried() -> None:
    def play(_: Script, one: Task, two: Task) -> None:
        nested(one, A, B)
        nested(two, A)  # after that of ``one``: these two sides force an order,
        nested(two, B, A)
        nested(one, C, A, B)  # this one and that of ``two`` before do not

    finding = found(play)
    assert finding.confidence is Confidence.CERTAIN
    assert [w.note.split(" at ")[0] for w in finding.witnesses] == [
        "takes &a->mutex", "takes &b->mutex", "takes &b->mutex", "takes &a->mutex"]  # fmt: skip
    assert finding.witnesses[0].ts_ns > finding.witnesses[2].ts_ns


def test_forebears_count_and_reused_pids_do_not() -> None:
    lives = Lifetimes(born={2: (10, 1), 3: (20, 2), 4: (5, 3)})
    assert lives.created_after(3, 1, 9)
    assert not lives.created_after(3, 1, 10)
    assert lives.created_after(3, 2, 15)
    assert (lives.descends(3, 1), lives.descends(1, 3)) == (True, False)
    lives.reused.add(3)
    assert not lives.created_after(3, 1, 9)
    assert not lives.alive(3, 30, 40)


def test_a_ring_of_forks_ends() -> None:
    lives = Lifetimes(born={1: (10, 2), 2: (20, 1)})
    assert not lives.created_after(1, 9, 0)


def test_lifetimes() -> None:
    lives = Lifetimes(seen={1: 100}, born={2: (50, 1)}, ended={2: 500})
    assert (lives.alive(1, 100, 600), lives.alive(1, 99, 600)) == (True, False)
    assert (lives.alive(2, 60, 500), lives.alive(2, 60, 501), lives.alive(3, 60, 70)) == (True, False, False)


def test_what_was_taken_is_never_remembered_too_early() -> None:
    s = Script()
    t = s.task("qemu", 100)
    times = {}
    for lock in range(A, A + 0x40 * 400, 0x40):
        times[lock - (1 << 64)] = s.now
        t.detail("&a->mutex", lock)
        t.release("&a->mutex", lock)
    walk = walked(s).walk
    assert all(walk.last_taken(100, lock) >= ts for lock, ts in times.items())
    assert walk.last_taken(100, max(times)) == max(times.values())
    assert walk.last_taken(101, max(times)) in (0, *times.values())
