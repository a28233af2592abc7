"""What events look like as text: the kernel's print formats, trace-cmd's own, and the probe pack's arguments.

A pattern is a regular expression of the text behind ``name: `` in which ``{field:kind}`` stands for a value (kinds:
``shapes.KINDS``) and a blank for one or more. Sources: the ``print fmt`` of each event in v6.12 and v6.1 (and
v4.14 where it differed), and libtraceevent's plugins (plugin_kvm.c, plugin_sched_switch.c, plugin_tlb.c, 1.8), which
``trace-cmd report`` lets print in the kernel's place. A field bears the kernel's name for it, not the text's.
"""

from __future__ import annotations

_PAGE = r"(?:sp )?gen {mmu_valid_gen:u8} gfn {gfn:x64} {role:page_role} root {root_count:u32} {unsync:unsync}"
_PLUGIN_PAGE = r"{role:page_role} root {root_count:u32} {unsync:unsync}"
_EXIT = r"(?=reason {isa:exit_isa} rip)reason {exit_reason:exit_reason} rip {guest_rip:x64}"
_FAST = (
    r"vcpu {vcpu_id:s32} gva {cr2_or_gpa:x64} error_code {error_code:page_fault} sptep {sptep:ptr}"
    r" old {old_spte:x64} new {new_spte:x64} (?={ret:pf_ret}$)spurious {spurious:u8} fixed {fixed:u8}"
)
_TASK = r"comm={comm:str} pid={pid:s32} prio={prio:s32}"

