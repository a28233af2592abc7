"""LS105 unbalanced-unlock: a lock released by a task that does not hold it.

What it finds
-------------
A release with no acquisition before it, by a task all of whose locks are known: it was seen to hold nothing (on return
to user space or coming from there, or at the start of a judged window), and nothing was lost since. And the release by
an interrupt of what the task below it holds: lockdep too looks no further than the interrupt's own locks. SRCU read
sections are LS203's where they were probed, and LS206's where a task went to user space in one that another task left.

Why it is a bug
---------------
Released twice, or by somebody else, the lock is free while its owner still works under it. A mutex or rw_semaphore
must be released by the task that took it.

What to do
----------
Look for the path that releases the lock twice, or that skips the acquisition; error paths and goto labels first.

What it looks like
------------------

```firing
     qemu-100     [000] .....     1.000001: sys_exit: NR 16 = 0
     qemu-100     [000] .....     1.000002: lock_acquire: 0xffff888100000100 &kvm->lock
     qemu-100     [000] .....     1.000003: lock_release: 0xffff888100000100 &kvm->lock
     qemu-100     [000] .....     1.000004: lock_release: 0xffff888100000100 &kvm->lock
```

```quiet
     qemu-100     [000] .....     1.000001: lock_release: 0xffff888100000100 &kvm->lock
     qemu-100     [000] .....     1.000002: sys_exit: NR 16 = 0
     qemu-100     [000] .....     1.000003: lock_acquire: 0xffff888100000100 &kvm->lock
     qemu-100     [000] .....     1.000004: lock_release: 0xffff888100000100 &kvm->lock
```

What it cannot see
------------------
Anything in a task before its first system call or return to user space: the lock may have been taken before the
recording began.
Kernel threads never return there, so their balance is only judged inside windows.
"""

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks import _kvm_srcu
from lockscope.checks._anomaly import AnomalyFinding, balance_confidence, judge_anomalies
from lockscope.checks._grounds import LockGrounds
from lockscope.checks.check import check
from lockscope.checks.story import Teller, address
from lockscope.evidence.evidence import Evidence
from lockscope.kvm.locks import kind_of
from lockscope.results.findings import Finding, Severity
from lockscope.walk.chains import Anomaly

_EFFECT = "The lock is now free while its owner relies on it, or its state is corrupt."
_ODD = AnomalyFinding("LS105", "unbalanced-unlock", "bad unlock balance detected!", _EFFECT)


@check("LS105", "unbalanced-unlock", Severity.ERROR, LockGrounds(balance=True))
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for every class."""
    yield from judge_anomalies(evidence, ("release-not-held",), _tell)


def _tell(teller: Teller, odd: Anomaly) -> Finding | None:
    name = teller.name(odd.cls)
    if _of_a_section(teller.evidence, odd):
        return None
    return _ODD.make(
        teller,
        odd,
        classes=(name,),
        message=f"{teller.task(odd.pid)} releases {name}, which "
        + ("the interrupted task holds, in an interrupt." if odd.detail else "it does not hold."),
        confidence=balance_confidence(teller.evidence, proved=odd.proved),
        witnesses=(teller.anomaly_witness(odd, "lock_release", f"releases {name} at {address(odd.lock)}"),),
        opening=(
            f"{teller.task(odd.pid)} is trying to release lock ({name}) at: {teller.moment(odd.ts_ns, odd.cpu)}",
            f"{address(odd.lock)} {teller.class_text(odd.cls, odd.window)}",
            "but there are no more locks to release!" if not odd.held else "but it does not hold that one!",
        ),
    )


def _of_a_section(evidence: Evidence, odd: Anomaly) -> bool:
    cls = evidence.classes[odd.cls]
    if (cls.kind or kind_of(cls.name)) != "srcu":
        return False
    left = (o for o in evidence.anomalies if o.what in ("held-at-user", "held-at-exit") and o.pid != odd.pid)
    return _kvm_srcu.probed(evidence) or any(e.lock == odd.lock for o in left for e in o.held)
