from __future__ import annotations

import io
from dataclasses import replace

import pytest

from lockscope.report.findings import json as json_report
from lockscope.report.findings import text
from lockscope.report.redaction.findings import redact
from lockscope.report.redaction.pseudonyms import Redactor
from lockscope.results.findings import Report, RuleRef, Witness
from tests.builders import reports


def secret_report() -> Report:
    finding = reports.circular(
        story=(*reports.STORY, "2 locks held by kvm-nx-lpage-re/99:", "taken by pid 77 and kvm/4600, ffff888100dfd420"),
        message="qemu/77 (task 77) met 0xffffc900001b1350; see /home/alice/k/rules.toml and /sys/kernel/tracing/trace",
        rule=RuleRef("kvm.lock-order.2", "/home/alice/k/rules.toml:12"),
        witnesses=(
            *reports.circular().witnesses,
            Witness(1, 0, 4600, "kvm", "lock_acquire", note="kvm takes &kvm->lock"),
        ),
    )
    trace = reports.trace("/srv/night/vmhost7/bug.dat")
    trace.coverage["notes"] = ["/srv/night/vmhost7/bug.dat: truncated", "recorded on vmhost7 by qemu"]
    checks = [reports.skipped("LS202", "srcu-index-mismatch", "qemu/77 was not recorded")]
    return Report([trace], checks, [finding])


def everything(report: Report) -> str:
    stream = io.StringIO()
    json_report.write(report, stream)
    text.write(report, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    "secret",
    ["CPU 0/KVM", "qemu", "4514", "4600", "/77", "kvm/", "kvm-nx-lpage-re", "vmhost7", "/srv", "alice", "/home",
     "ffffc9", "ffff888100dfd420"],
)  # fmt: skip
def test_nothing_private_is_left(secret: str) -> None:
    assert secret in everything(secret_report())
    assert secret not in everything(redact(secret_report()))


@pytest.mark.parametrize(
    "kept",
    ["&kvm->slots_lock", "&kvm->lock", "kvm_vm_ioctl+0x66/0x170 [kvm]", "bug.dat", "lock_acquire", "11136744291",
     "/sys/kernel/tracing/trace", "rules.toml:12", "kvm.lock-order.2", "Possible unsafe locking scenario"],
)  # fmt: skip
def test_what_the_kernel_calls_its_own_things_stays(kept: str) -> None:
    assert kept in everything(redact(secret_report()))


def test_a_pseudonym_is_the_same_everywhere() -> None:
    finding = redact(secret_report()).findings[0]
    assert [(w.comm, w.pid) for w in finding.witnesses] == [("task1", 1), ("task2", 2), ("task3", 3)]
    assert finding.story[0] == "task1/1 is trying to acquire lock:"
    lock = finding.story[1].split()[0]
    assert lock.startswith("addr")
    assert finding.witnesses[0].note == f"acquires &kvm->lock at {lock}"
    held = finding.story[4].split()[0]
    assert held != lock
    assert finding.story[-2] == "2 locks held by task4/4:"
    assert finding.story[-1].startswith("taken by pid 2 and task3/3, addr")
    assert finding.message == f"task2/2 (task 2) met {held}; see rules.toml and /sys/kernel/tracing/trace"
    assert finding.details == {}  # nothing here knows what a cycle is


def test_the_traces_own_words_are_hidden_too() -> None:
    trace = redact(secret_report()).traces[0]
    assert trace.path == "bug.dat"
    assert trace.coverage["host"] == "host1"
    assert trace.coverage["notes"] == ["bug.dat: truncated", "recorded on host1 by task2"]


def test_verdicts_counts_and_fingerprints_are_unchanged() -> None:
    before, after = reports.many(), redact(reports.many())
    assert [f.fingerprint for f in after.findings] == [f.fingerprint for f in before.findings]
    assert [f.count for f in after.findings] == [f.count for f in before.findings]
    assert after.verdict is before.verdict
    assert before == reports.many()


def test_redacting_twice_with_one_redactor_shares_pseudonyms() -> None:
    red = Redactor()
    first, second = redact(reports.violated(), red), redact(reports.windowed(), red)
    told = [f.witnesses for f in first.findings if f.code == "LS101"]
    assert told == [f.witnesses for f in second.findings]


@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        ("flags 0x08, error_code 0x6, spte 0x8600000123456b77", "flags 0x8, error_code 0x6, spte addr1"),
        ("&rq->__lock/1 and {-.-.} at foo+0x1000/0x2000", "&rq->__lock/1 and {-.-.} at foo+0x1000/0x2000"),
        ("pid=12, tid: 12, prev_pid 12", "pid=1, tid: 1, prev_pid 1"),
        (
            "see Documentation/virt/kvm/locking.rst and /proc/lockdep",
            "see Documentation/virt/kvm/locking.rst and /proc/lockdep",
        ),
        ("idle <idle>/0 and <...>/33", "idle <idle>/0 and <...>/1"),
        ("at 00000000c1234568, ffffffff820e0d20 and 0000000000000000", "at addr1, addr2 and 0000000000000000"),
        ("0XFFFF stays a word, 0xffffffff81000000", "0XFFFF stays a word, addr1"),
    ],
)
def test_free_text(line: str, hidden: str) -> None:
    assert Redactor().text(line) == hidden


def test_values_are_known_by_their_keys() -> None:
    red = Redactor()
    value = {"pid": 5, "pids": [5, 6], "comms": {"5": "qemu"}, "comm": "qemu", "kvm": 0xFFFFC90000001000, "gfn": 5000,
             "hostname": "h", "path": "/a/b/c.dat", "task": "CPU 1/KVM/5", "ok": True, "none": None}  # fmt: skip
    assert red.value(value) == {"pid": 1, "pids": [1, 2], "comms": {1: "task1"}, "comm": "task1", "kvm": "addr1",
                                "gfn": 5000, "hostname": "host1", "path": "c.dat", "task": "task2/1", "ok": True,
                                "none": None}  # fmt: skip


def test_a_report_without_findings_is_redacted_too() -> None:
    bare = replace(reports.clean(), traces=[reports.trace("/x/y.dat", coverage={})])
    assert redact(bare).traces[0].path == "y.dat"


def test_names_of_windows_are_a_traces_own_words() -> None:
    """A marker's text may hold anything: a window's name stands in its summary and in each of its findings."""
    report = reports.windowed()
    secret = "/home/ann/case of pid 4514 at 0xffff8881deadbeef"
    report.windows = [replace(w, name=secret) for w in report.windows]
    report.findings = [replace(f, window=secret) for f in report.findings]
    after = redact(report)
    names = [w.name for w in after.windows] + [f.window or "" for f in after.findings]
    assert len(report.windows) > 0
    assert len(names) == len(report.windows) + len(report.findings)
    for name in names:
        assert not any(part in name for part in ("ann", "4514", "deadbeef"))
    assert len(set(names)) == 1  # a window and its findings still belong together
