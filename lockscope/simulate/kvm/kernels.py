"""Kernel versions as the simulated host follows them: lock names, places in ``struct kvm``, SPTE layouts, numbers.

6.12: names, places and keys as in 6.12.117 with PROVE_LOCKING and LOCK_STAT (read in recordings and in the built
image). 7.3: what 7.3.4 has otherwise (SPTEs, events, svm->ir_list_lock, aging without mmu_lock), at 6.12's places,
which are an invention there. 4.14: names from virt/kvm and arch/x86/kvm of v4.14 (spinlocks are called after the raw
lock inside until 5.7); the places are an invention: all that counts is that they are the same for every VM.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple


class Named(NamedTuple):
    """A lock as one version has it: its class's name and kind, and where its lockdep_map lies in its owner."""

    name: str
    kind: str
    place: int = 0
    check: bool = True


@dataclass(frozen=True)
class Kernel:
    """A version. ``vm``, ``vcpu``: locks in these structures; ``others``: global and per-CPU ones.

    ``fixed``: RET_PF_FIXED. ``free_roots``: the request that makes vCPUs drop their roots. ``blind``: lock events
    always say that interrupts are off.
    """

    name: str
    version: tuple[int, int]
    release: str
    layouts: dict[str, str]
    vm: dict[str, Named]
    vcpu: dict[str, Named]
    others: dict[str, Named]
    mmus: tuple[str, ...]
    fixed: int
    free_roots: int
    kvm_size: int
    vcpu_size: int
    blind: bool = False
    bh_flag: bool = True
    notes: dict[str, str] = field(default_factory=dict)

    def has(self, lock: str) -> bool:
        """Whether this version has such a lock."""
        return lock in self.vm or lock in self.vcpu or lock in self.others


V6_12 = Kernel(
    "6.12",
    (6, 12),
    "6.12.117",
    {"amd": "npt-6.10", "intel": "ept-6.10"},
    vm={
        "mmu_lock": Named("&(kvm)->mmu_lock", "rwlock", 24),
        "slots_lock": Named("&kvm->slots_lock", "mutex", 184),
        "slots_arch_lock": Named("&kvm->slots_arch_lock", "mutex", 344),
        "mn_invalidate_lock": Named("&kvm->mn_invalidate_lock", "spinlock", 4832),
        "gpc_lock": Named("&kvm->gpc_lock", "spinlock", 4920),
        "lock": Named("&kvm->lock", "mutex", 5128),
        "irqfds_lock": Named("&kvm->irqfds.lock", "spinlock", 5232),
        "resampler_lock": Named("&kvm->irqfds.resampler_lock", "mutex", 5440),
        "mmu_unsync_pages_lock": Named("&kvm->arch.mmu_unsync_pages_lock", "spinlock", 5728),
        "apic_map_lock": Named("&kvm->arch.apic_map_lock", "mutex", 5952),
        "apicv_update_lock": Named("&kvm->arch.apicv_update_lock", "rwsem", 6136),
        "tsc_write_lock": Named("&kvm->arch.tsc_write_lock", "raw_spinlock", 6248),
        "hv_lock": Named("&hv->hv_lock", "mutex", 7016),
        "xen_lock": Named("&kvm->arch.xen.xen_lock", "mutex", 7472),
        "tdp_mmu_pages_lock": Named("&kvm->arch.tdp_mmu_pages_lock", "spinlock", 8368),
        "irq_lock": Named("&kvm->irq_lock", "mutex", 8768),
        "ring_lock": Named("&kvm->ring_lock", "spinlock", 5340),
        "srcu": Named("&kvm->srcu", "srcu", 8976),
        "irq_srcu": Named("&kvm->irq_srcu", "srcu", 9048),
        "ioapic_lock": Named("&ioapic->lock", "spinlock", 0x1000000 + 448),
    },
    vcpu={
        "mutex": Named("&vcpu->mutex", "mutex", 184),
        "async_pf_lock": Named("&vcpu->async_pf.lock", "spinlock", 9064),
        "gpc_lock": Named("&gpc->lock", "rwlock", 11232),
        "refresh_lock": Named("&gpc->refresh_lock", "mutex", 11336),
        "ir_list_lock": Named("&svm->ir_list_lock", "spinlock", 11600),
    },
    others={
        "kvm_lock": Named("kvm_lock", "mutex", 0xFFFFFFFF82038270),
        "usage_lock": Named("kvm_usage_lock", "mutex", 0xFFFFFFFF82037CD0),
        "debugfs_lock": Named("kvm_debugfs_lock", "mutex", 0xFFFFFFFF82037BF0),
        "hotplug": Named("cpu_hotplug_lock", "percpu_rwsem", 0xFFFFFFFF8203D2F0),
        "notifier": Named("mmu_notifier_invalidate_range_start", "map", 0xFFFFFFFF82124E80),
        "fs_reclaim": Named("fs_reclaim", "map", 0xFFFFFFFF82122660),
        "rcu": Named("rcu_read_lock", "rcu", 0xFFFFFFFF820E0D20, check=False),
        "rcu_callback": Named("rcu_callback", "rcu", 0xFFFFFFFF820E0C60, check=False),
        "mn_srcu": Named("srcu", "srcu", 0xFFFFFFFF82124ED0),
        "timekeeper": Named("timekeeper_lock", "raw_spinlock", 0xFFFFFFFF820EEBF8),
        "jiffies": Named("jiffies_lock", "raw_spinlock", 0xFFFFFFFF8200BB58),
        "hrtimer": Named("hrtimer_bases.lock", "raw_spinlock", 0xFFFF8881B9BE0958),
        "wakeup": Named("&per_cpu(wakeup_vcpus_on_cpu_lock, cpu)", "raw_spinlock", 0xFFFF8881B9BE2018),
        "rq": Named("&rq->__lock", "raw_spinlock", 0xFFFF8881B9BF06C0),
        "mmap_lock": Named("&mm->mmap_lock", "rwsem", 0),
        "wqh": Named("&ctx->wqh", "spinlock", 0),
        "slab": Named("&c->lock", "spinlock", 0xFFFF8881B9DF7740),
        "pcp": Named("&pcp->lock", "spinlock", 0xFFFF8881B9DF6ED8),
    },
    mmus=("tdp", "legacy", "shadow"),
    fixed=5,
    free_roots=0x327,
    kvm_size=9176,
    vcpu_size=12288,
)

