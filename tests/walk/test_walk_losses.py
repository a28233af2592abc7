"""What is still known behind a gap, and in windows."""

from __future__ import annotations

import pytest

from lockscope.evidence.gather import Gathered
from tests.builders.found import anomalies, chains, holds, walked
from tests.builders.script import Script, Task

A, B, C = 0x100, 0x200, 0x300


def known(found: Gathered) -> list[tuple[str, int, str]]:
    return [(h.name, h.pid, h.known) for h in holds(found)]


def two_tasks() -> tuple[Script, Task, Task]:
    s = Script()
    return s, s.task("qemu", 100, cpu=0).sys_exit(), s.task("other", 101, cpu=1).sys_exit()


def test_gap_cuts_what_the_task_on_its_cpu_holds() -> None:
    s, one, _ = two_tasks()
    one.take("&kvm->lock", A)
    s.loss(0)
    one.release("&kvm->lock", A)
    found = walked(s)
    assert known(found) == [("&kvm->lock", 100, "begin"), ("&kvm->lock", 100, "end")]
    assert anomalies(found) == []
    assert found.walk.statistics()["holds"].tolist() == [0]
    assert found.walk.counter("losses") == 1


def test_gap_on_another_cpu_spares_a_task_that_was_not_switched_out() -> None:
    s, one, other = two_tasks()
    idle = s.idle(1)
    other.switch_to(idle)
    one.take("&kvm->lock", A)
    s.loss(1)
    one.take("&vcpu->mutex", B).release("&vcpu->mutex", B).release("&kvm->lock", A)
    found = walked(s)
    assert known(found) == [("&kvm->lock", 100, "both"), ("&vcpu->mutex", 100, "both")]
    assert chains(found)[-1] == "&kvm->lock > &vcpu->mutex"


def test_gap_on_another_cpu_may_have_been_the_tasks_where_switches_are_not_recorded() -> None:
    s, one, other = two_tasks()
    other.take("&a->mutex", C)
    one.take("&kvm->lock", A)
    s.loss(1)
    one.take("&vcpu->mutex", B).release("&kvm->lock", A)
    assert known(walked(s)) == [("&a->mutex", 101, "begin"), ("&kvm->lock", 100, "begin"),
                                ("&vcpu->mutex", 100, "begin"), ("&kvm->lock", 100, "end")]  # fmt: skip


def test_gap_forgets_a_task_that_was_switched_out() -> None:
    s, one, _ = two_tasks()
    idle = s.idle(0)
    one.take("&kvm->lock", A).switch_to(idle)
    s.loss(1)
    idle.switch_to(one)
    one.release("&kvm->lock", A)
    assert known(walked(s)) == [("&kvm->lock", 100, "begin"), ("&kvm->lock", 100, "end")]


def test_what_is_taken_behind_the_gap_is_known_again() -> None:
    s, one, _ = two_tasks()
    s.loss(0)
    one.take("&kvm->lock", A).release("&kvm->lock", A).sys_exit().take("&a->mutex", B).release("&a->mutex", B)
    found = walked(s)
    assert chains(found) == ["&kvm->lock?", "&a->mutex"]
    assert [k for *_, k in known(found)] == ["both", "both"]


def test_events_between_a_gaps_begin_and_its_loss_row_prove_nothing() -> None:
    s = Script()
    t = s.task("qemu", 100, cpu=1).sys_exit().take("&kvm->lock", A)
    t.on(0).release("&vcpu->mutex", B)  # CPU 1 is silent from here on: what was taken there before it moved is lost
    s.loss(1)
    s.task("other", 101, cpu=1).sys_exit()
    assert anomalies(walked(s)) == []


@pytest.mark.parametrize(("counts", "lost"), [([3, 4], 7), ([3, -1], None), ([], 0)])
def test_how_many_were_lost(counts: list[int], lost: int | None) -> None:
    s, one, _ = two_tasks()
    for number in counts:
        s.loss(0, number)
        one.sys_exit()
    found = walked(s)
    assert found.evidence.lost == lost
    assert found.lost_by_cpu == ({0: lost} if counts else {})


WINDOWS = {"window_start": r"begin (?P<name>\w+)", "window_end": "end"}


def test_windows_start_from_an_empty_state() -> None:
    s = Script()
    t = s.task("qemu", 100).take("&kvm->lock", A)
    s.marker("begin one")
    t.take("&vcpu->mutex", B)
    s.marker("end")
    t.take("&a->mutex", C)
    s.marker("begin two")
    t.take("&a->mutex", C + 8).release("&kvm->lock", A)
    s.marker("end of two")
    found = walked(s, **WINDOWS)
    assert chains(found) == ["&vcpu->mutex", "&a->mutex"]
    assert [found.evidence.chains[i].window for i in range(2)] == [0, 1]
    assert anomalies(found) == [("release-not-held", "&kvm->lock", "&a->mutex")]
    assert [(w.name, w.start_ns, w.end_ns) for w in found.evidence.windows] == [
        ("one", 1_002_000, 1_005_000), ("two", 1_008_000, 1_012_000),
    ]  # fmt: skip
    assert found.evidence.windowed is True


def test_tasks_first_seen_in_a_window_hold_nothing_either() -> None:
    s = Script()
    s.marker("begin one")
    s.task("qemu", 100).take("&kvm->lock", A).release("&vcpu->mutex", B)
    found = walked(s, **WINDOWS)
    assert chains(found) == ["&kvm->lock"]
    assert anomalies(found) == [("release-not-held", "&vcpu->mutex", "&kvm->lock")]


def test_gap_in_a_window_is_a_gap() -> None:
    s = Script()
    t = s.task("qemu", 100)
    s.marker("begin one")
    t.take("&a->mutex", A)
    s.loss(0)
    t.release("&kvm->lock", A)
    s.task("new", 102).release("&kvm->lock", A)
    assert anomalies(walked(s, **WINDOWS)) == []


def test_nothing_is_judged_outside_windows() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit().take("&kvm->lock", A).release("&vcpu->mutex", B).sys_exit()
    s.marker("begin one")
    s.marker("end")
    t.take("&kvm->lock", A).sys_exit()
    found = walked(s, **WINDOWS)
    assert (chains(found), anomalies(found)) == ([], [])
    assert found.walk.statistics()["acquired"].tolist()[0] == 2


def test_same_situation_in_two_windows_is_two_chains() -> None:
    s = Script()
    t = s.task("qemu", 100)
    for name in ("one", "two"):
        s.marker(f"begin {name}")
        t.take("&kvm->lock", A).release("&kvm->lock", A)
    s.marker("end two")
    found = walked(s, **WINDOWS)
    assert [(c.window, c.count) for c in (found.evidence.chains[i] for i in range(2))] == [(0, 1), (1, 1)]
