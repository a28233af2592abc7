"""Hand-made reports of many shapes, and a pipeline that hands them out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from lockscope.results.findings import (
    CheckRun,
    Confidence,
    Context,
    Finding,
    Report,
    RuleRef,
    Severity,
    Status,
    TraceSummary,
    Verdict,
    WindowSummary,
    Witness,
)

STORY = (
    "CPU 0/KVM/4514 is trying to acquire lock:",
    "0xffffc900001b1408 (&kvm->lock){+.+.}, at: kvm_vm_ioctl+0x66/0x170 [kvm]",
    "",
    "but task is already holding lock:",
    "0xffffc900001b1350 (&kvm->slots_lock){+.+.}, at: kvm_set_memory_region+0x19/0x40 [kvm]",
    "",
    "which lock already depends on the new lock.",
    "",
    "the existing dependency chain (in reverse order) is:",
    "",
    "-> #1 (&kvm->slots_lock){+.+.}:",
    "       kvm_set_memory_region+0x19/0x40 [kvm]",
    "",
    "-> #0 (&kvm->lock){+.+.}:",
    "       kvm_vm_ioctl+0x66/0x170 [kvm]",
    "",
    " Possible unsafe locking scenario:",
    "",
    "       CPU0                    CPU1",
    "       ----                    ----",
    "  lock(&kvm->slots_lock);",
    "                               lock(&kvm->lock);",
    "                               lock(&kvm->slots_lock);",
    "  lock(&kvm->lock);",
    "",
    " *** DEADLOCK ***",
    "",
    "1 lock held by CPU 0/KVM/4514:",
    " #0: 0xffffc900001b1350 (&kvm->slots_lock){+.+.}, at: kvm_set_memory_region+0x19/0x40 [kvm]",
)


def trace(path: str = "traces/bug.dat", **changes: Any) -> TraceSummary:
    """A trace of a 6.12 kernel on the local clock."""
    whole = TraceSummary(
        path=path,
        format="trace.dat v7 (zstd)",
        kernel="6.12.117",
        clock="local",
        cpus=2,
        events=312_345,
        lost_events=0,
        start_ns=9_150_753_951,
        end_ns=12_300_000_000,
        rules="kvm-6.12",
        chosen="auto",
        coverage={
            "decoded": {"lock:lock_acquire": 100_000, "lock:lock_release": 100_002},
            "unpaired": {"releases without an acquisition": 2},
            "lost": [],
            "notes": ["option 17: unknown, skipped"],
            "host": "vmhost7",
            "machine": "x86_64",
        },
    )
    return replace(whole, **changes)


def circular(**changes: Any) -> Finding:
    """LS101 with its whole story."""
    whole = Finding(
        code="LS101",
        name="circular-lock-dependency",
        severity=Severity.ERROR,
        confidence=Confidence.LIKELY,
        title="possible circular locking dependency detected",
        message="&kvm->lock is taken inside &kvm->slots_lock, and the other way round.",
        classes=("&kvm->slots_lock", "&kvm->lock"),
        rule=RuleRef("kvm.lock-order.2", "Documentation/virt/kvm/locking.rst (v6.12)"),
        count=12,
        witnesses=(
            Witness(11_136_744_291, 1, 4514, "CPU 0/KVM", "lock_acquire", Context.TASK, "kvm_vm_ioctl+0x66",
                    "acquires &kvm->lock at 0xffffc900001b1408"),
            Witness(9_200_000_001, 0, 77, "qemu", "lock_acquire", Context.SOFTIRQ),
        ),
        story=STORY,
        details={"cycle": [{"task": "qemu/77", "pid": 77, "lock": "0xffffc900001b1350"}]},
    )  # fmt: skip
    return replace(whole, **changes)


def notice(**changes: Any) -> Finding:
    """LS901, which speaks of the trace."""
    whole = Finding(
        code="LS901",
        name="event-loss",
        severity=Severity.INFO,
        confidence=Confidence.CERTAIN,
        title="events were lost",
        message="1,234 events lost on CPU 0: LS106 and LS301 are weaker for it.",
    )
    return replace(whole, **changes)


def ran(code: str, name: str, verdict: Verdict = Verdict.CLEAN, trace: int = 0) -> CheckRun:
    """A check that had what it needs."""
    return CheckRun(code, name, Status.RAN, verdict, None, trace)


def skipped(code: str, name: str, reason: str = "lock:* was not recorded", trace: int = 0) -> CheckRun:
    """A check that had not."""
    return CheckRun(code, name, Status.SKIPPED, Verdict.UNKNOWN, reason, trace)


def clean() -> Report:
    """Nothing found, everything judged."""
    return Report([trace()], [ran("LS101", "circular-lock-dependency"), ran("LS105", "unbalanced-unlock")], [])


def violated() -> Report:
    """One finding, one check in part, two skipped for one reason, one notice."""
    return Report(
        [trace(lost_events=1_234)],
        [
            ran("LS101", "circular-lock-dependency", Verdict.VIOLATION),
            ran("LS105", "unbalanced-unlock"),
            CheckRun("LS106", "held-on-exit", Status.PARTIAL, Verdict.UNKNOWN, "events lost on CPU 0"),
            skipped("LS202", "srcu-index-mismatch", "needs lockscope:srcu_read_lock; trace-cmd record -e lockscope"),
            skipped("LS203", "srcu-unbalanced", "needs lockscope:srcu_read_lock; trace-cmd record -e lockscope"),
            ran("LS901", "event-loss"),
        ],
        [notice(), circular()],
    )


def windowed() -> Report:
    """Two windows, a finding in the first."""
    report = clean()
    return replace(
        report,
        checks=[ran("LS101", "circular-lock-dependency", Verdict.VIOLATION)],
        findings=[circular(window="ABBA_mutex")],
        windows=[WindowSummary(0, "ABBA_mutex", 10, 2_010, 1), WindowSummary(0, "AA_rsem", 3_000, 4_000, 0)],
    )


def undecided() -> Report:
    """Nothing found, nothing judged."""
    return Report(
        [trace(kernel=None, clock=None, chosen="default")], [skipped("LS101", "circular-lock-dependency")], []
    )


def many(number: int = 50) -> Report:
    """Fifty findings in two traces."""
    findings = [
        circular(classes=(f"&a{i}->lock", f"&b{i}->lock"), trace=i % 2, count=i + 1,
                 severity=Severity.WARNING if i % 5 == 0 else Severity.ERROR)
        for i in range(number)
    ]  # fmt: skip
    checks = [ran("LS101", "circular-lock-dependency", Verdict.VIOLATION, trace=t) for t in (0, 1)]
    return Report([trace("one.dat"), trace("two.dat")], checks, findings)


@dataclass(frozen=True)
class Options:
    """The plain values of ``pipeline.AnalyzeOptions``."""

    rules: str = "auto"
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    window_start: str | None = None
    window_end: str | None = None
    assume: tuple[str, ...] = ()
    merge: bool = False
    events: tuple[str, ...] = ()
    exclude_events: tuple[str, ...] = ()
    page_data: bool = False
    task_name: Callable[[str], str] | None = None


Answer = Callable[[list[str], Options], Report]


def fake_pipeline(answer: Answer) -> ModuleType:
    """A ``lockscope.pipeline`` whose ``analyze`` is ``answer``; goes into ``sys.modules``."""
    module = ModuleType("lockscope.pipeline")
    vars(module)["AnalyzeOptions"] = Options

    def analyze(
        paths: list[str], options: Options, progress: Callable[[int, int | None], None] | None = None
    ) -> Report:
        assert progress is not None
        progress(1, 2)
        return answer(paths, options)

    vars(module)["analyze"] = analyze
    return module
