"""What the hardware does: translations cached by CPU, and guest accesses through them.

A CPU caches translations by VM (the tag is the root, not the vCPU). What it cached it uses until it is told otherwise:
an access that hits a cached translation looks at no page table. The truth is kept here: a write through a translation
that the page tables no longer allow, after the change was declared done, is what a missing flush costs.
"""

from __future__ import annotations

from lockscope.kvm.spte_layouts import PFN, WRITABLE
from lockscope.simulate.engine.cpus import Cpu
from lockscope.simulate.kvm.vm import LOG_DIRTY, Vcpu, Vm
from lockscope.simulate.truth import Stale

_MOST_STALE = 1000


def flush(cpu: Cpu, vm: Vm) -> None:
    """Forget what this CPU cached for the VM."""
    cpu.tlb.pop(vm.number, None)


def access(vcpu: Vcpu, gfn: int, *, write: bool) -> bool:
    """A guest access in guest mode; False: it faults.

    The page walk sets A, and D on a write, in the entry that it uses.
    """
    cpu, vm = vcpu.where, vcpu.vm
    assert cpu is not None
    cached = cpu.tlb.get(vm.number)
    if cached is None:
        cached = cpu.tlb[vm.number] = {}
    value = cached.get(gfn)
    if value is not None and (not write or value & WRITABLE):
        if write:
            _written(vcpu, gfn, value)
        return True
    tables = vcpu.tables
    if tables is None:
        return False
    level = 1
    value = tables.entries.get((1, gfn))
    if value is None:
        level, value = 2, tables.entries.get((2, gfn & ~511))
        if value is None or not value & 0x80:
            return False
    bits = vm.sptes
    if not bits.readable(value) or (write and not value & WRITABLE):
        return False
    if bits.ad:
        value |= bits.layout.accessed | (bits.layout.dirty if write else 0)
        tables.entries[level, gfn if level == 1 else gfn & ~511] = value
    cached[gfn] = value
    return True


def _written(vcpu: Vcpu, gfn: int, cached: int) -> None:
    """A write through a cached translation: is it still what the page tables say?"""
    vm = vcpu.vm
    tables = vcpu.tables
    now = None if tables is None else tables.entries.get((1, gfn))
    if now is not None and now & WRITABLE and (now & PFN) == (cached & PFN):
        return
    if gfn in vm.window or vm.dead:
        return  # the change is not declared done: whoever made it still owes the flush
    machine = vm.host.machine
    gone = now is None or not vm.sptes.present(now) or (now & PFN) != (cached & PFN)
    slot = vm.slot_of(gfn)
    if not gone and (slot is None or not slot.flags & LOG_DIRTY or gfn in slot.dirty):
        return
    stale = vm.host.truth.stale
    if len(stale) < _MOST_STALE:
        assert vcpu.where is not None
        stale.append(Stale(machine.now, vcpu.where.number, vm.number, vcpu.number, gfn, "page" if gone else "dirty bit",
                           vm.changed_ns.get(gfn, 0)))  # fmt: skip
