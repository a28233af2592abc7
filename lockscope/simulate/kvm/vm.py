"""VMs, vCPUs and memslots: their state, and the locks in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lockscope.simulate.engine.classes import Lock
from lockscope.simulate.engine.cpus import Cpu
from lockscope.simulate.engine.srcu import Srcu
from lockscope.simulate.engine.tasks import Task
from lockscope.simulate.kvm.pages import Sptes, Tables, layout_named

if TYPE_CHECKING:
    from lockscope.simulate.kvm.host import Host

_VMALLOC = 0xFFFFC90000200000
_HEAP = 0xFFFF888105400000
_FIRST_PFN = 0x104D00
LOG_DIRTY = 1


@dataclass(slots=True)
class Slot:
    """A memslot. ``dirty``: the gfns that the next GET_DIRTY_LOG reports. ``hva``: where user space has its memory."""

    number: int
    base: int
    pages: int
    hva: int
    address: int
    flags: int = 0
    dirty: set[int] = field(default_factory=set)


class Vcpu:
    """A vCPU. ``where``: the CPU in whose guest mode it is, None outside of it. ``requests`` as KVM_REQ_ numbers."""

    def __init__(self, vm: Vm, number: int) -> None:
        self.vm, self.number = vm, number
        self.addr = vm.heap + 0x100000 + number * 0x8000
        kernel = vm.host.kernel
        self.locks = {
            name: Lock(vm.host.classes[f"vcpu_{name}"], self.addr + named.place, vm.host.lock_events)
            for name, named in kernel.vcpu.items()
        }
        self.mutex = self.locks["mutex"]
        self.where: Cpu | None = None
        self.last: Cpu | None = None
        self.requests: set[int] = set()
        self.kicked = False
        self.waiting: list[Cpu] = []
        self.task: Task | None = None
        self.tables: Tables | None = None
        self.runs = self.index = 0  # ``index``: of its kvm->srcu section (srcu_idx)
        self.ring: list[tuple[int, int]] = []  # the dirty ring: slot, gfn
        self.pushed = self.reset = 0
        self.rip = 0x4081B0
        self.tsc_offset = 0
        self.again: tuple[str, Any] | None = None  # the access that faulted, to be tried again


class Vm:
    """A ``struct kvm``: its locks by name, its slots, page tables and vCPUs. ``number`` counts from 1."""

    def __init__(self, host: Host, place: int, tgid: int) -> None:
        host.made_vms += 1
        self.host, self.number, self.tgid = host, host.made_vms, tgid
        self.kvm = _VMALLOC + place * 0x10000
        self.heap = _HEAP + place * 0x1000000
        kernel, parameters = host.kernel, host.parameters
        self.locks = {name: host.named(name, named, self.kvm) for name, named in kernel.vm.items()}
        self.mmu_lock, self.slots_lock = self.locks["mmu_lock"], self.locks["slots_lock"]
        self.lock, self.irq_lock = self.locks["lock"], self.locks["irq_lock"]
        self.srcu = Srcu(self.locks["srcu"].addr - 16, self.locks["srcu"], host.srcu_events)
        self.irq_srcu = Srcu(self.locks["irq_srcu"].addr - 16, self.locks["irq_srcu"], host.srcu_events)
        self.mmap_lock = Lock(host.classes["mmap_lock"], self.heap + 0x20FE0, host.lock_events)
        self.wqh = Lock(host.classes["wqh"], self.heap + 0x30018, host.lock_events)
        vendor = parameters.vendor or "amd"
        self.sptes = Sptes(layout_named(kernel.layouts[vendor]))
        self.mmu = parameters.mmu or kernel.mmus[0]
        self.slots: dict[int, Slot] = {}
        self.vcpus: list[Vcpu] = []
        self.tables: Tables | None = None
        self.old_tables: list[Tables] = []
        self.generation = 0
        self.roots = 0
        self.next_pfn = _FIRST_PFN + place * 0x10000
        self.pfns: dict[int, int] = {}  # gfn -> pfn, as user space's memory has it
        self.manual = True  # KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2
        self.write_tracked: set[int] = set()
        self.dead = self.stopping = False
        self.helpers: list[Task] = []  # tasks that end with it
        self.assigned = False  # a device is assigned: wake-ups by posted interrupts
        self.invalidating = 0  # mn_active_invalidate_count
        self.faulting: list[Task] = []  # exploring: whose fault can't end before the invalidation does
        self.invalidations = 0  # mmu_invalidate_seq
        self.rings = False  # KVM_CAP_DIRTY_LOG_RING
        self.changed_ns: dict[int, int] = {}  # gfn -> when its SPTE last lost rights
        self.guest_maps: dict[int, int] = {}  # shadow paging: what the guest calls a page -> gfn, where they differ
        self.wrongly_dirty = ""  # a page that the fast path marked, and not the one that it made writable
        self.lost: dict[int, int] = {}  # gfn -> bits that a change which was not atomic took away unseen
        self.window: set[int] = set()  # gfns whose change is under way: the flush is still owed, and nobody is told yet

    @property
    def tdp(self) -> bool:
        """Whether the TDP MMU is in use."""
        return self.mmu == "tdp"

    def new_tables(self) -> Tables:
        """A root, and nothing under it."""
        self.roots += 1
        role = 0x80 | 0x700 | (1 << 12) if self.mmu != "shadow" else 0x700 | (1 << 12)
        self.tables = Tables(0x105600000 + (self.kvm - _VMALLOC << 4) + (self.roots & 0xF) * 0x400000, role)
        return self.tables

    def slot_of(self, gfn: int) -> Slot | None:
        """The slot that a gfn lies in."""
        return next((s for s in self.slots.values() if s.base <= gfn < s.base + s.pages), None)

    def pfn_of(self, gfn: int) -> int:
        """What backs a gfn: user space's page, found or made."""
        pfn = self.pfns.get(gfn)
        if pfn is None:
            pfn = self.pfns[gfn] = self.next_pfn
            self.next_pfn += 1
        return pfn
