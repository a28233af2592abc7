"""Flush debts: who owes a flush, by when, and what pays it."""

from __future__ import annotations

import numpy as np
import pytest

from lockscope.core import kvm_flush as kernel
from lockscope.facts.flush_debts import losses_of
from lockscope.facts.kvm_runs import Run, runs, runs_text
from lockscope.kvm.spte import layout_named
from tests.builders.kvm import (
    CLEAR_LOG,
    FLUSH,
    FREE_ROOTS,
    GET_LOG,
    KICK,
    NONE,
    RESET_RINGS,
    RO,
    RW,
    SET_MEMORY,
    TRACKED,
    KvmScript,
    ro,
    rw,
)  # fmt: skip

GFNS = (0x180, 0x181, 0x182)


def outcomes(script: KvmScript) -> list[tuple[str, str, str, int]]:
    return [(g.code, g.flow, g.outcome, g.count) for g in script.fact("flush_debts").groups]


def clear_log(script: KvmScript, *, flush: str = "in time", ioctl: int = CLEAR_LOG) -> None:
    """A dirty-log ioctl that flushes in time, late, by somebody else, or never."""
    qemu = script.qemu
    with qemu.ioctl(ioctl):
        with qemu.slots_lock():
            with qemu.mmu_lock():
                qemu.protect(*GFNS)
            if flush == "in time":
                qemu.request()
            elif flush == "foreign":
                script.vcpu2.request()
        if flush == "late":
            qemu.request()
    if flush == "after":
        qemu.request()


@pytest.mark.parametrize(
    ("flush", "outcome"),
    [("in time", None), ("late", "late"), ("foreign", "foreign"), ("never", "unpaid"), ("after", "late")],
)
def test_dirty_log_window(flush, outcome):
    script = KvmScript()
    clear_log(script, flush=flush)
    script.vcpu.enter()
    assert outcomes(script) == ([("LS301", "dirty logging", outcome, 3)] if outcome else [])


def test_what_is_flushed_by_somebody_else_after_the_ioctl_but_before_a_vcpu_runs_harms_nobody():
    script = KvmScript()
    clear_log(script, flush="never")
    script.vcpu2.request()
    script.vcpu.enter()
    assert outcomes(script) == [("LS301", "dirty logging", "foreign", 3)]


def test_nothing_is_unpaid_where_no_vcpu_runs_on():
    script = KvmScript()
    script.vcpu.enter().leave()
    clear_log(script, flush="never")
    assert outcomes(script) == [("LS301", "dirty logging", "ended", 3)]
    assert script.loud("LS301") == []


def test_a_vcpu_that_was_in_the_guest_all_the_time():
    script = KvmScript()
    script.vcpu.enter()
    clear_log(script, flush="never")
    script.vcpu.leave()
    group = script.fact("flush_debts").groups[0]
    assert (group.outcome, group.use_pid, group.runs) == ("unpaid", 101, [Run(0x180, 0x182, 1)])


def test_until_when_it_could_be_used():
    script = KvmScript()
    clear_log(script, flush="never")
    script.vcpu.enter()
    script.vcpu2.request()
    paid = script.now - 1000
    group = script.fact("flush_debts").groups[0]
    assert (group.outcome, group.paid_ns, group.paid_pid) == ("unpaid", paid, 102)


@pytest.mark.parametrize("request_number", [FREE_ROOTS, KICK, 0x22, 0x323, 0x317])
def test_other_requests_are_no_flush(request_number):
    script = KvmScript()
    with script.qemu.ioctl(CLEAR_LOG), script.qemu.slots_lock():
        with script.qemu.mmu_lock():
            script.qemu.protect(*GFNS)
        script.qemu.request(request_number)
    script.vcpu.enter()
    assert outcomes(script) == [("LS301", "dirty logging", "unpaid", 3)]


def test_another_vms_flush_does_not_pay():
    script = KvmScript()
    with script.qemu.ioctl(CLEAR_LOG), script.qemu.slots_lock():
        with script.qemu.mmu_lock():
            script.qemu.protect(*GFNS)
        script.qemu.request(FLUSH, vm=script.other)
    script.vcpu.enter()
    assert outcomes(script) == [("LS301", "dirty logging", "unpaid", 3)]


def test_another_vms_vcpu_does_not_use_it():
    script = KvmScript()
    clear_log(script, flush="never")
    with script.stranger.srcu():
        script.stranger.access()
    script.stranger.enter()
    assert outcomes(script) == [("LS301", "dirty logging", "ended", 3)]
    assert script.loud("LS301") == []


