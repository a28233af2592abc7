"""Memslots: KVM_SET_USER_MEMORY_REGION creates, moves, deletes them and switches dirty logging (kvm_set_memslot())."""

from __future__ import annotations

from collections.abc import Callable

from lockscope.kvm.spte_layouts import WRITABLE
from lockscope.simulate.engine import locks, srcu
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm import dirty, faults, requests
from lockscope.simulate.kvm.host import IOCTL
from lockscope.simulate.kvm.pages import Tables
from lockscope.simulate.kvm.vm import LOG_DIRTY, Slot, Vm

SET_MEMORY, SET_MEMORY2 = 0x4020AE46, 0x40A0AE49


def _ioctl(vm: Vm) -> int:
    return SET_MEMORY2 if vm.host.kernel.version >= (6, 8) else SET_MEMORY


def create(t: Task, vm: Vm, number: int, base: int, pages: int) -> Work:
    """A new slot."""
    slot = Slot(number, base, pages, 0x7F0000000000 + (base << 12), vm.heap + 0x8000 + number * 0x200)
    yield from _enter(t, vm)
    yield from _swap(t, vm, lambda: vm.slots.__setitem__(number, slot))
    yield from vm.host.locked(t, vm.mmu_lock)  # kvm_arch_commit_memory_region(): nr_mmu_pages
    yield from _leave(t, vm)


def delete(t: Task, vm: Vm, number: int) -> Work:
    """A slot goes: all roots are dropped, then zapped."""
    yield from _enter(t, vm)
    yield from _swap(t, vm, lambda: vm.slots.pop(number, None))
    yield from zap_all_fast(t, vm)
    yield from _leave(t, vm)


def move(t: Task, vm: Vm, number: int, base: int) -> Work:
    """A slot gets another place: it is invalid for a while, and what mapped it is zapped."""
    slot = vm.slots[number]
    yield from _enter(t, vm)
    yield from _swap(t, vm, lambda: vm.slots.pop(number, None))
    yield from zap_all_fast(t, vm)
    moved = Slot(number, base, slot.pages, slot.hva, slot.address, slot.flags)
    yield from _swap(t, vm, lambda: vm.slots.__setitem__(number, moved))
    yield from vm.host.locked(t, vm.mmu_lock)  # kvm_arch_commit_memory_region(): nr_mmu_pages
    yield from _leave(t, vm)


def log_dirty(t: Task, vm: Vm, slot: Slot, on: bool, *, flush: bool = True) -> Work:
    """Dirty logging on or off. On, and without manual protection, everything is write-protected."""
    host = vm.host
    yield from _enter(t, vm)

    def change() -> None:
        slot.flags = slot.flags | LOG_DIRTY if on else slot.flags & ~LOG_DIRTY
        slot.dirty.clear()
        if on and vm.manual:
            slot.dirty.update(range(slot.base, slot.base + slot.pages))  # KVM_DIRTY_LOG_INITIALLY_SET

    yield from _swap(t, vm, change)
    if on and not vm.manual:
        host.at(t, "kvm_mmu_slot_apply_flags")
        lock, unlock = (locks.read_lock, locks.read_unlock) if vm.tdp else (locks.spin_lock, locks.spin_unlock)
        yield from lock(t, vm.mmu_lock)
        gfns = [g for g in range(slot.base, slot.base + slot.pages) if _writable(vm, g)]
        vm.window.update(gfns)
        yield from dirty.write_protect(t, vm, gfns)
        yield from unlock(t, vm.mmu_lock)
        if flush and (gfns or host.kernel.version >= (6, 0)):
            yield from requests.flush_slot(t, vm, slot)
    elif not on and vm.tdp:
        yield from locks.read_lock(t, vm.mmu_lock)  # kvm_tdp_mmu_recover_huge_pages(): finds none here
        yield 300
        yield from locks.read_unlock(t, vm.mmu_lock)
    vm.window.clear()
    yield from _leave(t, vm)


def _writable(vm: Vm, gfn: int) -> bool:
    value = vm.tables.entries.get((1, gfn)) if vm.tables is not None else None
    return value is not None and bool(value & WRITABLE)


def _enter(t: Task, vm: Vm) -> Work:
    host = vm.host
    yield from host.sys_enter(t, IOCTL, 4, _ioctl(vm))
    host.at(t, "kvm_vm_ioctl_set_memory_region")
    yield from host.user_copy(t, vm.mmap_lock)
    yield from locks.mutex_lock(t, vm.slots_lock)


def _leave(t: Task, vm: Vm) -> Work:
    yield from locks.mutex_unlock(t, vm.slots_lock)
    yield from vm.host.sys_exit(t, IOCTL)


def _swap(t: Task, vm: Vm, change: Callable[[], object]) -> Work:
    """kvm_set_memslot(), kvm_swap_active_memslots(): publish, then wait for the readers of the old ones."""
    host = vm.host
    host.at(t, "kvm_set_memslot")
    arch, notifiers = vm.locks.get("slots_arch_lock"), vm.locks.get("mn_invalidate_lock")
    yield from host.reclaim(t)
    if arch is not None and notifiers is not None:
        yield from locks.mutex_lock(t, arch)
        while True:
            yield from locks.spin_lock(t, notifiers)
            if not vm.invalidating:
                break
            yield from locks.spin_unlock(t, notifiers)
            yield 2_000
        change()
        yield from locks.spin_unlock(t, notifiers)
        yield from locks.mutex_unlock(t, arch)
    else:
        change()
    yield from srcu.synchronize(t, vm.srcu)


def zap_all_fast(t: Task, vm: Vm) -> Work:
    """kvm_mmu_zap_all_fast(): no vCPU may use the old root any more; then it is taken apart at leisure."""
    host = vm.host
    host.at(t, "kvm_mmu_zap_all_fast")
    yield from locks.spin_lock(t, vm.mmu_lock)
    vm.generation ^= 1
    event = "kvm_mmu_zap_all_fast" if host.kernel.version >= (5, 4) else "kvm_mmu_invalidate_zap_all_pages"
    yield host.write(t, event, vm.generation, 0)
    tables, vm.tables = vm.tables, None
    if tables is not None:
        tables.valid = False
    yield from requests.make_all_cpus_request(t, vm, host.kernel.free_roots)
    yield from locks.spin_unlock(t, vm.mmu_lock)
    if tables is not None and vm.tdp:
        yield from locks.read_lock(t, vm.mmu_lock)
        yield from zap_tables(t, vm, tables)
        yield from locks.read_unlock(t, vm.mmu_lock)
        yield from locks.read_lock(t, vm.mmu_lock)
        yield from host.locked(t, vm.locks["tdp_mmu_pages_lock"])  # the root is unlinked
        yield from locks.read_unlock(t, vm.mmu_lock)
    vm.changed_ns.clear()


def zap_tables(t: Task, vm: Vm, tables: Tables) -> Work:
    """Everything under a root that nobody uses."""
    initial = vm.sptes.layout.initial
    for level, gfn in sorted(tables.entries):
        old = tables.entries[level, gfn]
        if vm.sptes.present(old):
            tables.entries[level, gfn] = initial
            if vm.tdp:
                yield faults.tdp_changed(t, vm, gfn, old, initial, level)
    tables.entries.clear()
