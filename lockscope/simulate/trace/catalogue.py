"""The events as data: name, fields in order, ``print fmt``, and since when or until when.

Of several declarations of one name the last that fits the version counts.
"""

from __future__ import annotations

from typing import NamedTuple


class Declared(NamedTuple):
    """An event in some versions. ``fields``: NAME:TYPE, types as ``events`` knows them."""

    name: str
    fields: str
    print_fmt: str
    since: tuple[int, int] = (0, 0)
    until: tuple[int, int] | None = None


_LOCK = '"%p %s", REC->lockdep_addr, __get_str(name)'
_SPTE_FLAGS = '{ 0x1, "P" }, { 0x2, "W" }, { 0x4, "U" }, { 0x8, "RSVD" }, { 0x10, "F" }'
_PAGE = (
    '"sp gen %u gfn %llx l%u %s %s root %u %s", REC->mmu_valid_gen, REC->gfn, REC->role & 15, '
    '(REC->role & 0x80) ? "direct" : "indirect", (REC->role & 0x800) ? "invalid" : "valid", REC->root_count, '
    'REC->unsync ? "unsync" : "sync"'
)
_PAGE_FIELDS = "mmu_valid_gen:u8 gfn:u64 role:u32 root_count:u32 unsync:bool"
_PROBE = "__probe_ip:ulong"
_RETURN = "__probe_func:ulong __probe_ret_ip:ulong"


def _probe(name: str, fields: str, since: tuple[int, int] = (0, 0), until: tuple[int, int] | None = None) -> Declared:
    """An event of the probe pack: its print fmt follows from its fields (trace_probe.c)."""
    formats = {"u64": "0x%Lx", "u32": "%u", "s32": "%d", "u8": "%u", "text": '\\"%s\\"'}
    returns = fields.startswith("__probe_func")
    names = [f.split(":") for f in fields.split()][2 if returns else 1 :]
    words = " ".join(f"{label}={formats[kind]}" for label, kind in names)
    values = [f"__get_str({label})" if kind == "text" else f"REC->{label}" for label, kind in names]
    place = ["REC->__probe_func", "REC->__probe_ret_ip"] if returns else ["REC->__probe_ip"]
    shown = "(%lx <- %lx)" if returns else "(%lx)"
    return Declared(f"lockscope:{name}", fields, f'"{shown} {words}", {", ".join([*place, *values])}', since, until)


