"""KVM at work in a script: VMs with their locks, vCPUs, memslot ioctls, notifiers, SPTE changes and flushes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lockscope.evidence.gather import Gathered, GatherOptions
from lockscope.pipeline import judged, selected_checks
from lockscope.results.findings import CheckRun, Finding, Severity
from tests.builders.records import EVENTS
from tests.builders.script import Script, Task

_PROBE = "__probe_ip:u64"
KVM_EVENTS = {
    "kvm:kvm_entry": "vcpu_id:u32 rip:u64",
    "kvm:kvm_exit": "exit_reason:u32 guest_rip:u64 isa:u32 vcpu_id:u32",
    "kvm:kvm_page_fault": "vcpu_id:u32 guest_rip:u64 fault_address:u64 error_code:u64",
    "kvm:kvm_unmap_hva_range": "start:u64 end:u64",
    "kvm:kvm_age_hva": "start:u64 end:u64",
    "kvm:kvm_dirty_ring_reset": "index:s32 dirty_index:u32 reset_index:u32",
    "kvm:kvm_track_tsc": "vcpu_id:u32 nr_vcpus_matched_tsc:u32 online_vcpus:u32 use_master_clock:bool host_clock:s32",
    "kvmmmu:kvm_tdp_mmu_spte_changed": "gfn:u64 old_spte:u64 new_spte:u64 level:s32 as_id:s32",
    "kvmmmu:kvm_mmu_set_spte": "gfn:u64 spte:u64 sptep:u64 level:u8 r:bool x:bool u:s8",
    "kvmmmu:fast_page_fault": "vcpu_id:s32 cr2_or_gpa:u64 error_code:u64 sptep:ptr old_spte:u64 new_spte:u64 ret:s32",
    "kvmmmu:mark_mmio_spte": "sptep:ptr gfn:u64 access:u32 gen:u32",
    "kvmmmu:kvm_mmu_get_page": "mmu_valid_gen:u8 gfn:u64 role:u32 root_count:u32 unsync:bool created:bool",
    "kvmmmu:kvm_mmu_prepare_zap_page": "mmu_valid_gen:u8 gfn:u64 role:u32 root_count:u32 unsync:bool",
    "kvmmmu:kvm_mmu_zap_all_fast": "mmu_valid_gen:u8 mmu_used_pages:u32",
    "lockscope:srcu_read_lock_entry": f"{_PROBE} ssp:u64",
    "lockscope:synchronize_srcu": f"{_PROBE} ssp:u64",
    "lockscope:synchronize_srcu_expedited": f"{_PROBE} ssp:u64",
    "lockscope:kvm_flush_remote_tlbs_range": f"{_PROBE} kvm:u64 gfn:u64 nr_pages:u64",
    "lockscope:kvm_flush_remote_tlbs_memslot": f"{_PROBE} kvm:u64 slot:u64",
    "lockscope:mmu_spte_update": "__probe_func:u64 __probe_ret_ip:u64 sptep:u64 new_spte:u64 flush:u8",
    "lockscope:mmu_spte_update_entry": f"{_PROBE} sptep:u64 old_spte:u64 new_spte:u64",
    "lockscope:gfn_to_memslot": f"{_PROBE} kvm:u64 gfn:u64",
    "lockscope:kvm_vcpu_gfn_to_memslot": f"{_PROBE} vcpu:u64 gfn:u64",
    "lockscope:kvm_vcpu_read_guest_page": f"{_PROBE} vcpu:u64 gfn:u64",
    "lockscope:kvm_arch_vcpu_ioctl_run": f"{_PROBE} vcpu:u64 kvm:u64",
    "lockscope:mark_page_dirty_in_slot": f"{_PROBE} kvm:u64 slot:u64 gfn:u64",
    "lockscope:kvm_zap_gfn_range": f"{_PROBE} kvm:u64 gfn_start:u64 gfn_end:u64",
    "lockscope:kvm_destroy_vm": f"{_PROBE} kvm:u64",
    "lockscope:kvm_arch_flush_shadow_all": f"{_PROBE} kvm:u64",
}
# SPTEs of NPT, 6.10 and later: a writable leaf, the same write-protected for dirty logging, for shadow paging, zapped.
RW, RO, TRACKED, NONE = 0x104FB8E67, 0x104FB8E65, 0x104FB8A65, 1 << 63
PAGE = 1 << 12
PAGE_OFFSET = 0xFFFF888000000000
GET_LOG, CLEAR_LOG, RESET_RINGS, SET_MEMORY, RUN = 0x4010AE42, 0xC018AEC0, 0xAEC7, 0x4020AE46, 0xAE80
FLUSH, FREE_ROOTS, KICK = 0x300, 0x327, 0x700
FIXED = 5  # RET_PF_FIXED of 6.12
DIRECT, INDIRECT = 0x80, 0


def rw(gfn: int) -> int:
    """A writable leaf for this gfn: each has its own pfn."""
    return RW + (gfn & 0xFFFF) * PAGE


def ro(gfn: int) -> int:
    """The same, write-protected for dirty logging."""
    return RO + (gfn & 0xFFFF) * PAGE


@dataclass(frozen=True)
class Vm:
    """A ``struct kvm`` and the locks in it, placed as in a 6.12 kernel with lockdep."""

    kvm: int

    @property
    def mmu_lock(self) -> int:
        return self.kvm + 24

    @property
    def slots_lock(self) -> int:
        return self.kvm + 184

    @property
    def lock(self) -> int:
        return self.kvm + 5128

    @property
    def srcu(self) -> int:
        return self.kvm + 8960

    @property
    def irq_srcu(self) -> int:
        return self.kvm + 9032


class KvmTask(Task):
    """A task that works on one VM; every method returns it."""

    def __init__(self, script: Script, comm: str, pid: int, cpu: int, vm: Vm) -> None:
        super().__init__(script, comm, pid, cpu)
        self.vm = vm

    @contextmanager
    def ioctl(self, cmd: int, ret: int = 0) -> Iterator[KvmTask]:
        """Inside an ioctl."""
        self.event("raw_syscalls:sys_enter", id=16, args=[5, cmd, 0, 0, 0, 0])
        yield self
        self.sys_exit(16, ret)

    @contextmanager
    def mmu_lock(self, *, read: bool = False) -> Iterator[KvmTask]:
        """With mmu_lock held."""
        self.take("&(kvm)->mmu_lock", self.vm.mmu_lock, read=read)
        yield self
        self.release("&(kvm)->mmu_lock", self.vm.mmu_lock)

    @contextmanager
    def slots_lock(self) -> Iterator[KvmTask]:
        """With slots_lock held."""
        self.take("&kvm->slots_lock", self.vm.slots_lock)
        yield self
        self.release("&kvm->slots_lock", self.vm.slots_lock)

    def read_lock(self, idx: int = 0, ssp: int = 0) -> KvmTask:
        """srcu_read_lock(), by probe and by lockdep."""
        ssp = ssp or self.vm.srcu
        self.event("lockscope:srcu_read_lock", ssp=ssp, idx=idx)
        self.acquire("&kvm->irq_srcu" if ssp == self.vm.irq_srcu else "&kvm->srcu", ssp + 16, read=True)
        return self

    def read_unlock(self, idx: int = 0, ssp: int = 0) -> KvmTask:
        """srcu_read_unlock(), by lockdep and by probe."""
        ssp = ssp or self.vm.srcu
        self.release("&kvm->irq_srcu" if ssp == self.vm.irq_srcu else "&kvm->srcu", ssp + 16)
        self.event("lockscope:srcu_read_unlock", ssp=ssp, idx=idx)
        return self

    @contextmanager
    def srcu(self, idx: int = 0) -> Iterator[KvmTask]:
        """Inside a read section of kvm->srcu."""
        self.read_lock(idx)
        yield self
        self.read_unlock(idx)

    def spte(self, gfn: int, old: int, new: int, level: int = 1, as_id: int = 0) -> KvmTask:
        """The TDP MMU changes an SPTE."""
        self.event("kvmmmu:kvm_tdp_mmu_spte_changed", gfn=gfn, old_spte=old, new_spte=new, level=level, as_id=as_id)
        return self

    def protect(self, *gfns: int) -> KvmTask:
        """Dirty logging takes W away."""
        for gfn in gfns:
            self.spte(gfn, rw(gfn), ro(gfn))
        return self

    def zap(self, *gfns: int) -> KvmTask:
        """Nothing maps these any more."""
        for gfn in gfns:
            self.spte(gfn, rw(gfn), NONE)
        return self

    def request(self, req: int = FLUSH, vm: Vm | None = None) -> KvmTask:
        """kvm_make_all_cpus_request()."""
        self.event("lockscope:kvm_make_all_cpus_request", kvm=(vm or self.vm).kvm, req=req)
        return self

    def flush_range(self, gfn: int, pages: int) -> KvmTask:
        """kvm_flush_remote_tlbs_range()."""
        self.event("lockscope:kvm_flush_remote_tlbs_range", kvm=self.vm.kvm, gfn=gfn, nr_pages=pages)
        return self

    def enter(self) -> KvmTask:
        """The vCPU enters the guest."""
        self.event("kvm:kvm_entry", vcpu_id=0, rip=0x4081B0)
        return self

    def leave(self) -> KvmTask:
        """The vCPU leaves the guest."""
        self.event("kvm:kvm_exit", exit_reason=1024, isa=2, vcpu_id=0)
        return self

    def fault(self, gfn: int) -> KvmTask:
        """A page fault begins."""
        self.event("kvm:kvm_page_fault", vcpu_id=0, fault_address=gfn * PAGE, error_code=7)
        return self

    def set_spte(self, gfn: int, value: int, sptep: int, level: int = 1) -> KvmTask:
        """kvm_mmu_set_spte, with the physical address."""
        self.event("kvmmmu:kvm_mmu_set_spte", gfn=gfn, spte=value, sptep=sptep, level=level)
        return self

    def fast(self, gfn: int, old: int, new: int, sptep: int, *, ret: int = FIXED, write: bool = True) -> KvmTask:
        """fast_page_fault, with the virtual address of the SPTE."""
        self.event("kvmmmu:fast_page_fault", cr2_or_gpa=gfn * PAGE, error_code=7 if write else 5, old_spte=old,
                   sptep=sptep + PAGE_OFFSET, new_spte=new, ret=ret)  # fmt: skip
        return self

    def access(self, gfn: int = 0x180, vm: Vm | None = None) -> KvmTask:
        """gfn_to_memslot()."""
        self.event("lockscope:gfn_to_memslot", kvm=(vm or self.vm).kvm, gfn=gfn)
        return self

    def page(self, gfn: int, role: int, *, created: bool = True) -> KvmTask:
        """kvm_mmu_get_page."""
        self.event("kvmmmu:kvm_mmu_get_page", gfn=gfn, role=role, created=created)
        return self


class KvmScript(Script):
    """A host with a VM, its main task ``qemu`` and two vCPU tasks on two CPUs, all of which have been seen at work."""

    def __init__(
        self, kernel: str | None = "6.12.1", *, clock: str | None = "global", without: tuple[str, ...] = ()
    ) -> None:
        events = {name: spec for name, spec in (EVENTS | KVM_EVENTS).items() if name.partition(":")[2] not in without}
        super().__init__(kernel, events=events, clock=clock)
        self.without = without
        self.vm, self.other = Vm(0xFFFFC90000001000), Vm(0xFFFFC90000011000)
        self.qemu, self.vcpu, self.vcpu2 = (self.worker(name, pid, cpu) for name, pid, cpu in
                                            (("qemu", 100, 0), ("vcpu", 101, 1), ("vcpu2", 102, 0)))  # fmt: skip
        self.stranger = self.worker("other", 200, 1, self.other)
        self._begin()

    def worker(self, comm: str, pid: int, cpu: int, vm: Vm | None = None) -> KvmTask:
        """A task on a VM."""
        self.comms[pid] = comm
        return KvmTask(self, comm, pid, cpu, vm or self.vm)

    def add(self, row: Any) -> None:
        """A row, unless the recording is without such events."""
        if row.name.partition(":")[2] not in self.without:
            super().add(row)

    def _begin(self) -> None:
        """What shows the distances between a VM's locks, and where the tasks begin."""
        for task in (self.qemu, self.stranger):
            with task.ioctl(SET_MEMORY), task.slots_lock():
                with task.mmu_lock():
                    task.request(FREE_ROOTS)
                task.event("lockscope:synchronize_srcu_expedited", ssp=task.vm.srcu)
        for vcpu in (self.vcpu, self.vcpu2):
            with vcpu.ioctl(RUN), vcpu.srcu(), vcpu.mmu_lock(read=True):
                vcpu.access()
        self.at(self.now + 1_000_000)

    def judged(self, *codes: str) -> tuple[list[CheckRun], list[Finding]]:
        """What these checks say."""
        checks = selected_checks(codes)
        facts = tuple(sorted({fact for check in checks for fact in check.facts}))
        return judged(self.gathered(GatherOptions(facts)).evidence, checks)

    def found(self, *codes: str) -> list[Finding]:
        """What these checks find."""
        return self.judged(*(codes or ("LS2", "LS3", "LS4")))[1]

    def loud(self, *codes: str) -> list[str]:
        """The codes of what is an error or a warning."""
        return [f.code for f in self.found(*codes) if f.severity is not Severity.INFO]

    def fact(self, name: str) -> Any:
        """One fact."""
        found: Gathered = self.gathered(GatherOptions((name,)))
        return found.evidence.facts[name]
