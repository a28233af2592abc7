"""Which events feed KVM's, the KVM MMU's and SRCU's operations, in the spellings of all kernel versions.

Tracepoints: include/trace/events/kvm.h, arch/x86/kvm/trace.h and arch/x86/kvm/mmu/mmutrace.h (arch/x86/kvm/mmutrace.h
before v5.5), read in v4.14, v5.10, v5.15, v6.1 and v6.12. Probes: the group ``lockscope`` of the probe pack, and what
takes their place on older kernels. The group is not asked for, only the fields are: people set the same probes up by
hand under other groups.
"""

from __future__ import annotations

from lockscope.tables.ops import Op
from lockscope.tables.tape import SlotSource, Source

_SRCU = (
    # Before 6.9 a return probe sees no argument: ssp = 0.
    Source(
        Op.SRCU_LOCK,
        "*:srcu_read_lock",
        {"caller": "__probe_ret_ip", "at": "__probe_func"},
        requires=("idx",),
    ),
    Source(Op.SRCU_LOCK_ENTRY, "*:srcu_read_lock_entry", requires=("ssp",)),
    Source(Op.SRCU_UNLOCK, "*:srcu_read_unlock", requires=("ssp", "idx")),
    Source(Op.SRCU_SYNC, "*:synchronize_srcu", {"expedited": 0}, requires=("ssp",)),
    Source(Op.SRCU_SYNC, "*:synchronize_srcu_expedited", {"expedited": 1}, requires=("ssp",)),
)

_OLD_NEW: dict[str, SlotSource] = {"old": "old_spte", "new": "new_spte"}
_FAST_PF: dict[str, SlotSource] = {**_OLD_NEW, "addr": ("cr2_or_gpa", "gva"), "ret": ("ret", "retry")}

_SPTE = (
    Source(Op.SPTE_TDP, "*:kvm_tdp_mmu_spte_changed", _OLD_NEW),  # since v5.11
    Source(Op.SPTE_SET, "*:kvm_mmu_set_spte"),
    Source(Op.FAST_PF, "*:fast_page_fault", {**_FAST_PF, "ret_is_bool": 1}, requires=("retry",)),  # v4.14
    Source(Op.FAST_PF, "*:fast_page_fault", {**_FAST_PF, "ret_is_bool": 0}, requires=("ret",)),
    Source(Op.SPTE_MMIO, "*:mark_mmio_spte"),
    Source(Op.SPTE_UPDATE_ENTRY, "*:mmu_spte_update_entry", _OLD_NEW, requires=("sptep",)),
    Source(Op.SPTE_UPDATE, "*:mmu_spte_update", {"new": "new_spte"}, requires=("sptep", "flush")),
    Source(Op.MMU_PAGE, "*:kvm_mmu_get_page", {"what": 0}),
    Source(Op.MMU_PAGE, "*:kvm_mmu_prepare_zap_page", {"what": 1}),
    Source(Op.MMU_PAGE, "*:kvm_mmu_sync_page", {"what": 2}),
    Source(Op.MMU_PAGE, "*:kvm_mmu_unsync_page", {"what": 3}),
    Source(Op.ZAP_ALL_FAST, "*:kvm_mmu_zap_all_fast"),
    Source(Op.ZAP_ALL_FAST, "*:kvm_mmu_invalidate_zap_all_pages"),  # v4.14
    Source(Op.SPLIT_HUGE, "*:kvm_mmu_split_huge_page"),
)

_FLUSH = (
    Source(Op.REQUEST, "*:kvm_make_all_cpus_request", requires=("kvm", "req")),
    Source(Op.FLUSH, "*:kvm_flush_remote_tlbs", requires=("kvm",)),
    Source(Op.FLUSH, "*:hv_flush_remote_tlbs", requires=("kvm",)),  # Hyper-V host
    Source(Op.FLUSH, "*:hv_remote_flush_tlb", requires=("kvm",)),  # its name up to v6.5
    Source(Op.FLUSH_RANGE, "*:kvm_flush_remote_tlbs_range", requires=("kvm", "gfn", "nr_pages")),  # since v6.6
    Source(Op.FLUSH_RANGE, "*:hv_flush_remote_tlbs_range", requires=("kvm", "gfn", "nr_pages")),
    Source(Op.FLUSH_RANGE, "*:kvm_flush_remote_tlbs_with_address",
           {"gfn": ("gfn", "start_gfn"), "nr_pages": ("nr_pages", "pages")}, requires=("kvm",)),  # up to v6.5
    Source(Op.FLUSH_SLOT, "*:kvm_flush_remote_tlbs_memslot", requires=("kvm", "slot")),  # since v6.6
    Source(Op.FLUSH_SLOT, "*:kvm_arch_flush_remote_tlbs_memslot", {"slot": ("slot", "memslot")}, requires=("kvm",)),
)  # fmt: skip

