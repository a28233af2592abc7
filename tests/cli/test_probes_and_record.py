"""``lockscope probes`` and what ``lockscope record`` refuses."""

from __future__ import annotations

import os

import pytest

from lockscope.checks.check import all_checks
from lockscope.recording import session
from tests.cli.conftest import Lockscope

CHECKS = all_checks()


@pytest.fixture(autouse=True)
def real_checks(lockscope: Lockscope, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockscope.checks.check.all_checks", lambda: CHECKS)


def test_a_script_for_any_kernel(lockscope: Lockscope) -> None:
    done = lockscope("probes")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("#!/bin/sh\n")
    assert "layout_from_btf\n" in done.out
    assert "probe stock 0 999999 any - mutex_lock mutex_lock" in done.out
    assert "probe lockdep 6004 999999 any - lockdep_acquire lock_acquire" in done.out


def test_lines_for_a_named_kernel(lockscope: Lockscope) -> None:
    done = lockscope("probes", "--kernel", "6.1.0-56-amd64", "--no-lockdep", "--format", "tracefs", "--for", "LS202")
    assert done.out.splitlines() == [
        "# beside them: sched:sched_switch sched:sched_process_exit raw_syscalls kvm:kvm_entry kvm:kvm_exit",
        "r:lockscope/srcu_read_lock __srcu_read_lock idx=$retval:s32",
        "p:lockscope/srcu_read_lock_entry __srcu_read_lock ssp=%di:x64",
        "p:lockscope/srcu_read_unlock __srcu_read_unlock ssp=%di:x64 idx=%si:s32",
        "p:lockscope/synchronize_srcu synchronize_srcu ssp=%di:x64",
        "p:lockscope/synchronize_srcu_expedited synchronize_srcu_expedited ssp=%di:x64",
        "p:lockscope/kvm_arch_vcpu_ioctl_run kvm_arch_vcpu_ioctl_run vcpu=%di:x64 kvm=+0(%di):x64",
        "p:lockscope/kvm_destroy_vm kvm_destroy_vm kvm=%di:x64",
    ]


def test_bpftrace_where_dynamic_events_lack_lockdeps_arguments(lockscope: Lockscope) -> None:
    done = lockscope("probes", "--kernel", "5.10", "--lockdep", "--format", "bpftrace", "--for", "LS102")
    lines = done.out.splitlines()
    assert lines[0] == "#!/usr/bin/env bpftrace"
    (acquire,) = [line for line in lines if line.startswith("rawtracepoint:lock_acquire")]
    assert 'name=\\"%s\\"' in acquire
    assert acquire.endswith("*(uint8 *)(arg0 + 34), str(*(uint64 *)(arg0 + 24))); }")
    own = [line for line in lines[2:] if '/comm != "bpftrace"/' not in line]
    assert [line.split()[0] for line in own] == ["tracepoint:sched:sched_switch"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["probes", "--kernel", "2.6.32"], "--kernel 2.6.32: no"),
        (["probes", "--kernel", "six"], "--kernel six: no"),
        (["probes", "--for", "LS999"], "--for LS999: unknown check"),
        (["probes", "--format", "stap"], "--format stap: unknown value"),
        (["probes", "--format", "tracefs"], "--format tracefs: for which kernel?"),
        (["probes", "--host", "--kernel", "6.1"], "--host and --kernel: one of them"),
        (["probes", "--locks", "futex"], "--locks futex: unknown value"),
        (["record"], "say what to record"),
        (["record", "--duration", "1", "--", "true"], "say what to record"),
        (["record", "--duration", "-1"], "--duration -1: wanted seconds"),
        (["record", "--vm", "1", "--all", "--", "true"], "--vm and --all"),
        (["record", "--buffer", "1", "--", "true"], "--buffer 1: wanted KB"),
        (["record", "-o", "/nowhere/t.dat", "--", "true"], "-o /nowhere/t.dat: there is no directory"),
    ],
)
def test_mistakes_are_one_line(
    lockscope: Lockscope, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.setattr(session, "require", lambda **_: None)
    done = lockscope(*arguments)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"lockscope: {said}")
    assert done.err.count("\n") == 1


def test_record_says_what_it_lacks(lockscope: Lockscope, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = lockscope("record", "--", "true")
    assert (done.status, done.out) == (2, "")
    assert done.err == "lockscope: only root may record the kernel (hint: sudo lockscope record ...)\n"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(session, "INSTANCE", session.Path("/nowhere/instances/lockscope"))
    assert "tracefs is not mounted (hint: mount -t tracefs" in lockscope("record", "--", "true").err
    monkeypatch.setattr(session, "INSTANCE", session.Path("/tmp/lockscope"))
    monkeypatch.setattr(session.shutil, "which", lambda _: None)
    assert "trace-cmd is not installed (hint: install it, or" in lockscope("record", "--", "true").err


def test_costs_are_a_table(lockscope: Lockscope) -> None:
    done = lockscope("probes", "--cost")
    assert done.status == 0
    assert done.out.splitlines()[0].split() == [
        "set",
        "kernel",
        "events/s",
        "bytes/event",
        "MB/s",
        "us/event",
        "slower",
    ]
