from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest

from lockscope.report.findings import text
from lockscope.results.findings import Confidence, Finding, Report, Severity, Witness
from tests.builders import reports


def told(report: Report, *, color: bool = False, coverage: bool = False) -> str:
    stream = io.StringIO()
    text.write(report, stream, color=color, coverage=coverage)
    return stream.getvalue()


def test_a_finding_reads_as_lockdep_would_print_it() -> None:
    lines = told(reports.violated()).splitlines()
    assert lines[:6] == [
        "=" * 62,
        "WARNING: possible circular locking dependency detected [LS101]",
        "6.12.117, traces/bug.dat",
        "-" * 62,
        "CPU 0/KVM/4514 is trying to acquire lock:",
        "0xffffc900001b1408 (&kvm->lock){+.+.}, at: kvm_vm_ioctl+0x66/0x170 [kvm]",
    ]
    acts = ["but task is already holding lock:", "which lock already depends on the new lock.",
            "the existing dependency chain (in reverse order) is:", " Possible unsafe locking scenario:",
            " *** DEADLOCK ***", "1 lock held by CPU 0/KVM/4514:"]  # fmt: skip
    places = [lines.index(act) for act in acts]
    assert places == sorted(places)


def test_the_frame_says_how_sure_it_is_what_to_do_and_where_to_look() -> None:
    found = reports.circular(
        reason="different tasks, other instances", advice="Take them in one order.", effect="It hangs."
    )
    out = told(replace(reports.violated(), findings=[found]))
    assert out[out.index("judged:") : out.index("traces/bug.dat: kernel")] == (
        "judged:   error, likely: different tasks, other instances\n"
        "effect:   It hangs.\n"
        "rule:     kvm.lock-order.2: Documentation/virt/kvm/locking.rst (v6.12)\n"
        "to do:    Take them in one order.\n"
        "seen:     12 times; shown is the first\n"
        f"id:       {found.fingerprint}   (lockscope explain LS101)\n"
        "show it:  trace-cmd report -t --cpu 0,1 -i traces/bug.dat | grep -F -C3 11.136744291:\n\n"
    )


def test_each_fact_of_a_report_in_lockdeps_words_stands_once() -> None:
    out = told(reports.violated())
    assert reports.circular().message not in out  # the report says it
    assert out.count("11.136744291") == 1  # of the command alone: the witnesses are in the report
    assert out.count("possible circular locking dependency detected") == 1


def test_events_are_in_order_of_time_with_the_missing_step_marked() -> None:
    witnesses = (
        Witness(13_094_064_689, 1, 71, "CPU 0/KVM", "sys_exit", note="the ioctl returned", missing="no flush"),
        Witness(13_040_947_425, 0, 7, "vhost", "kvm_tdp_mmu_spte_changed", note="RWX -> R-X"),
    )
    found = reports.circular(by_events=True, witnesses=witnesses, message="No flush came.", count=1)
    lines = told(replace(reports.clean(), findings=[found])).splitlines()
    begin = lines.index("No flush came.")
    assert lines[begin + 1 : begin + 6] == [
        "",
        "  13.040947425  CPU 0  vhost-7       kvm_tdp_mmu_spte_changed  RWX -> R-X",
        "  ** no flush **",
        "  13.094064689  CPU 1  CPU 0/KVM-71  sys_exit                  the ioctl returned",
        "",
    ]
    assert "seen:" not in "\n".join(lines)
    assert reports.STORY[0] not in lines