_HVA: dict[str, SlotSource] = {"start": ("start", "hva"), "end": ("end", "hva")}

_KVM = (
    Source(Op.KVM_ENTRY, "*:kvm_entry"),
    Source(Op.KVM_EXIT, "*:kvm_exit", {"reason": "exit_reason"}),  # v4.14 has no vcpu_id
    Source(Op.PAGE_FAULT, "*:kvm_page_fault", {"addr": "fault_address"}),  # vcpu_id since v6.1
    Source(Op.MEMSLOT, "*:gfn_to_memslot", requires=("kvm", "gfn")),
    Source(Op.MEMSLOT, "*:kvm_read_guest_page", requires=("kvm", "gfn")),
    Source(Op.MEMSLOT, "*:kvm_write_guest_page", requires=("kvm", "gfn")),
    Source(Op.VCPU_MEMSLOT, "*:kvm_vcpu_gfn_to_memslot", requires=("vcpu", "gfn")),
    Source(Op.VCPU_MEMSLOT, "*:kvm_vcpu_read_guest_page", requires=("vcpu", "gfn")),
    Source(Op.VCPU_MEMSLOT, "*:kvm_vcpu_write_guest_page", requires=("vcpu", "gfn")),
    Source(Op.MARK_DIRTY, "*:mark_page_dirty_in_slot", requires=("kvm", "gfn")),
    Source(Op.BUS, "*:kvm_io_bus_write", {"write": 1}, requires=("vcpu", "addr")),
    Source(Op.BUS, "*:kvm_io_bus_write_cookie", {"write": 1}, requires=("vcpu", "addr")),
    Source(Op.BUS, "*:kvm_io_bus_read", {"write": 0}, requires=("vcpu", "addr")),
    Source(Op.HVA, "*:kvm_unmap_hva_range", {"what": 0}),
    Source(Op.HVA, "*:kvm_unmap_hva", {**_HVA, "what": 0}),
    Source(Op.HVA, "*:kvm_age_hva", {**_HVA, "what": 1}),
    Source(Op.HVA, "*:kvm_age_page", {**_HVA, "what": 1}),  # x86 up to v5.12
    Source(Op.HVA, "*:kvm_test_age_hva", {**_HVA, "what": 2}),
    Source(Op.HVA, "*:kvm_set_spte_hva", {**_HVA, "what": 3}),  # up to v6.9
    Source(Op.ZAP_RANGE, "*:kvm_zap_gfn_range", requires=("kvm", "gfn_start", "gfn_end")),
    Source(Op.FLUSH_ALL, "*:kvm_arch_flush_shadow_all", requires=("kvm",)),
    Source(Op.DESTROY_VM, "*:kvm_destroy_vm", requires=("kvm",)),
    Source(Op.RUN, "*:kvm_arch_vcpu_ioctl_run", requires=("vcpu", "kvm")),
    Source(Op.VCPU, "*:kvm_arch_vcpu_create", requires=("vcpu", "kvm")),
    Source(Op.USERSPACE_EXIT, "*:kvm_userspace_exit"),
    Source(Op.DIRTY_RING, "*:kvm_dirty_ring_push", {"what": 0}),
    Source(Op.DIRTY_RING, "*:kvm_dirty_ring_reset", {"index": ("index", "dirty_index"), "what": 1}),
    Source(Op.DIRTY_RING, "*:kvm_dirty_ring_exit", {"what": 2}),
    Source(Op.TSC_OFFSET, "*:kvm_write_tsc_offset", {"previous": "previous_tsc_offset", "next": "next_tsc_offset"}),
    Source(Op.MASTER_CLOCK, "*:kvm_update_master_clock"),
    Source(Op.MASTER_CLOCK, "*:kvm_track_tsc"),  # the same lock's matter: see checks/ls401_unprotected.py
)

SOURCES: tuple[Source, ...] = _SRCU + _SPTE + _FLUSH + _KVM
