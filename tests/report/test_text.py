from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest

from lockscope.findings import Confidence, Finding, Report, Severity, Witness
from lockscope.report import text
from tests.builders import reports


def told(report: Report, *, color: bool = False) -> str:
    stream = io.StringIO()
    text.write(report, stream, color=color)
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


def test_the_frame_names_rule_count_confidence_fingerprint_and_witnesses() -> None:
    report = reports.violated()
    out = told(report)
    assert "rule:         kvm.lock-order.2\n              Documentation/virt/kvm/locking.rst (v6.12)\n" in out
    assert "seen:         12 times, first at 11.136744291 on CPU 1 by CPU 0/KVM/4514\n" in out
    assert "judged:       error, likely (circular-lock-dependency)\n" in out
    assert f"fingerprint:  {reports.circular().fingerprint}\n" in out
    assert (
        "where:        11.136744291  CPU 1  CPU 0/KVM/4514  lock_acquire  at kvm_vm_ioctl+0x66, "
        "acquires &kvm->lock at 0xffffc900001b1408\n"
        "               9.200000001  CPU 0  qemu/77         lock_acquire  in softirq\n"
    ) in out
    assert "show it:      trace-cmd report -t --cpu 1 -i traces/bug.dat | grep -F -C3 11.136744291:\n" in out


def test_the_coverage_block_says_what_the_verdict_rests_on() -> None:
    out = told(reports.violated())
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
        (reports.clean(), "traces/bug.dat: clean: nothing found, 2 checks judged in full"),
        (reports.violated(), "traces/bug.dat: violation: 1 error, 3 of 5 checks could not be judged in full"),
        (reports.undecided(), "traces/bug.dat: cannot tell: nothing found, 1 of 1 checks could not be judged in full"),
        (replace(reports.violated(), findings=[], known=1),
         "traces/bug.dat: violation: only what the baseline knows, 3 of 5 checks could not be judged in full"),
        (replace(reports.clean(), findings=[reports.circular(severity=Severity.INFO)]),
         "traces/bug.dat: clean: 1 info"),
        (Report([reports.trace()], [], []), "traces/bug.dat: cannot tell: nothing found, no check ran"),
    ],
)  # fmt: skip
def test_the_last_line_is_the_verdict(report: Report, last: str) -> None:
    assert told(report).splitlines()[-1] == last


def test_nothing_found_is_short_and_has_no_report() -> None:
    out = told(reports.clean())
    assert "WARNING" not in out
    assert "baseline" not in out
    assert out.startswith("coverage of traces/bug.dat\n")
    assert "\n\n\n" not in out


def test_fifty_findings_begin_with_a_list_worst_first_and_are_numbered() -> None:
    lines = told(reports.many()).splitlines()
    assert lines[0] == "50 findings, worst first:"
    listed = lines[1:51]
    assert [line.split()[1] for line in listed] == ["error"] * 40 + ["warning"] * 10
    assert [int(line.split()[0]) for line in listed] == list(range(1, 51))
    assert listed[0].endswith("possible circular locking dependency detected: &a2->lock -> &b2->lock (one.dat)")
    assert "6.12.117, two.dat, finding 21 of 50" in lines
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
    assert "window:       ABBA_mutex\n" in out


def test_a_finding_without_a_story_or_a_witness_is_told_by_its_message() -> None:
    bare = Finding(
        "LS401", "unprotected-field", Severity.WARNING, Confidence.POSSIBLE, "field without its lock", "Told so."
    )
    out = told(replace(reports.clean(), findings=[bare]))
    assert "WARNING: field without its lock [LS401]" in out
    assert "-" * 54 + "\nTold so.\n\nseen:         once\n" in out
    assert "where:" not in out
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
    out = told(Report([reports.trace(lost_events=None, coverage={"lost": lost})], [], []))
    assert (
        "  lost:        1,234 (overrun) on CPU 0; trace-cmd record -b 20000\n"
        "               an unknown number (dropped) on CPU 3 in buffer kvm\n"
    ) in out
    unknown = told(Report([reports.trace(lost_events=None, coverage={})], [], []))
    assert "  lost:        some, and nobody knows how many\n" in unknown
    assert "  unpaired:    none\n" in unknown


def test_text_from_the_trace_cannot_steer_the_terminal() -> None:
    evil = Witness(1, 0, 7, "\x1b[2Jevil\n", "lock_acquire", note="a\x07b\u202ec")
    out = told(replace(reports.clean(), findings=[reports.circular(witnesses=(evil,), story=("x\x1by\rz",))]))
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out) is None
    assert "\\x1b[2Jevil\\n/7" in out
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
    out = told(Report([reports.trace(coverage={"decoded": decoded})], [], [reports.circular(witnesses=witnesses)]))
    assert "... and 3 more (--format json has all)" in out
    assert "kvm:event23 77" in out
    assert "and 6 more with 441" in out


def test_assumptions_and_the_baseline_are_named() -> None:
    out = told(replace(reports.clean(), assumptions=("selftest-softirq",), known=3))
    assert "assumed: selftest-softirq\nknown from the baseline and not listed: 3\n" in out
