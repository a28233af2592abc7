"""Which events feed the lock, task and context operations.

include/trace/events/lock.h, sched.h, irq.h, syscalls.h, preemptirq.h (4.14 to 7.3); ``lockscope:*`` are the probe
pack.
A function probe's event is known by its fields: ``FUNCTION_entry`` has ``lock``, the return ``__probe_ret_ip``.
"""

from __future__ import annotations

from lockscope.tables.ops import Op
from lockscope.tables.tape import CALLER, Source

SOURCES = (
    Source(Op.ACQUIRE, "lock:lock_acquire", {"lock": "lockdep_addr", "ip": CALLER}),
    Source(Op.ACQUIRED, "lock:lock_acquired", {"lock": "lockdep_addr"}),
    Source(Op.CONTENDED, "lock:lock_contended", {"lock": "lockdep_addr"}),
    Source(Op.RELEASE, "lock:lock_release", {"lock": "lockdep_addr"}),
    Source(Op.CONTENTION_BEGIN, "lock:contention_begin", {"lock": "lock_addr", "ip": CALLER}),
    Source(Op.CONTENTION_END, "lock:contention_end", {"lock": "lock_addr"}),
    Source(Op.CONTENDED_RELEASE, "lock:contended_release", {"lock": "lock_addr", "ip": CALLER}),
    Source(Op.DETAIL, "*:lockdep_acquire", requires=("lock", "subclass", "key")),
    Source(Op.INIT, "*:lockdep_init", requires=("lock", "key")),
    # Functions of stock kernels, probed.
    Source(Op.FN_ENTRY, "*:*_entry", {"function": "@", "name": -1}, requires=("lock", "caller")),
    Source(
        Op.FN_RETURN,
        "*:*lock*",
        {"function": "@", "ret": "ret", "ret_ip": "__probe_ret_ip"},
        requires=("__probe_ret_ip", "__probe_func"),
        not_with=("idx", "ssp"),
    ),
    Source(
        Op.FN_RETURN,
        "*:down_*",
        {"function": "@", "ret": "ret", "ret_ip": "__probe_ret_ip"},
        requires=("__probe_ret_ip",),
    ),
    Source(Op.FN_UNLOCK, "*:*unlock*", {"function": "@", "name": -1}, requires=("lock", "__probe_ip")),
    Source(Op.FN_UNLOCK, "*:up_*", {"function": "@", "name": -1}, requires=("lock", "__probe_ip")),
    # Tasks and contexts.
    Source(Op.SWITCH, "sched:sched_switch"),
    Source(Op.TASK_EXIT, "sched:sched_process_exit"),
    Source(Op.FORK, "sched:sched_process_fork", {"parent": "parent_pid", "child": "child_pid"}),
    Source(Op.RENAME, "task:task_rename", {"comm": "newcomm"}),
    Source(Op.SYS_ENTER, "raw_syscalls:sys_enter", {"arg0": "args[0]", "arg1": "args[1]"}),
    Source(Op.SYS_EXIT, "raw_syscalls:sys_exit"),
    Source(Op.SYS_ENTER, "syscalls:sys_enter_ioctl", {"id": ("__syscall_nr", "nr"), "arg0": "fd", "arg1": "cmd"}),
    Source(Op.SYS_EXIT, "syscalls:sys_exit_ioctl", {"id": ("__syscall_nr", "nr")}),
    Source(Op.IRQ_ENTRY, "irq:irq_handler_entry"),
    Source(Op.IRQ_EXIT, "irq:irq_handler_exit"),
    Source(Op.SOFTIRQ_ENTRY, "irq:softirq_entry"),
    Source(Op.SOFTIRQ_EXIT, "irq:softirq_exit"),
    Source(Op.IRQS_ON, "preemptirq:irq_enable"),
    Source(Op.IRQS_OFF, "preemptirq:irq_disable"),
    Source(Op.FREE, "kmem:kfree"),
    Source(Op.CONSOLE, "printk:console", {"text": "msg"}),
)