def test_findings_of_one_place_are_one_group_and_their_events_stand_once() -> None:
    at = (Witness(5, 0, 7, "a", "lock_acquire", note="takes outer"), Witness(9, 0, 7, "a", "lock_acquire"))
    one = reports.circular(code="LS103", by_events=True, witnesses=at, confidence=Confidence.CERTAIN, message="One.")
    two = reports.circular(code="LS102", by_events=True, witnesses=at, message="Two.")
    other = reports.circular(code="LS104", witnesses=(at[0], Witness(7, 0, 7, "a", "lock_acquire")))
    out = told(replace(reports.clean(), findings=[other, two, one]))
    first, *listed = out.splitlines()[:4]
    assert first == "3 findings at 2 places, worst first:"
    assert [line[:29] for line in listed] == [
        "   1  error    LS103  certain",
        "      error    LS102  likely ",
        "   2  error    LS104  likely ",
    ]
    assert out.count("takes outer") == 1
    assert "Two.\n\n  the events are those of the finding above\n" in out


def test_the_coverage_block_says_what_the_verdict_rests_on() -> None:
    out = told(reports.violated(), coverage=True)
    block = out[out.index("coverage of") : out.index("\n\n", out.index("coverage of"))]
    assert block.splitlines() == [
        "coverage of traces/bug.dat",
        "  format:      trace.dat v7 (zstd), clock local, 2 CPUs",
        "  kernel:      6.12.117, x86_64, host vmhost7",
        "  rules:       kvm-6.12 (chosen by the trace's kernel)",
        "  events:      312,345 in 9.150753951 .. 12.300000000 (3.149 s)",
        "  decoded:     lock:lock_release 100,002, lock:lock_acquire 100,000",
        "  unpaired:    releases without an acquisition 2",
        "  lost:        1,234 events",
        "  violated:    LS101 circular-lock-dependency",
        "  clean:       LS105 unbalanced-unlock",
        "  in part:     LS106: events lost on CPU 0",
        "  not judged:  LS202 LS203: needs lockscope:srcu_read_lock; trace-cmd record -e lockscope",
        "  notices:     LS901 event-loss: 1,234 events lost on CPU 0: LS106 and LS301 are weaker for it.",
        "  notes:       option 17: unknown, skipped",
    ]


@pytest.mark.parametrize(
    ("report", "last"),
    [
        (reports.clean(), "traces/bug.dat: clean: nothing found; 2 checks clean"),
        (reports.violated(), "traces/bug.dat: violation: 1 error; 1 check clean, 1 in part, 2 not judged"),
        (reports.undecided(), "traces/bug.dat: cannot tell: nothing found; 1 not judged"),
        (replace(reports.violated(), findings=[], known=1),
         "traces/bug.dat: violation: only what the baseline knows; 1 check clean, 1 in part, 2 not judged"),
        (replace(reports.violated(), checks=reports.violated().checks[1:], findings=[]),
         "traces/bug.dat: nothing found; 1 check clean, 1 in part, 2 not judged"),
        (replace(reports.clean(), findings=[reports.circular(severity=Severity.INFO)]),
         "traces/bug.dat: clean: 1 info; 2 checks clean"),
        (Report([reports.trace()], [], []), "traces/bug.dat: cannot tell: nothing found; no check ran"),
    ],
)  # fmt: skip
def test_the_last_line_is_the_verdict(report: Report, last: str) -> None:
    assert told(report).splitlines()[-1] == last


def test_nothing_found_is_short_and_has_no_report() -> None:
    out = told(reports.clean())
    assert "WARNING" not in out
    assert "baseline" not in out
    assert out.splitlines() == [
        "traces/bug.dat: kernel 6.12.117, 312,345 events in 3.149 s, none lost, rules kvm-6.12",
        "traces/bug.dat: clean: nothing found; 2 checks clean",
    ]


def test_fifty_findings_begin_with_a_list_worst_first_and_are_numbered() -> None:
    lines = told(reports.many()).splitlines()
    assert lines[0] == "50 findings at 2 places, worst first:"
    listed = lines[1:51]
    assert [line[6:14].strip() for line in listed] == (["error"] * 20 + ["warning"] * 5) * 2
    assert [line[:4].strip() for line in listed] == ["1", *[""] * 24, "2", *[""] * 24]
    assert listed[0].endswith("possible circular locking dependency detected: &a2->lock -> &b2->lock (one.dat)")
    assert "6.12.117, two.dat, finding 26 of 50" in lines
    assert lines[-3:] == [
        "one.dat: violation: 20 errors, 5 warnings",
        "two.dat: violation: 20 errors, 5 warnings",
        "all 2 traces: violation: 40 errors, 10 warnings",
    ]


