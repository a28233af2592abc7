"""LS106 held-on-exit: a lock still held on return to user space, or by a task that ends.

What it finds
-------------
At a system call's end, or at a task's, locks that the task took are not released. SRCU read sections are LS206. Locks
that tracing itself holds around the event of a system call (rcu_tasks_trace, 6.13 and later) are not the task's.

Why it is a bug
---------------
User space may never enter the kernel again, and every task that wants the lock waits. A
task that is gone never releases it.

What to do
----------
Release the lock on every path out of the system call; look at the error paths first.

What it looks like
------------------

```firing
     qemu-100     [000] .....     1.000001: sys_exit: NR 16 = 0
     qemu-100     [000] .....     1.000002: lock_acquire: 0xffff888100000100 &kvm->lock
     qemu-100     [000] .....     1.000003: sys_exit: NR 16 = -22
```

```quiet
     qemu-100     [000] .....     1.000001: sys_exit: NR 16 = 0
     qemu-100     [000] .....     1.000002: lock_acquire: 0xffff888100000100 &kvm->lock
     qemu-100     [000] .....     1.000003: lock_release: 0xffff888100000100 &kvm->lock
     qemu-100     [000] .....     1.000004: sys_exit: NR 16 = -22
```

What it cannot see
------------------
Locks taken before the recording began, and tasks whose system calls were not recorded.
"""

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks._anomaly import AnomalyFinding, balance_confidence, judge_anomalies
from lockscope.checks._grounds import LockGrounds
from lockscope.checks.check import check
from lockscope.checks.story import Teller, address
from lockscope.evidence.evidence import Evidence
from lockscope.kvm.locks import kind_of
from lockscope.results.findings import Finding, Severity
from lockscope.walk.chains import TASK, Anomaly
from lockscope.walk.walk import is_tracing

_EFFECT = "The next task that takes the lock waits until this one releases it, which may be never."
_ODD = AnomalyFinding("LS106", "held-on-exit", "lock held when returning to user space!", _EFFECT)
_GROUNDS = LockGrounds(
    balance=True,
    events=("sys_exit", "sched_process_exit"),
    hint="no system calls and task ends were recorded: trace-cmd record -e raw_syscalls -e sched:sched_process_exit",
)


@check("LS106", "held-on-exit", Severity.ERROR, _GROUNDS)
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for every set of classes."""
    yield from judge_anomalies(evidence, ("held-at-user", "held-at-exit"), _tell)


def _tell(teller: Teller, odd: Anomaly) -> Finding | None:
    evidence = teller.evidence
    held = tuple(e for e in odd.held if e.context == TASK and not _others(evidence, e.cls))
    if not held:
        return None
    names = tuple(dict.fromkeys(teller.name(e.cls) for e in held))
    ends = odd.what == "held-at-exit"
    task, listed = teller.task(odd.pid), ", ".join(names)
    took = (
        evidence.witness(e, odd.cpu, odd.pid, note=f"takes {teller.name(e.cls)} at {address(e.lock)}") for e in held
    )
    end = teller.anomaly_witness(odd, "sched_process_exit" if ends else "sys_exit", f"still holds {listed}")
    return _ODD.make(
        teller,
        odd,
        classes=names,
        message=f"{task} {'ends' if ends else 'returns to user space'} holding {listed}.",
        confidence=balance_confidence(evidence, proved=odd.proved),
        witnesses=(*took, end),
        opening=(f"{task} is {'ending' if ends else 'leaving the kernel'} with locks still held! {_at(teller, odd)}",),
        flow=odd.what,
        title=f"{task.rpartition('/')[0]} still has locks held!" if ends else "",
    )


def _at(teller: Teller, odd: Anomaly) -> str:
    return teller.moment(odd.ts_ns, odd.cpu) + (f", system call {odd.detail}" if odd.what == "held-at-user" else "")


def _others(evidence: Evidence, cls: int) -> bool:
    """Read sections, which are another check's, and what tracing holds around its event."""
    if is_tracing(evidence.classes[cls].name):
        return True
    return (evidence.classes[cls].kind or kind_of(evidence.classes[cls].name)) == "srcu"
