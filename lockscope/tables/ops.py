"""The tape: what the checks read of a trace, as rows of fixed width in time order.

A row is an operation (``Op``) with up to twelve 64-bit slots. ``SLOTS`` names them, once; sources (the other modules of
this folder) say which event and field fills which slot. Text is in a slot by its number in the tape's text list.
"""

from __future__ import annotations

from enum import IntEnum


class Op(IntEnum):
    """What a row of the tape is."""

    LOSS = 1
    # lock:* and lockscope:lockdep_acquire / lockdep_init
    ACQUIRE = 2
    DETAIL = 3
    ACQUIRED = 4
    CONTENDED = 5
    RELEASE = 6
    INIT = 7
    # stock kernels
    CONTENTION_BEGIN = 8
    CONTENTION_END = 9
    FN_ENTRY = 10
    FN_RETURN = 11
    FN_UNLOCK = 12
    CONTENDED_RELEASE = 13
    # tasks and contexts
    SWITCH = 16
    SYS_ENTER = 17
    SYS_EXIT = 18
    TASK_EXIT = 19
    IRQ_ENTRY = 20
    IRQ_EXIT = 21
    SOFTIRQ_ENTRY = 22
    SOFTIRQ_EXIT = 23
    IRQS_ON = 24
    IRQS_OFF = 25
    FORK = 26
    RENAME = 27
    MARKER = 28
    FREE = 29
    CONSOLE = 31
    GAP = 30  # from here on events of this CPU are missing, up to its next LOSS
    # SRCU
    SRCU_LOCK = 32
    SRCU_LOCK_ENTRY = 33
    SRCU_UNLOCK = 34
    SRCU_SYNC = 35
    # SPTEs
    SPTE_TDP = 40
    SPTE_SET = 41
    FAST_PF = 42
    SPTE_MMIO = 43
    SPTE_UPDATE = 44
    SPTE_UPDATE_ENTRY = 45
    MMU_PAGE = 46
    ZAP_ALL_FAST = 47
    SPLIT_HUGE = 48
    # TLB flushes
    REQUEST = 52
    FLUSH = 53
    FLUSH_RANGE = 54
    FLUSH_SLOT = 55
    # KVM at large
    KVM_ENTRY = 60
    KVM_EXIT = 61
    PAGE_FAULT = 62
    MEMSLOT = 63
    VCPU_MEMSLOT = 64
    MARK_DIRTY = 65
    BUS = 66
    HVA = 67
    ZAP_RANGE = 68
    FLUSH_ALL = 69
    DESTROY_VM = 70
    RUN = 71
    USERSPACE_EXIT = 72
    DIRTY_RING = 73
    TSC_OFFSET = 74
    MASTER_CLOCK = 75
    VCPU = 76


WIDTH = 12

