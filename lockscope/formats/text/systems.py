"""Which system an event's name belongs to. Text names none: names are sorted by how they begin."""

from __future__ import annotations

import re

# Systems, each with how its events' names begin; the longest beginning decides. Read off the formats that traces of
# v6.12 and v6.1 (x86-64, s390) and of two older ARM kernels carry.
_SYSTEMS = """
9p 9p_ | alarmtimer alarmtimer_ | asoc snd_soc_ | binder binder_ | block block_ | bpf bpf_ | bpf_test_run
bpf_trigger_tp bpf_test_ | bpf_trace bpf_trace_ | btrfs btrfs_ | cfg80211 cfg80211_ rdev_ | cgroup cgroup_ |
compaction mm_compaction_ | cpufreq_interactive cpufreq_interactive_ | cpuhp cpuhp_ | csd csd_ | dev devres_ | dma
dma_ | dma_fence dma_fence_ | drm drm_ | error_report error_report_ | exceptions page_fault_ | ext3 ext3_ | ext4 ext4_
| f2fs f2fs_ | fib fib_ | fib6 fib6_ | filelock posix_lock_ locks_ flock_ leases_ break_lease_ generic_add_lease
generic_delete_ time_out_leases fcntl_setlk | filemap mm_filemap_ filemap_ file_check_ | ftrace branch context_switch
func_repeats hwlat mmiotrace_ osnoise timerlat wakeup | gpio gpio_ | huge_memory mm_khugepaged_ mm_collapse_ | hyperv
hyperv_ | i2c i2c_ | i915 i915_ | icmp icmp_ | initcall initcall_ | io_uring io_uring_ | iomap iomap_ | iommu iommu_ |
ipi ipi_ | irq irq_ softirq_ tasklet_ | irq_matrix irq_matrix_ | irq_vectors local_timer_ call_function_ reschedule_
vector_ spurious_apic_ irq_work_ thermal_apic_ error_apic_ x86_platform_ | jbd jbd_ journal_ | jbd2 jbd2_ | kmem kmem_
kmalloc kfree mm_ rss_ | ksm ksm_ | kvm kvm_ vcpu_ vgic_ | mac80211 drv_ api_ wake_queue | maple_tree ma_ | mce mce_ |
mei mei_ | migrate mm_migrate_ set_migration_pte remove_migration_pte | mmap vm_unmapped_ vma_ exit_mmap | mmap_lock
mmap_lock_ | mmc mmc_ | module module_ | msr read_msr write_msr rdpmc | napi napi_ dql_ | neigh neigh_ | net net_
netif_ napi_gro_ | netfs netfs_ | netlink netlink_ | nfs nfs_ | nfs4 nfs4_ | nmi nmi_ | notifier notifier_ | nvme
nvme_ | oom oom_ mark_victim wake_reaper start_task_reaping finish_task_reaping skip_task_reaping reclaim_retry_zone
compact_retry | osnoise osnoise_ | page_pool page_pool_ | pagemap mm_lru_ | percpu percpu_ | power cpu_ clock_ pm_
suspend_ wakeup_ device_pm_ dev_pm_ machine_ pstate_ powernv_ power_ guest_halt_poll_ | preemptirq preempt_ | printk
console | qdisc qdisc_ | random mix_pool_ credit_entropy get_random_ extract_entropy | raw_syscalls sys_enter sys_exit
| rcu rcu_ | regmap regmap_ regcache_ | regulator regulator_ | rpm rpm_ | rseq rseq_ | sched sched_ | scsi scsi_ |
signal signal_ | skb skb_ kfree_skb consume_skb | sock sock_ inet_ sk_data_ | spi spi_ | sunrpc rpc_ svc_ | swiotlb
swiotlb_ | sync sync_ | syscalls sys_enter_ sys_exit_ | task task_ | tcp tcp_ | thermal thermal_ cdev_
thermal_power_cpu_ | thermal_power_allocator thermal_power_ | thp set_migration_pmd remove_migration_pmd hugepage_ |
timer timer_ hrtimer_ itimer_ tick_ | timer_migration tmigr_ | tlb tlb_ | udp udp_ | usb usb_ | vfio vfio_ | vhost
vhost_ | virtio virtio_ | vmalloc vmalloc_ alloc_vmap_ purge_vmap_ free_vmap_ | vmscan mm_vmscan_ mm_shrink_slab_ |
vsyscall emulate_vsyscall | workqueue workqueue_ | writeback writeback_ balance_ wbc_ sb_ global_dirty_
folio_wait_writeback bdi_ | x86_fpu x86_fpu_ | xdp xdp_ mem_ bpf_xdp_ | xen xen_ | xfs xfs_ | xhci-hcd xhci_
"""
_BEGINNINGS = sorted(
    ((beginning, words.split()[0]) for words in _SYSTEMS.split("|") for beginning in words.split()[1:]),
    key=lambda pair: -len(pair[0]),
)

# The lock functions that the probe pack puts events on where the kernel has no lockdep, by the
# pattern of their names: FUNCTION without leading underscores, FUNCTION_entry for the attempt.
_LOCK_FUNCTION = re.compile(
    r"(raw_|rt_)?(spin|read|write)_(try)?(un)?lock(_irq|_bh|_irqsave|_irqrestore|_disable|_enable|_nested|_nest_lock)*(_entry)?"
    r"|(ww_|rt_)?mutex_(try|un)?lock(_killable|_interruptible|_io|_nested)*(_entry)?"
    r"|(percpu_)?(down|up)(_read|_write)?(_try_?lock|_killable|_interruptible|_nested|_non_owner)*(_entry)?"
    r"|downgrade_write(_entry)?|srcu_read_(un)?lock(_entry)?"
)


def is_lock_function(name: str) -> bool:
    """Whether a probe of this name is one of the probe pack's lock functions."""
    return _LOCK_FUNCTION.fullmatch(name) is not None


def system_by_prefix(name: str) -> str:
    """The system whose events' names begin so, "" if none is known to."""
    return next((system for beginning, system in _BEGINNINGS if name.startswith(beginning)), "")
