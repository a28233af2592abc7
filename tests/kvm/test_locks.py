from __future__ import annotations

import pytest

from lockscope.kvm import lock_names
from lockscope.kvm.locks import (
    KVM_LOCKS,
    Role,
    canonical,
    is_kvm,
    kind_of,
    per_vm,
    plain,
    role_of,
    sleeps,
    wait_of,
    waits,
)

# 4.14: spin_lock_init(&per_cpu(blocked_vcpu_on_cpu_lock, cpu)), as the preprocessor leaves it
PER_CPU_4_14 = (
    "&(&(*({ do { const void *__vpp_verify = (typeof((&(blocked_vcpu_on_cpu_lock)) + 0))((void *)0);"
    " (void)__vpp_verify; } while (0);\n ({ unsigned long __ptr; __ptr + (((__per_cpu_offset[(cpu)]))); }); })))->rlock"
)

SPELLINGS = {
    "&(&kvm->mmu_lock)->rlock": (Role.MMU_LOCK, "kvm->mmu_lock", "spinlock"),
    "&kvm->mmu_lock": (Role.MMU_LOCK, "kvm->mmu_lock", "spinlock"),
    "&(kvm)->mmu_lock": (Role.MMU_LOCK, "kvm->mmu_lock", "rwlock"),
    "&kvm->srcu": (Role.SRCU, "kvm->srcu", "srcu"),
    "&kvm->irq_srcu": (Role.IRQ_SRCU, "kvm->irq_srcu", "srcu"),
    "&kvm->slots_lock": (Role.SLOTS_LOCK, "kvm->slots_lock", "mutex"),
    "&kvm->slots_arch_lock": (Role.SLOTS_ARCH_LOCK, "kvm->slots_arch_lock", "mutex"),
    "&kvm->lock": (Role.LOCK, "kvm->lock", "mutex"),
    "&kvm->lock/1": (Role.LOCK, "kvm->lock", "mutex"),
    "&vcpu->mutex": (Role.VCPU_MUTEX, "vcpu->mutex", "mutex"),
    "&kvm->irq_lock": (Role.IRQ_LOCK, "kvm->irq_lock", "mutex"),
    "kvm_lock": (Role.KVM_LOCK, "kvm_lock", "mutex"),
    "kvm_usage_lock": (Role.USAGE_LOCK, "kvm_usage_lock", "mutex"),
    "kvm_count_lock": (Role.COUNT, "kvm_count_lock", "raw_spinlock"),
    "&kvm->arch.tsc_write_lock": (Role.TSC_WRITE_LOCK, "kvm->arch.tsc_write_lock", "raw_spinlock"),
    "&kvm->arch.tdp_mmu_pages_lock": (Role.TDP_PAGES, "kvm->arch.tdp_mmu_pages_lock", "spinlock"),
    "mmu_notifier_invalidate_range_start": (Role.NOTIFIER, "mmu_notifier_invalidate_range_start", "map"),
    PER_CPU_4_14: (Role.WAKEUP, "blocked_vcpu_on_cpu_lock", "spinlock"),
    "&per_cpu(wakeup_vcpus_on_cpu_lock, cpu)": (Role.WAKEUP, "wakeup_vcpus_on_cpu_lock", "raw_spinlock"),
    "&(&kvm->irqfds.lock)->rlock": (Role.NONE, "kvm->irqfds.lock", "spinlock"),
    "&kvm->irqfds.lock": (Role.NONE, "kvm->irqfds.lock", "spinlock"),
    "&kvm->arch.hyperv.hv_lock": (Role.NONE, "kvm->arch.hyperv.hv_lock", "mutex"),
    "&hv->hv_lock": (Role.NONE, "kvm->arch.hyperv.hv_lock", "mutex"),
    "&(&kvm->arch.pvclock_gtod_sync_lock)->rlock": (Role.NONE, "kvm->arch.pvclock_gtod_sync_lock", "spinlock"),
    "&kvm->arch.pvclock_gtod_sync_lock": (Role.NONE, "kvm->arch.pvclock_gtod_sync_lock", ""),
    "cpu_hotplug_lock.rw_sem": (Role.NONE, "cpu_hotplug_lock", "percpu_rwsem"),
    "cpu_hotplug_lock": (Role.NONE, "cpu_hotplug_lock", "percpu_rwsem"),
    "kvm->slots_lock": (Role.SLOTS_LOCK, "kvm->slots_lock", "mutex"),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_is_one_lock(name: str) -> None:
    assert (role_of(name), canonical(name), kind_of(name)) == SPELLINGS[name]


@pytest.mark.parametrize(
    "name", ["srcu", "", "(null)", "lock", "&s->lock", "&kvm->slots_lock2", "my_kvm_lock", "&rq->__lock"]
)
def test_other_locks_have_no_role(name: str) -> None:
    assert role_of(name) is Role.NONE
    assert canonical(name) is None
    assert not is_kvm(name)
    assert not per_vm(name)


def test_whose_a_lock_is() -> None:
    assert is_kvm("&kvm->lock")
    assert per_vm("&kvm->lock")
    assert is_kvm("kvm_lock")
    assert not per_vm("kvm_lock")
    assert per_vm("vcpu->mutex")
    for foreign in ("cpu_hotplug_lock", "mmu_notifier_invalidate_range_start"):
        assert not is_kvm(foreign)
        assert not per_vm(foreign)


def test_every_role_is_some_lock() -> None:
    assert {lock.role for lock in KVM_LOCKS} == set(Role)
    names = [name for lock in KVM_LOCKS for name in (lock.canonical, *lock.names) if name != lock.canonical]
    assert len(names) == len(set(names))


def test_plain_names() -> None:
    assert plain("&x->wait#3") == "&x->wait"
    assert plain("&rq->__lock/1") == "&rq->__lock"
    assert plain("&sb->s_type->i_mutex_key#4/2") == "&sb->s_type->i_mutex_key"
    assert plain("drivers/char/random.c:249") == "drivers/char/random.c:249"


# What lockdep_acquire and lockdep_init recorded on a correct 6.12.117, by (wait_outer, wait_inner). "~" is a space.
RECORDED: dict[tuple[int, int], str] = {
    (1, 3): "rcu_read_lock",
    (1, 2): "rcu_read_lock_sched",
    (0, 2): """
        &ACCESS_PRIVATE(rtpcp,~lock) &base->lock &cfs_rq->removed.lock &fbc[i].lock &kvm->arch.tsc_write_lock
        &lock->wait_lock &p->pi_lock &pid_list->lock &pool->lock &rcu_state.gp_wq &rq->__lock &sem->wait_lock
        &stop_pi_lock &stopper->lock &tmc->lock &x->wait (console_sem).lock buffer->reader_lock_key
        console_owner_lock hrtimer_bases.lock jiffies_lock krc.lock rcu_node_0 rcu_state.barrier_lock
        rcu_tasks__percpu.cbs_pcpu_lock timekeeper_lock
    """,
    (0, 3): """
        &(&sig->stats_lock)->lock &(kvm)->mmu_lock &ACCESS_PRIVATE(sdp,~lock) &ACCESS_PRIVATE(ssp->srcu_sup,~lock)
        &cpu_buffer->irq_work.full_waiters &cpu_buffer->irq_work.waiters &dentry->d_lock &f->f_lock
        &futex_queues[i].lock &gpc->lock &hv_vcpu->tlb_flush_fifo[i].write_lock &inode->i_lock &ioapic->lock
        &kvm->arch.mmu_unsync_pages_lock &kvm->arch.tdp_mmu_pages_lock &kvm->gpc_lock &kvm->irqfds.lock
        &kvm->mn_invalidate_lock &kvm->ring_lock &lru->node[i].lock &lruvec->lru_lock &mapping->i_private_lock
        &mm->arg_lock &mm->ioctx_lock &mm->page_table_lock &n->list_lock &newf->file_lock &p->alloc_lock &pcp->lock
        &pid->wait_pidfd &port_lock_key &s->s_inode_list_lock &sb->s_type->i_lock_key &sig->wait_chldexit
        &sighand->siglock &subscriptions->lock &subscriptions->wq &vcpu->async_pf.lock &vn->busy.lock &vn->lazy.lock
        &wb->list_lock &wq_head->lock &xa->xa_lock &zone->lock base_crng.lock binfmt_lock cdev_lock css_set_lock
        free_vmap_area_lock inode_hash_lock input_pool.lock khugepaged_mm_lock khugepaged_wait.lock log_wait.lock
        mount_lock pcpu_lock percpu_counters_lock pgd_lock pidmap_lock pin_fs_lock ptlock_ptr(ptdesc) resource_lock
        srcu_srcu_usage.lock tasklist_lock tracepoint_srcu_srcu_usage.lock watchdog_lock
        &c->lock batched_entropy_u16.lock batched_entropy_u64.lock crngs.lock
    """,
    (0, 4): """
        &anon_vma->rwsem &child->perf_event_mutex &f->f_pos_lock &gpc->refresh_lock &hv->hv_lock &inode->i_rwsem
        &kernfs_locks->open_file_mutex[count] &kvm->arch.apic_map_lock &kvm->arch.apicv_update_lock
        &kvm->arch.nx_once &kvm->arch.xen.xen_lock &kvm->irq_lock &kvm->irqfds.resampler_lock &kvm->lock
        &kvm->slots_arch_lock &kvm->slots_lock &mapping->i_mmap_rwsem &mapping->invalidate_lock
        &mm->context.ldt_usr_sem &mm->context.lock &mm->mmap_lock &of->mutex &p->posix_cputimers_work.mutex
        &root->kernfs_iattr_rwsem &root->kernfs_rwsem &sb->s_type->i_mutex_key &sig->cred_guard_mutex
        &sig->exec_update_lock &ssp->srcu_sup->srcu_barrier_mutex &ssp->srcu_sup->srcu_cb_mutex
        &ssp->srcu_sup->srcu_gp_mutex &tsk->futex_exit_mutex &type->i_mutex_dir_key &vcpu->mutex &vma->vm_lock->lock
        &vtsk->exit_mutex &wq->mutex chrdevs_lock delayed_uprobe_lock kvm_debugfs_lock kvm_lock kvm_usage_lock
        mapping.invalidate_lock misc_mtx mm_all_locks_mutex param_lock pcpu_alloc_mutex rcu_state.barrier_mutex
        uevent_sock_mutex
    """,
    (0, 0): """
        &(&ioapic->eoi_inject)->timer &(&krcp->monitor_work)->timer &(&kvm->arch.kvmclock_sync_work)->timer
        &(&ssp->srcu_sup->work)->timer &(&wb->dwork)->timer &____s->seqcount &kvm->irq_srcu &kvm->srcu
        &mm->mm_lock_seq &mm->write_protect_seq (&sdp->delay_work) (&tcp_orphan_timer) (&timer.timer)
        (&vcpu->arch.xen.poll_timer) (&watchdog_timer) (work_completion)(&(&ioapic->eoi_inject)->work)
        (work_completion)(&sdp->work) (wq_completion)kvm-irqfd-cleanup cgroup_threadgroup_rwsem console_lock
        console_owner console_srcu drivers/char/random.c:249 fs_reclaim jiffies_seq.seqcount kn->active
        mm/vmstat.c:2079 mmu_notifier_invalidate_range_start mount_lock.seqcount rcu_callback rename_lock.seqcount
        sb_writers srcu tk_core.seq.seqcount
    """,
}
CASES = [(name.replace("~", " "), wait) for wait, names in RECORDED.items() for name in names.split()]


@pytest.mark.parametrize(("name", "wait"), CASES)
def test_kinds_have_the_wait_types_that_were_recorded(name: str, wait: tuple[int, int]) -> None:
    assert kind_of(name) != ""
    assert waits(name) == wait


def test_locks_that_were_read_held_are_of_a_kind_with_readers() -> None:
    assert {kind_of(n) for n in ("tasklist_lock", "binfmt_lock", "resource_lock", "&(kvm)->mmu_lock")} == {"rwlock"}
    assert {kind_of(n) for n in ("&mm->mmap_lock", "&root->kernfs_rwsem", "&vma->vm_lock->lock")} == {"rwsem"}
    assert {kind_of(n) for n in ("sb_writers", "cgroup_threadgroup_rwsem")} == {"percpu_rwsem"}
    assert kind_of("kn->active") == "map"


@pytest.mark.parametrize("name", ["", "lock", "key", "&s->lock", "&p->lock", "&wq", "anything at all"])
def test_a_name_that_many_kinds_have_tells_nothing(name: str) -> None:
    assert kind_of(name) == ""
    assert waits(name) == (0, 0)


def test_names_that_macros_make() -> None:
    assert kind_of("&(&foo->bar)->rlock") == "spinlock"  # up to 5.6
    assert kind_of("rcu_node_3") == "raw_spinlock"
    assert kind_of("&q->srcu") == "srcu"
    assert kind_of("cgroup_mutex") == "mutex"
    assert kind_of("shrinker_rwsem") == "rwsem"
    assert kind_of("cpuhp_state-up") == "map"
    assert kind_of("sched_map-wait-type-override") == "map"
    assert kind_of("&mutexes->lock") == ""


def test_the_table_names_each_lock_once() -> None:
    listed = [
        n
        for table in (lock_names._RECORDED, lock_names._READ)
        for text in table.values()
        for n in lock_names._names(text)
    ]

    assert len(listed) == len(set(listed)) == len(lock_names.TABLE)


def test_what_sleeps() -> None:
    assert [kind for kind in ("mutex", "rwsem", "percpu_rwsem", "srcu") if not sleeps(kind)] == []
    assert [
        kind for kind in ("spinlock", "rwlock", "local_lock", "raw_spinlock", "rcu", "map", "") if sleeps(kind)
    ] == []
    assert [kind for kind in ("spinlock", "rwlock", "local_lock") if not sleeps(kind, rt=True)] == []
    assert not sleeps("raw_spinlock", rt=True)


def test_wait_types_by_kind() -> None:
    assert [wait_of(kind) for kind in ("raw_spinlock", "spinlock", "rwlock", "local_lock")] == [(0, 2)] + [(0, 3)] * 3
    assert [wait_of(kind) for kind in ("mutex", "rwsem", "rcu")] == [(0, 4), (0, 4), (1, 3)]
    assert {wait_of(kind) for kind in ("percpu_rwsem", "map", "srcu", "seqcount", "")} == {(0, 0)}
