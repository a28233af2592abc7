"""LS301 and LS302: what is told of unpaid flush debts, and when nothing is."""

from __future__ import annotations

import contextlib

import pytest

from lockscope.results.findings import Confidence, Severity, Status, Verdict
from tests.builders.kvm import CLEAR_LOG, GET_LOG, NONE, SET_MEMORY, KvmScript, rw

LOCKS = ("lock_acquire", "lock_acquired", "lock_release", "lockdep_acquire")


def protected(script: KvmScript, first: int = 0x180, number: int = 512, ioctl: int = CLEAR_LOG) -> None:
    """Dirty logging write-protects neighbours and does not flush; a vCPU runs on."""
    with script.qemu.ioctl(ioctl), script.qemu.slots_lock(), script.qemu.mmu_lock():
        script.qemu.protect(*range(first, first + number))
    script.vcpu.enter().leave()


def test_without_task_switches_nobody_knows_who_was_left_out():
    script = KvmScript()
    protected(script)
    (finding,) = script.found("LS301")
    assert finding.confidence is Confidence.LIKELY


def test_one_finding_for_512_neighbours():
    script = KvmScript()
    script.idle(0).switch_to(script.qemu)
    protected(script)
    (finding,) = script.found("LS301")
    assert (finding.code, finding.severity, finding.confidence) == ("LS301", Severity.ERROR, Confidence.CERTAIN)
    assert finding.count == 512
    assert finding.details["gfn_runs"] == [[0x180, 0x37F, 1]]
    assert (
        "512 SPTEs (gfn 0x180-0x37f) made read-only by qemu/100 (dirty logging, KVM_CLEAR_DIRTY_LOG)" in finding.message
    )
    assert finding.rule is not None
    assert finding.rule.id == "flow/clear-dirty-log"
    assert [w.event for w in finding.witnesses] == ["kvm_tdp_mmu_spte_changed", "lock_release", "sys_exit", "kvm_entry"]
    assert any("missing from the dirty log" in line for line in finding.story)
    assert any("until the end of the trace" in line for line in finding.story)


def test_repeated_it_is_still_one_finding():
    script = KvmScript()
    for first in (0x180, 0x1000, 0x180):
        protected(script, first, 4)
    (finding,) = script.found("LS301")
    assert finding.count == 12
    assert "in 3 sections (gfn 0x180-0x183, 0x1000-0x1003)" in finding.message


def test_the_fingerprint_knows_no_gfn_but_the_flow():
    prints = set()
    for first, ioctl in ((0x180, CLEAR_LOG), (0x9000, CLEAR_LOG), (0x180, GET_LOG)):
        script = KvmScript()
        protected(script, first, 4, ioctl)
        (finding,) = script.found("LS301")
        prints.add(finding.fingerprint)
    assert len(prints) == 2


def test_until_when_it_was_stale():
    script = KvmScript()
    protected(script)
    script.qemu.request()
    (finding,) = script.found("LS301")
    assert any("could be used until [" in line and "when the VM was flushed" in line for line in finding.story)


def test_late_is_info():
    script = KvmScript()
    with script.qemu.ioctl(CLEAR_LOG):
        with script.qemu.slots_lock(), script.qemu.mmu_lock():
            script.qemu.protect(1)
        script.qemu.request()
    script.vcpu.enter()
    runs, (finding,) = script.judged("LS301")
    assert (finding.severity, runs[0].verdict) == (Severity.INFO, Verdict.CLEAN)
    assert "after the window had closed" in finding.message


def test_the_dirty_log_of_a_correct_host_is_clean():
    script = KvmScript()
    for _ in range(3):
        with script.qemu.ioctl(GET_LOG), script.qemu.slots_lock():
            with script.qemu.mmu_lock():
                script.qemu.protect(*range(0x180, 0x190))
            script.qemu.request()
        script.vcpu.enter().leave()
    runs, found = script.judged("LS301", "LS302", "LS303")
    assert found == []
    assert all(run.verdict is Verdict.CLEAN for run in runs)


@pytest.mark.parametrize("where", ["inside", "before the vCPU runs", "hours before", "hours later"])
def test_a_gap_in_which_the_flush_may_lie(where):
    script = KvmScript()
    hour = 3_600_000_000_000
    script.vcpu.enter().leave()
    if where == "hours before":
        script.loss(1)
    script.at(script.now + hour)
    with script.qemu.ioctl(CLEAR_LOG), script.qemu.slots_lock():
        with script.qemu.mmu_lock():
            script.qemu.protect(1)
        if where == "inside":
            script.loss(0)
    if where == "before the vCPU runs":
        script.loss(1)
    script.vcpu.enter().leave()
    script.at(script.now + hour)
    if where == "hours later":
        script.vcpu.enter()
        script.at(script.now + hour).loss(1)
    runs, found = script.judged("LS301")
    assert [f.code for f in found] == (["LS301"] if where.startswith("hours") else [])
    assert runs[0].status is Status.PARTIAL


