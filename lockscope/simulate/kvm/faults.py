"""Page faults of the guest: the fast path, and the slow ones of each MMU.

arch/x86/kvm/mmu/mmu.c: fast_page_fault(), kvm_tdp_mmu_map(), direct_map() of 6.12; tdp_page_fault(), mmu_set_spte() of
4.14. A step in which the order between tasks matters is named in ``t.point``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from lockscope.kvm.spte_layouts import WRITABLE
from lockscope.simulate.engine import locks
from lockscope.simulate.engine.tasks import BLOCK, SLEEPING, Task, Work
from lockscope.simulate.kvm.pages import DIRECT, PAGE_OFFSET, Tables
from lockscope.simulate.kvm.vm import LOG_DIRTY, Vcpu, Vm

_P, _W, _U, _F = 1, 2, 4, 16
_GUEST_FINAL = 1 << 32


def error_code(vcpu: Vcpu, gfn: int, *, write: bool) -> int:
    """What the CPU says about a fault: P where the entry is present to it."""
    value = vcpu.tables.entries.get((1, gfn)) if vcpu.tables is not None else None
    present = value is not None and vcpu.vm.sptes.readable(value)
    code = (_P if present else 0) | (_W if write else 0) | _U
    return code | (_GUEST_FINAL if vcpu.vm.host.kernel.version >= (6, 1) else 0)


def page_fault(
    t: Task, vcpu: Vcpu, gfn: int, *, write: bool, careless: str = "", between: Callable[[], Work] | None = None
) -> Work:
    """kvm_mmu_page_fault(), inside kvm->srcu. ``careless``, ``between``: see ``fast_page_fault``."""
    vm, host = vcpu.vm, vcpu.vm.host
    code = error_code(vcpu, gfn, write=write)
    host.at(t, "kvm_mmu_page_fault")
    if host.kernel.version >= (6, 1):
        yield host.write(t, "kvm_page_fault", vcpu.number, vcpu.rip, gfn << 12, code)
    else:
        yield host.write(t, "kvm_page_fault", gfn << 12, code)
    yield host.write(t, "kvm_vcpu_gfn_to_memslot", host.symbols["kvm_vcpu_gfn_to_memslot"] + 4, vcpu.addr, gfn)
    if vm.slot_of(gfn) is None:
        yield 300  # MMIO: user space would be asked
        return
    if (yield from fast_page_fault(t, vcpu, gfn, write=write, careless=careless, between=between)):
        return
    if vcpu.tables is None:
        yield from load_root(t, vcpu)
    yield from _slow(t, vcpu, gfn, write=write)
    if write and gfn in vm.write_tracked:
        vcpu.again = None  # the write is emulated: the entry stays read-only


def fast_page_fault(
    t: Task, vcpu: Vcpu, gfn: int, *, write: bool, careless: str = "", between: Callable[[], Work] | None = None
) -> Generator[int, None, bool]:
    """Mend a write-protected or access-tracked entry outside of mmu_lock; returns whether that was all.

    ``careless``: a check that is left out ("indirect", "mmu-writable", "w-on-read", "bad-restore"). ``between``: what
    happens while the entry has been read and not yet exchanged.
    """
    vm, host = vcpu.vm, vcpu.vm.host
    tables, bits = vcpu.tables, vm.sptes
    if tables is None or (not tables.role & DIRECT and careless != "indirect"):
        return False
    old = tables.entries.get((1, gfn), bits.layout.initial)
    if not bits.present(old):
        return False
    tracked = bits.tracked(old)
    if not tracked and not (write and not old & WRITABLE):
        return bits.readable(old) and (not write or bool(old & WRITABLE))  # spurious
    lay = bits.layout
    host.at(t, "fast_page_fault")
    rcu = host.globals["rcu"]
    yield from locks.map_acquire(t, rcu, 2)
    t.point = ((vm, gfn),), f"reads the SPTE of gfn {gfn:#x}"
    yield 120
    old = tables.entries.get((1, gfn), lay.initial)
    new = bits.restore(old) if tracked else old
    may = bool(old & lay.host_writable and old & lay.mmu_writable) or careless == "mmu-writable"
    if (write or careless == "w-on-read") and may:
        new |= WRITABLE
    if careless == "bad-restore":
        new ^= lay.executable
    if between is not None:
        yield from between()
    done = False
    if new != old and bits.present(old):
        t.point = ((vm, gfn),), f"sets the SPTE of gfn {gfn:#x} by cmpxchg"
        yield 90
        done = tables.entries.get((1, gfn)) == old
        if done:
            tables.entries[1, gfn] = new
            if new & WRITABLE and not old & WRITABLE and careless != "no-dirty":
                if vm.guest_maps.get(gfn, gfn) != gfn:
                    vm.wrongly_dirty = f"gfn {gfn:#x} is marked dirty, and gfn {vm.guest_maps[gfn]:#x} became writable"
                yield from mark_dirty(t, vm, gfn, vcpu)
    sptep = tables.sptep(1, gfn) + PAGE_OFFSET
    ret = (host.kernel.fixed if done else 1) if host.kernel.version >= (5, 10) else done
    code = error_code(vcpu, gfn, write=write) if not done else (_P if not tracked else 0) | (write and _W) | _U
    if host.kernel.version >= (6, 1):
        code |= _GUEST_FINAL
    yield host.write(t, "fast_page_fault", vcpu.number, gfn << 12, code, sptep, old, new if done else old, ret)
    yield from locks.map_release(t, rcu)
    return done


def mark_dirty(t: Task, vm: Vm, gfn: int, vcpu: Vcpu | None = None) -> Work:
    """mark_page_dirty_in_slot(): into the bitmap, or the vCPU's ring."""
    host = vm.host
    slot = vm.slot_of(gfn)
    if host.machine.exploring:
        t.point = ((vm, gfn),), f"marks gfn {gfn:#x} dirty"
        yield 0
    probe = host.symbols["mark_page_dirty_in_slot"] + 4
    yield host.write(t, "mark_page_dirty_in_slot", probe, vm.kvm, slot.address if slot else 0, gfn)
    if slot is None or not slot.flags & LOG_DIRTY:
        return
    slot.dirty.add(gfn)
    if vm.rings and vcpu is not None:
        vcpu.ring.append((slot.number, gfn))
        vcpu.pushed += 1
        yield host.write(t, "kvm_dirty_ring_push", vcpu.number, vcpu.pushed, vcpu.reset, slot.number, gfn - slot.base)


