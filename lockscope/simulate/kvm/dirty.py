"""Dirty logging: KVM_GET_DIRTY_LOG, KVM_CLEAR_DIRTY_LOG, KVM_RESET_DIRTY_RINGS, and write-protecting for them.

virt/kvm/kvm_main.c and arch/x86/kvm/mmu/mmu.c of 6.12, and of 4.14 where they differ: there the flush of GET comes
after the bitmap was copied out. ``flush=False`` leaves the flush out: that is a defect for a scenario.
"""

from __future__ import annotations

from collections.abc import Iterable

from lockscope.kvm.spte_layouts import WRITABLE
from lockscope.simulate.engine import locks
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm import faults, requests
from lockscope.simulate.kvm.host import IOCTL
from lockscope.simulate.kvm.pages import PAGE_OFFSET, Tables
from lockscope.simulate.kvm.vm import Slot, Vm

GET_DIRTY_LOG, CLEAR_DIRTY_LOG, RESET_RINGS = 0x4010AE42, 0xC018AEC0, 0xAEC7


def get_dirty_log(t: Task, vm: Vm, slot: Slot, *, flush: bool = True) -> Work:
    """The ioctl. With manual protection it only reports."""
    host = vm.host
    yield from host.sys_enter(t, IOCTL, 4, GET_DIRTY_LOG)
    host.at(t, "kvm_get_dirty_log_protect")
    yield from host.user_copy(t, vm.mmap_lock)
    yield from locks.mutex_lock(t, vm.slots_lock)
    dirty = sorted(slot.dirty)
    t.point = ((vm, "bitmap"),), "takes the dirty bitmap"
    yield 100
    if vm.manual or not dirty:
        yield from host.user_copy(t, vm.mmap_lock)
    else:
        yield from _protect_logged(t, vm, slot, dirty)
        old = host.kernel.version < (5, 10)
        if old:
            yield from host.user_copy(t, vm.mmap_lock)
        if flush:
            yield from requests.flush_slot(t, vm, slot)
        if not old:
            yield from host.user_copy(t, vm.mmap_lock)
    yield from locks.mutex_unlock(t, vm.slots_lock)
    vm.window.clear()
    yield from host.sys_exit(t, IOCTL)


def clear_dirty_log(t: Task, vm: Vm, slot: Slot, *, flush: bool = True, late: bool = False) -> Work:
    """The ioctl, for all that is dirty. ``late``: flushed only once slots_lock is released."""
    host = vm.host
    yield from host.sys_enter(t, IOCTL, 4, CLEAR_DIRTY_LOG)
    host.at(t, "kvm_clear_dirty_log_protect")
    yield from host.user_copy(t, vm.mmap_lock)
    yield from locks.mutex_lock(t, vm.slots_lock)
    yield from host.user_copy(t, vm.mmap_lock)
    dirty = sorted(slot.dirty)
    if dirty:
        yield from _protect_logged(t, vm, slot, dirty)
        if flush and not late:
            yield from requests.flush_slot(t, vm, slot)
    yield from locks.mutex_unlock(t, vm.slots_lock)
    if dirty and late:
        yield from requests.flush_slot(t, vm, slot)
    vm.window.clear()
    yield from host.sys_exit(t, IOCTL)


def reset_dirty_rings(t: Task, vm: Vm, *, flush: bool = True) -> Work:
    """The ioctl: what vCPUs pushed is write-protected again; the flush comes after slots_lock."""
    host = vm.host
    yield from host.sys_enter(t, IOCTL, 4, RESET_RINGS)
    host.at(t, "kvm_vm_ioctl_reset_dirty_pages")
    yield from locks.mutex_lock(t, vm.slots_lock)
    cleared = 0
    for vcpu in vm.vcpus:
        taken, vcpu.ring = vcpu.ring, []
        cleared += len(taken)
        for number in sorted({number for number, _ in taken}):
            slot = vm.slots.get(number)
            if slot is not None:
                yield from _protect_logged(t, vm, slot, sorted(gfn for n, gfn in taken if n == number))
        vcpu.reset += len(taken)
        yield host.write(t, "kvm_dirty_ring_reset", vcpu.number, vcpu.pushed, vcpu.reset)
    yield from locks.mutex_unlock(t, vm.slots_lock)
    if cleared and flush:
        yield from requests.flush_all(t, vm)
    vm.window.clear()
    yield from host.sys_exit(t, IOCTL)