def test_a_memslot_flush_pays():
    script = KvmScript()
    with script.qemu.ioctl(SET_MEMORY), script.qemu.slots_lock():
        with script.qemu.mmu_lock(read=True):
            script.qemu.protect(*GFNS)
        script.qemu.event("lockscope:kvm_flush_remote_tlbs_memslot", kvm=script.vm.kvm, slot=0xFFFF888100BE0E00)
    script.vcpu.enter()
    assert outcomes(script) == []


@pytest.mark.parametrize("flushed", [True, False])
def test_dirty_rings_are_flushed_after_slots_lock(flushed):
    script, qemu = KvmScript(), None
    qemu = script.qemu
    with qemu.ioctl(RESET_RINGS):
        with qemu.slots_lock():
            with qemu.mmu_lock():
                qemu.protect(*GFNS)
            qemu.event("kvm:kvm_dirty_ring_reset", index=0)
        if flushed:
            qemu.request()
    script.vcpu.enter()
    assert outcomes(script) == ([] if flushed else [("LS301", "dirty ring reset", "unpaid", 3)])


def test_the_ring_reset_is_known_by_its_event_where_ioctls_are_not():
    script = KvmScript(without=("sys_enter",))
    with script.qemu.slots_lock():
        with script.qemu.mmu_lock():
            script.qemu.protect(*GFNS)
        script.qemu.event("kvm:kvm_dirty_ring_reset", index=0)
    script.qemu.request().sys_exit()
    script.vcpu.enter()
    assert outcomes(script) == []


def unmap(script: KvmScript, *, flush: str) -> None:
    qemu = script.qemu
    qemu.event("raw_syscalls:sys_enter", id=11)
    qemu.event("kvm:kvm_unmap_hva_range", start=0x7F0000000000, end=0x7F0000003000)
    with qemu.srcu():
        with qemu.mmu_lock():
            qemu.zap(*GFNS)
            if flush == "in time":
                qemu.request()
        if flush == "late":
            qemu.request()
    qemu.sys_exit(11)


@pytest.mark.parametrize(("flush", "outcome"), [("in time", None), ("late", "late"), ("never", "unpaid")])
def test_notifier_window(flush, outcome):
    script = KvmScript()
    unmap(script, flush=flush)
    script.vcpu.enter()
    assert outcomes(script) == ([("LS302", "MMU notifier", outcome, 3)] if outcome else [])


@pytest.mark.parametrize(("runs", "outcome"), [("nobody", "late"), ("another VM", "late"), ("a vCPU", "unpaid")])
def test_a_yield_without_a_flush_is_late_if_a_flush_follows_and_worse_if_a_vcpu_runs_meanwhile(runs, outcome):
    """a835429cda91: tdp_mmu_iter_cond_resched() gave mmu_lock up without flushing what was zapped so far."""
    script = KvmScript()
    qemu = script.qemu
    qemu.event("raw_syscalls:sys_enter", id=11)
    qemu.event("kvm:kvm_unmap_hva_range", start=0x7F0000000000, end=0x7F0000003000)
    with qemu.srcu():
        with qemu.mmu_lock():
            qemu.zap(0x180)
        if runs != "nobody":
            (script.vcpu if runs == "a vCPU" else script.stranger).leave()
        with qemu.mmu_lock():
            qemu.zap(0x181).request()
    qemu.sys_exit(11)
    script.vcpu.enter()
    assert outcomes(script) == [("LS302", "MMU notifier", outcome, 1)]
    assert script.loud("LS302") == (["LS302"] if outcome == "unpaid" else [])


def test_zaps_under_a_read_lock_owe_nothing():
    script = KvmScript()
    with script.qemu.ioctl(SET_MEMORY), script.qemu.slots_lock():
        with script.qemu.mmu_lock():
            script.qemu.event("kvmmmu:kvm_mmu_zap_all_fast").request(FREE_ROOTS)
        with script.qemu.mmu_lock(read=True):
            script.qemu.zap(*GFNS)
    script.vcpu.enter()
    assert outcomes(script) == []


