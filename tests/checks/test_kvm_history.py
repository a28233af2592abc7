"""Real bugs of KVM as the events that they leave, each with the same events of the fixed kernel.

What is named is the commit that fixed it. Not here are those that no recorded event shows: missing grace periods before
a kfree (b318e8decf6b, 2ee3757424be), a memslot copied too early (bda44d844758), an emulated write that is not logged
(910c57dfa4d1), dirty bits of a nested root (2673dfb591a3), an iterator that skips a leaf (3a0f64de479c), an invalid
root that a notifier leaves mapped (d62007edf01f: SPTE events name no root), an MMIO SPTE put over a present one
(aad885e77496: the legacy MMU zaps single SPTEs without an event, so nothing tells the two from one another).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lockscope.results.findings import Severity
from tests.builders.kvm import (
    FREE_ROOTS,
    INDIRECT,
    NONE,
    PAGE_OFFSET,
    RO,
    RUN,
    RW,
    SET_MEMORY,
    KvmScript,
    KvmTask,
    ro,
    rw,
)

GET_SREGS2, GET_MP_STATE, SET_VCPU_EVENTS = 0x8140AECC, 0x8004AE98, 0x4040AEA0
SPTEP = 0x10565BC00
Bug = Callable[[KvmScript, bool], None]
BUGS: dict[str, tuple[str, Bug]] = {}


def bug(code: str) -> Callable[[Bug], Bug]:
    """What this function plays, with True as the kernel had it, is found under this code."""

    def note(plays: Bug) -> Bug:
        assert plays.__doc__
        BUGS[plays.__doc__.partition(":")[0]] = code, plays
        return plays

    return note


def _reads(vcpu: KvmTask, ioctl: int, *, protected: bool, event: str = "kvm_vcpu_gfn_to_memslot") -> None:
    with vcpu.ioctl(ioctl):
        if protected:
            vcpu.read_lock()
        vcpu.event(f"lockscope:{event}", vcpu=0xFFFF888104000000, gfn=0x180)
        if protected:
            vcpu.read_unlock()


@bug("LS201")
def zap_gfn_range(s: KvmScript, broken: bool) -> None:
    """b59a87c1ba3c: kvm_zap_gfn_range() looked at memslots without SRCU."""
    with s.qemu.ioctl(SET_VCPU_EVENTS):
        s.qemu.event("lockscope:kvm_zap_gfn_range", kvm=s.vm.kvm, gfn_start=0xFEE00, gfn_end=0xFEE01)
        if not broken:
            s.qemu.read_lock()
        with s.qemu.mmu_lock():
            s.qemu.request()
        if not broken:
            s.qemu.read_unlock()


@bug("LS201")
def xen_interrupt(s: KvmScript, broken: bool) -> None:
    """aa8ad943f242: kvm_vcpu_block() asked Xen for interrupts after the section was left."""
    with s.vcpu.ioctl(RUN):
        s.vcpu.read_lock().read_unlock().enter().leave()
        if not broken:
            s.vcpu.read_lock()
        s.vcpu.event("lockscope:kvm_vcpu_gfn_to_memslot", vcpu=0xFFFF888104000000, gfn=0x180)
        if not broken:
            s.vcpu.read_unlock()


@bug("LS201")
def sregs2(s: KvmScript, broken: bool) -> None:
    """95d848dc7e63: KVM_GET_SREGS2 read the guest's PDPTRs."""
    _reads(s.vcpu, GET_SREGS2, protected=not broken, event="kvm_vcpu_read_guest_page")


@bug("LS201")
def mp_state(s: KvmScript, broken: bool) -> None:
    """ef01cac401f1: KVM_GET_MP_STATE of a nested guest."""
    _reads(s.vcpu, GET_MP_STATE, protected=not broken)


@bug("LS201")
def vcpu_events(s: KvmScript, broken: bool) -> None:
    """4bcdd831d9d0: KVM_SET_VCPU_EVENTS left SMM."""
    _reads(s.vcpu, SET_VCPU_EVENTS, protected=not broken)