def _protect_logged(t: Task, vm: Vm, slot: Slot, gfns: list[int]) -> Work:
    vm.host.at(t, "kvm_arch_mmu_enable_log_dirty_pt_masked")
    yield from locks.spin_lock(t, vm.mmu_lock)
    vm.window.update(gfns)
    slot.dirty.difference_update(gfns)
    yield from write_protect(t, vm, gfns)
    yield from locks.spin_unlock(t, vm.mmu_lock)


def write_protect(t: Task, vm: Vm, gfns: Iterable[int], *, atomic: bool = True) -> Work:
    """Take W from the entries of these gfns, under mmu_lock.

    ``atomic=False``: read first and written later, as one may only where nothing else can change the entry.
    """
    tables = vm.tables
    if tables is None:
        return
    host, entries = vm.host, tables.entries
    for gfn in gfns:
        old = entries.get((1, gfn))
        if old is None or not old & WRITABLE:
            continue
        new = old & ~WRITABLE
        if host.machine.exploring or not atomic:
            t.point = ((vm, gfn),), f"write-protects gfn {gfn:#x}"
            yield 400
        if not vm.tdp:
            yield from spte_update(t, vm, tables, gfn, old, new)
            continue
        if atomic:
            old = entries[1, gfn]
            new = old & ~WRITABLE
        entries[1, gfn] = new
        vm.changed_ns[gfn] = host.machine.now
        yield faults.tdp_changed(t, vm, gfn, old, new)


def write_track(t: Task, vm: Vm, gfns: Iterable[int], *, flush: bool = True) -> Work:
    """kvm_write_track_add_gfn(): W and MMU-writable go, for the fast path must not give W back; flushed at once."""
    host, lay = vm.host, vm.sptes.layout
    host.at(t, "kvm_write_track_add_gfn")
    yield from locks.spin_lock(t, vm.mmu_lock)
    tables = vm.tables
    for gfn in gfns:
        vm.write_tracked.add(gfn)
        old = tables.entries.get((1, gfn)) if tables is not None else None
        if tables is None or old is None or not old & lay.mmu_writable:
            continue
        new = old & ~WRITABLE & ~lay.mmu_writable
        vm.window.add(gfn)
        tables.entries[1, gfn] = new
        vm.changed_ns[gfn] = host.machine.now
        yield faults.tdp_changed(t, vm, gfn, old, new) if vm.tdp else 200
    if flush:
        yield from requests.flush_all(t, vm)
    yield from locks.spin_unlock(t, vm.mmu_lock)
    vm.window.difference_update(gfns)


def spte_update(t: Task, vm: Vm, tables: Tables, gfn: int, old: int, new: int, *, told: bool | None = None) -> Work:
    """mmu_spte_update() of the legacy MMU, as its two probes show it. ``told``: whether it asks for a flush."""
    host = vm.host
    lay = vm.sptes.layout
    sptep = tables.sptep(1, gfn) + PAGE_OFFSET
    probe = host.symbols["mmu_spte_update"] + 4
    flush = bool(old & lay.mmu_writable and not new & WRITABLE) if told is None else told
    yield host.write(t, "mmu_spte_update_entry", probe, sptep, old, new)
    tables.entries[1, gfn] = new
    vm.changed_ns[gfn] = host.machine.now
    yield host.write(t, "mmu_spte_update", probe, host.symbols["spte_write_protect"] + 0x34, sptep, new, flush)
