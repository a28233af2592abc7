"""SPTE histories: the two races, the fast path's conditions, access tracking, mmu_lock; each with a near miss."""

from __future__ import annotations

import pytest

from lockscope.facts.spte_history import SpteHistory
from tests.builders.kvm import (
    CLEAR_LOG,
    DIRECT,
    INDIRECT,
    NONE,
    PAGE,
    PAGE_OFFSET,
    RO,
    RW,
    SET_MEMORY,
    TRACKED,
    KvmScript,
)

SPTEP = 0x10565BC00  # place 384 of its page
EPT, EPT_TRACKED = 0x8610000104FB8877, 0x8750000104FB8870  # A/D disabled, RWX; R and X saved
EPT_RESTORED = EPT & ~2


def history(script: KvmScript) -> SpteHistory:
    found = script.fact("spte_history")
    assert isinstance(found, SpteHistory)
    return found


def met(script: KvmScript) -> list[str]:
    return [event.what for event in history(script).events if not event.doubt]


def mapped(script: KvmScript, value: int = RO, gfn: int = 0x180) -> None:
    """A vCPU's fault maps a gfn."""
    vcpu = script.vcpu
    vcpu.leave()
    with vcpu.srcu(), vcpu.mmu_lock(read=True):
        vcpu.spte(gfn, NONE, value).set_spte(gfn, value, SPTEP)
    vcpu.enter()
    script.at(script.now + 100_000)


def lost_bit(script: KvmScript, seen: int) -> None:
    """The fast path makes an SPTE writable; then somebody zaps it, having seen ``seen``."""
    mapped(script)
    script.vcpu.leave().fault(0x180).fast(0x180, RO, RW, SPTEP)
    with script.qemu.mmu_lock():
        script.qemu.spte(0x180, seen, NONE)


def test_a_w_bit_set_between_read_and_write_is_lost():
    script = KvmScript()
    lost_bit(script, RO)
    event = history(script).of("lost-bit")[0]
    assert (event.gfn, event.pid, event.other_pid, event.vm) == (0x180, 100, 101, 1)
    assert met(script) == ["lost-bit"]


def test_near_miss_the_bit_is_kept_atomically():
    script = KvmScript()
    lost_bit(script, RW)
    assert met(script) == []


def test_near_miss_the_cmpxchg_failed():
    script = KvmScript()
    mapped(script)
    script.vcpu.leave().fault(0x180).fast(0x180, RO, RO, SPTEP, ret=1)
    with script.qemu.mmu_lock():
        script.qemu.spte(0x180, RO, NONE)
    assert met(script) == []


def test_near_miss_w_was_taken_away_between_cmpxchg_and_event():
    """fast_page_fault is printed after the cmpxchg: what changes the SPTE in between comes first in the trace."""
    script = KvmScript()
    mapped(script)
    script.vcpu.leave().fault(0x180)
    with script.qemu.mmu_lock():
        script.qemu.spte(0x180, RW, RO)
    script.vcpu.fast(0x180, RO, RW, SPTEP)
    with script.qemu.mmu_lock():
        script.qemu.spte(0x180, RO, NONE)
    assert met(script) == []


def test_vms_with_two_roots_are_left_out():
    for root in ("kvm_mmu_zap_all_fast", "two roots"):
        script = KvmScript()
        if root == "two roots":
            script.vcpu.page(0, DIRECT | 4).page(0, DIRECT | 4)
        else:
            with script.qemu.mmu_lock():
                script.qemu.event("kvmmmu:kvm_mmu_zap_all_fast")
        lost_bit(script, RO)
        assert met(script) == []
        assert history(script).doubted_vms == {1}


@pytest.mark.parametrize(("flush", "kernel", "lost"), [(0, "6.12.1", True), (1, "6.12.1", False), (0, "6.13.1", False)])
def test_mmu_spte_update_that_saw_the_old_value_asks_for_no_flush(flush, kernel, lost):
    script = KvmScript(kernel)
    qemu, at = script.qemu, SPTEP + PAGE_OFFSET
    mapped(script)
    aged = RO & ~0x20
    with qemu.mmu_lock():
        qemu.event("lockscope:mmu_spte_update_entry", sptep=at, old_spte=RO, new_spte=aged)
        script.vcpu.leave().fault(0x180).fast(0x180, RO, RW, SPTEP)
        qemu.event("lockscope:mmu_spte_update", sptep=at, new_spte=aged, flush=flush)
    assert met(script) == (["lost-in-update"] if lost else [])