SLOTS: dict[Op, tuple[str, ...]] = {
    Op.LOSS: ("count",),  # -1: nobody knows how many
    Op.ACQUIRE: ("lock", "name", "flags", "ip"),  # flags: 1 trylock, 2 read; ip: by the callchain, where there is one
    Op.DETAIL: (
        "lock",
        "name",
        "subclass",
        "trylock",
        "read",
        "check",
        "nest",
        "ip",
        "key",
        "wait_outer",
        "wait_inner",
        "lock_type",
    ),
    Op.ACQUIRED: ("lock", "name"),
    Op.CONTENDED: ("lock", "name"),
    Op.RELEASE: ("lock", "name"),
    Op.INIT: ("lock", "name", "key", "subclass", "wait_inner", "wait_outer"),
    Op.CONTENTION_BEGIN: ("lock", "flags", "ip"),
    Op.CONTENTION_END: ("lock", "ret"),
    Op.CONTENDED_RELEASE: ("lock", "ip"),
    Op.FN_ENTRY: ("lock", "function", "caller", "name"),  # function: text, "mutex_lock"; name: learned, -1
    Op.FN_RETURN: ("ret", "function", "ret_ip"),
    Op.FN_UNLOCK: ("lock", "function", "name"),
    Op.SWITCH: ("prev_pid", "prev_state", "next_pid", "prev_comm", "next_comm"),
    Op.SYS_ENTER: ("id", "arg0", "arg1"),  # args[0..1] of raw_syscalls:sys_enter; ioctl: fd, cmd
    Op.SYS_EXIT: ("id", "ret"),
    Op.TASK_EXIT: ("pid",),
    Op.IRQ_ENTRY: ("irq",),
    Op.IRQ_EXIT: ("irq",),
    Op.SOFTIRQ_ENTRY: ("vec",),
    Op.SOFTIRQ_EXIT: ("vec",),
    Op.IRQS_ON: (),
    Op.IRQS_OFF: (),
    Op.FORK: ("parent", "child", "child_comm"),
    Op.RENAME: ("pid", "comm"),
    Op.MARKER: ("text",),
    Op.FREE: ("ptr",),
    Op.CONSOLE: ("text",),
    Op.GAP: (),
    Op.SRCU_LOCK: ("ssp", "idx", "caller", "at"),  # where it returned to, and its own address
    Op.SRCU_LOCK_ENTRY: ("ssp",),
    Op.SRCU_UNLOCK: ("ssp", "idx"),
    Op.SRCU_SYNC: ("ssp", "expedited"),
    Op.SPTE_TDP: ("gfn", "old", "new", "level", "as_id"),
    Op.SPTE_SET: ("gfn", "spte", "sptep", "level"),  # sptep: physical
    Op.FAST_PF: ("vcpu_id", "addr", "error_code", "sptep", "old", "new", "ret", "ret_is_bool"),  # sptep: virtual
    Op.SPTE_MMIO: ("sptep", "gfn", "access", "gen"),
    Op.SPTE_UPDATE: ("sptep", "new", "flush"),
    Op.SPTE_UPDATE_ENTRY: ("sptep", "old", "new"),
    Op.MMU_PAGE: (
        "what",
        "gfn",
        "role",
        "root_count",
        "unsync",
        "created",
    ),  # what: 0 get, 1 prepare_zap, 2 sync, 3 unsync
    Op.ZAP_ALL_FAST: ("mmu_valid_gen",),
    Op.SPLIT_HUGE: ("gfn", "spte", "level", "errno"),
    Op.REQUEST: ("kvm", "req"),
    Op.FLUSH: ("kvm",),
    Op.FLUSH_RANGE: ("kvm", "gfn", "nr_pages"),
    Op.FLUSH_SLOT: ("kvm", "slot"),
    Op.KVM_ENTRY: ("vcpu_id",),  # -1 where the kernel's event has none
    Op.KVM_EXIT: ("reason", "isa", "vcpu_id"),
    Op.PAGE_FAULT: ("vcpu_id", "addr", "error_code"),
    Op.MEMSLOT: ("kvm", "gfn"),
    Op.VCPU_MEMSLOT: ("vcpu", "gfn"),
    Op.MARK_DIRTY: ("kvm", "slot", "gfn"),
    Op.BUS: ("vcpu", "bus", "addr", "write"),
    Op.HVA: ("start", "end", "what"),  # what: 0 unmap, 1 age, 2 test_age, 3 set_spte
    Op.ZAP_RANGE: ("kvm", "gfn_start", "gfn_end"),
    Op.FLUSH_ALL: ("kvm",),
    Op.DESTROY_VM: ("kvm",),
    Op.RUN: ("vcpu", "kvm"),
    Op.VCPU: ("vcpu", "kvm"),  # made
    Op.USERSPACE_EXIT: ("reason",),
    Op.DIRTY_RING: ("index", "slot", "offset", "what"),  # what: 0 push, 1 reset, 2 exit
    Op.TSC_OFFSET: ("vcpu_id", "previous", "next"),
    Op.MASTER_CLOCK: ("use_master_clock",),
}

TEXT_SLOTS = frozenset({"name", "text", "function", "prev_comm", "next_comm", "comm", "child_comm"})


def slot(op: Op, name: str) -> int:
    """Which slot of an operation has this name."""
    return SLOTS[op].index(name)
