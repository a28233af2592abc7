"""Whether a recording leaves tasks out, by its task switches."""

from __future__ import annotations

import pytest

from tests.builders.script import Script, Task

RQ = ("&rq->__lock", 0xFFFF888100000018)


def switched(task: Task, other: Task, *, left_out: Task | None = None) -> None:
    """__schedule(): the run queue's lock is taken by who goes and released by who comes."""
    if task is not left_out:
        task.acquire(*RQ)
    task.switch_to(other)
    if other is not left_out:
        other.release(*RQ)


@pytest.mark.parametrize(
    ("how", "filtered"), [("whole", False), ("left out", True), ("lost", False), ("no locks", False)]
)
def test_who_is_switched_out_took_the_run_queues_lock(how, filtered):
    script = Script()
    qemu, worker = script.task("qemu", 100), script.task("kworker", 30)
    for _ in range(3):
        if how == "no locks":
            qemu.switch_to(worker).switch_to(qemu)
            continue
        left_out = None if how == "whole" else worker
        switched(qemu, worker, left_out=left_out)
        if how == "lost":
            script.loss(0)
        switched(worker, qemu, left_out=left_out)
    assert script.gathered().evidence.filtered is filtered


def test_who_is_switched_in_is_switched_out_next():
    script = Script()
    qemu, worker, other = script.task("qemu", 100), script.task("kworker", 30), script.task("other", 31)
    for _ in range(3):
        qemu.switch_to(worker)
        other.switch_to(qemu)
    assert script.gathered().evidence.filtered is True


def test_the_first_switch_of_each_cpu_shows_which_lock_is_its_run_queues():
    """Of a kernel without lockdep; it counted as one that the recorder had left the lock out of, from two CPUs on."""
    script = Script("7.3.4+deb13-amd64")
    for cpu in (0, 1, 2):
        tasks, queue = (
            (script.task("qemu", 100 + cpu, cpu), script.task("kworker", 30 + cpu, cpu)),
            RQ[1] + 0x1000 * cpu,
        )
        for before, after in (tasks, tasks[::-1]):
            before.event("lockscope:raw_spin_lock_entry", lock=queue).event("lockscope:raw_spin_lock")
            before.switch_to(after)
            after.event("lockscope:raw_spin_unlock", lock=queue)
    assert script.gathered().evidence.filtered is False
    for before, after in (tasks, tasks[::-1], tasks):
        before.switch_to(after)
    assert script.gathered().evidence.filtered is True


def test_a_mutex_that_is_slept_under_is_no_run_queue():
    """Of a kernel without lockdep whose spinlocks were not probed: no switch shows a run queue's lock."""
    script = Script("7.3.4+deb13-amd64")
    qemu, worker = script.task("qemu", 100), script.task("kworker", 30)
    for _ in range(4):
        qemu.event("lockscope:mutex_lock_entry", lock=RQ[1]).event("lockscope:mutex_lock")
        qemu.switch_to(worker).switch_to(qemu)
        qemu.event("lockscope:mutex_unlock", lock=RQ[1])
        qemu.switch_to(worker).switch_to(qemu)
    assert script.gathered().evidence.filtered is False
