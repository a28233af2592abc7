"""MMU notifiers: memory management unmaps, merges, swaps or ages pages under a VM (virt/kvm/kvm_main.c).

Who does it is any task of the host: a vCPU that touches memory of its own, the VM's main thread, KSM, kswapd.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from lockscope.kvm.spte_layouts import WRITABLE
from lockscope.simulate.engine import locks, srcu
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm import faults, requests
from lockscope.simulate.kvm.vm import Vm


def unmap(t: Task, vm: Vm, gfns: list[int], *, flush: bool = True, reuse: bool = True) -> Work:
    """invalidate_range_start() ... _end() around taking pages away. ``reuse``: each comes back as another page."""
    host = vm.host
    yield from _start(t, vm, gfns, flush=flush)
    if reuse:
        for gfn in gfns:
            vm.pfns.pop(gfn, None)
    yield 400
    host.at(t, "__mmu_notifier_invalidate_range_end")
    yield from _section(t, vm, _end(t, vm))


def _section(t: Task, vm: Vm, inside: Work) -> Work:
    """The notifiers' own SRCU, and the map that lockdep knows them by."""
    host = vm.host
    notifier = host.globals.get("notifier")
    if notifier is not None:
        yield from locks.map_acquire(t, notifier)
    yield from host.srcu_section(t, host.mn_srcu, inside)
    if notifier is not None:
        yield from locks.map_release(t, notifier)


def _start(t: Task, vm: Vm, gfns: list[int], *, flush: bool) -> Work:
    vm.host.at(t, "__mmu_notifier_invalidate_range_start")
    yield from _section(t, vm, _begin(t, vm, gfns, flush=flush))


def _begin(t: Task, vm: Vm, gfns: list[int], *, flush: bool) -> Work:
    host = vm.host
    host.at(t, "kvm_mmu_notifier_invalidate_range_start")
    slot = vm.slot_of(gfns[0])
    hva = slot.hva + (gfns[0] - slot.base << 12) if slot is not None else gfns[0] << 12
    yield host.write(t, "kvm_unmap_hva_range", hva, hva + (gfns[-1] - gfns[0] + 1 << 12))
    vm.invalidating += 1
    for name in ("mn_invalidate_lock", "gpc_lock"):
        if name in vm.locks:
            yield from host.locked(t, vm.locks[name])
    index = yield from srcu.read_lock(t, vm.srcu)
    if slot is None:  # memory that is no guest's: kvm_handle_hva_range() meets no slot, and takes no mmu_lock
        yield from srcu.read_unlock(t, vm.srcu, index)
        return
    yield from locks.spin_lock(t, vm.mmu_lock)
    vm.invalidations += 1
    vm.window.update(gfns)
    zapped = yield from zap(t, vm, gfns)
    if zapped and flush:
        yield from requests.flush_all(t, vm)
    yield from locks.spin_unlock(t, vm.mmu_lock)
    vm.window.difference_update(gfns)
    yield from srcu.read_unlock(t, vm.srcu, index)


def _end(t: Task, vm: Vm) -> Work:
    host = vm.host
    host.at(t, "kvm_mmu_notifier_invalidate_range_end")
    index = yield from srcu.read_lock(t, vm.srcu)
    yield from locks.spin_lock(t, vm.mmu_lock)
    vm.invalidations += 1
    vm.invalidating -= 1
    while vm.faulting:
        host.machine.wake(vm.faulting.pop())
    yield from locks.spin_unlock(t, vm.mmu_lock)
    yield from srcu.read_unlock(t, vm.srcu, index)
    if "mn_invalidate_lock" in vm.locks:
        yield from host.locked(t, vm.locks["mn_invalidate_lock"])


