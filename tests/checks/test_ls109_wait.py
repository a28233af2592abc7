"""LS109: the wait-context matrix of lib/locking-selftest.c, and what is inferred where types were not recorded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lockscope.checks.check import all_checks
from lockscope.evidence.gather import GatherOptions
from lockscope.results.findings import Confidence, Status
from lockscope.walk.chains import LockClass
from tests.builders.chains import evidence_of, findings, run_check
from tests.builders.script import HARDIRQ, IRQS_OFF, Script

# Rows of the matrix: outer context -> what must not be taken in it. A hard interrupt could be threaded.
MATRIX = {
    "hardirq(": {"mutex"},
    "softirq(": {"mutex"},
    "rcu:R": {"mutex"},
    "raw:R": {"spin", "mutex"},
    "spin:R": {"mutex"},
    "write:R": {"mutex"},
    "mutex:R": set(),
    "srcu:R": set(),
}


@pytest.mark.parametrize("outer", MATRIX)
@pytest.mark.parametrize("inner", ["rcu", "raw", "spin", "mutex"])
def test_matrix(outer: str, inner: str) -> None:
    assert bool(findings("LS109", f"t: {outer} {inner}:A")) is (inner in MATRIX[outer])


@pytest.mark.parametrize(
    ("script", "bad"),
    [
        ("t: spin:A mutex:B?", False),  # a trylock does not wait
        ("t: spin:A? mutex:B", True),
        ("t: spin:A hardirq( raw:B", False),
        ("t: raw:A hardirq( spin:B", False),  # what was interrupted does not count
        ("t: spin:A override:O? mutex:B", False),
        ("t: override:O? spin:A mutex:B", True),
        ("t: mutex:M raw:A spin:B", True),
        ("t: spin:A -A mutex:B", False),
        ("t: spin:A down:B", True),
        ("t: spin:A dread:B", True),
        ("t: nmi( spin:A", False),
    ],
)
def test_what_counts(script: str, bad: bool) -> None:
    assert bool(findings("LS109", script)) is bad


def test_the_strictest_held_lock_is_named() -> None:
    finding = findings("LS109", "t: spin:S raw:R spin:T mutex:M")[-1]
    assert finding.classes == ("R", "M")
    assert finding.flow == "4>2 "
    assert finding.confidence is Confidence.CERTAIN
    assert [w.note.split(" at ")[0] for w in finding.witnesses] == ["takes R", "takes M"]


def test_contexts_are_named() -> None:
    finding = findings("LS109", "t: softirq( mutex:M")[0]
    assert finding.classes == ("M",)
    assert "in a softirq" in finding.message


@pytest.mark.parametrize(
    ("script", "bad"),
    [
        ("t: spin:A mutex:B", True),
        ("t: raw:A mutex:B", True),
        ("t: raw:A spin:B", False),  # only matters on PREEMPT_RT, and names are no proof
        ("t: rcu:rcu_read_lock mutex:B", True),
        ("t: hardirq( mutex:B", True),
        ("t: mutex:A spin:B", False),
    ],
)
def test_by_names(script: str, bad: bool) -> None:
    found = findings("LS109", script, told=False)
    assert bool(found) is bad
    assert all(f.confidence is Confidence.LIKELY for f in found)


def test_wait_types_of_the_initialisation_count_and_those_of_rcu() -> None:
    evidence = evidence_of("t: raw:R spin:S\nv: mutex:M spin:N\nu: rcu:rcu_read_lock_sched spin:S", told=False)
    inner = {"R": 2, "S": 3, "M": 4, "N": 3}
    evidence.classes[:] = [replace(c, kind=c.kind if "rcu" in c.name else "", wait_inner=inner.get(c.name, 0))
                           for c in evidence.classes]  # fmt: skip
    found = all_checks()["LS109"].run(evidence)[1]
    assert [(f.classes, f.confidence) for f in found] == [
        (("R", "S"), Confidence.LIKELY), (("rcu_read_lock_sched", "S"), Confidence.LIKELY)]  # fmt: skip


def test_confidence_of_an_uncertain_held_set() -> None:
    assert findings("LS109", "t: spin:A mutex:B", whole=False)[0].confidence is Confidence.LIKELY
    assert findings("LS109", "t: spin:A mutex:B", whole=False, told=False)[0].confidence is Confidence.POSSIBLE
    assert findings("LS109", "t: softirq( mutex:B", whole=False)[0].confidence is Confidence.CERTAIN


def test_a_kernel_without_raw_lock_nesting() -> None:
    # There LD_WAIT_CONFIG equals LD_WAIT_SPIN, and LD_WAIT_SLEEP is 3 (include/linux/lockdep_types.h).
    evidence = evidence_of("t: raw:R spin:S mutex:M")
    low = {"raw_spinlock": 2, "spinlock": 2, "mutex": 3}
    evidence.classes[:] = [LockClass(c.index, c.name, c.key, 0, True, low[c.kind], 0, c.kind) for c in evidence.classes]
    assert [f.classes for f in all_checks()["LS109"].run(evidence)[1]] == [("R", "M")]


def test_grounds() -> None:
    assert run_check("LS109", "t: spin:A", told=False)[0].status is Status.PARTIAL
    assert run_check("LS109", "t: spin:A", filtered=True)[0].status is Status.PARTIAL
    assert run_check("LS109", "t: spin:A")[0].status is Status.RAN


def test_a_spinlock_in_a_hard_interrupt_is_not_decided() -> None:
    for script, name in (("t: hardirq( spin:A -A )", "A"), ("t: hardirq( rread:R -R )", "R")):
        run, found = all_checks()["LS109"].run(evidence_of(script))
        assert (found, run.status) == ([], Status.PARTIAL)
        assert run.reason is not None
        assert run.reason.startswith(f"{name}: taken in a hard interrupt")
    for script in ("t: hardirq( raw:A -A )", "t: softirq( spin:A -A )", "t: hardirq( spin:A? -A )", "t: spin:A -A"):
        assert all_checks()["LS109"].run(evidence_of(script))[0].status is Status.RAN, script


RT, STOCK = "7.3.4+deb13-rt-amd64", "7.3.4+deb13-amd64"
RAW, SPIN, RWLOCK, MUTEX = ("raw_spin_lock", "raw_spin_unlock"), ("rt_spin_lock", "rt_spin_unlock"), (
    "rt_write_lock", "rt_write_unlock"), ("mutex_lock", "mutex_unlock")  # fmt: skip


def nested(kernel: str, outer: tuple[str, str], inner: tuple[str, str], flags: int = 0) -> list[tuple[str, ...]]:
    """The classes that LS109 names where a probed lock function is called with another one's lock held."""
    s = Script(kernel)
    t = s.task("qemu", 100).sys_exit(at=1_000_000)
    pairs = ((outer, 0xFFFF888100000100), (inner, 0xFFFF888100000200))
    with t.context(flags):
        for (take, _), at in pairs:
            t.event(f"lockscope:{take}_entry", lock=at).event(f"lockscope:{take}", __probe_ret_ip=0x99)
        for (_, give), at in reversed(pairs):
            t.event(f"lockscope:{give}", lock=at)
    t.sys_exit()
    return [f.classes for f in all_checks()["LS109"].run(s.gathered(GatherOptions()).evidence)[1]]


