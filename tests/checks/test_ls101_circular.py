"""LS101: what is said about a ring, and how far it is trusted."""

from __future__ import annotations

import pytest

from lockscope.lockgraph.cycles import LIMIT
from lockscope.results.findings import Confidence, Severity, Status, Verdict
from lockscope.rules.book import OrderRule, Rulebook
from tests.builders.chains import evidence_of, findings, run_check

ABBA = "a: mutex:A mutex:B -B -A\nb: mutex:B mutex:A -A -B"


def test_two_tasks_crossing_on_the_same_locks() -> None:
    run, found = run_check("LS101", ABBA)
    assert (run.status, run.verdict, len(found)) == (Status.RAN, Verdict.VIOLATION, 1)
    finding = found[0]
    assert finding.classes == ("A", "B")
    assert (finding.severity, finding.confidence, finding.count) == (Severity.ERROR, Confidence.CERTAIN, 2)
    assert [(w.comm, w.ts_ns) for w in finding.witnesses] == [
        ("a", 1_000_001_000), ("a", 1_000_002_000), ("b", 1_000_005_000), ("b", 1_000_006_000),
    ]  # fmt: skip


def test_the_story_is_lockdeps() -> None:
    story = findings("LS101", ABBA)[0].story
    assert story[0] == "a/100 is trying to acquire lock: [1.000002000, CPU 0]"
    assert "but task is already holding lock:" in story
    assert story.index("the existing dependency chain (in reverse order) is:") < story.index(
        next(line for line in story if line.startswith("-> #1 (A)"))
    )
    cpus = story.index("       CPU0                    CPU1")
    assert story[cpus + 2 : cpus + 6] == (
        "  lock(A);",
        "                          lock(B);",
        "                          lock(A);",
        "  lock(B);",
    )
    assert " *** DEADLOCK ***" in story
    assert "1 lock held by a/100:" in story


def test_a_longer_ring_names_the_chain() -> None:
    story = findings("LS101", "a: spin:A spin:B -B -A spin:B spin:C -C -B spin:C spin:A")[0].story
    assert story[story.index("Chain exists of:") + 1] == "  A --> B --> C --> A"


@pytest.mark.parametrize(
    ("script", "confidence"),
    [
        ("a: mutex:A mutex:B -B -A\nb: mutex:B mutex:A", Confidence.CERTAIN),
        ("a: mutex:A mutex:B -B -A mutex:B mutex:A", Confidence.POSSIBLE),
        ("a: mutex:A@1 mutex:B -B -A@1\nb: mutex:B mutex:A@2", Confidence.LIKELY),
        ("a: spin:A spin:B -B -A\nb: softirq( spin:B spin:A", Confidence.LIKELY),
        ("a: mutex:A mutex:B -B -A\nb: mutex:B mutex:C -C -B\nc: mutex:C mutex:A", Confidence.CERTAIN),
        ("a: mutex:A mutex:B -B -A\nb: mutex:B mutex:C -C -B\nb: mutex:C mutex:A", Confidence.POSSIBLE),
    ],
)
def test_confidence(script: str, confidence: Confidence) -> None:
    assert [f.confidence for f in findings("LS101", script)] == [confidence]


def test_an_uncertain_held_set_is_not_certain() -> None:
    assert [f.confidence for f in findings("LS101", ABBA, whole=False)] == [Confidence.LIKELY]


@pytest.mark.parametrize(
    ("guard", "severity"),
    [
        ("mutex:G|mutex:G", Severity.INFO),
        ("dread:G|down:G", Severity.INFO),
        ("dread:G|dread:G", Severity.ERROR),  # two readers do not keep each other out
        ("map:G|map:G", Severity.ERROR),  # nobody waits at a map
        ("mutex:G@1|mutex:G@2", Severity.ERROR),
        ("mutex:G|mutex:H", Severity.ERROR),
    ],
)
def test_a_guard_lock_over_all_sides(guard: str, severity: Severity) -> None:
    first, second = guard.split("|")
    script = f"a: {first} spin:A spin:B -B -A -{first[-1]}\nb: {second} spin:B spin:A"
    assert [f.severity for f in findings("LS101", script)] == [severity]


def test_a_guard_that_is_once_missing_guards_nothing() -> None:
    script = "a: mutex:G spin:A spin:B -B -A -G spin:A spin:B -B -A\nb: mutex:G spin:B spin:A"
    assert [f.severity for f in findings("LS101", script)] == [Severity.ERROR]


SIDES = "a: mutex:{0} spin:{1} spin:{2} -{2} -{1} -{0}\nb: mutex:{0} spin:{2} spin:{1} -{1} -{2} -{0}"


@pytest.mark.parametrize(
    ("guard", "locks", "severity"),
    [
        ("G", ("A", "B"), Severity.INFO),  # one object
        ("&kvm->slots_lock", ("A", "B"), Severity.INFO),
        ("&kvm->lock", ("&kvm->irqfds.lock", "&kvm->ring_lock"), Severity.INFO),  # all of one VM
        ("&vcpu->mutex", ("&kvm->irqfds.lock", "&kvm->ring_lock"), Severity.ERROR),  # another vCPU holds another
        ("&kvm->lock", ("kvm_lock", "A"), Severity.ERROR),  # another VM holds another
        ("G", ("&kvm->irqfds.lock", "&kvm->ring_lock"), Severity.ERROR),  # what it is of is not known
    ],
)
def test_a_guard_is_of_as_much_as_what_it_guards(guard: str, locks: tuple[str, str], severity: Severity) -> None:
    script = SIDES.format(guard, *locks)
    assert [f.severity for f in findings("LS101", script, heap=True)] == [severity]


