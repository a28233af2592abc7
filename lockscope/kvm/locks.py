"""KVM's locks by the names that lockdep gives their classes, and what kind of lock a name stands for.

A trace has a lock's class name as the kernel's init macros spelled it; the spelling changed over the years. Here each
lock has one name of its own, the one the kernel's documentation and our rulebooks use (``kvm->slots_lock``).
No I/O, nothing but the standard library.
"""

from __future__ import annotations

import re
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from lockscope.kvm import lock_names


class Role(IntEnum):
    """The locks that reconstruction and KVM checks treat by name."""

    NONE = 0
    MMU_LOCK = 1
    SRCU = 2  # kvm->srcu
    SLOTS_LOCK = 3
    SLOTS_ARCH_LOCK = 4
    LOCK = 5  # kvm->lock
    VCPU_MUTEX = 6
    IRQ_LOCK = 7
    IRQ_SRCU = 8
    KVM_LOCK = 9  # the global kvm_lock
    USAGE_LOCK = 10
    TSC_WRITE_LOCK = 11
    NOTIFIER = 12  # the lockdep map mmu_notifier_invalidate_range_start
    TDP_PAGES = 13
    WAKEUP = 14  # per CPU: blocked_vcpu_on_cpu_lock, since 5.17 wakeup_vcpus_on_cpu_lock
    COUNT = 15  # kvm_count_lock, up to 6.2


class KvmLock(NamedTuple):
    """A lock that is KVM's, or that a rulebook speaks of. ``names``: class names, after ``plain``."""

    canonical: str
    kind: str  # as kind_of; "" where one name was used for several kinds
    per_vm: bool
    names: tuple[str, ...]
    role: Role = Role.NONE
    kvms: bool = True  # False: another subsystem's


_VM, _GLOBAL = True, False