PATTERNS: tuple[tuple[str, str], ...] = (
    ("lock:lock_acquire", r"{lockdep_addr:ptr}(?: {flags:lock_flags}{name:rest})?"),
    ("lock:lock_release lock:lock_acquired lock:lock_contended", r"{lockdep_addr:ptr}(?: {name:rest})?"),
    ("lock:contention_begin", r"{lock_addr:ptr} \(flags={flags:contention}\)"),
    ("lock:contended_release", r"{lock_addr:ptr}"),  # since 7.2
    ("lock:contention_end", r"{lock_addr:ptr} \(ret={ret:s32}\)"),
    # tasks and interrupts
    ("sched:sched_switch", r"prev_comm={prev_comm:str} prev_pid={prev_pid:s32} prev_prio={prev_prio:s32} "
     r"prev_state={prev_state:task_state} ==> "
     r"next_comm={next_comm:str} next_pid={next_pid:s32} next_prio={next_prio:s32}"),
    ("sched:sched_switch", r"{prev_comm:str}:{prev_pid:s32} \[{prev_prio:s32}\] {prev_state:task_state} ==> "
     r"{next_comm:str}:{next_pid:s32} \[{next_prio:s32}\]"),
    ("sched:sched_waking sched:sched_wakeup sched:sched_wakeup_new", _TASK + r" target_cpu={target_cpu:s32}"),
    ("sched:sched_waking sched:sched_wakeup sched:sched_wakeup_new",
     _TASK + r" success={success:s32} target_cpu={target_cpu:s32}"),
    ("sched:sched_wakeup sched:sched_wakeup_new", r"{comm:str}:{pid:s32} \[{prio:s32}\] CPU:{target_cpu:s32}"),
    ("sched:sched_wakeup sched:sched_wakeup_new",
     r"{comm:str}:{pid:s32} \[{prio:s32}\] success={success:s32} CPU:{target_cpu:s32}"),
    ("sched:sched_process_exit sched:sched_process_free sched:sched_process_wait sched:sched_wait_task", _TASK),
    ("sched:sched_process_exit", _TASK + r" group_dead={group_dead:boolean}"),
    ("sched:sched_process_fork",
     r"comm={parent_comm:str} pid={parent_pid:s32} child_comm={child_comm:str} child_pid={child_pid:s32}"),
    ("sched:sched_process_exec", r"filename={filename:str} pid={pid:s32} old_pid={old_pid:s32}"),
    ("sched:sched_migrate_task", _TASK + r" orig_cpu={orig_cpu:s32} dest_cpu={dest_cpu:s32}"),
    ("sched:sched_stat_runtime", r"comm={comm:str} pid={pid:s32} runtime={runtime:u64} \[ns\]"),
    ("sched:sched_stat_runtime",
     r"comm={comm:str} pid={pid:s32} runtime={runtime:u64} \[ns\] vruntime={vruntime:u64} \[ns\]"),
    ("sched:sched_stat_wait sched:sched_stat_sleep sched:sched_stat_iowait sched:sched_stat_blocked",
     r"comm={comm:str} pid={pid:s32} delay={delay:u64} \[ns\]"),
    ("task:task_rename", r"oldcomm={oldcomm:str} newcomm={newcomm:str} oom_score_adj={oom_score_adj:s16}"),
    ("task:task_rename",
     r"pid={pid:s32} oldcomm={oldcomm:str} newcomm={newcomm:str} oom_score_adj={oom_score_adj:s16}"),
    ("task:task_newtask",
     r"pid={pid:s32} comm={comm:str} clone_flags={clone_flags:x64} oom_score_adj={oom_score_adj:s16}"),
    ("irq:irq_handler_entry", r"irq={irq:s32} name={name:rest}"),
    ("irq:irq_handler_exit", r"irq={irq:s32} ret={ret:handled}"),
    ("irq:softirq_entry irq:softirq_exit irq:softirq_raise", r"vec={vec:u32} \[action=.*\]"),
    ("preemptirq:irq_disable preemptirq:irq_enable preemptirq:preempt_disable preemptirq:preempt_enable",
     r"caller={caller_offs:str} parent={parent_offs:rest}"),
    ("tlb:tlb_flush", r"pages[:=]{pages:s64} reason[:=].*\({reason:s32}\)"),
    ("ipi:ipi_send_cpumask", r"cpumask={cpumask:str} callsite={callsite:str} callback={callback:rest}"),
    ("ipi:ipi_send_cpu", r"cpu={cpu:u32} callsite={callsite:str} callback={callback:rest}"),
    ("kmem:kfree", r"call_site={call_site:str} ptr={ptr:ptr}"),
    ("kmem:kmem_cache_free", r"call_site={call_site:str} ptr={ptr:ptr}(?: name={name:rest})?"),
    ("raw_syscalls:sys_exit", r"NR {id:s64} = {ret:s64}"),
    # KVM
    ("kvm:kvm_entry", r"vcpu {vcpu_id:u32}, rip {rip:x64}(?:\s?\[{immediate_exit:given}\])?"),
    ("kvm:kvm_entry", r"vcpu {vcpu_id:u32}, rip {rip:x64} intr_info {intr_info:x32} error_code {error_code:x32}"
     r"(?:\s?\[{immediate_exit:given}\])?"),
    ("kvm:kvm_entry", r"vcpu {vcpu_id:u32} rip {rip:x64}(?: \S+)?"),
    ("kvm:kvm_entry", r"vcpu {vcpu_id:u32}"),
    ("kvm:kvm_exit kvm:kvm_nested_vmexit", r"vcpu {vcpu_id:u32} " + _EXIT + r" info1 {info1:x64} info2 {info2:x64} "
     r"intr_info {intr_info:x32} error_code {error_code:x32}"),
    ("kvm:kvm_exit kvm:kvm_nested_vmexit", r"vcpu {vcpu_id:u32} " + _EXIT + r" info1 {info1:x64} info2 {info2:x64} "
     r"intr_info {intr_info:x32} error_code {error_code:x32} requests {requests:x64}"),
    ("kvm:kvm_exit", _EXIT + r"(?: \S+)? info {info1:x64} {info2:x64}"),
    ("kvm:kvm_page_fault",
     r"vcpu {vcpu_id:u32} rip {guest_rip:x64} address {fault_address:x64} error_code {error_code:x64}"),
    ("kvm:kvm_page_fault", r"address {fault_address:x64} error_code {error_code:x32}"),
    # libtraceevent takes errno for unsigned and never prints "restart": where it is not printed it is not known.
    ("kvm:kvm_userspace_exit", r"(?=reason {errno:user_errno}$)reason {reason:user_reason}"),
    ("kvm:kvm_userspace_exit", r"reason \S+ \({reason:u32}\)"),
    ("kvm:kvm_unmap_hva_range", r"mmu notifier unmap range: {start:x64} -- {end:x64}"),
    ("kvm:kvm_vm_set_mem_attributes", r"{start:x64} -- {end:x64} \[{attr:x64}\]"),  # since 7.2
    ("kvm:kvm_age_hva", r"mmu notifier age hva: {start:x64} -- {end:x64}"),
    ("kvm:kvm_test_age_hva", r"mmu notifier test age hva: {hva:x64}"),
    ("kvm:kvm_set_spte_hva", r"mmu notifier set pte hva: {hva:x64}"),
    ("kvm:kvm_age_page", r"hva {hva:x64} gfn {gfn:x64} {referenced:young}"),
    ("kvm:kvm_dirty_ring_push", r"ring {index:s32}: dirty {dirty_index:x32} reset {reset_index:x32} slot {slot:u32} "
     r"offset {offset:x64} \(used .*\)"),
    ("kvm:kvm_dirty_ring_reset", r"ring {index:s32}: dirty {dirty_index:x32} reset {reset_index:x32} \(used .*\)"),
    ("kvm:kvm_dirty_ring_exit", r"vcpu {vcpu_id:s32}"),
    ("kvm:kvm_write_tsc_offset", r"vcpu={vcpu_id:u32} prev={previous_tsc_offset:u64} next={next_tsc_offset:u64}"),
    ("kvm:kvm_update_master_clock",
     r"masterclock {use_master_clock:u8} hostclock {host_clock:tsc_mode} offsetmatched {offset_matched:u8}"),
    ("kvm:kvm_track_tsc", r"vcpu_id {vcpu_id:u32} masterclock {use_master_clock:u8} "
     r"offsetmatched {nr_vcpus_matched_tsc:u32} nr_online {online_vcpus:u32} hostclock {host_clock:tsc_mode}"),
    ("kvm:kvm_fpu", r"{load:load}"),
    ("kvm:kvm_pio", r"pio_{rw:rw} at {port:x32} size {size:u32} count {count:u32} val {val:x32}(?: .*)?"),
    ("kvm:kvm_mmio", r"mmio {type:mmio} len {len:u32} gpa {gpa:x64} val {val:x64}"),
    ("kvm:kvm_fast_mmio", r"fast mmio at gpa {gpa:x64}"),
    ("kvm:kvm_msr", r"msr_{write:rw} {ecx:x32} = {data:x64}(?: \({exception:given}\))?"),
    ("kvm:kvm_cr", r"cr_{rw:rw} {cr:x32} = {val:x64}"),
    ("kvm:kvm_cpuid", r"func {function:x32} idx {index:x32} rax {rax:x64} rbx {rbx:x64} rcx {rcx:x64} rdx {rdx:x64}"
     r", cpuid entry {found:found}(?:, {used_max_basic:given})?"),
    ("kvm:kvm_hypercall", r"nr {nr:x64} a0 {a0:x64} a1 {a1:x64} a2 {a2:x64} a3 {a3:x64}"),
    ("kvm:kvm_set_irq", r"gsi {gsi:u32} level {level:s32} source {irq_source_id:s32}"),
    ("kvm:kvm_inj_virq", r"irq {irq:u32}"),
    ("kvm:kvm_eoi kvm:kvm_pv_eoi", r"apicid {apicid:x32} vector {vector:s32}"),
    ("kvm:kvm_vcpu_wakeup", r"{waited:waited} time {ns:u64} ns, polling {valid:valid}"),
    ("kvm:kvm_halt_poll_ns", r"vcpu {vcpu_id:u32}: halt_poll_ns {new:u32} \({grow:grow} {old:u32}\)"),
    ("kvm:kvm_pv_tlb_flush", r"vcpu {vcpu_id:u32} need_flush_tlb {need_flush_tlb:boolean}"),
    ("kvm:kvm_apicv_inhibit_changed", r"{set:set} reason={reason:s32}, inhibits={inhibits:x64}(?: .*)?"),
    ("kvm:vcpu_match_mmio", r"gva {gva:x64} gpa {gpa:x64} .*"),
    # KVM's MMU
    ("kvmmmu:kvm_tdp_mmu_spte_changed",
     r"as id {as_id:u8} gfn {gfn:x64} level {level:u8} old_spte {old_spte:x64} new_spte {new_spte:x64}"),
    ("kvmmmu:kvm_mmu_set_spte",
     r"gfn {gfn:x64} spte {spte:x64} \({r:letter}[w-]{x:letter}{u:maybe_letter}\) level {level:u8} at {sptep:x64}"),
    ("kvmmmu:fast_page_fault", _FAST),
    ("kvmmmu:mark_mmio_spte", r"sptep:\s?{sptep:ptr} gfn {gfn:x64} access {access:x32} gen {gen:x32}"),
    ("kvmmmu:handle_mmio_page_fault", r"addr:\s?{addr:x64} gfn {gfn:x64} access {access:x32}"),
    ("kvmmmu:check_mmio_spte", r"spte {spte:x64} kvm_gen {kvm_gen:x32} spte-gen {spte_gen:x32} valid \d"),
    ("kvmmmu:kvm_mmu_get_page", _PAGE + r"\x00* {created:created}"),
    ("kvmmmu:kvm_mmu_get_page", r"{created:created} sp gfn {gfn:x64} " + _PLUGIN_PAGE),
    ("kvmmmu:kvm_mmu_prepare_zap_page kvmmmu:kvm_mmu_sync_page kvmmmu:kvm_mmu_unsync_page", _PAGE),
    ("kvmmmu:kvm_mmu_prepare_zap_page kvmmmu:kvm_mmu_sync_page kvmmmu:kvm_mmu_unsync_page", _PLUGIN_PAGE),
    ("kvmmmu:kvm_mmu_zap_all_fast", r"kvm-mmu-valid-gen {mmu_valid_gen:u8} used_pages {mmu_used_pages:x32}"),
    ("kvmmmu:kvm_mmu_invalidate_zap_all_pages",
     r"kvm-mmu-valid-gen {mmu_valid_gen:x64} used_pages {mmu_used_pages:x32}"),
    ("kvmmmu:kvm_mmu_split_huge_page", r"gfn {gfn:x64} spte {spte:x64} level {level:s32} errno {errno:s32}"),
    ("kvmmmu:kvm_mmu_spte_requested", r"gfn {gfn:x64} pfn {pfn:x64} level {level:u8}"),
    ("kvmmmu:kvm_mmu_spte_requested", r"gfn {gfn:x64} pfn {pfn:x64} level {level:u8} access {access:x8}"),
    ("kvmmmu:kvm_mmu_paging_element", r"pte {pte:x64} level {level:u32}"),
    ("kvmmmu:kvm_mmu_pagetable_walk", r"addr {addr:x64} pferr {pferr:x32}(?: .*)?"),
    ("kvmmmu:kvm_mmu_walker_error", r"pferr {pferr:x32}(?: .*)?"),
    ("kvmmmu:kvm_mmu_set_accessed_bit kvmmmu:kvm_mmu_set_dirty_bit", r"gpa {gpa:x64}"),
)  # fmt: skip

