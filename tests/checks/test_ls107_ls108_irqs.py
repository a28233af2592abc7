"""LS107 and LS108: what interrupts may meet. The matrix is that of lib/locking-selftest.c."""

from __future__ import annotations

import itertools

import pytest

from lockscope.checks.check import all_checks
from lockscope.lockgraph.usage import bit_name, lock_usage
from lockscope.results.findings import Confidence, Status
from tests.builders.chains import evidence_of, findings, run_check

OFF = {"hardirq": "irqs-off", "softirq": "bh-off"}
ON = {"hardirq": "irqs-on", "softirq": "bh-on"}
STATES = ("hardirq", "softirq")


def codes(lines: list[str] | str, **how: object) -> set[str]:
    script = lines if isinstance(lines, str) else "\n".join(lines)
    return {code for code in ("LS107", "LS108") if findings(code, script, **how)}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("inside", "outside", "bad"),
    [
        ("spin", "spin", True), ("write", "write", True), ("rread", "rread", False), ("rread", "write", True),
        ("write", "rread", True), ("mutex", "mutex", True), ("spin", "spin:A?", True), ("spin:A?", "spin", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_one_lock_in_and_out_of_irqs(state: str, inside: str, outside: str, bad: bool, order: tuple[int, int]) -> None:
    take = [word if ":" in word else f"{word}:A" for word in (inside, outside)]
    lines = [f"t: {state}( {take[0]} -A )", f"t: {take[1]} -A"]
    assert codes([lines[i] for i in order]) == ({"LS108"} if bad else set())
    assert codes([lines[0], f"t: {OFF[state]} {take[1]} -A {ON[state]}"]) == set()


@pytest.mark.parametrize(("kernel", "rt"), [("7.3.4-amd64", False), ("7.3.4-rt-amd64", True)])
def test_softirqs_are_tasks_on_preempt_rt(kernel: str, rt: bool) -> None:
    inside = "t: softirq( spin:A -A )"
    assert codes([inside, "u: spin:A -A"], kernel=kernel) == (set() if rt else {"LS108"})
    below = [inside, "u: bh-off spin:A spin:B -B -A bh-on", "v: spin:B -B"]
    assert codes(below, kernel=kernel) == (set() if rt else {"LS107"})
    assert codes(["t: hardirq( spin:A -A )", "u: spin:A -A"], kernel=kernel) == {"LS108"}


@pytest.mark.parametrize("state", STATES)
def test_irqs_turned_on_under_the_lock(state: str) -> None:
    irq = f"t: {state}( spin:A -A )"
    off, on = OFF[state], ON[state]
    assert codes([irq, f"t: {off} spin:A {on} spin:B -B {off} -A"]) == {"LS108"}  # seen at another acquisition
    assert codes([irq, f"t: {off} spin:A {on} -A"]) == {"LS108"}  # seen at the release
    assert codes([irq, f"t: {off} spin:A spin:B -B -A {on}"]) == set()


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize(("kind", "bad"), [("spin", True), ("write", True), ("rread", False)])
def test_a_safe_lock_before_an_unsafe_one(state: str, order: tuple[int, ...], kind: str, bad: bool) -> None:
    lines = [
        f"t: {OFF[state]} {kind}:A {kind}:B -B -A {ON[state]}",
        f"t: {kind}:B -B",
        f"t: {state}( {kind}:A -A )",
    ]
    assert codes([lines[i] for i in order]) == ({"LS107"} if bad else set())


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize(("kind", "bad"), [("write", True), ("rread", False)])
def test_read_recursion(state: str, order: tuple[int, ...], kind: str, bad: bool) -> None:
    # The irq takes A for ``kind``; A is held for reading with irqs on; B was there first.
    lines = [
        f"t: {OFF[state]} spin:B write:A -A -B {ON[state]}",
        "t: rread:A -A",
        f"t: {state}( {kind}:A spin:B -B -A )" if bad else f"t: {state}( rread:A -A )",
    ]
    assert (codes([lines[i] for i in order]) != set()) is bad


@pytest.mark.parametrize(
    ("safe", "first", "second", "unsafe", "bad"),
    [
        ("rread", "write", "spin", "spin", True),  # a recursive reader in the irq waits for a writer
        ("rread", "rread", "spin", "spin", False),  # and not for a reader
        ("read", "rread", "spin", "spin", True),
        ("write", "rread", "spin", "spin", True),
        ("spin", "spin", "rread", "write", True),
        ("spin", "spin", "rread", "rread", False),  # read-held does not stop a recursive reader
        ("spin", "spin", "write", "rread", True),
    ],
)
def test_read_kinds_at_both_ends(safe: str, first: str, second: str, unsafe: str, bad: bool) -> None:
    script = f"t: hardirq( {safe}:A -A )\nt: irqs-off {first}:A {second}:B -B -A irqs-on\nt: {unsafe}:B -B"
    assert codes(script) == ({"LS107"} if bad else set())


def test_through_a_chain_the_nearest_pair_is_told() -> None:
    script = (
        "t: hardirq( spin:A -A )\nt: irqs-off spin:A spin:M -M -A spin:M spin:B -B -M spin:B spin:C -C -B irqs-on\n"
        "t: spin:B -B spin:C -C"
    )
    found = findings("LS107", script)
    assert [f.classes for f in found] == [("A", "M", "B")]
    assert found[0].title == "HARDIRQ-safe -> HARDIRQ-unsafe lock order detected"
    assert found[0].story[found[0].story.index("Chain exists of:") + 1] == "  A --> M --> B"
    assert found[0].confidence is Confidence.CERTAIN


def test_a_weak_link_breaks_the_chain() -> None:
    script = (
        "t: hardirq( spin:A -A )\nt: irqs-off spin:A rread:M -M -A {}:M spin:B -B -M irqs-on\nt: spin:B -B"
    )  # fmt: skip
    assert codes(script.format("rread")) == set()
    assert codes(script.format("write")) == {"LS107"}


def test_local_lock_is_nothing_to_spin_on() -> None:
    # lib/locking-selftest.c, local_lock_2: "no inversion, A is a local_lock"
    script = "t: local:L -L\nt: hardirq( spin:A -A )\nt: irqs-off spin:A {}:L -L -A irqs-on"
    assert codes(script.format("local")) == set()
    assert codes(script.replace("local:L", "spin:L").format("spin")) == {"LS107"}


def test_both_kinds_of_interrupt_are_judged_apart() -> None:
    # lib/locking-selftest.c, hardirq_deadlock_softirq_not_deadlock
    script = (
        "t: softirq( spin:A -A )\nt: bh-off spin:A spin:B -B -A bh-on\nt: hardirq( spin:B -B )\n"
        "t: bh-off spin:B -B bh-on"
    )
    assert [f.flow for f in findings("LS108", script)] == ["IN-HARDIRQ-W HARDIRQ-ON-W 0"]


def test_a_hard_interrupt_on_a_softirq_counts_as_both() -> None:
    evidence = evidence_of("t: softirq( hardirq( spin:A -A ) )")
    assert lock_usage(evidence).letters(0) == "{-.-.}"


def test_letters() -> None:
    evidence = evidence_of("t: spin:A irqs-off hardirq( spin:A -A ) -A\nt: irqs-on hardirq( rread:R -R ) read:R -R")
    assert [lock_usage(evidence).letters(n) for n in range(2)] == ["{?.+.}", "{.?.+}"]
    assert (bit_name(0), bit_name(3), bit_name(6)) == ("IN-HARDIRQ-W", "HARDIRQ-ON-R", "SOFTIRQ-ON-W")


def test_what_an_inconsistent_outer_lock_explains_is_not_told_again() -> None:
    script = "t: hardirq( spin:A spin:B -B -A )\nt: spin:A spin:B spin:C -C -B -A"
    assert [f.classes for f in findings("LS108", script)] == [("A",)]
    assert findings("LS107", script) == []
    alone = script + "\nt: spin:B -B"
    assert [f.classes for f in findings("LS108", alone)] == [("A",), ("B",)]


def test_nmi() -> None:
    assert [f.flow for f in findings("LS108", "t: spin:A -A nmi( spin:A )")] == ["IN-NMI INITIAL USE 0"]
    assert findings("LS108", "t: spin:A -A nmi( spin:A? )") == []
    assert findings("LS108", "t: rread:A -A nmi( rread:A )") == []


@pytest.mark.parametrize("kernel", ["6.12.0", "5.10.0", None])
def test_softirq_is_only_judged_where_bh_off_shows(kernel: str | None) -> None:
    script = "t: softirq( spin:A -A )\nt: spin:A -A"
    known = {"6.12.0": {"LS108"}, "5.10.0": set(), None: set()}
    assert codes(script, kernel=kernel) == known[kernel]


def test_faked_softirqs() -> None:
    script = "t: bh-off irqs-off spin:A -A irqs-on bh-on spin:A -A"
    assert codes(script) == set()
    assert codes(script, assume=("selftest-softirq",)) == {"LS108"}


def test_by_name_only_one_instance_is_judged() -> None:
    script = "t: hardirq( spin:s@1 -s@1 )\nt: spin:s@2 -s@2"
    assert codes(script) == {"LS108"}
    assert codes(script, told=False) == set()
    assert [f.confidence for f in findings("LS108", script)] == [Confidence.LIKELY]
    same = script.replace("@2", "@1")
    assert [f.confidence for f in findings("LS108", same, told=False)] == [Confidence.CERTAIN]


def test_grounds_of_old_kernels() -> None:
    run = run_check("LS107", "t: spin:A", kernel="4.14.0")[0]
    assert run.status is Status.PARTIAL
    assert run.reason is not None
    assert "5.10" in run.reason
    assert run_check("LS108", "t: spin:A")[0].status is Status.RAN


def test_where_nothing_tells_whether_softirqs_were_off() -> None:
    """Text without a version: its header says that the flags show it, or an event does; trace-cmd report hides it."""
    script = "t: softirq( spin:A -A )\nt: spin:A -A"
    for kernel, options, bad in (
        (None, {}, False), (None, {"bh_shown": True}, True), ("6.12.1", {}, True),
        ("5.15.3", {"bh_shown": True}, False),
        ("6.12.1", {"flags_hidden": 0xE0}, False),
    ):  # fmt: skip
        evidence = evidence_of(script)
        evidence.info.kernel = kernel
        evidence.info.options |= options
        run, found = all_checks()["LS108"].run(evidence)
        assert (bool(found), run.status is Status.PARTIAL) == (bad, not bad), (kernel, options)
        if not bad:
            assert run.reason is not None
            assert "whether softirqs were off" in run.reason
