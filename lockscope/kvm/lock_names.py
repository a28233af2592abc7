"""Kinds of well-known locks outside KVM, by class name: what plain ``lock:*`` events do not say.

Every name of the table was compared with the wait type, lock type and read kind that ``lockdep_acquire`` and
``lockdep_init`` recorded for it on 6.12, but for those of the last block. Only names that stand for one kind of lock:
``lock``, ``key``, ``&s->lock``, ``&p->lock`` and their like are not here.
"""

from __future__ import annotations

import re

_RECORDED = {
    "rcu": "rcu_read_lock rcu_read_lock_sched",
    "map": """
        rcu_callback fs_reclaim mmu_notifier_invalidate_range_start kn->active console_lock console_owner
    """,
    "srcu": "srcu",
    "seqcount": """
        &____s->seqcount jiffies_seq.seqcount mount_lock.seqcount rename_lock.seqcount tk_core.seq.seqcount
        &mm->write_protect_seq &mm->mm_lock_seq
    """,
    "percpu_rwsem": "cgroup_threadgroup_rwsem sb_writers",
    "rwsem": """
        &mm->mmap_lock &vma->vm_lock->lock &anon_vma->rwsem &mapping->i_mmap_rwsem &mapping->invalidate_lock
        mapping.invalidate_lock &inode->i_rwsem &sb->s_type->i_mutex_key &type->i_mutex_dir_key &sig->exec_update_lock
        &root->kernfs_rwsem &root->kernfs_iattr_rwsem &mm->context.ldt_usr_sem
    """,
    "mutex": """
        &f->f_pos_lock &mm->context.lock delayed_uprobe_lock misc_mtx param_lock chrdevs_lock
        &kernfs_locks->open_file_mutex[count] &sig->cred_guard_mutex &tsk->futex_exit_mutex &child->perf_event_mutex
        &of->mutex &wq->mutex mm_all_locks_mutex pcpu_alloc_mutex rcu_state.barrier_mutex uevent_sock_mutex
    """,
    "rwlock": "tasklist_lock binfmt_lock resource_lock",
    "spinlock": """
        &(&sig->stats_lock)->lock &ACCESS_PRIVATE(sdp, lock) &ACCESS_PRIVATE(ssp->srcu_sup, lock)
        &cpu_buffer->irq_work.full_waiters &cpu_buffer->irq_work.waiters &dentry->d_lock &f->f_lock
        &futex_queues[i].lock &inode->i_lock &sb->s_type->i_lock_key &lru->node[i].lock &lruvec->lru_lock
        &mapping->i_private_lock &mm->arg_lock &mm->ioctx_lock &mm->page_table_lock &n->list_lock &newf->file_lock
        &p->alloc_lock &pcp->lock &pid->wait_pidfd &port_lock_key &s->s_inode_list_lock &sig->wait_chldexit
        &sighand->siglock &subscriptions->lock &subscriptions->wq &vn->busy.lock &vn->lazy.lock &wb->list_lock
        &wq_head->lock &xa->xa_lock &zone->lock base_crng.lock cdev_lock css_set_lock free_vmap_area_lock
        inode_hash_lock input_pool.lock khugepaged_mm_lock khugepaged_wait.lock log_wait.lock mount_lock pcpu_lock
        percpu_counters_lock pgd_lock pidmap_lock pin_fs_lock ptlock_ptr(ptdesc) watchdog_lock
    """,
    "local_lock": "batched_entropy_u16.lock batched_entropy_u64.lock crngs.lock &c->lock",
    "raw_spinlock": """
        &rq->__lock &p->pi_lock hrtimer_bases.lock rcu_node_0 timekeeper_lock jiffies_lock &cfs_rq->removed.lock
        &ACCESS_PRIVATE(rtpcp, lock) &lock->wait_lock &sem->wait_lock &pid_list->lock &pool->lock &rcu_state.gp_wq
        &stop_pi_lock &stopper->lock &tmc->lock &x->wait (console_sem).lock buffer->reader_lock_key
        console_owner_lock &fbc[i].lock krc.lock rcu_state.barrier_lock rcu_tasks__percpu.cbs_pcpu_lock &base->lock
    """,
}

# By the kernel's source: what older kernels call the same locks, and what was not in the recordings.
_READ = {
    "rcu": "rcu_read_lock_bh rcu_read_lock_trace",
    "seqcount": "tk_core.seq",
    "percpu_rwsem": "cpu_hotplug_lock mem_hotplug_lock dup_mmap_sem sb_pagefaults sb_internal",
    "rwsem": "&mm->mmap_sem &type->s_umount_key namespace_sem uts_sem",  # mmap_sem: up to 5.7
    "mutex": "&type->s_vfs_rename_key",
    "raw_spinlock": "&rq->lock logbuf_lock &rt_b->rt_runtime_lock &cfs_b->lock",  # &rq->lock: up to 5.13
}


def _names(text: str) -> list[str]:
    # names hold spaces only after a comma
    return [name.replace(",_", ", ") for name in text.replace(", ", ",_").split()]


TABLE = {name: kind for table in (_RECORDED, _READ) for kind, text in table.items() for name in _names(text)}

# Names that macros make. Timers: timer_setup() stringifies its argument, DEFINE_TIMER() names file and line.
_SHAPES = tuple(
    (re.compile(pattern, re.DOTALL), kind)
    for pattern, kind in (
        (r"\((wq|work)_completion\).*", "map"),
        (r"\(\(?&.*\)|&\(.*\)->timer|\S+\.[ch]:\d+|cpuhp_state.*|.*-wait-type-override", "map"),
        (r"rcu_node_\d+", "raw_spinlock"),
        (r".*[.>]seqcount", "seqcount"),
        (r"(.*[.>_])?srcu", "srcu"),
        (r"\w+_srcu_usage\.lock", "spinlock"),
        (r"(.*[.>_])?mutex", "mutex"),
        (r"(.*[.>_])?rwsem", "rwsem"),
    )
)


def kind(name: str) -> str:
    """The kind of the lock with this class name, "" if it is not known; the words are ``locks.kind_of``'s."""
    known = TABLE.get(name)
    return known or next((shape for pattern, shape in _SHAPES if pattern.fullmatch(name)), "")