@pytest.mark.parametrize(
    ("kernel", "outer", "inner", "classes"),
    [
        (RT, RAW, SPIN, ("raw_spinlock", "spinlock")),
        (RT, RAW, RWLOCK, ("raw_spinlock", "rwlock")),
        (RT, RAW, MUTEX, ("raw_spinlock", "mutex")),
        (RT, SPIN, MUTEX, ("spinlock", "mutex")),
        (RT, RAW, RAW, None),
        (RT, SPIN, RAW, None),
        (RT, SPIN, SPIN, None),
        (RT, RWLOCK, SPIN, None),
        (RT, MUTEX, SPIN, None),
        (STOCK, RAW, RAW, None),  # either may be a spinlock_t
        (STOCK, RAW, MUTEX, ("spinlock", "mutex")),
    ],
)
def test_with_preempt_rt_the_function_tells_the_type(
    kernel: str, outer: tuple[str, str], inner: tuple[str, str], classes: tuple[str, str] | None
) -> None:
    named = tuple(f"{kind} without a name" for kind in classes) if classes else None
    assert nested(kernel, outer, inner) == ([named] if named else [])


@pytest.mark.parametrize(("outer", "inner", "bad"), [(RAW, RAW, False), (SPIN, RAW, True)])
def test_with_preempt_rt_a_hard_interrupt_takes_raw_locks_alone(
    outer: tuple[str, str], inner: tuple[str, str], bad: bool
) -> None:
    """Threaded handlers are tasks there, so that what has the hard interrupt's flag must not sleep."""
    assert nested(RT, outer, inner, HARDIRQ | IRQS_OFF) == ([("spinlock without a name",)] if bad else [])
    assert nested(STOCK, RAW, RAW, HARDIRQ | IRQS_OFF) == []
