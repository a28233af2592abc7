"""Whether lockdep was on, and events that a kernel exchanged."""

from __future__ import annotations

import numpy as np
import pytest

from lockscope.checks.check import all_checks
from lockscope.evidence.gather import Gathered
from lockscope.evidence.lockdep_state import exchanged
from lockscope.kvm.versions import parse
from lockscope.results.findings import Confidence, Severity, Status
from lockscope.tables.ops import Op
from tests.builders.found import holds, walked
from tests.builders.records import EVENTS
from tests.builders.script import Script, Task

A, B, KEY = 0xFFFF888100000100, 0xFFFF888100000200, 0xFFFFFFFF83000100
CONSOLE = EVENTS | {"printk:console": "msg:text"}


def nested(t: Task, name: str = "&gpc->lock", *, annotated: bool = False, ip: int = 0x99) -> Task:
    """Two locks of one class; ``annotated``: the first is given a subclass before the second is taken."""
    t.acquire(name, A).detail(name, A, key=KEY, ip=ip)
    if annotated:
        t.event("lockscope:lockdep_init", lock=A, key=KEY, name=name)
    t.acquire(name, B).detail(name, B, key=KEY, ip=ip + 1)
    return t.release(name, B).release(name, A)


def judged(found: Gathered, code: str = "LS104") -> list[tuple[Severity, Confidence]]:
    _, findings = all_checks()[code].run(found.evidence)
    return [(f.severity, f.confidence) for f in findings]


def test_an_annotation_that_stops_coming_says_that_lockdep_is_off() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit()
    nested(t, annotated=True)
    since = s.now
    nested(t)
    found = walked(s)
    assert found.evidence.lockdep.off_ns == since + 2_000  # the second lock of the second nesting
    assert judged(found) == [(Severity.INFO, Confidence.POSSIBLE)]
    run, _ = all_checks()["LS104"].run(found.evidence)
    assert run.status is Status.PARTIAL
    assert (run.reason or "").startswith("lockdep was off from 0.00")


def test_a_nesting_without_annotation_while_others_go_on_is_an_error() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit()
    nested(t, annotated=True)
    nested(t)
    nested(t, annotated=True)
    found = walked(s)
    assert found.evidence.lockdep.off_ns is None
    assert judged(found) == [(Severity.ERROR, Confidence.LIKELY)]


@pytest.mark.parametrize(("name", "severity"), [("&gpc->lock", Severity.INFO), ("&x->lock", Severity.ERROR)])
def test_what_the_kernel_is_known_to_annotate_is_no_error_where_it_may_be_off(name: str, severity: Severity) -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit()
    t.event("lockscope:lockdep_init", lock=0xFFFF888100000900, key=KEY + 8, name="&kvm->lock")
    nested(t, name)
    found = walked(s)
    assert [f[0] for f in judged(found)] == [severity]
    run, _ = all_checks()["LS104"].run(found.evidence)
    assert (str(run.verdict), "whether their subclasses differ" in (run.reason or "")) == (
        ("unknown", True) if severity is Severity.INFO else ("violation", False)
    )


def test_without_the_event_that_annotations_leave_their_nesting_is_a_warning() -> None:
    """bbe17c625d68 (KVM: x86/xen: Fix potential deadlock in kvm_xen_update_runstate_guest()): it was a deadlock."""
    s = Script(events={n: f for n, f in EVENTS.items() if n != "lockscope:lockdep_init"})
    nested(s.task("qemu", 100).sys_exit(), "&gpc->lock")
    assert judged(walked(s)) == [(Severity.WARNING, Confidence.POSSIBLE)]


def test_the_very_same_lock_is_recursion_with_or_without_lockdep() -> None:
    s = Script()
    t = s.task("qemu", 100).sys_exit()
    nested(t, annotated=True)
    nested(t)
    t.acquire("&gpc->lock", A).detail("&gpc->lock", A, key=KEY).acquire("&gpc->lock", A).detail(
        "&gpc->lock", A, key=KEY
    )
    assert Severity.ERROR in [f[0] for f in judged(walked(s))]


def test_a_report_on_the_console_says_that_lockdep_is_off() -> None:
    for text, off in (
        ("WARNING: possible circular locking dependency detected", True),
        ("[   12.1] INFO: lockdep is turned off.", True),
        ("WARNING: suspicious RCU usage", False),
        ("usb 1-1: new device", False),
    ):
        s = Script(events=CONSOLE)
        t = s.task("qemu", 100).sys_exit()
        t.acquire("&a->lock", A).detail("&a->lock", A).release("&a->lock", A).event("printk:console", msg=text)
        assert (walked(s).evidence.lockdep.off_ns is not None) == off, text


def ops(got: int, waited: int, asked: int = 20) -> np.ndarray:
    return np.array([Op.ACQUIRE] * asked + [Op.ACQUIRED] * got + [Op.CONTENDED] * waited)


@pytest.mark.parametrize(
    ("release", "got", "waited", "expected"),
    [
        ("5.10.0-8-amd64", 1, 7, True), ("5.12.3", 2, 3, True), ("5.10.60", 7, 1, False), ("5.9.0", 0, 19, True),
        ("5.10.0", 0, 2, False), ("6.12.1", 1, 7, False), ("5.8.0", 1, 7, False), (None, 1, 7, True),
        (None, 3, 4, False), (None, 0, 3, False), (None, 0, 19, True),
    ],
)  # fmt: skip
def test_acquired_and_contended_exchanged(release: str | None, got: int, waited: int, expected: bool) -> None:
    assert exchanged(ops(got, waited), parse(release)) is expected


def test_exchanged_events_are_read_as_meant() -> None:
    s = Script("5.10.0-8-amd64")
    t = s.task("qemu", 100)
    for _ in range(3):
        t.acquire("&kvm->lock", A).contended("&kvm->lock", A).release("&kvm->lock", A)
    u = s.task("vcpu", 101, cpu=1)
    u.acquire("&kvm->lock", A, at=2_000_000).acquired("&kvm->lock", A, at=2_001_000)
    u.contended("&kvm->lock", A, at=2_900_000).release("&kvm->lock", A, at=2_950_000)
    found = walked(s)
    assert found.evidence.lockdep.exchanged
    assert [(h.how, h.acquired - h.asked) for h in holds(found)] == [("", 1_000)] * 3 + [("contended", 900_000)]
    numbers = {name: column.tolist() for name, column in found.walk.statistics().items()}
    assert (numbers["acquired"], numbers["contended"], numbers["wait_ns"]) == ([4], [1], [903_000])


def test_a_wait_is_never_negative() -> None:
    s = Script()
    t = s.task("qemu", 100).acquire("&kvm->lock", A, at=2_000_000)
    t.on(1).acquired("&kvm->lock", A, at=1_999_000).release("&kvm->lock", A, at=2_100_000)
    assert walked(s).walk.statistics()["wait_ns"].tolist() == [0]