@bug("LS201")
def post_run(s: KvmScript, broken: bool) -> None:
    """f3d1436d4bf8: post_kvm_run_save() after the section of KVM_RUN."""
    with s.vcpu.ioctl(RUN):
        s.vcpu.read_lock().read_unlock().enter().leave().read_lock()
        if broken:
            s.vcpu.read_unlock().access()
        else:
            s.vcpu.access().read_unlock()


@bug("LS202")
def emulated_io(s: KvmScript, broken: bool) -> None:
    """2d08935682ac: complete_emulated_io() entered the vCPU's section again and overwrote its index."""
    with s.vcpu.ioctl(RUN):
        s.vcpu.read_lock(0)
        if broken:
            s.vcpu.read_lock(1).read_unlock(1)  # a grace period came in between
        s.vcpu.read_unlock(1 if broken else 0)


@bug("LS204")
def xen_reset(s: KvmScript, broken: bool) -> None:
    """a79b53aaaab5: xen_lock around synchronize_srcu(), and in a hypercall."""
    lock = "&kvm->arch.xen.xen_lock", s.vm.kvm + 7472
    with s.qemu.ioctl(SET_MEMORY):
        s.qemu.take(*lock)
        if not broken:
            s.qemu.release(*lock)
        s.qemu.event("lockscope:synchronize_srcu", ssp=s.vm.srcu)
        if broken:
            s.qemu.release(*lock)
    with s.vcpu.ioctl(RUN), s.vcpu.srcu():
        s.vcpu.take(*lock).release(*lock)


@bug("LS102")
def xen_attribute(s: KvmScript, broken: bool) -> None:
    """310bc39546a4: KVM_XEN_VCPU_SET_ATTR took kvm->lock inside vcpu->mutex."""
    mutex, lock = ("&vcpu->mutex", 0xFFFF8881040000B8), ("&kvm->lock", s.vm.lock)
    with s.vcpu.ioctl(RUN):
        for name in (mutex, lock) if broken else (lock, mutex):
            s.vcpu.take(*name)
        for name in (lock, mutex) if broken else (mutex, lock):
            s.vcpu.release(*name)


@bug("LS301")
def enable_logging(s: KvmScript, broken: bool) -> None:
    """b64d740ea7dd: enabling dirty logging did not always flush."""
    with s.qemu.ioctl(SET_MEMORY), s.qemu.slots_lock():
        with s.qemu.mmu_lock(read=True):
            s.qemu.protect(0x180, 0x181)
        if not broken:
            s.qemu.request()
    s.vcpu.enter()


@bug("LS302")
def yields(s: KvmScript, broken: bool) -> None:
    """a835429cda91: mmu_lock was given up in a zap without a flush."""
    s.qemu.event("raw_syscalls:sys_enter", id=11)
    s.qemu.event("kvm:kvm_unmap_hva_range", start=0x7F0000000000, end=0x7F0000003000)
    with s.qemu.srcu():
        with s.qemu.mmu_lock():
            s.qemu.zap(0x180)
            if not broken:
                s.qemu.request()
        s.vcpu.leave()
        with s.qemu.mmu_lock():
            s.qemu.zap(0x181).request()
    s.qemu.sys_exit(11)


@bug("LS302")
def nx_recovery(s: KvmScript, broken: bool) -> None:
    """048f49809c52: the thread that recovers huge pages zapped a table and did not flush."""
    thread = s.worker("kvm-nx-lpage-re", 300, 0)
    with thread.srcu(), thread.mmu_lock():
        thread.spte(0x200, 0x105660827, NONE, level=2)
        for gfn in (0x200, 0x201):
            thread.spte(gfn, rw(gfn), NONE | 0x5A0)
        if not broken:
            thread.request()
    s.vcpu.leave()