def aba(script: KvmScript, *, ret: int = 5, gfn: int = 0x200, value: int = RO, marked: bool = False) -> None:
    """A vCPU's fault begins; another task makes the SPTE map another gfn; the vCPU's cmpxchg follows."""
    vcpu, other = script.vcpu, script.vcpu2
    vcpu.leave()
    with vcpu.mmu_lock():
        vcpu.set_spte(0x180, RO, SPTEP)
    vcpu.fault(0x180)
    if marked:  # after the cmpxchg
        vcpu.event("lockscope:mark_page_dirty_in_slot", kvm=script.vm.kvm, gfn=0x180)
    with other.mmu_lock():
        other.set_spte(gfn, value, SPTEP)
    if not marked:
        vcpu.event("lockscope:mark_page_dirty_in_slot", kvm=script.vm.kvm, gfn=0x180)
    vcpu.fast(0x180, RO, RW, SPTEP, ret=ret)


def test_aba():
    script = KvmScript()
    aba(script)
    event = history(script).of("aba")[0]
    assert (event.gfn, event.extra, event.other_pid) == (0x200, 0x180, 102)


@pytest.mark.parametrize("how", [{"ret": 1}, {"gfn": 0x180}, {"value": RO + 0x1000}, {"marked": True}])
def test_aba_near_misses(how):
    script = KvmScript()
    aba(script, **how)
    assert "aba" not in met(script)


def test_aba_needs_the_change_inside_the_fault():
    script = KvmScript()
    vcpu = script.vcpu
    vcpu.leave()
    with vcpu.mmu_lock():
        vcpu.set_spte(0x180, RO, SPTEP)
    with script.vcpu2.mmu_lock():
        script.vcpu2.set_spte(0x200, RO, SPTEP)
    vcpu.enter().leave().fault(0x200).fast(0x200, RO, RW, SPTEP)
    assert "aba" not in met(script)


@pytest.mark.parametrize(
    ("old", "write", "what"),
    [(TRACKED, True, ["not-writable"]), (RO & ~0x600, True, ["not-writable"]), (RO, True, []), (TRACKED, False, []),
     (RW, True, [])],
)  # fmt: skip
def test_the_fast_path_needs_host_and_mmu_writable(old, write, what):
    script = KvmScript()
    mapped(script, old)
    script.vcpu.leave().fast(0x180, old, RW, SPTEP, write=write)
    assert met(script) == what


def test_which_ret_means_fixed_is_learned_from_the_events():
    script = KvmScript("6.12.1")
    mapped(script)
    for _ in range(20):
        script.vcpu.leave().fast(0x180, RO, RW, SPTEP, ret=4).enter()
    script.vcpu.leave().fast(0x180, TRACKED, TRACKED, SPTEP, ret=5)  # 4 is FIXED here, so 5 is SPURIOUS
    assert met(script) == []
    assert history(script).fixed == 20


def large_logged(script: KvmScript, ret: int = 5) -> None:
    """Dirty logging write-protects a large SPTE, and the fast path makes it writable again."""
    large, gfn, sptep = RO | 0x80, 0x200, 0x10565B008
    qemu, vcpu = script.qemu, script.vcpu
    with qemu.ioctl(SET_MEMORY):
        pass
    vcpu.leave()
    with vcpu.srcu(), vcpu.mmu_lock(read=True):
        vcpu.spte(gfn, NONE, large | 2, level=2).set_spte(gfn, large | 2, sptep, level=2)
    vcpu.enter()
    with qemu.ioctl(CLEAR_LOG), qemu.slots_lock():
        with qemu.mmu_lock():
            qemu.spte(gfn, large | 2, large, level=2)
        qemu.request()
    vcpu.leave().fast(gfn, large, large | 2, sptep, ret=ret)


@pytest.mark.parametrize(("kernel", "ret"), [("6.12.1", 5), ("5.15.3", 3)])
def test_a_large_spte_under_dirty_logging(kernel, ret):
    script = KvmScript(kernel)
    large_logged(script, ret)
    assert met(script) == ["large-logged"]
    assert history(script).events[0].extra == (1 if kernel == "5.15.3" else 0)


def test_near_miss_logging_was_switched_off():
    script = KvmScript()
    large, gfn, sptep = RO | 0x80, 0x200, 0x10565B008
    with script.qemu.ioctl(CLEAR_LOG), script.qemu.slots_lock():
        with script.qemu.mmu_lock():
            script.qemu.spte(gfn, large | 2, large, level=2).set_spte(gfn, large, sptep, level=2)
        script.qemu.request()
    with script.qemu.ioctl(SET_MEMORY):
        pass
    script.vcpu.leave().fast(gfn, large, large | 2, sptep)
    assert met(script) == []