@pytest.mark.parametrize(
    ("kernel", "told", "outcome"),
    [("6.12.1", "in time", None), ("6.12.1", "never", "unpaid"), ("6.12.1", "another", "unpaid"),
     ("6.12.1", "late", "late"), ("5.15.3", "never", None)],
)  # fmt: skip
def test_vcpus_are_told_to_drop_invalidated_roots(kernel, told, outcome):
    script = KvmScript(kernel)
    qemu = script.qemu
    with qemu.ioctl(SET_MEMORY), qemu.slots_lock():
        with qemu.mmu_lock():
            qemu.event("kvmmmu:kvm_mmu_zap_all_fast")
            if told == "in time":
                qemu.request(FREE_ROOTS)
        if told == "late":
            qemu.request(FREE_ROOTS)
    if told == "another":
        script.stranger.request(FREE_ROOTS)
    script.vcpu.enter()
    assert outcomes(script) == ([("LS302", "root invalidation", outcome, 1)] if outcome else [])
    with script.vcpu.mmu_lock(read=True):
        script.vcpu.spte(0x180, NONE, RW)  # by the TDP MMU
    loud = [f for f in script.found("LS302") if f.severity == "error"]
    assert ["page tables of the whole VM zapped by qemu/100" in f.message for f in loud] == [True] * (
        outcome == "unpaid"
    )


@pytest.mark.parametrize(
    ("kernel", "judged"), [("6.12.1", True), ("6.7.3", True), ("6.1.100", False), ("5.15.0", False)]
)
def test_other_zaps_are_judged_from_6_7_on(kernel, judged):
    script = KvmScript(kernel)
    with script.qemu.ioctl(0xAE01), script.qemu.mmu_lock():
        script.qemu.zap(*GFNS)
    script.vcpu.enter()
    assert outcomes(script) == ([("LS302", "zap", "unpaid", 3)] if judged else [])


@pytest.mark.parametrize("how", ["kvm_destroy_vm", "kvm_arch_flush_shadow_all", "exit_group", "no vCPU"])
def test_a_dying_vm_owes_nothing(how):
    script = KvmScript()
    qemu = script.qemu
    if how.startswith("kvm_"):
        qemu.event(f"lockscope:{how}", kvm=script.vm.kvm)
    qemu.event("raw_syscalls:sys_enter", id=231 if how == "exit_group" else 3)
    with qemu.srcu(), qemu.mmu_lock():
        qemu.zap(*GFNS)
    qemu.sys_exit(3)
    if how != "no vCPU":
        script.vcpu.enter()
    assert {outcome for _, _, outcome, _ in outcomes(script)} <= {"ended"}
    script.stranger.enter()
    assert script.loud("LS302") == []


def test_shadow_write_protection_is_due_before_mmu_lock_is_released():
    for flush in (True, False):
        script = KvmScript()
        vcpu = script.vcpu
        vcpu.leave()
        with vcpu.srcu():
            with vcpu.mmu_lock():
                vcpu.spte(0x180, RW, TRACKED)
                if flush:
                    vcpu.request()
            if not flush:
                vcpu.request()
        vcpu.enter()
        assert outcomes(script) == ([] if flush else [("LS301", "write tracking", "late", 1)])


def test_a_large_page_loses_mmu_writable_to_dirty_logging_until_slots_lock():
    large = RW | 1 << 7
    script = KvmScript()
    with script.qemu.ioctl(CLEAR_LOG), script.qemu.slots_lock():
        with script.qemu.mmu_lock():
            script.qemu.spte(0x200, large, large & ~0x402, level=2)
        script.qemu.request()
    script.vcpu.enter()
    assert outcomes(script) == []


def test_a_range_flush_covers_its_range_only():
    script = KvmScript()
    with script.qemu.ioctl(GET_LOG), script.qemu.slots_lock(), script.qemu.mmu_lock():
        script.qemu.zap(0x180, 0x181).flush_range(0x180, 2)
    script.vcpu.enter()
    assert outcomes(script) == []
    script = KvmScript()
    with script.qemu.ioctl(GET_LOG), script.qemu.slots_lock(), script.qemu.mmu_lock():
        script.qemu.zap(0x180, 0x181).flush_range(0x180, 1)
    script.vcpu.enter()
    group = script.fact("flush_debts").groups[0]
    assert (group.outcome, group.runs) == ("unpaid", [Run(0x181, 0x181, 1)])


def test_a_range_that_is_too_small_is_told_where_a_full_flush_hides_it():
    script = KvmScript()
    with script.qemu.ioctl(GET_LOG), script.qemu.slots_lock(), script.qemu.mmu_lock():
        script.qemu.zap(0x180, 0x181).flush_range(0x500, 1).request()
    script.vcpu.enter()
    assert outcomes(script) == [("LS302", "zap under slots_lock", "too-small", 2)]


def test_page_faults_that_protect_under_a_read_lock_are_left_out():
    script = KvmScript()
    script.vcpu.leave()
    with script.vcpu.srcu(), script.vcpu.mmu_lock(read=True):
        script.vcpu.protect(0x180)
    script.vcpu.enter()
    assert outcomes(script) == []