# Initialised in virt/kvm/kvm_main.c (kvm_create_vm, kvm_vcpu_init), eventfd.c (kvm_eventfd_init), pfncache.c
# (kvm_gpc_init), async_pf.c, coalesced_mmio.c, vfio.c; arch/x86/kvm/x86.c (kvm_arch_init_vm), mmu/mmu.c
# (kvm_mmu_init_vm), hyperv.c, ioapic.c, i8254.c, svm/, vmx/: as of 6.12 and 7.3.4; a comment names the release that
# brought one.
KVM_LOCKS = (
    KvmLock("kvm->mmu_lock", "rwlock", _VM, ("&kvm->mmu_lock",), Role.MMU_LOCK),  # kind: see _KIND_BY_SPELLING
    KvmLock("kvm->srcu", "srcu", _VM, ("&kvm->srcu",), Role.SRCU),
    KvmLock("kvm->slots_lock", "mutex", _VM, ("&kvm->slots_lock",), Role.SLOTS_LOCK),
    KvmLock("kvm->slots_arch_lock", "mutex", _VM, ("&kvm->slots_arch_lock",), Role.SLOTS_ARCH_LOCK),  # 5.14
    KvmLock("kvm->lock", "mutex", _VM, ("&kvm->lock", "&src_kvm->lock", "&dst_kvm->lock"), Role.LOCK),
    KvmLock("vcpu->mutex", "mutex", _VM, ("&vcpu->mutex",), Role.VCPU_MUTEX),
    KvmLock("kvm->irq_lock", "mutex", _VM, ("&kvm->irq_lock",), Role.IRQ_LOCK),
    KvmLock("kvm->irq_srcu", "srcu", _VM, ("&kvm->irq_srcu",), Role.IRQ_SRCU),
    KvmLock("kvm_lock", "mutex", _GLOBAL, ("kvm_lock",), Role.KVM_LOCK),  # raw_spinlock_t/spinlock_t before 5.1
    KvmLock("kvm_usage_lock", "mutex", _GLOBAL, ("kvm_usage_lock",), Role.USAGE_LOCK),  # 6.12, 6.6.y
    KvmLock("kvm->arch.tsc_write_lock", "raw_spinlock", _VM, ("&kvm->arch.tsc_write_lock",), Role.TSC_WRITE_LOCK),
    KvmLock("kvm->arch.tdp_mmu_pages_lock", "spinlock", _VM, ("&kvm->arch.tdp_mmu_pages_lock",), Role.TDP_PAGES),
    KvmLock("blocked_vcpu_on_cpu_lock", "", _GLOBAL, (), Role.WAKEUP),  # names: see _PER_CPU
    KvmLock("wakeup_vcpus_on_cpu_lock", "raw_spinlock", _GLOBAL, (), Role.WAKEUP),
    KvmLock("kvm_count_lock", "raw_spinlock", _GLOBAL, ("kvm_count_lock",), Role.COUNT),
    KvmLock("kvm->arch.mmu_unsync_pages_lock", "spinlock", _VM, ("&kvm->arch.mmu_unsync_pages_lock",)),  # 5.14
    KvmLock("kvm->mn_invalidate_lock", "spinlock", _VM, ("&kvm->mn_invalidate_lock",)),  # 5.15
    KvmLock("kvm->gpc_lock", "spinlock", _VM, ("&kvm->gpc_lock",)),  # 5.17
    KvmLock("gpc->lock", "rwlock", _VM, ("&gpc->lock",)),
    KvmLock("gpc->refresh_lock", "mutex", _VM, ("&gpc->refresh_lock",)),  # 6.1
    KvmLock("kvm->irqfds.lock", "spinlock", _VM, ("&kvm->irqfds.lock",)),
    KvmLock("kvm->irqfds.resampler_lock", "mutex", _VM, ("&kvm->irqfds.resampler_lock",)),
    KvmLock("kvm->ring_lock", "spinlock", _VM, ("&kvm->ring_lock",)),
    KvmLock("vcpu->async_pf.lock", "spinlock", _VM, ("&vcpu->async_pf.lock",)),
    KvmLock("kvm->arch.hyperv.hv_lock", "mutex", _VM, ("&kvm->arch.hyperv.hv_lock", "&hv->hv_lock")),  # 5.14: second
    KvmLock("kvm->arch.xen.xen_lock", "mutex", _VM, ("&kvm->arch.xen.xen_lock",)),  # 6.2
    KvmLock("kvm->arch.apic_map_lock", "mutex", _VM, ("&kvm->arch.apic_map_lock",)),
    KvmLock("kvm->arch.apicv_update_lock", "rwsem", _VM, ("&kvm->arch.apicv_update_lock",)),  # a mutex in 5.14, 5.15
    KvmLock("kvm->arch.pvclock_gtod_sync_lock", "", _VM, ("&kvm->arch.pvclock_gtod_sync_lock",)),  # raw: 8228c77d8b56
    KvmLock("kvm->arch.hv_root_tdp_lock", "spinlock", _VM, ("&kvm->arch.hv_root_tdp_lock",)),  # 5.14
    KvmLock("kvm->arch.nx_once", "mutex", _VM, ("&kvm->arch.nx_once",)),  # 6.14, 6.12.y
    KvmLock("head->track_srcu", "srcu", _VM, ("&head->track_srcu",)),
    KvmLock("ioapic->lock", "spinlock", _VM, ("&ioapic->lock",)),
    KvmLock("pit->pit_state.lock", "mutex", _VM, ("&pit->pit_state.lock",)),
    KvmLock("hv_vcpu->tlb_flush_fifo.write_lock", "spinlock", _VM, ("&hv_vcpu->tlb_flush_fifo[i].write_lock",)),
    KvmLock("kv->lock", "mutex", _VM, ("&kv->lock",)),
    KvmLock("vcpu->pid_lock", "rwlock", _VM, ("&vcpu->pid_lock",)),  # after 6.12
    KvmLock("svm->ir_list_lock", "", _VM, ("&svm->ir_list_lock",)),  # a spinlock in 6.12, raw in 7.3 (svm/avic.c)
    KvmLock("sev->guest_req_mutex", "mutex", _VM, ("&sev->guest_req_mutex",)),
    KvmLock("svm->sev_es.snp_vmsa_mutex", "mutex", _VM, ("&svm->sev_es.snp_vmsa_mutex",)),
    KvmLock("kvm_vmx->ept_pointer_lock", "spinlock", _VM, ("&to_kvm_vmx(kvm)->ept_pointer_lock",)),  # 5.10
    KvmLock("kvm_debugfs_lock", "mutex", _GLOBAL, ("kvm_debugfs_lock",)),
    KvmLock("vendor_module_lock", "mutex", _GLOBAL, ("vendor_module_lock",)),  # 6.3
    KvmLock("svm_vm_data_hash_lock", "spinlock", _GLOBAL, ("svm_vm_data_hash_lock",)),
    KvmLock("srso_lock", "spinlock", _GLOBAL, ("srso_lock",)),
    KvmLock("sev_deactivate_lock", "rwsem", _GLOBAL, ("sev_deactivate_lock",)),
    KvmLock("sev_bitmap_lock", "mutex", _GLOBAL, ("sev_bitmap_lock",)),
    KvmLock("sev_mirror_lock", "mutex", _GLOBAL, ("sev_mirror_lock",)),  # 6.12.y, 7.2
    KvmLock("osvw_lock", "spinlock", _GLOBAL, ("osvw_lock",)),  # after 6.12
    KvmLock("vmcb_dump_mutex", "mutex", _GLOBAL, ("vmcb_dump_mutex",)),  # after 6.12
    KvmLock("tdx_lock", "mutex", _GLOBAL, ("tdx_lock",)),  # after 6.12
    KvmLock("vmx_vpid_lock", "spinlock", _GLOBAL, ("vmx_vpid_lock",)),
    KvmLock("vmx_l1d_flush_mutex", "mutex", _GLOBAL, ("vmx_l1d_flush_mutex",)),
    # not KVM's, but named in rules; inode_init_always_gfp() (fs/inode.c) names the first, guest_memfd's too
    KvmLock("mapping.invalidate_lock", "rwsem", _GLOBAL, ("mapping.invalidate_lock",), kvms=False),
    KvmLock("cpu_hotplug_lock", "percpu_rwsem", _GLOBAL, ("cpu_hotplug_lock", "cpu_hotplug_lock.rw_sem"), kvms=False),
    KvmLock("mmu_notifier_invalidate_range_start", "map", _GLOBAL, ("mmu_notifier_invalidate_range_start",),
            Role.NOTIFIER, kvms=False),
)  # fmt: skip