@pytest.mark.parametrize(("role", "what"), [(INDIRECT, ["indirect"]), (DIRECT, [])])
def test_the_kind_of_page_by_its_role(role, what):
    script = KvmScript()
    vcpu = script.vcpu
    vcpu.leave()
    with vcpu.mmu_lock():
        vcpu.page(0x77, role | 1).set_spte(0x180, RO, SPTEP)
    vcpu.enter().leave().fast(0x180, RO, RW, SPTEP)
    assert met(script) == what


def test_the_kind_of_page_by_a_gfn_that_does_not_fit_its_place():
    script = KvmScript()
    vcpu = script.vcpu
    vcpu.leave()
    with vcpu.mmu_lock():
        vcpu.set_spte(0x345, RO, SPTEP)
    vcpu.enter().leave().fast(0x3, RO, RW, SPTEP)
    assert met(script) == ["indirect"]


def test_a_page_table_page_used_again_is_no_longer_indirect():
    script = KvmScript()
    vcpu = script.vcpu
    vcpu.leave()
    with vcpu.mmu_lock():
        vcpu.page(0x77, INDIRECT | 1).set_spte(0x345, RO, SPTEP)
        vcpu.event("kvmmmu:kvm_mmu_prepare_zap_page", gfn=0x77, role=INDIRECT | 1)
        vcpu.set_spte(0x180, RO, SPTEP)
    vcpu.enter().leave().fast(0x180, RO, RW, SPTEP)
    assert met(script) == []


@pytest.mark.parametrize(
    ("how", "what"),
    [("live", ["shadowed"]), ("zapped", []), ("obsolete", []), ("lowest level", []), ("made during the fault", [])],
)
def test_a_page_table_that_kvm_shadows(how, what):
    """7c8a4742c4ab: write protection that leaves MMU-writable set lets the fast path make a shadowed table writable."""
    script = KvmScript()
    mapped(script)
    role = INDIRECT | (1 if how == "lowest level" else 2)
    with script.vcpu2.mmu_lock():
        if how != "made during the fault":
            script.vcpu2.page(0x180, role)
        if how == "zapped":
            script.vcpu2.event("kvmmmu:kvm_mmu_prepare_zap_page", gfn=0x180, role=role)
        if how == "obsolete":
            script.vcpu2.event("kvmmmu:kvm_mmu_zap_all_fast")
    script.vcpu.leave().fault(0x180)
    if how == "made during the fault":
        script.vcpu2.page(0x180, role)
    script.vcpu.fast(0x180, RO, RW, SPTEP)
    assert met(script) == what


def tracked_script() -> KvmScript:
    """EPT without A/D bits."""
    script = KvmScript()
    script.vcpu.leave()
    with script.vcpu.srcu(), script.vcpu.mmu_lock(read=True):
        script.vcpu.spte(0x180, NONE, EPT).set_spte(0x180, EPT, SPTEP)
    script.vcpu.enter()
    return script


@pytest.mark.parametrize(
    ("new", "what"),
    [(EPT_TRACKED, []), (EPT_TRACKED & ~(1 << 54), ["bad-save"]), (EPT_TRACKED | 1 << 55, ["bad-save"])],
)
def test_what_access_tracking_saves(new, what):
    script = tracked_script()
    with script.qemu.mmu_lock():
        script.qemu.spte(0x180, EPT, new)
    assert history(script).layout.name == "ept-6.10"
    assert met(script) == what


@pytest.mark.parametrize(
    ("new", "write", "what"),
    [
        (EPT_RESTORED, False, []),
        (EPT, True, []),
        (EPT, False, ["w-on-read"]),
        (EPT_RESTORED & ~4, False, ["bad-restore"]),
    ],
)
def test_what_access_tracking_restores(new, write, what):
    script = tracked_script()
    with script.qemu.mmu_lock():
        script.qemu.spte(0x180, EPT, EPT_TRACKED)
    script.at(script.now + 20_000_000)
    script.vcpu.leave().fault(0x180).fast(0x180, EPT_TRACKED, new, SPTEP, write=write)
    assert met(script) == what


def test_w_on_a_read_may_be_another_vcpus():
    """The event reads the new value again: a write fault that came in between shows in it."""
    script = tracked_script()
    with script.qemu.mmu_lock():
        script.qemu.spte(0x180, EPT, EPT_TRACKED)
    script.at(script.now + 20_000_000)
    script.vcpu.leave().fault(0x180)
    script.vcpu2.leave().fault(0x180)
    script.vcpu.fast(0x180, EPT_TRACKED, EPT, SPTEP, write=False)
    script.vcpu2.fast(0x180, EPT_RESTORED, EPT, SPTEP)
    assert met(script) == []