def load_root(t: Task, vcpu: Vcpu) -> Work:
    """kvm_mmu_load(): the VM's root, made if there is none."""
    vm, host = vcpu.vm, vcpu.vm.host
    host.at(t, "kvm_mmu_load")
    yield from host.reclaim(t)
    read = vm.tdp
    yield from (locks.read_lock if read else locks.spin_lock)(t, vm.mmu_lock)
    tables = vm.tables
    if tables is None or not tables.valid:
        pages = vm.locks.get("tdp_mmu_pages_lock") if vm.tdp else None
        if pages is not None:
            yield from locks.spin_lock(t, pages)
        tables = vm.tables
        if tables is None or not tables.valid:
            tables = vm.new_tables()
            yield get_page(t, vm, tables, 0, 4, created=True)
        if pages is not None:
            yield from locks.spin_unlock(t, pages)
    elif not vm.tdp:
        yield get_page(t, vm, tables, 0, 4, created=False)
    vcpu.tables = tables
    yield from (locks.read_unlock if read else locks.spin_unlock)(t, vm.mmu_lock)


def get_page(t: Task, vm: Vm, tables: Tables, gfn: int, level: int, *, created: bool) -> int:
    """kvm_mmu_get_page."""
    return vm.host.write(t, "kvm_mmu_get_page", vm.generation & 0xFF, gfn, tables.role | level, 0, False, created)