# Fields that `trace-cmd report -R` prints in decimal though the text has them in hex: libtraceevent cannot parse these
# events' print format, so it prints by the field's type.
RAW_DECIMAL = {event: {"gfn": "u64"} for event in (
    "kvm_mmu_get_page", "kvm_mmu_prepare_zap_page", "kvm_mmu_sync_page", "kvm_mmu_unsync_page")}  # fmt: skip

# The dynamic events of the probe pack and their arguments' types.
PROBES: dict[str, str] = {
    "lockdep_acquire": "lock:x64 subclass:u32 trylock:s32 read:s32 check:s32 nest:x64 ip:x64 key:x64 wait_outer:u8 "
    "wait_inner:u8 lock_type:u8 name:str",
    "lockdep_release": "lock:x64 ip:x64",
    "lockdep_init": "lock:x64 key:x64 subclass:s32 wait_inner:u8 wait_outer:u8 name:str",
    "srcu_read_lock": "ssp:x64 idx:s32",
    "srcu_read_lock_entry": "ssp:x64",
    "srcu_read_unlock": "ssp:x64 idx:s32",
    "synchronize_srcu": "ssp:x64",
    "synchronize_srcu_expedited": "ssp:x64",
    "kvm_make_all_cpus_request": "kvm:x64 req:u32",
    "kvm_flush_remote_tlbs": "kvm:x64",
    "kvm_flush_remote_tlbs_range": "kvm:x64 gfn:u64 nr_pages:u64",
    "kvm_flush_remote_tlbs_with_address": "kvm:x64 gfn:u64 nr_pages:u64",
    "kvm_flush_remote_tlbs_memslot": "kvm:x64 slot:x64",
    "kvm_arch_flush_remote_tlbs_memslot": "kvm:x64 slot:x64",
    "mmu_spte_update": "sptep:x64 new_spte:x64 flush:u8",
    "mmu_spte_update_entry": "sptep:x64 old_spte:x64 new_spte:x64",
    "gfn_to_memslot": "kvm:x64 gfn:u64",
    "kvm_vcpu_gfn_to_memslot": "vcpu:x64 gfn:u64",
    "mark_page_dirty_in_slot": "kvm:x64 slot:x64 gfn:u64",
    "kvm_io_bus_write": "vcpu:x64 bus:s32 addr:u64",
    "kvm_io_bus_read": "vcpu:x64 bus:s32 addr:u64",
    "kvm_zap_gfn_range": "kvm:x64 gfn_start:u64 gfn_end:u64",
    "kvm_arch_vcpu_ioctl_run": "vcpu:x64 kvm:x64",
    "kvm_arch_flush_shadow_all": "kvm:x64",
    "kvm_destroy_vm": "kvm:x64",
}
LOCK_FUNCTION = "lock:x64 caller:x64 ret:s32"
