"""LS303 to LS307 and LS401: what is told of SPTE histories, and what the recording must have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lockscope.evidence.gather import GatherOptions
from lockscope.pipeline import AnalyzeOptions, analyze, judged, selected_checks
from lockscope.results.findings import Confidence, Status, Verdict
from tests.builders.kvm import KVM_EVENTS, NONE, RO, RW, TRACKED, KvmScript
from tests.builders.records import EVENTS
from tests.builders.script import Script

SPTEP = 0x10565BC00
LOCKS = ("lock_acquire", "lock_acquired", "lock_release", "lockdep_acquire")
TSC = ("&kvm->arch.tsc_write_lock", 0xFFFFC90000002868)


def mapped(script: KvmScript, value: int = RO) -> None:
    script.vcpu.leave()
    with script.vcpu.srcu(), script.vcpu.mmu_lock(read=True):
        script.vcpu.spte(0x180, NONE, value).set_spte(0x180, value, SPTEP)
    script.vcpu.enter()
    script.at(script.now + 100_000)


def lost_bit(script: KvmScript) -> None:
    mapped(script)
    script.vcpu.leave().fault(0x180).fast(0x180, RO, RW, SPTEP)
    with script.qemu.mmu_lock():
        script.qemu.spte(0x180, RO, NONE)


def test_changes_without_mmu_lock_are_one_finding():
    script = KvmScript()
    with script.vcpu.ioctl(0xAE80):
        for gfn in range(0x180, 0x1A0):
            script.vcpu.spte(gfn, NONE, RW)
    (finding,) = script.found("LS303")
    assert (finding.count, finding.classes) == (32, ("&(kvm)->mmu_lock",))
    assert "32 SPTE changes (gfn 0x180-0x19f) by a task that does not hold mmu_lock" in finding.message


@pytest.mark.parametrize("gap", [True, False])
def test_a_lost_acquisition_is_no_change_without_the_lock(gap):
    script = KvmScript()
    script.vcpu.enter().leave()
    script.at(script.now + 5_000_000)
    if gap:
        script.loss(1)
    script.vcpu.spte(0x180, NONE, RW)
    assert script.loud("LS303") == ([] if gap else ["LS303"])


def test_buffers_that_follow_different_tasks():
    """One buffer has everybody's KVM events, the other one task's lock events: what it lacks of others is no alarm."""
    script = KvmScript()
    with script.vcpu.ioctl(0xAE80):
        script.vcpu.spte(0x180, NONE, RW).access()
        script.vcpu.event("kvm:kvm_track_tsc", vcpu_id=0)
    script.qemu.take(*TSC).release(*TSC)
    rows = [replace(row, buffer="kvm") if row.name.startswith(("kvm", "raw_")) else row for row in script.rows]
    script.rows = [row for row in rows if row.buffer or row.pid == 100]
    runs, found = script.judged("LS201", "LS301", "LS302", "LS303", "LS401")
    assert found == []
    reasons = {run.code: run.reason or "" for run in runs}
    assert "buffers follow different tasks" in reasons["LS303"]


def test_the_fast_path_on_a_shadowed_page():
    script = KvmScript()
    mapped(script, TRACKED)
    script.vcpu.leave().fast(0x180, TRACKED, RW, SPTEP)
    (finding,) = script.found("LS304")
    assert (finding.confidence, finding.count) == (Confidence.CERTAIN, 1)
    assert "not both host-writable and MMU-writable" in finding.message
    assert finding.witnesses[0].event == "fast_page_fault"


@pytest.mark.parametrize(
    ("clock", "status", "sure"), [("global", Status.RAN, "certain"), ("local", Status.PARTIAL, "likely")]
)
def test_races_rest_on_the_clock(clock, status, sure):
    script = KvmScript(clock=clock)
    script.reader().info.cpus = 2
    lost_bit(script)
    from lockscope.evidence.gather import GatherOptions
    from lockscope.pipeline import judged, selected_checks

    checks = selected_checks(("LS306",))
    evidence = script.gathered(GatherOptions(("spte_history", "spte_layout", "vms"))).evidence
    evidence.info.cpus = 2
    (run,), (finding,) = judged(evidence, checks)
    assert (run.status, finding.confidence, run.verdict) == (status, sure, Verdict.VIOLATION)


@pytest.mark.parametrize(("tdcall", "found"), [(False, ["LS306"]), (True, [])])
def test_sptes_of_a_tdx_guest_may_be_those_of_its_mirror(tdcall, found):
    script = KvmScript()
    mapped(script)
    script.vcpu.leave().event("kvm:kvm_exit", exit_reason=77, isa=1 if tdcall else 2, vcpu_id=0)
    script.vcpu.fault(0x180).fast(0x180, RO, RW, SPTEP)
    with script.qemu.mmu_lock():
        script.qemu.spte(0x180, RO, NONE)
    (run,), findings = script.judged("LS306")
    assert [f.code for f in findings] == found
    assert ("mirror page tables" in (run.reason or "")) is tdcall


def test_a_race_with_a_gap_in_it_is_not_told():
    script = KvmScript()
    mapped(script)
    script.vcpu.leave().fault(0x180).fast(0x180, RO, RW, SPTEP)
    script.loss(0)
    with script.qemu.mmu_lock():
        script.qemu.spte(0x180, RO, NONE)
    assert script.found("LS306") == []


@pytest.mark.parametrize(
    ("without", "code", "says"),
    [
        (LOCKS, "LS303", "mmu_lock"),
        (("fast_page_fault",), "LS304", "kvmmmu"),
        (("fast_page_fault",), "LS305", "kvmmmu"),
        (("kvm_mmu_set_spte",), "LS305", "kvm_mmu_set_spte"),
        (("kvm_tdp_mmu_spte_changed",), "LS306", "mmu_spte_update_entry"),
        (("kvm_tdp_mmu_spte_changed", "fast_page_fault"), "LS307", "kvmmmu"),
        (("kvm_track_tsc",), "LS401", "-e kvm"),
        (LOCKS, "LS401", "tsc_write_lock"),
        (("lock_release",), "LS303", "lock_release"),
        (("lock_release",), "LS302", "lock_release"),
    ],
)
def test_what_is_missing_is_said(without, code, says):
    script = KvmScript(without=without)
    lost_bit(script)
    script.qemu.event("kvm:kvm_track_tsc", vcpu_id=0)
    (run,), found = script.judged(code)
    assert (run.status, found) == (Status.SKIPPED, [])
    assert says in (run.reason or "")


@pytest.mark.parametrize(
    ("held", "kernel", "codes"), [(True, "6.12.1", []), (False, "6.12.1", ["LS401"]), (False, "5.15.3", [])]
)
def test_the_tscs_bookkeeping(held, kernel, codes):
    script = KvmScript(kernel)
    qemu = script.qemu
    qemu.take(*TSC)
    if not held:
        qemu.release(*TSC)
        script.at(script.now + 20_000_000)
    qemu.event("kvm:kvm_track_tsc", vcpu_id=0)
    if held:
        qemu.release(*TSC)
    assert script.loud("LS4") == codes


def spinlocks(ways: tuple[str, ...], *, held: bool) -> str:
    """Without lockdep: tsc_write_lock taken in these ways, and the TSC's bookkeeping in the last of them or after."""
    kvm, at = 0xFFFFC90000001000, 0xFFFFC90000001000 + 2152
    rows = ["tracing_mark_write: lockscope: struct kvm: 0=&(kvm)->mmu_lock 2152=&kvm->arch.tsc_write_lock",
            f"kvm_destroy_vm: (kvm_destroy_vm+0x0/0x10) kvm={kvm:#x}"]  # fmt: skip
    for way in ways:
        back = way.replace("save", "restore")
        rows += [f"raw_spin_lock_{way}_entry: (_raw_spin_lock_{way}+0x0/0x10) lock={at:#x} caller=0xffffffff81000010",
                 f"raw_spin_lock_{way}: (kvm_synchronize_tsc+0x10/0x20 <- _raw_spin_lock_{way})",
                 f"raw_spin_unlock_{back}: (_raw_spin_unlock_{back}+0x0/0x10) lock={at:#x}"]  # fmt: skip
    rows.insert(len(rows) - held, "kvm_track_tsc: vcpu_id 0 masterclock 0 offsetmatched 0 nr_online 1 hostclock tsc")
    times = [*range(len(rows) - 1), 20_000]  # the last event comes when nothing says that the lock may still be held
    lines = [f"qemu-100 [000] ..... 1.{at:06}: {row}" for at, row in zip(times, rows, strict=True)]
    return "\n".join(["# tracer: nop", "#", "# lockscope: kernel 7.3.4 x86_64", "#", *lines, ""])