def set_spte(t: Task, vm: Vm, tables: Tables, gfn: int, value: int, level: int = 1, at: int | None = None) -> int:
    """kvm_mmu_set_spte, with the entry's physical address. ``at``: by what the entry is found, if not the gfn."""
    lay = vm.sptes.layout
    executable = bool(value & lay.executable) if lay.ept else not value & lay.no_execute
    user = -1 if lay.ept else int(bool(value & lay.user))
    sptep = tables.sptep(level, gfn if at is None else at)
    return vm.host.write(t, "kvm_mmu_set_spte", gfn, value, sptep, level, bool(value & lay.readable), executable, user)


def tdp_changed(t: Task, vm: Vm, gfn: int, old: int, new: int, level: int = 1) -> int:
    """kvm_tdp_mmu_spte_changed."""
    return t.event(vm.host.e.get("kvm_tdp_mmu_spte_changed"), gfn, old, new, level, 0)


def _slow(t: Task, vcpu: Vcpu, gfn: int, *, write: bool) -> Work:
    """The page is asked of user space's memory, then mapped under mmu_lock."""
    vm, host = vcpu.vm, vcpu.vm.host
    if gfn not in vm.pfns:  # hva_to_pfn_slow(): GUP takes mmap_lock
        yield from locks.down_read(t, vm.mmap_lock)
        yield from host.reclaim(t)
        yield from locks.up_read(t, vm.mmap_lock)
    sequence = vm.invalidations
    pfn = vm.pfn_of(gfn)
    tables = vcpu.tables
    assert tables is not None
    host.at(t, "kvm_tdp_mmu_page_fault" if vm.tdp else "direct_page_fault")
    yield from (locks.read_lock if vm.tdp else locks.spin_lock)(t, vm.mmu_lock)
    stale = vm.invalidating or sequence != vm.invalidations or not tables.valid  # is_page_fault_stale()
    if not stale:
        if host.kernel.version >= (5, 14):
            access = (15,) if host.kernel.version >= (7, 2) else ()  # ACC_ALL
            yield host.write(t, "kvm_mmu_spte_requested", gfn, pfn, 1, *access)
        yield from _map(t, vm, tables, gfn, pfn, write=write)
    yield from (locks.read_unlock if vm.tdp else locks.spin_unlock)(t, vm.mmu_lock)
    if stale and host.machine.exploring and vm.invalidating:
        # The guest faults again and again until the invalidation is over: each time the same, and no other outcome.
        vm.faulting.append(t)
        t.state = SLEEPING
        yield BLOCK
        t.state = 0


def _map(t: Task, vm: Vm, tables: Tables, gfn: int, pfn: int, *, write: bool) -> Work:
    bits = vm.sptes
    initial = bits.layout.initial
    for level in (4, 3, 2):
        page, made = tables.page_of(level - 1, gfn)
        if made:
            parent = gfn >> 9 * (level - 1) << 9 * (level - 1)
            yield get_page(t, vm, tables, parent, level - 1, created=True)
            new = bits.table(page)
            if vm.tdp:
                yield tdp_changed(t, vm, parent, initial, new, level)
    slot = vm.slot_of(gfn)
    logged = slot is not None and bool(slot.flags & LOG_DIRTY)
    protected = gfn in vm.write_tracked
    old = tables.entries.get((1, gfn), initial)
    writable = (write or not logged) and not protected
    new = bits.leaf(pfn, writable=writable)
    if protected:
        new &= ~bits.layout.mmu_writable
    if old & WRITABLE and not writable:
        return
    if writable and logged:  # make_spte()
        yield from mark_dirty(t, vm, gfn)
        old = tables.entries.get((1, gfn), initial)
    tables.entries[1, gfn] = new
    if vm.tdp:
        yield tdp_changed(t, vm, gfn, old, new)
    yield set_spte(t, vm, tables, gfn, new)