@bug("LS304")
def page_table(s: KvmScript, broken: bool) -> None:
    """7c8a4742c4ab: write protection of a shadowed table left MMU-writable set."""
    protected = RO if broken else RO & ~0x400
    s.vcpu.leave()
    with s.vcpu.srcu(), s.vcpu.mmu_lock(read=True):
        s.vcpu.spte(0x180, NONE, RO).set_spte(0x180, RO, SPTEP)
    s.vcpu.enter()
    with s.vcpu2.mmu_lock():
        s.vcpu2.page(0x180, INDIRECT | 2)
        if not broken:
            s.vcpu2.spte(0x180, RO, protected).request()
    s.at(s.now + 100_000)
    s.vcpu.leave().fault(0x180).fast(0x180, protected, RW if broken else protected, SPTEP, ret=5 if broken else 4)


@bug("LS301")
def sync_page(s: KvmScript, broken: bool) -> None:
    """c3e5e415bc1e: kvm_sync_page() took W away and forgot to say so."""
    at = SPTEP + PAGE_OFFSET
    with s.vcpu.ioctl(RUN), s.vcpu.srcu():
        with s.vcpu.mmu_lock():
            s.vcpu.event("lockscope:mmu_spte_update_entry", sptep=at, old_spte=rw(0x180), new_spte=ro(0x180) & ~0x400)
            s.vcpu.event("lockscope:mmu_spte_update", sptep=at, new_spte=ro(0x180) & ~0x400, flush=1)
            if not broken:
                s.vcpu.request()
        s.vcpu.read_unlock().enter().leave().read_lock()
    s.vcpu2.enter()


@bug("LS303")
def direct_fault(s: KvmScript, broken: bool) -> None:
    """47b0c2e4c220: the legacy MMU's fault path took mmu_lock for reading (its probe tells that it is that MMU)."""
    with s.qemu.mmu_lock():
        s.qemu.event("lockscope:mmu_spte_update", sptep=SPTEP + 8, new_spte=RO, flush=0)
    with s.vcpu.ioctl(RUN), s.vcpu.srcu(), s.vcpu.mmu_lock(read=broken):
        s.vcpu.page(0, 0x84).set_spte(0x180, RW, SPTEP)


@bug("LS306")
def plain_write(s: KvmScript, broken: bool) -> None:
    """ba3a6120a4e7: TDP MMU SPTEs with volatile bits were written without xchg (and 89c313f20c1e)."""
    s.vcpu.leave()
    with s.vcpu.srcu(), s.vcpu.mmu_lock(read=True):
        s.vcpu.spte(0x180, NONE, RO).set_spte(0x180, RO, SPTEP)
    s.vcpu.enter()
    s.at(s.now + 100_000)
    s.vcpu.leave().fault(0x180).fast(0x180, RO, RW, SPTEP)
    with s.qemu.slots_lock(), s.qemu.mmu_lock():
        s.qemu.spte(0x180, RO if broken else RW, RO & ~0x40)
    s.qemu.request()


@bug("LS302")
def obsolete_roots(s: KvmScript, broken: bool) -> None:
    """none yet: roots made obsolete and no vCPU told of it."""
    with s.qemu.ioctl(SET_MEMORY), s.qemu.slots_lock():
        with s.qemu.mmu_lock():
            s.qemu.event("kvmmmu:kvm_mmu_zap_all_fast")
            if not broken:
                s.qemu.request(FREE_ROOTS)
        with s.qemu.mmu_lock(read=True):
            s.qemu.zap(0x180)
    s.vcpu.enter()
    with s.vcpu.mmu_lock(read=True):
        s.vcpu.spte(0x180, NONE, RW)


@pytest.mark.parametrize("commit", BUGS)
@pytest.mark.parametrize("broken", [True, False])
def test_what_history_left(commit: str, broken: bool) -> None:
    code, play = BUGS[commit]
    script = KvmScript()
    play(script, broken)
    found = {f.code for f in script.found("LS102", "LS2", "LS3", "LS4") if f.severity is not Severity.INFO}
    assert found == ({code} if broken else set())