def test_each_window_has_a_line() -> None:
    out = told(reports.windowed())
    assert (
        "2 windows, each judged on its own:\n  ABBA_mutex  1 found        2 us\n  AA_rsem     nothing found  1 us\n"
        in out
    )
    assert "window:   ABBA_mutex\n" in out


def test_a_finding_without_a_story_or_a_witness_is_told_by_its_message() -> None:
    bare = Finding(
        "LS401", "unprotected-field", Severity.WARNING, Confidence.POSSIBLE, "field without its lock", "Told so."
    )
    out = told(replace(reports.clean(), findings=[bare]))
    assert "WARNING: field without its lock [LS401]" in out
    assert "-" * 54 + "\nTold so.\n\njudged:   warning, possible\nid:" in out
    assert "show it:" not in out
    assert "rule:" not in out


def test_info_is_no_warning() -> None:
    out = told(replace(reports.clean(), findings=[reports.circular(severity=Severity.INFO)]))
    assert "INFO: possible circular locking dependency detected [LS101]" in out
    assert "WARNING" not in out


def test_losses_are_told_per_cpu_with_the_remedy() -> None:
    lost = [
        {"cpu": 0, "kind": "overrun", "count": 1234, "remedy": "trace-cmd record -b 20000", "buffer": ""},
        {"cpu": 3, "kind": "dropped", "count": None, "remedy": "", "buffer": "kvm"},
    ]
    out = told(Report([reports.trace(lost_events=None, coverage={"lost": lost})], [], []), coverage=True)
    assert (
        "  lost:        1,234 (overrun) on CPU 0; trace-cmd record -b 20000\n"
        "               an unknown number (dropped) on CPU 3 in buffer kvm\n"
    ) in out
    unknown = told(Report([reports.trace(lost_events=None, coverage={})], [], []), coverage=True)
    assert "  lost:        an unknown number\n" in unknown
    assert "  unpaired:    none\n" in unknown


def test_text_from_the_trace_cannot_steer_the_terminal() -> None:
    evil = Witness(1, 0, 7, "\x1b[2Jevil\n", "lock_acquire", note="a\x07b\u202ec")
    out = told(
        replace(
            reports.clean(),
            findings=[
                reports.circular(witnesses=(evil,), by_events=True),
                reports.circular(code="LS104", story=("x\x1by\rz",)),
            ],
        )
    )
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out) is None
    assert "\\x1b[2Jevil\\n-7" in out
    assert "x\\x1by\\rz" in out


def test_colours_only_when_asked_and_nothing_else_differs() -> None:
    plain, coloured = told(reports.violated()), told(reports.violated(), color=True)
    assert "\x1b" not in plain
    assert "\x1b[1;31mWARNING: possible circular locking dependency detected [LS101]\x1b[0m" in coloured
    assert "\x1b[1m *** DEADLOCK ***\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_many_witnesses_and_events_are_cut() -> None:
    witnesses = tuple(Witness(i, 0, 1, "t", "lock_acquire") for i in range(15))
    decoded = {f"kvm:event{i:02}": 100 - i for i in range(30)}
    out = told(
        Report(
            [reports.trace(coverage={"decoded": decoded})], [], [reports.circular(witnesses=witnesses, by_events=True)]
        ),
        coverage=True,
    )
    assert "... and 3 more (--format json has all)" in out
    assert "kvm:event23 77" in out
    assert "and 6 more with 441" in out


def test_assumptions_and_the_baseline_are_named() -> None:
    out = told(replace(reports.clean(), assumptions=("selftest-softirq",), known=3))
    assert "assumed: selftest-softirq\nknown from the baseline and not listed: 3\n" in out