@pytest.mark.parametrize(
    ("without", "status", "says"),
    [
        (("kvm_make_all_cpus_request",), Status.SKIPPED, "lockscope:kvm_make_all_cpus_request"),
        (("kvm_tdp_mmu_spte_changed", "mmu_spte_update_entry"), Status.SKIPPED, "kvmmmu"),
        (("sys_enter", "sys_exit"), Status.PARTIAL, "raw_syscalls"),
        (("kvm_entry", "kvm_exit"), Status.PARTIAL, "-e kvm"),
    ],
)
@pytest.mark.parametrize("code", ["LS301", "LS302"])
def test_what_is_missing_is_said(code, without, status, says):
    script = KvmScript(without=without)
    with script.qemu.ioctl(CLEAR_LOG), script.qemu.slots_lock():
        with script.qemu.mmu_lock():
            script.qemu.protect(1)
        script.qemu.request()
    (run,), found = script.judged(code)
    assert (run.status, found) == (status, [])
    assert says in (run.reason or "")


@pytest.mark.parametrize(("code", "status"), [("LS301", Status.PARTIAL), ("LS302", Status.SKIPPED)])
def test_without_locks_only_what_ioctls_owe_is_judged(code, status):
    script = KvmScript(without=LOCKS)
    protected(script, number=1)
    (run,), found = script.judged(code)
    assert run.status is status
    assert "mmu_lock" in (run.reason or "")
    assert [f.code for f in found] == (["LS301"] if code == "LS301" else [])


def test_without_guest_events_a_dirty_log_debt_still_counts():
    script = KvmScript(without=("kvm_entry", "kvm_exit"))
    protected(script, number=1)
    (finding,) = script.found("LS301")
    assert finding.confidence is Confidence.LIKELY


def test_an_unflushed_notifier():
    script = KvmScript()
    qemu = script.qemu
    qemu.event("raw_syscalls:sys_enter", id=11)
    qemu.event("kvm:kvm_unmap_hva_range", start=0x7F0000000000, end=0x7F0000003000)
    with qemu.srcu(), qemu.mmu_lock():
        qemu.zap(0x180, 0x181)
    qemu.sys_exit(11)
    script.vcpu.enter()
    (finding,) = script.found("LS3")
    assert (finding.code, finding.count) == ("LS302", 2)
    assert any("given to somebody else" in line for line in finding.story)


def test_two_vms_side_by_side():
    script = KvmScript()
    protected(script, number=2)
    stranger = script.stranger
    with stranger.ioctl(CLEAR_LOG), stranger.slots_lock():
        with stranger.mmu_lock():
            stranger.protect(7)
        stranger.request()
    stranger.enter()
    (finding,) = script.found("LS301")
    assert f"VM 1 (kvm at {script.vm.kvm:#x})" in finding.message
    assert finding.count == 2


TABLE, HUGE, HUGE_RO = 0x105660827, 0x240000 << 12 | 0xEE7, 0x240000 << 12 | 0xEE5
FROZEN = 1 << 63 | 0x5A0


@pytest.mark.parametrize("leaf", [HUGE, HUGE_RO])
@pytest.mark.parametrize("how", ["unflushed", "flushed", "late", "small"])
def test_a_fault_that_puts_a_large_page_over_a_page_table(leaf, how):
    """tdp_mmu_map_handle_target_level(): kvm_flush_remote_tlbs_gfn() before mmu_lock, held for read, is released."""
    script = KvmScript()
    script.vcpu.leave().fault(0x205)
    with script.vcpu.srcu():
        with script.vcpu.mmu_lock(read=True):
            script.vcpu.spte(0x200, TABLE, leaf, 2)
            for gfn in range(0x200, 0x210):
                script.vcpu.spte(gfn, rw(gfn), FROZEN)
            if how in ("flushed", "small"):
                script.vcpu.flush_range(0x200, 512 if how == "flushed" else 8)
                if how == "flushed":
                    script.vcpu.request()
        if how == "late":
            script.vcpu.request()
    script.vcpu.enter()
    found = script.found("LS302")
    assert [f.severity for f in found] == {
        "flushed": [], "late": [Severity.INFO], "unflushed": [Severity.ERROR], "small": [Severity.ERROR]
    }[how]  # fmt: skip
    if how == "unflushed":
        assert "1 SPTE (gfn 0x200-0x3ff (2 MiB)) replaced by a large page by vcpu/101" in found[0].message
        assert found[0].rule is not None
        assert found[0].rule.id == "flow/huge-replaces-table"


@pytest.mark.parametrize(
    ("kernel", "comm", "slots", "flushed", "codes"),
    [("6.18.3", "kvm-nx-lpage-re", False, False, ["LS302"]), ("6.18.3", "kvm-nx-lpage-re", False, True, []),
     ("6.18.3", "qemu", True, False, []), ("6.18.3", "qemu", False, False, []),
     ("6.17.1", "kvm-nx-lpage-re", False, False, [])],
)  # fmt: skip
def test_page_tables_zapped_under_the_read_lock(kernel, comm, slots, flushed, codes):
    """From 6.18 on NX recovery zaps so, and flushes itself; roots made invalid are zapped so and owe nothing."""
    script = KvmScript(kernel)
    thread = script.worker(comm, 300, 0)
    with contextlib.ExitStack() as held:
        held.enter_context(thread.srcu())
        if slots:
            held.enter_context(thread.ioctl(SET_MEMORY))
            held.enter_context(thread.slots_lock())
        held.enter_context(thread.mmu_lock(read=True))
        thread.spte(0x200, TABLE, NONE, 2)
        if flushed:
            thread.request()
    script.vcpu.enter()
    assert script.loud("LS302") == codes