EVENTS: tuple[Declared, ...] = (
    Declared("lock:lock_acquire", "flags:uint name:text lockdep_addr:ptr",
             '"%p %s%s%s", REC->lockdep_addr, (REC->flags & 1) ? "try " : "", (REC->flags & 2) ? "read " : "", '
             "__get_str(name)"),
    Declared("lock:lock_release", "name:text lockdep_addr:ptr", _LOCK),
    Declared("lock:lock_contended", "name:text lockdep_addr:ptr", _LOCK),
    Declared("lock:lock_acquired", "name:text lockdep_addr:ptr", _LOCK),
    Declared("lock:contention_begin", "lock_addr:ptr flags:uint",
             '"%p (flags=%s)", REC->lock_addr, __print_flags(REC->flags, "|", { 1, "SPIN" }, { 2, "READ" }, '
             '{ 4, "WRITE" }, { 8, "RT" }, { 16, "PERCPU" }, { 32, "MUTEX" })', (5, 19)),
    Declared("lock:contention_end", "lock_addr:ptr ret:s32", '"%p (ret=%d)", REC->lock_addr, REC->ret', (5, 19)),
    Declared("lock:contended_release", "lock_addr:ptr", '"%p", REC->lock_addr', (7, 2)),
    Declared("sched:sched_switch",
             "prev_comm:comm prev_pid:s32 prev_prio:s32 prev_state:long next_comm:comm next_pid:s32 next_prio:s32",
             '"prev_comm=%s prev_pid=%d prev_prio=%d prev_state=%s%s ==> next_comm=%s next_pid=%d next_prio=%d", '
             'REC->prev_comm, REC->prev_pid, REC->prev_prio, (REC->prev_state & 0xff) ? '
             '__print_flags(REC->prev_state & 0xff, "|", { 1, "S" }, { 2, "D" }, { 4, "T" }, { 8, "t" }, '
             '{ 16, "X" }, { 32, "Z" }, { 64, "P" }, { 128, "I" }) : "R", REC->prev_state & 0x100 ? "+" : "", '
             "REC->next_comm, REC->next_pid, REC->next_prio"),
    Declared("sched:sched_process_exit", "comm:comm pid:s32 prio:s32",
             '"comm=%s pid=%d prio=%d", REC->comm, REC->pid, REC->prio'),
    Declared("irq:irq_handler_entry", "irq:s32 name:text", '"irq=%d name=%s", REC->irq, __get_str(name)'),
    Declared("irq:irq_handler_exit", "irq:s32 ret:s32",
             '"irq=%d ret=%s", REC->irq, REC->ret ? "handled" : "unhandled"'),
    Declared("irq:softirq_entry", "vec:uint", '"vec=%u", REC->vec'),
    Declared("irq:softirq_exit", "vec:uint", '"vec=%u", REC->vec'),
    Declared("raw_syscalls:sys_enter", "id:long args:six",
             '"NR %ld (%lx, %lx, %lx, %lx, %lx, %lx)", REC->id, REC->args[0], REC->args[1], REC->args[2], '
             "REC->args[3], REC->args[4], REC->args[5]"),
    Declared("raw_syscalls:sys_exit", "id:long ret:long", '"NR %ld = %ld", REC->id, REC->ret'),
    # --- arch/x86/kvm/trace.h and include/trace/events/kvm.h
    Declared("kvm:kvm_entry", "vcpu_id:uint", '"vcpu %u", REC->vcpu_id'),
    Declared("kvm:kvm_entry", "vcpu_id:uint rip:ulong immediate_exit:bool",
             '"vcpu %u, rip 0x%lx%s", REC->vcpu_id, REC->rip, REC->immediate_exit ? "[immediate exit]" : ""', (6, 1)),
    Declared("kvm:kvm_entry", "vcpu_id:uint rip:ulong immediate_exit:bool intr_info:u32 error_code:u32",
             '"vcpu %u, rip 0x%lx intr_info 0x%08x error_code 0x%08x%s", REC->vcpu_id, REC->rip, REC->intr_info, '
             'REC->error_code, REC->immediate_exit ? "[immediate exit]" : ""', (7, 2)),
    Declared("kvm:kvm_exit", "exit_reason:uint guest_rip:ulong isa:u32 info1:u64 info2:u64",
             '"reason %u rip 0x%lx info %llx %llx", REC->exit_reason, REC->guest_rip, REC->info1, REC->info2'),
    Declared("kvm:kvm_exit",
             "exit_reason:uint guest_rip:ulong isa:u32 info1:u64 info2:u64 intr_info:u32 error_code:u32 vcpu_id:uint",
             '"vcpu %u reason %u rip 0x%lx info1 0x%016llx info2 0x%016llx intr_info 0x%08x error_code 0x%08x", '
             "REC->vcpu_id, REC->exit_reason, REC->guest_rip, REC->info1, REC->info2, REC->intr_info, "
             "REC->error_code", (5, 10)),
    Declared("kvm:kvm_exit",
             "exit_reason:uint guest_rip:ulong isa:u32 info1:u64 info2:u64 intr_info:u32 error_code:u32 vcpu_id:uint "
             "requests:u64",
             '"vcpu %u reason %u rip 0x%lx info1 0x%016llx info2 0x%016llx intr_info 0x%08x error_code 0x%08x '
             'requests 0x%016llx", REC->vcpu_id, REC->exit_reason, REC->guest_rip, REC->info1, REC->info2, '
             "REC->intr_info, REC->error_code, REC->requests", (7, 2)),
    Declared("kvm:kvm_page_fault", "fault_address:ulong error_code:uint",
             '"address %lx error_code %x", REC->fault_address, REC->error_code'),
    Declared("kvm:kvm_page_fault", "vcpu_id:uint guest_rip:ulong fault_address:u64 error_code:u64",
             '"vcpu %u rip 0x%lx address 0x%016llx error_code 0x%llx", REC->vcpu_id, REC->guest_rip, '
             "REC->fault_address, REC->error_code", (6, 1)),
    Declared("kvm:kvm_userspace_exit", "reason:u32 errno:s32", '"reason %u (%d)", REC->reason, REC->errno'),
    Declared("kvm:kvm_fpu", "load:u32", '"%s", REC->load ? "load" : "unload"'),
    Declared("kvm:kvm_pio", "rw:uint port:uint size:uint count:uint val:uint",
             '"pio_%s at 0x%x size %d count %d val 0x%x", REC->rw ? "write" : "read", REC->port, REC->size, '
             "REC->count, REC->val"),
    Declared("kvm:kvm_set_irq", "gsi:uint level:s32 irq_source_id:s32",
             '"gsi %u level %d source %d", REC->gsi, REC->level, REC->irq_source_id'),
    Declared("kvm:kvm_unmap_hva_range", "start:ulong end:ulong",
             '"mmu notifier unmap range: %#016lx -- %#016lx", REC->start, REC->end', (5, 13)),
    Declared("kvm:kvm_age_hva", "start:ulong end:ulong",
             '"mmu notifier age hva: %#016lx -- %#016lx", REC->start, REC->end', (5, 13)),
    Declared("kvm:kvm_age_page", "hva:ulong level:uint gfn:u64 referenced:u8",
             '"hva %lx gfn %llx level %u %s", REC->hva, REC->gfn, REC->level, REC->referenced ? "YOUNG" : "OLD"',
             (0, 0), (5, 12)),
    Declared("kvm:kvm_dirty_ring_push", "index:s32 dirty_index:u32 reset_index:u32 slot:u32 offset:u64",
             '"ring %d: dirty 0x%x reset 0x%x slot %u offset 0x%llx (used %u)", REC->index, REC->dirty_index, '
             "REC->reset_index, REC->slot, REC->offset, REC->dirty_index - REC->reset_index", (5, 11)),
    Declared("kvm:kvm_dirty_ring_reset", "index:s32 dirty_index:u32 reset_index:u32",
             '"ring %d: dirty 0x%x reset 0x%x (used %u)", REC->index, REC->dirty_index, REC->reset_index, '
             "REC->dirty_index - REC->reset_index", (5, 11)),
    Declared("kvm:kvm_write_tsc_offset", "vcpu_id:uint previous_tsc_offset:u64 next_tsc_offset:u64",
             '"vcpu=%u prev=%llu next=%llu", REC->vcpu_id, REC->previous_tsc_offset, REC->next_tsc_offset'),
    Declared("kvm:kvm_track_tsc",
             "vcpu_id:uint nr_vcpus_matched_tsc:uint online_vcpus:uint use_master_clock:bool host_clock:uint",
             '"vcpu_id %u masterclock %u offsetmatched %u nr_online %u hostclock %u", REC->vcpu_id, '
             "REC->use_master_clock, REC->nr_vcpus_matched_tsc, REC->online_vcpus, REC->host_clock"),
    Declared("kvm:kvm_update_master_clock", "use_master_clock:bool host_clock:uint offset_matched:bool",
             '"masterclock %d hostclock %u offsetmatched %u", REC->use_master_clock, REC->host_clock, '
             "REC->offset_matched"),
    Declared("kvm:kvm_apicv_inhibit_changed", "reason:s32 set:bool inhibits:ulong",
             '"%s reason=%u, inhibits=0x%lx%s", REC->set ? "set" : "cleared", REC->reason, REC->inhibits, '
             'REC->inhibits ? " DISABLED" : " ENABLED"', (5, 18)),
    # --- arch/x86/kvm/mmu/mmutrace.h
    Declared("kvmmmu:kvm_mmu_spte_requested", "gfn:u64 pfn:u64 level:u8",
             '"gfn %llx pfn %llx level %d", REC->gfn, REC->pfn, REC->level', (5, 14)),
    Declared("kvmmmu:kvm_mmu_spte_requested", "gfn:u64 pfn:u64 level:u8 access:u8",
             '"gfn %llx pfn %llx level %d access %x", REC->gfn, REC->pfn, REC->level, REC->access', (7, 2)),
    Declared("kvmmmu:kvm_tdp_mmu_spte_changed", "gfn:u64 old_spte:u64 new_spte:u64 level:u8 as_id:u8",
             '"as id %d gfn %llx level %d old_spte %llx new_spte %llx", REC->as_id, REC->gfn, REC->level, '
             "REC->old_spte, REC->new_spte", (5, 11)),
    Declared("kvmmmu:kvm_mmu_set_spte", "gfn:u64 spte:u64 sptep:u64 level:u8 r:bool x:bool u:s8",
             '"gfn %llx spte %llx (%s%s%s%s) level %d at %llx", REC->gfn, REC->spte, REC->r ? "r" : "-", '
             'REC->spte & 2 ? "w" : "-", REC->x ? "x" : "-", REC->u == -1 ? "" : (REC->u ? "u" : "-"), REC->level, '
             "REC->sptep"),
    Declared("kvmmmu:fast_page_fault",
             "vcpu_id:s32 gva:u64 error_code:u32 sptep:ptr old_spte:u64 new_spte:u64 retry:bool",
             f'"vcpu %d gva %llx error_code %s sptep %p old %#llx new %llx spurious %d fixed %d", REC->vcpu_id, '
             f'REC->gva, __print_flags(REC->error_code, "|", {_SPTE_FLAGS}), REC->sptep, REC->old_spte, '
             "REC->new_spte, (REC->retry && (REC->old_spte & 2)), (REC->retry && (REC->new_spte & 2))", (0, 0), (5, 9)),
    Declared("kvmmmu:fast_page_fault",
             "vcpu_id:s32 cr2_or_gpa:u64 error_code:u64 sptep:ptr old_spte:u64 new_spte:u64 ret:s32",
             f'"vcpu %d gva %llx error_code %s sptep %p old %#llx new %llx spurious %d fixed %d", REC->vcpu_id, '
             f'REC->cr2_or_gpa, __print_flags(REC->error_code, "|", {_SPTE_FLAGS}), REC->sptep, REC->old_spte, '
             "REC->new_spte, REC->ret == 6, REC->ret == 5", (6, 12)),
    Declared("kvmmmu:kvm_mmu_get_page", f"{_PAGE_FIELDS} created:bool",
             _PAGE.replace(' %s"', ' %s %s"', 1) + ', REC->created ? "new" : "existing"'),
    Declared("kvmmmu:kvm_mmu_prepare_zap_page", _PAGE_FIELDS, _PAGE),
    Declared("kvmmmu:kvm_mmu_unsync_page", _PAGE_FIELDS, _PAGE),
    Declared("kvmmmu:kvm_mmu_sync_page", _PAGE_FIELDS, _PAGE),
    Declared("kvmmmu:kvm_mmu_invalidate_zap_all_pages", "mmu_valid_gen:ulong mmu_used_pages:uint",
             '"kvm-mmu-valid-gen %lx used_pages %x", REC->mmu_valid_gen, REC->mmu_used_pages', (0, 0), (5, 3)),
    Declared("kvmmmu:kvm_mmu_zap_all_fast", "mmu_valid_gen:u8 mmu_used_pages:uint",
             '"kvm-mmu-valid-gen %u used_pages %x", REC->mmu_valid_gen, REC->mmu_used_pages', (5, 4)),
    # --- the probe pack; the kernel's own text of these follows from their fields
    _probe("lockdep_acquire", f"{_PROBE} lock:u64 subclass:u32 trylock:s32 read:s32 check:s32 nest:u64 ip:u64 key:u64 "
           "wait_outer:u8 wait_inner:u8 lock_type:u8 name:text", (6, 4)),
    _probe("lockdep_init", f"{_PROBE} lock:u64 key:u64 subclass:s32 wait_inner:u8 wait_outer:u8 name:text", (6, 4)),
    _probe("srcu_read_lock_entry", f"{_PROBE} ssp:u64", (0, 0), (6, 8)),
    _probe("srcu_read_lock", f"{_RETURN} idx:s32", (0, 0), (6, 8)),
    _probe("srcu_read_lock", f"{_RETURN} ssp:u64 idx:s32", (6, 9)),
    _probe("srcu_read_unlock", f"{_PROBE} ssp:u64 idx:s32"),
    _probe("synchronize_srcu", f"{_PROBE} ssp:u64"),
    _probe("synchronize_srcu_expedited", f"{_PROBE} ssp:u64"),
    _probe("kvm_make_all_cpus_request", f"{_PROBE} kvm:u64 req:u32"),
    _probe("kvm_flush_remote_tlbs", f"{_PROBE} kvm:u64"),
    _probe("kvm_flush_remote_tlbs_range", f"{_PROBE} kvm:u64 gfn:u64 nr_pages:u64", (6, 6)),
    _probe("kvm_flush_remote_tlbs_memslot", f"{_PROBE} kvm:u64 slot:u64", (6, 6)),
    _probe("mmu_spte_update_entry", f"{_PROBE} sptep:u64 old_spte:u64 new_spte:u64"),
    _probe("mmu_spte_update", f"{_RETURN} sptep:u64 new_spte:u64 flush:u8"),
    _probe("gfn_to_memslot", f"{_PROBE} kvm:u64 gfn:u64"),
    _probe("kvm_vcpu_gfn_to_memslot", f"{_PROBE} vcpu:u64 gfn:u64"),
    _probe("mark_page_dirty_in_slot", f"{_PROBE} kvm:u64 slot:u64 gfn:u64"),
    _probe("kvm_io_bus_write", f"{_PROBE} vcpu:u64 bus:s32 addr:u64"),
    _probe("kvm_io_bus_read", f"{_PROBE} vcpu:u64 bus:s32 addr:u64"),
    _probe("kvm_zap_gfn_range", f"{_PROBE} kvm:u64 gfn_start:u64 gfn_end:u64"),
    _probe("kvm_arch_vcpu_ioctl_run", f"{_PROBE} vcpu:u64 kvm:u64"),
    _probe("kvm_arch_flush_shadow_all", f"{_PROBE} kvm:u64"),
    _probe("kvm_destroy_vm", f"{_PROBE} kvm:u64"),
)  # fmt: skip