_BY_NAME = {name: lock for lock in KVM_LOCKS for name in (*lock.names, lock.canonical)}
_PER_CPU = tuple(lock for lock in KVM_LOCKS if lock.role is Role.WAKEUP)

# Spinlocks until the wait-type rework of 5.7: spin_lock_init(x) named the class after the raw lock inside.
_RLOCK = re.compile(r"&\((.*)\)->rlock", re.DOTALL)
_SUFFIX = re.compile(r"(#\d+)?(/\d+)?$")

# mmu_lock: a spinlock_t until 5.11; 5.12 brought both KVM_MMU_LOCK_INIT (include/linux/kvm_host.h), whose argument's
# parentheses show in the name, and the rwlock of x86. arm64 has it since 5.18, s390 and mips still a spinlock.
_KIND_BY_SPELLING = {"&(kvm)->mmu_lock": "rwlock", "&kvm->mmu_lock": "spinlock"}


def plain(name: str) -> str:
    """A class name without what a macro or lockdep added: 4.14's ``&(...)->rlock``, ``(kvm)``, ``#2``, ``/1``."""
    name = _SUFFIX.sub("", name.strip(), count=1)
    wrapped = _RLOCK.fullmatch(name)
    return (wrapped[1] if wrapped else name).replace("&(kvm)->", "&kvm->")