def test_each_object_under_its_own_guard() -> None:
    script = "\n".join(
        SIDES.format(*(f"&kvm->{n}@{vm}" for n in ("lock", "slots_lock", "irq_lock"))) for vm in (1, 2, 3)
    )
    assert [f.severity for f in findings("LS101", script, heap=True)] == [Severity.INFO]


def test_a_guard_taken_in_the_interrupt_itself() -> None:
    script = "a: softirq( spin:G spin:A spin:B -B -A -G )\nb: softirq( spin:G spin:B spin:A -A -B -G )"
    assert [f.severity for f in findings("LS101", script)] == [Severity.INFO]


GUARDED = "a: mutex:G mutex:A mutex:B -B -A -G\nb: mutex:G mutex:B mutex:A -A -B -G\n"


@pytest.mark.parametrize(
    ("more", "classes"),
    [
        ("c: mutex:B mutex:C -C -B\nd: mutex:C mutex:A -A -C", ("A", "B", "C")),
        ("c: mutex:A mutex:C -C -A\nd: mutex:C mutex:B -B -C", ("A", "C", "B")),
        ("c: mutex:G mutex:B mutex:C -C -B -G\nd: mutex:C mutex:A -A -C", ("A", "B", "C")),
    ],
)
def test_a_guarded_ring_hides_no_other(more: str, classes: tuple[str, ...]) -> None:
    told = [(f.severity, f.classes) for f in findings("LS101", GUARDED + more)]
    assert told == [(Severity.ERROR, classes), (Severity.INFO, ("A", "B"))]


@pytest.mark.parametrize("more", ["c: mutex:B mutex:C -C -B\nd: mutex:C mutex:A", "c: mutex:C mutex:D -D -C"])
def test_what_one_cause_explains_stands_behind_the_finding(more: str) -> None:
    (known,) = findings("LS101", ABBA)
    (found,) = findings("LS101", f"{ABBA}\n{more}")
    assert known.behind == ()
    fresh = found.beyond(lambda f: f.fingerprint == known.fingerprint)
    assert fresh == (found.behind[0] if "A" in more else None)
    assert fresh is None or fresh.classes == ("A", "B", "C")


def test_each_window_is_told_whatever_the_others_hold() -> None:
    script = "\n".join(f"== {i}\n{ABBA}" for i in range(150))
    assert [f.window for f in findings("LS101", script)] == [str(i) for i in range(150)]


def test_a_limit_that_is_reached_is_said() -> None:
    script = "\n".join(
        f"a: mutex:A{i} mutex:B{i} -B{i} -A{i}\nb: mutex:B{i} mutex:A{i} -A{i} -B{i}" for i in range(120)
    )
    found = findings("LS101", script)
    assert len(found) == LIMIT
    assert len([f for f in found if "no more are listed" in f.message]) == 1


def test_a_guard_does_not_keep_an_interrupt_away() -> None:
    script = "a: mutex:G spin:A spin:B -B -A -G\nb: mutex:G softirq( spin:B spin:A"
    assert [f.severity for f in findings("LS101", script)] == [Severity.ERROR]


def test_information_is_no_violation() -> None:
    run, found = run_check("LS101", "a: mutex:G spin:A spin:B -B -A -G\nb: mutex:G spin:B spin:A")
    assert (len(found), run.verdict) == (1, Verdict.CLEAN)
    assert "  gate lock: G is held over every side" in found[0].story


def test_the_side_against_the_rules_is_told_first() -> None:
    book = Rulebook("b", orders=(OrderRule(id="o", source="s", outer="A", inner="B"),))
    assert findings("LS101", ABBA, rules=book)[0].classes == ("B", "A")


def test_the_same_defect_has_one_fingerprint() -> None:
    other = "x: mutex:B mutex:A -A -B\ny: spin:Z -Z\nz: mutex:A mutex:B -B -A"
    assert findings("LS101", ABBA)[0].fingerprint == findings("LS101", other)[0].fingerprint
    reads = ABBA.replace("mutex:A mutex:B", "dread:A mutex:B")
    assert findings("LS101", ABBA)[0].fingerprint != findings("LS101", reads)[0].fingerprint


def test_each_window_is_told_for_itself() -> None:
    script = "== one\n" + ABBA + "\n== two\n" + ABBA + "\n== three\na: mutex:A mutex:B"
    assert [f.window for f in findings("LS101", script)] == ["one", "two"]


def test_grounds() -> None:
    assert run_check("LS101", "a: mutex:A", told=False)[0].status is Status.PARTIAL
    assert run_check("LS101", "a: mutex:A", lost=None)[0].verdict is Verdict.UNKNOWN
    nothing = evidence_of("")
    nothing.plain = nothing.detailed = False
    from lockscope.checks.check import all_checks

    run, _ = all_checks()["LS101"].run(nothing)
    assert run.status is Status.SKIPPED
    assert run.reason is not None
    assert "lockscope record" in run.reason
    nothing.plain, nothing.recorded = True, {"lock:lock_acquire": 1000}
    assert "lock_release" in (all_checks()["LS101"].run(nothing)[0].reason or "")


def test_text_without_contexts() -> None:
    from lockscope.checks.check import all_checks

    evidence = evidence_of("a: spin:A spin:B -B -A spin:B spin:A")
    evidence.info.options["flags_unknown"] = True
    run = all_checks()["LS101"].run(evidence)[0]
    assert run.status is Status.PARTIAL
    assert "irq-info" in (run.reason or "")
    assert all_checks()["LS107"].run(evidence)[0].status is Status.SKIPPED
