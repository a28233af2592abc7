"""Deadlocks that a recording ends in, and tasks that hang: from lockdep's events, probes and contention events."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lockscope.checks.check import all_checks
from lockscope.results.findings import Confidence, Finding, Severity
from tests.builders.script import Script, Task

A, B, C = 0xFFFF888100000100, 0xFFFF888100000200, 0xFFFF888100000300
SECOND = 1_000_000_000


def found(code: str, script: Script) -> list[Finding]:
    return all_checks()[code].run(script.gathered().evidence)[1]


def by_probe(task: Task, lock: int, *, got: bool) -> None:
    task.event("lockscope:mutex_lock_entry", lock=lock, caller=0x77)
    if got:
        task.event("lockscope:mutex_lock", __probe_ret_ip=0x99)


def by_lockdep(task: Task, lock: int, *, got: bool) -> None:
    task.event("lock:lock_acquire", flags=0, name=f"&x{lock & 0xFFF:x}->m", lockdep_addr=lock)
    if got:
        task.event("lock:lock_acquired", name=f"&x{lock & 0xFFF:x}->m", lockdep_addr=lock)


HOW = pytest.mark.parametrize("take", [by_probe, by_lockdep])
Take = Callable[..., None]


def two() -> tuple[Script, Task, Task]:
    s = Script("6.12.1")
    return s, s.task("qemu", 100).sys_exit(), s.task("vcpu", 101, cpu=1).sys_exit()


def over(s: Script, at: int = 9 * SECOND) -> Script:
    """Somebody else goes on to the end."""
    s.task("other", 102, cpu=1).sys_exit(at=at)
    return s


@HOW
def test_tasks_that_wait_for_each_other(take: Take) -> None:
    s, qemu, vcpu = two()
    take(qemu, A, got=True)
    take(vcpu, B, got=True)
    take(qemu, B, got=False)
    take(vcpu, A, got=False)
    first, *rest = found("LS101", over(s))
    assert rest == []
    assert (first.severity, first.confidence) == (Severity.ERROR, Confidence.CERTAIN)
    assert first.title == "deadlock: 2 tasks wait for each other to the end of the recording"
    assert [(w.pid, w.side) for w in first.witnesses] == [(100, 0), (100, 0), (101, 1), (101, 1)]
    assert "1 lock held by vcpu/101:" in first.story
    assert found("LS112", s) == []


@HOW
def test_a_task_that_waits_for_itself(take: Take) -> None:
    s, qemu, _ = two()
    take(qemu, A, got=True)
    take(qemu, A, got=False)
    (finding,) = found("LS104", over(s))
    assert (finding.severity, finding.confidence) == (Severity.ERROR, Confidence.CERTAIN)
    assert finding.title == "deadlock: a task waits for a lock it holds to the end of the recording"


@HOW
def test_a_handover_at_the_end_is_none(take: Take) -> None:
    s, qemu, vcpu = two()
    take(qemu, A, got=True)
    take(vcpu, A, got=False)
    over(s, s.now + 1000)
    assert (found("LS101", s), found("LS104", s), found("LS112", s)) == ([], [], [])


@HOW
def test_who_goes_on_was_not_waiting(take: Take) -> None:
    """Its return was missed (kprobes' nmissed, or the buffer's recursion protection)."""
    s, qemu, vcpu = two()
    take(qemu, A, got=True)
    take(vcpu, B, got=True)
    take(qemu, B, got=False)
    qemu.sys_exit()
    take(vcpu, A, got=False)
    assert [f for f in found("LS101", over(s)) if f.title.startswith("deadlock")] == []


@HOW
def test_a_hung_task_and_the_chain_to_its_root(take: Take) -> None:
    s, qemu, vcpu = two()
    third = s.task("third", 103, cpu=1).sys_exit()
    take(qemu, A, got=True)
    take(vcpu, B, got=True)
    take(vcpu, A, got=False)
    take(third, B, got=False)
    found_ = found("LS112", over(s))
    assert [f.severity for f in found_] == [Severity.INFO] * 2
    assert [f.witnesses[0].pid for f in found_] == [101, 103]
    assert all(
        "is held by qemu/100 for" in f.message and f.message.endswith("which waits for no lock.") for f in found_
    )
    assert sum("which waits for" in line for line in found_[1].story) == 2


def test_contention_alone() -> None:
    s, qemu, vcpu = two()
    qemu.event("lock:contention_begin", lock_addr=A, flags=0x20)
    vcpu.event("lock:contention_begin", lock_addr=B, flags=0x20)
    vcpu.event("lock:contention_end", lock_addr=B, ret=0)
    (finding,) = found("LS112", over(s))
    assert finding.witnesses[0].pid == 100
    assert (
        finding.message
        == f"qemu/100 waits for the lock at {A:016x}: of the lock at {A:016x} nothing recorded says who holds it."
    )
    assert finding.classes == ()


def test_a_loss_makes_it_less_than_certain() -> None:
    s, qemu, vcpu = two()
    s.loss(0, 3)
    by_probe(qemu, A, got=True)
    by_probe(vcpu, B, got=True)
    by_probe(qemu, B, got=False)
    by_probe(vcpu, A, got=False)
    assert found("LS101", over(s))[0].confidence is Confidence.LIKELY


@pytest.mark.parametrize(("after", "codes"), [("nothing", ["LS112"]), ("a loss", []), ("another lock", [])])
def test_a_spinning_wait_that_may_be_over(after: str, codes: list[str]) -> None:
    """A return that was lost, or that the probe missed: who spins for a lock calls no other lock function meanwhile."""
    s, qemu, _ = two()
    qemu.event("lockscope:raw_spin_lock_entry", lock=A, caller=0x99)
    if after == "a loss":
        s.loss(qemu.cpu, 3)
    elif after == "another lock":
        qemu.event("lockscope:raw_spin_lock_entry", lock=B, caller=0x99)
        qemu.event("lockscope:raw_spin_lock", __probe_ret_ip=0x99).event("lockscope:raw_spin_unlock", lock=B)
    assert [f.code for f in found("LS112", over(s))] == codes


def test_who_sleeps_for_a_lock_spins_for_its_wait_lock() -> None:
    s, qemu, _ = two()
    asked_ns = s.now
    qemu.event("lockscope:mutex_lock_entry", lock=A, caller=0x99)
    qemu.event("lockscope:raw_spin_lock_entry", lock=A + 8, caller=0x99)
    qemu.event("lockscope:raw_spin_lock", __probe_ret_ip=0x99).event("lockscope:raw_spin_unlock", lock=A + 8)
    (finding,) = found("LS112", over(s))
    assert (finding.witnesses[0].pid, finding.witnesses[0].ts_ns) == (100, asked_ns)