@lru_cache(maxsize=1 << 14)
def _lock(name: str) -> KvmLock | None:
    bare = plain(name)
    found = _BY_NAME.get(bare)
    if found is None and "_on_cpu_lock" in bare:
        # per_cpu(lock, cpu) was expanded before it became the name, over several lines: __vpp_verify and all.
        found = next((lock for lock in _PER_CPU if lock.canonical in bare), None)
    return found


def known_lock(name: str) -> KvmLock | None:
    """What is known of a class name, or of one with a subclass or a counter behind it."""
    return _lock(name)


def role_of(name: str) -> Role:
    """The role of the class with this name, by any kernel's spelling; ``Role.NONE`` for all others."""
    found = _lock(name)
    return found.role if found else Role.NONE


def canonical(name: str) -> str | None:
    """The rulebooks' name of a lock, from any spelling or from itself; None for one that is no rule's business."""
    found = _lock(name)
    return found.canonical if found else None


def is_kvm(name: str) -> bool:
    """Whether the lock is one of KVM's own."""
    found = _lock(name)
    return found is not None and found.kvms


def per_vm(name: str) -> bool:
    """Whether each VM has its own of this lock (it lies in ``struct kvm``, ``kvm_vcpu`` or what they own)."""
    found = _lock(name)
    return found is not None and found.per_vm


def kind_of(name: str) -> str:
    """What kind of lock a class name stands for; "" where the name does not tell.

    "mutex", "spinlock", "raw_spinlock", "rwlock", "rwsem", "percpu_rwsem", "local_lock", "srcu", "rcu", "seqcount" or
    "map" (a lockdep map with no lock behind it). For traces that recorded neither wait types nor keys.
    """
    spelled = _KIND_BY_SPELLING.get(name)
    if spelled:
        return spelled
    if _RLOCK.fullmatch(name.strip()):
        return "spinlock"
    found = _lock(name)
    return found.kind if found and found.kind else lock_names.kind(plain(name))


# lockdep's wait types (include/linux/lockdep_types.h): 0 unchecked, 1 FREE, 2 SPIN, 3 CONFIG, 4 SLEEP; by the dep_map
# initialisers of 6.12. percpu_rw_semaphore has none: __PERCPU_RWSEM_DEP_MAP_INIT, and recorded so.
_WAIT = {
    "raw_spinlock": (0, 2), "spinlock": (0, 3), "rwlock": (0, 3), "local_lock": (0, 3), "mutex": (0, 4),
    "rwsem": (0, 4), "rcu": (1, 3),
}  # fmt: skip


def wait_of(kind: str) -> tuple[int, int]:
    """lockdep's (outer, inner) wait types of a kind; (0, 0): not checked, or unknown.

    The same on PREEMPT_RT, where a ``spinlock_t`` stays CONFIG (__rt_spin_lock_init, kernel/locking/spinlock_rt.c)
    though it sleeps: ``sleeps`` is what differs there.
    """
    return _WAIT.get(kind, (0, 0))


# Same kind, other wait type: rcu_sched_lock_map is SPIN, rcu_trace_lock_map has none (kernel/rcu/update.c).
_WAIT_BY_NAME = {"rcu_read_lock_sched": (1, 2), "rcu_read_lock_trace": (0, 0)}


def waits(name: str) -> tuple[int, int]:
    """lockdep's (outer, inner) wait types of a class, by its name; (0, 0): not checked, or unknown."""
    found = _WAIT_BY_NAME.get(name)
    return wait_of(kind_of(name)) if found is None else found


def sleeps(kind: str, rt: bool = False) -> bool:
    """Whether a task may be switched out while it waits for or holds such a lock.

    On PREEMPT_RT ``spinlock_t``, ``rwlock_t`` and ``local_lock_t`` sleep (Documentation/locking/locktypes.rst).
    """
    return kind in ("mutex", "rwsem", "percpu_rwsem", "srcu") or (rt and kind in ("spinlock", "rwlock", "local_lock"))