@pytest.mark.parametrize(
    ("ways", "held", "status", "codes"),
    [
        (("irq", "irqsave"), True, Status.RAN, []),
        (("irq", "irqsave"), False, Status.RAN, ["LS401"]),
        (("irqsave",), False, Status.SKIPPED, []),  # who takes it by the other function would hold nothing
    ],
)
def test_the_tscs_bookkeeping_by_the_functions_of_spinlocks(ways, held, status, codes, tmp_path: Path):
    trace = tmp_path / "trace.txt"
    trace.write_text(spinlocks(ways, held=held))
    report = analyze([str(trace)], AnalyzeOptions(select=("LS401",)))
    assert [f.code for f in report.findings if f.code == "LS401"] == codes
    assert [check.status for check in report.checks] == [status]


def test_what_cannot_be_told_makes_it_partial():
    script = KvmScript()
    script.vcpu.page(0, 0x84).page(0, 0x84)
    lost_bit(script)
    script.worker("kvm-nx-lpage-re", 300, 1).spte(0x180, NONE, RW)
    (locks, bits), found = script.judged("LS303", "LS306")
    assert found == []
    assert [run.status for run in (locks, bits)] == [Status.PARTIAL, Status.PARTIAL]
    assert "whose locks were not known" in (locks.reason or "")
    assert "of which VM or root" in (bits.reason or "")


@pytest.mark.parametrize(
    ("mapped_by", "reason"),
    [
        ("nobody", "no SPTE was changed while this was recorded: no VM ran"),
        ("unlocked", "mmu_lock was not recorded, or could not"),
    ],
)
def test_ls303_where_no_vm_ran(mapped_by, reason):
    """With locks recorded and no mmu_lock among them: nothing was there to judge, or its lock could not be told."""
    script = Script("7.3.4", events=EVENTS | KVM_EVENTS)
    task = script.task("ls", 100).sys_exit()
    task.take("&files->file_lock", 0xFFFF888100000100).release("&files->file_lock", 0xFFFF888100000100)
    if mapped_by != "nobody":
        task.event("kvmmmu:kvm_tdp_mmu_spte_changed", gfn=0x180, old_spte=NONE, new_spte=0x104FB8E67, level=1)
    checks = selected_checks(("LS303",))
    facts = tuple(sorted({fact for check in checks for fact in check.facts}))
    evidence = script.gathered(GatherOptions(facts)).evidence
    evidence = replace(evidence, enabled=frozenset({"kvmmmu:kvm_tdp_mmu_spte_changed", "kvm:kvm_track_tsc"}))
    (run,), found = judged(evidence, checks)
    assert (run.status, found) == (Status.SKIPPED, [])
    assert reason in (run.reason or "")