def test_without_lock_names_the_ioctl_alone_is_enough():
    script = KvmScript(without=("lock_acquire", "lock_release", "lock_acquired", "lockdep_acquire"))
    with script.qemu.ioctl(CLEAR_LOG):
        script.qemu.protect(*GFNS)
    script.vcpu.enter()
    assert outcomes(script) == [("LS301", "dirty logging", "unpaid", 3)]


def test_the_legacy_mmu_by_its_probes():
    script = KvmScript()
    qemu, vcpu = script.qemu, script.vcpu
    vcpu.leave()
    with vcpu.srcu(), vcpu.mmu_lock():
        for i, gfn in enumerate(GFNS):
            vcpu.set_spte(gfn, rw(gfn), 0x10D0AAC00 + 8 * i)
    with qemu.ioctl(CLEAR_LOG), qemu.slots_lock(), qemu.mmu_lock():
        for i, gfn in enumerate(GFNS):
            at = 0xFFFF88810D0AAC00 + 8 * i
            qemu.event("lockscope:mmu_spte_update_entry", sptep=at, old_spte=rw(gfn), new_spte=ro(gfn))
            qemu.event("lockscope:mmu_spte_update", sptep=at, new_spte=ro(gfn), flush=1)
    vcpu.enter()
    group = script.fact("flush_debts").groups[0]
    assert (group.code, group.outcome, group.runs, group.places) == ("LS301", "unpaid", [Run(0x180, 0x182, 1)], True)


def test_a_gap_does_not_make_a_debt_paid():
    """The fact keeps it; the check does not tell it (tests/checks)."""
    script = KvmScript()
    clear_log(script, flush="never")
    script.loss(0)
    script.vcpu.enter()
    assert outcomes(script) == [("LS301", "dirty logging", "unpaid", 3)]


def test_many_groups_are_bounded_and_the_paid_ones_forgotten():
    script = KvmScript()
    for _ in range(50):
        clear_log(script)
    clear_log(script, flush="never")
    script.vcpu.enter()
    assert outcomes(script) == [("LS301", "dirty logging", "unpaid", 3)]


@pytest.mark.parametrize(
    ("old", "new", "level", "lost"),
    [
        (RW, RO, 1, kernel.LOST_W),
        (RW, TRACKED, 1, kernel.LOST_W | kernel.LOST_M),
        (RO, TRACKED, 1, kernel.LOST_M),
        (RW, NONE, 1, kernel.LOST_MAPPING),
        (RW, 0x80000000000005A0, 1, kernel.LOST_MAPPING),
        (RW, RW + 0x1000, 1, kernel.REMAPPED),
        (RO, RW, 1, 0),
        (RW, RW & ~0x60, 1, 0),  # A and D
        (NONE, RW, 1, 0),
        (NONE, 0x80000000000005A0, 1, 0),
        (0x105660827, NONE, 2, 0),  # a page table: its leaves follow
        (RW | 0x80, 0x105660827, 2, 0),  # a large page split
    ],
)
def test_what_a_change_takes_away(old, new, level, lost):
    lay = layout_named("npt-6.12")
    assert lay is not None
    values = [np.array([v], np.uint64) for v in (old, new)]
    assert losses_of(values[0], values[1], np.array([level]), lay).tolist() == [lost]


def test_access_tracking_owes_nothing():
    lay = layout_named("ept-6.12")
    assert lay is not None
    old, tracked = np.array([0x8610000104FB8877], np.uint64), np.array([0x8750000104FB8870], np.uint64)
    assert losses_of(old, tracked, np.array([1]), lay).tolist() == [0]


def test_runs():
    gfns, levels = np.array([5, 1, 2, 3, 512, 1024, 5]), np.array([1, 1, 1, 1, 2, 2, 1])
    assert runs(gfns, levels) == [Run(1, 3, 1), Run(5, 5, 1), Run(512, 1535, 2)]
    assert runs_text(runs(gfns, levels)) == "0x1-0x3, 0x5, 0x200-0x5ff (2 MiB)"
    assert runs(np.zeros(0, np.int64), np.zeros(0, np.int64)) == []


@pytest.mark.parametrize(("pages", "outcome"), [(1, "unpaid"), (511, "unpaid"), (512, None), (1024, None)])
def test_a_range_flush_covers_a_huge_page_only_whole(pages, outcome):
    script = KvmScript()
    with script.qemu.ioctl(GET_LOG), script.qemu.slots_lock(), script.qemu.mmu_lock():
        script.qemu.spte(0x200, RW | 1 << 7, NONE, level=2).flush_range(0x200, pages)
    script.vcpu.enter()
    assert [o[2] for o in outcomes(script)] == ([outcome] if outcome else [])
