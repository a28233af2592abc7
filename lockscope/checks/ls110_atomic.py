"""LS110 sleep-in-atomic: a task switched out while it holds a spinning or raw lock.

What it finds
-------------
At a context switch the task that leaves the CPU holds a spinlock_t, rwlock_t or raw_spinlock_t. The run queue's own
lock is always held there and does not count. On PREEMPT_RT, where spinlock_t sleeps, only raw locks do.

Why it is a bug
---------------
"BUG: scheduling while atomic": everyone who wants the lock spins until the task runs again, which on that CPU may be
never. Usually something under the lock slept: an allocation, a mutex, a fault.

What to do
----------
Release the lock before anything that can sleep, or use a lock that may be held while sleeping (a mutex or an rwsem).

What it looks like
------------------

```firing
  qemu-100  [000] ...1.  1.000001: lock_acquire: 0xffff888100000900 &(kvm)->mmu_lock
  qemu-100  [000] d..2.  1.000002: sched_switch: prev_comm=qemu prev_pid=100 prev_state=D ==> next_comm=sh next_pid=9
  qemu-100  [000] ...1.  1.000003: lock_release: 0xffff888100000900 &(kvm)->mmu_lock
```

```quiet
  qemu-100  [000] ...1.  1.000001: lock_acquire: 0xffff888100000900 &(kvm)->mmu_lock
  qemu-100  [000] ...1.  1.000002: lock_release: 0xffff888100000900 &(kvm)->mmu_lock
  qemu-100  [000] d..2.  1.000003: sched_switch: prev_comm=qemu prev_pid=100 prev_state=D ==> next_comm=sh next_pid=9
```

What it cannot see
------------------
Code that could have slept under the lock and this time did not, but for sleeping locks (LS109).
"""

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks._anomaly import AnomalyFinding, balance_confidence, judge_anomalies
from lockscope.checks._grounds import LockGrounds
from lockscope.checks.check import check
from lockscope.checks.story import Teller, address
from lockscope.evidence.evidence import Evidence
from lockscope.results.findings import Finding, Severity
from lockscope.walk.chains import Anomaly

_EFFECT = "Other CPUs spin for the lock until the task runs again; where it needs one of them to do so, they deadlock."
_ODD = AnomalyFinding("LS110", "sleep-in-atomic", "BUG: scheduling while atomic", _EFFECT)
_GROUNDS = LockGrounds(
    balance=True,
    events=("sched_switch",),
    hint="context switches were not recorded: trace-cmd record -e sched:sched_switch",
)


@check("LS110", "sleep-in-atomic", Severity.ERROR, _GROUNDS)
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for every class held."""
    yield from judge_anomalies(evidence, ("switched-atomic",), _tell)


def _tell(teller: Teller, odd: Anomaly) -> Finding:
    evidence, name = teller.evidence, teller.name(odd.cls)
    holds = next((e for e in odd.held if e.cls == odd.cls), None)
    took = () if holds is None else (
        evidence.witness(holds, odd.cpu, odd.pid, note=f"takes {name} at {address(holds.lock)}"),
    )  # fmt: skip
    return _ODD.make(
        teller,
        odd,
        classes=(name,),
        message=f"{teller.task(odd.pid)} is switched out while it holds {name}.",
        confidence=balance_confidence(evidence, proved=odd.proved),
        witnesses=(*took, teller.anomaly_witness(odd, "sched_switch", f"switched out with {name} held")),
        opening=(
            f"scheduling while atomic: {teller.task(odd.pid)}/0x{odd.preempt:08x} {teller.moment(odd.ts_ns, odd.cpu)}",
        ),
    )