V7_3 = replace(
    V6_12,
    name="7.3",
    version=(7, 3),
    release="7.3.4",
    layouts={"amd": "npt-7.2", "intel": "ept-7.2"},
    vcpu=V6_12.vcpu | {"ir_list_lock": Named("&svm->ir_list_lock", "raw_spinlock", 11600)},
)


def _raw(name: str) -> str:
    return f"&({name})->rlock"


# What cpp makes of &per_cpu(blocked_vcpu_on_cpu_lock, cpu) before spin_lock_init() names the class after it.
_BLOCKED = (
    "&(&(*({ do { const void *__vpp_verify = (typeof((&blocked_vcpu_on_cpu_lock) + 0))((void *)0); "
    "(void)__vpp_verify; } while (0); &blocked_vcpu_on_cpu_lock; })))->rlock"
)

V4_14 = Kernel(
    "4.14",
    (4, 14),
    "4.14.336",
    {"amd": "npt-4.14", "intel": "ept-4.14"},
    vm={
        "mmu_lock": Named(_raw("&kvm->mmu_lock"), "spinlock", 24),
        "slots_lock": Named("&kvm->slots_lock", "mutex", 216),
        "lock": Named("&kvm->lock", "mutex", 3016),
        "irqfds_lock": Named(_raw("&kvm->irqfds.lock"), "spinlock", 3200),
        "resampler_lock": Named("&kvm->irqfds.resampler_lock", "mutex", 3360),
        "apic_map_lock": Named("&kvm->arch.apic_map_lock", "mutex", 4112),
        "tsc_write_lock": Named("&kvm->arch.tsc_write_lock", "raw_spinlock", 4384),
        "pvclock_lock": Named(_raw("&kvm->arch.pvclock_gtod_sync_lock"), "spinlock", 4528),
        "hv_lock": Named("&kvm->arch.hyperv.hv_lock", "mutex", 4752),
        "irq_lock": Named("&kvm->irq_lock", "mutex", 5216),
        "ring_lock": Named(_raw("&kvm->ring_lock"), "spinlock", 5328),
        "srcu": Named("&kvm->srcu", "srcu", 5416, check=False),
        "irq_srcu": Named("&kvm->irq_srcu", "srcu", 5736, check=False),
        "ioapic_lock": Named(_raw("&ioapic->lock"), "spinlock", 0x1000000 + 448),
    },
    vcpu={
        "mutex": Named("&vcpu->mutex", "mutex", 184),
        "async_pf_lock": Named(_raw("&vcpu->async_pf.lock"), "spinlock", 7016),
        "ir_list_lock": Named(_raw("&svm->ir_list_lock"), "spinlock", 9600),
    },
    others={
        "kvm_lock": Named("kvm_lock", "mutex", 0xFFFFFFFF81F3A270),
        "count_lock": Named("kvm_count_lock", "raw_spinlock", 0xFFFFFFFF81F3A1D8),
        "hotplug": Named("cpu_hotplug_lock.rw_sem", "percpu_rwsem", 0xFFFFFFFF81E4B2F0),
        "rcu": Named("rcu_read_lock", "rcu", 0xFFFFFFFF81E6AD20, check=False),
        "rcu_callback": Named("rcu_callback", "rcu", 0xFFFFFFFF81E6AC60, check=False),
        "mn_srcu": Named("srcu", "srcu", 0xFFFFFFFF81F24ED0, check=False),
        "timekeeper": Named("timekeeper_lock", "raw_spinlock", 0xFFFFFFFF81EEEBF8),
        "jiffies": Named("jiffies_lock", "raw_spinlock", 0xFFFFFFFF81E0BB58),
        "hrtimer": Named("hrtimer_bases.lock", "raw_spinlock", 0xFFFF88013FC12958),
        "wakeup": Named(_BLOCKED, "spinlock", 0xFFFF88013FC14018),
        "rq": Named("&rq->lock", "raw_spinlock", 0xFFFF88013FC216C0),
        "mmap_lock": Named("&mm->mmap_sem", "rwsem", 0),
        "wqh": Named("&(&ctx->wqh)->rlock", "spinlock", 0),
    },
    mmus=("legacy", "shadow"),
    fixed=1,
    free_roots=0x301,
    kvm_size=6144,
    vcpu_size=10240,
    blind=True,
    bh_flag=False,
)

KERNELS = {k.name: k for k in (V4_14, V6_12, V7_3)}