@pytest.mark.parametrize("held", ["nothing", "read", "write"])
def test_an_spte_is_changed_under_mmu_lock(held):
    script = KvmScript()
    with script.vcpu.ioctl(0xAE80):
        if held == "nothing":
            script.vcpu.spte(0x180, NONE, RW)
        else:
            with script.vcpu.mmu_lock(read=held == "read"):
                script.vcpu.spte(0x180, NONE, RW)
    assert met(script) == (["no-lock"] if held == "nothing" else [])


def test_the_fast_path_needs_no_lock():
    script = KvmScript()
    mapped(script)
    script.vcpu.leave().fast(0x180, RO, RW, SPTEP)
    assert met(script) == []


def test_a_task_whose_locks_are_not_known_is_not_judged():
    script = KvmScript()
    stray = script.worker("kvm-nx-lpage-re", 300, 1)
    stray.spte(0x180, NONE, RW)
    found = history(script)
    assert (found.events, found.transitions, found.judged) == ([], 1, 0)


@pytest.mark.parametrize(
    ("kernel", "what", "judged", "somehow"),
    [
        ("6.12.1", ["no-lock"], 1, 0),
        ("6.15.2", [], 2, 0),
        ("7.3.4+deb13-amd64", [], 2, 0),
        ("5.14.0-611.el9.x86_64", [], 0, 2),  # a distribution's older series may have it
        (None, [], 0, 2),
    ],
)
def test_aging_needs_no_lock_from_6_15_on(kernel, what, judged, somehow):
    """By a task whose locks are known, and by one of which nothing is (kdamond): without the lock either is right."""
    script = KvmScript(kernel)
    with script.qemu.ioctl(0xAE80):
        script.qemu.spte(0x180, RW, RW & ~0x20)
    script.worker("kdamond.0", 300, 1).spte(0x181, RW + PAGE, (RW + PAGE) & ~0x20)
    found = history(script)
    assert ([e.what for e in found.events], found.transitions) == (what, 2)
    assert (found.judged, found.aged_somehow) == (judged, somehow)


@pytest.mark.parametrize("new", [RO & ~0x20, RW & ~0x40, RW & ~0x60, NONE])
def test_what_is_more_than_aging_needs_mmu_lock(new):
    """W or the Dirty bit lost with A, or the page: of a task whose locks are known wrong, else not judged."""
    script = KvmScript("7.3.4")
    script.worker("kdamond.0", 300, 1).spte(0x180, RW, new)
    with script.qemu.ioctl(0xAE80):
        script.qemu.spte(0x181, RW, new)
    found = history(script)
    assert ([e.what for e in found.events], found.transitions, found.judged) == (["no-lock"], 2, 1)


@pytest.mark.parametrize(("read", "what"), [(True, ["wrong-mode"]), (False, [])])
def test_the_legacy_mmu_needs_mmu_lock_for_write(read, what):
    script = KvmScript()
    with script.vcpu.mmu_lock(read=read):
        script.vcpu.event("lockscope:mmu_spte_update_entry", sptep=SPTEP + PAGE_OFFSET, old_spte=RW, new_spte=RO)
    assert met(script) == what


@pytest.mark.parametrize(
    ("read", "inside", "what"), [(True, True, ["notifier-read"]), (False, True, []), (True, False, [])]
)
def test_a_notifier_zaps_with_mmu_lock_held_for_write(read, inside, what):
    """A fault whose page is looked up triggers a notifier too; the fault itself may zap with mmu_lock read-held."""
    script = KvmScript()
    vcpu = script.vcpu
    with vcpu.ioctl(0xAE80), vcpu.srcu():
        vcpu.event("kvm:kvm_unmap_hva_range", start=0x7F0000000000, end=0x7F0000003000)
        if inside:
            with vcpu.srcu(), vcpu.mmu_lock(read=read):
                vcpu.zap(0x180).request()
        else:
            with vcpu.mmu_lock(read=read):
                vcpu.zap(0x180).request()
    assert met(script) == what


@pytest.mark.parametrize(("tdp", "what"), [(True, []), (False, ["set-under-read"])])
def test_set_spte_under_a_read_lock_is_the_tdp_mmus(tdp, what):
    script = KvmScript()
    with script.vcpu.mmu_lock(read=True):
        script.vcpu.page(0, DIRECT | 4)
        if tdp:
            script.vcpu.spte(0x180, NONE, RW)
        script.vcpu.set_spte(0x180, RW, SPTEP)
    assert met(script) == what


def test_page_offset_is_learned():
    script = KvmScript()
    mapped(script)
    script.vcpu.leave().fast(0x180, RO, RW, SPTEP)
    assert history(script).page_offset == PAGE_OFFSET - (1 << 64)