def zap(t: Task, vm: Vm, gfns: list[int], *, between: Callable[[], Work] | None = None) -> Generator[int, None, int]:
    """kvm_unmap_gfn_range(): returns how many entries were present. An entry is read and replaced at once, unless
    something happens ``between``: then what others set meanwhile is lost (``vm.lost``).
    """
    tables = vm.tables
    if tables is None:
        return 0
    count, initial = 0, vm.sptes.layout.initial
    for gfn in gfns:
        old = tables.entries.get((1, gfn), initial)
        if not vm.sptes.present(old):
            continue
        count += 1
        if vm.host.machine.exploring:
            t.point = ((vm, gfn),), f"zaps gfn {gfn:#x}" if between is None else f"reads the SPTE of gfn {gfn:#x}"
            yield 0
            old = tables.entries.get((1, gfn), initial)
        if between is not None:
            yield from between()
            if vm.host.machine.exploring:
                t.point = ((vm, gfn),), f"zaps gfn {gfn:#x}, by what it has read"
                yield 0
            if lost := tables.entries.get((1, gfn), initial) & ~old & (WRITABLE | vm.sptes.layout.dirty):
                vm.lost[gfn] = lost
        tables.entries[1, gfn] = initial
        vm.changed_ns[gfn] = vm.host.machine.now
        yield faults.tdp_changed(t, vm, gfn, old, initial) if vm.tdp else 200
    return count


def age(t: Task, vm: Vm, gfns: list[int], *, flush: bool = False, careless: str = "") -> Work:
    """clear_young(), or with ``flush`` clear_flush_young(): A cleared; where the CPU keeps none, tracked by RWX.

    From 6.13 on nothing is flushed (KVM_ELIDE_TLB_FLUSH_IF_YOUNG), from 6.15 on mmu_lock is not taken
    (KVM_MMU_LOCKLESS_AGING); x86 selects both.
    ``careless``: "saves-w" or "loses-x": what is saved is not what was there.
    """
    vm.host.at(t, "__mmu_notifier_clear_young")
    yield from vm.host.srcu_section(t, vm.host.mn_srcu, _age(t, vm, gfns, flush=flush, careless=careless))


def _age(t: Task, vm: Vm, gfns: list[int], *, flush: bool, careless: str) -> Work:
    host, bits = vm.host, vm.sptes
    host.at(t, "kvm_mmu_notifier_clear_young")
    slot = vm.slot_of(gfns[0])
    hva = slot.hva + (gfns[0] - slot.base << 12) if slot is not None else gfns[0] << 12
    if host.kernel.version >= (5, 13):
        yield host.write(t, "kvm_age_hva", hva, hva + (gfns[-1] - gfns[0] + 1 << 12))
    index = yield from srcu.read_lock(t, vm.srcu)
    locked = host.kernel.version < (6, 15)
    if locked:
        yield from locks.spin_lock(t, vm.mmu_lock)
    tables, young = vm.tables, False
    for gfn in gfns:
        old = tables.entries.get((1, gfn)) if tables is not None else None
        if tables is None or old is None or not bits.present(old) or bits.tracked(old):
            continue
        if bits.ad:
            new = old & ~bits.layout.accessed
        else:
            new = bits.track(old)
            if careless == "saves-w":
                new |= WRITABLE << bits.layout.saved
            elif careless == "loses-x":
                new &= ~(bits.layout.executable << bits.layout.saved)
        if new == old:
            continue
        young = True
        tables.entries[1, gfn] = new
        if not bits.ad:
            vm.window.add(gfn)
            vm.changed_ns[gfn] = host.machine.now
        if vm.tdp:
            yield faults.tdp_changed(t, vm, gfn, old, new)
        else:
            yield 150  # mmu_spte_update_no_track(): no probe shows it
    if young and flush and host.kernel.version < (6, 13):
        yield from requests.flush_all(t, vm)
    if locked:
        yield from locks.spin_unlock(t, vm.mmu_lock)
    vm.window.difference_update(gfns)
    yield from srcu.read_unlock(t, vm.srcu, index)
