"""LS111 held-lock-reinitialised: a lock initialised, or its memory freed, while a task holds it.

What it finds
-------------
The task that holds a lock initialises it again, under another class key, or frees the memory at its address. The same
key again is lock_set_subclass() or lock_set_class(), which only change what lockdep thinks of a held lock.

Why it is a bug
---------------
An initialised lock is free: others walk in. Freed memory becomes something else while its lock is still in use.

What to do
----------
Release the lock before it is initialised again or its memory is freed; look for a path that frees an object which
another path still uses.

What it looks like
------------------

```firing
  qemu-100   [000] .....  1.000001: lockdep_init: lock=0xffff888100000100 key=0xffffffffa0123450 name="&kvm->lock"
  qemu-100   [000] .....  1.000002: lock_acquire: 0xffff888100000100 &kvm->lock
  qemu-100   [000] .....  1.000003: lockdep_init: lock=0xffff888100000100 key=0xffffffffa0123560 name="&kvm->lock"
  qemu-100   [000] .....  1.000004: lock_release: 0xffff888100000100 &kvm->lock
```

```quiet
  qemu-100   [000] .....  1.000001: lock_acquire: 0xffff888100000100 &kvm->lock
  qemu-100   [000] .....  1.000002: lock_release: 0xffff888100000100 &kvm->lock
  qemu-100   [000] .....  1.000003: lockdep_init: lock=0xffff888100000100 key=0xffffffffa0123450 name="&kvm->lock"
```

What it cannot see
------------------
A free whose pointer is not the lock's own address: kmem:kfree does not say how much is freed. Another task's lock.
Without lockscope:lockdep_acquire, a lock whose first initialisation was not recorded: its key is not known.
"""

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks._anomaly import AnomalyFinding, judge_anomalies
from lockscope.checks._grounds import LockGrounds
from lockscope.checks.check import check
from lockscope.checks.story import Teller, address
from lockscope.evidence.evidence import Evidence
from lockscope.results.findings import Confidence, Finding, Severity
from lockscope.walk.chains import Anomaly

_EFFECT = "Two tasks can be in the critical section, or memory is used after it was freed."
_ODD = AnomalyFinding("LS111", "held-lock-reinitialised", "held lock freed!", _EFFECT)
_GROUNDS = LockGrounds(
    events=("lockdep_init", "kfree", "kmem_cache_free"),
    hint="neither initialisation nor freeing of locks was recorded: see lockscope probes (lockscope:lockdep_init)",
)


@check("LS111", "held-lock-reinitialised", Severity.ERROR, _GROUNDS)
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for every class."""
    yield from judge_anomalies(evidence, ("init-held", "freed-held"), _tell)


def _tell(teller: Teller, odd: Anomaly) -> Finding | None:
    evidence = teller.evidence
    cls = evidence.classes[odd.cls]
    freed = odd.what == "freed-held"
    if not freed and cls.keyed and odd.detail == cls.key:
        return None
    holds = next((e for e in odd.held if e.lock == odd.lock), None)
    took = () if holds is None else (
        evidence.witness(holds, odd.cpu, odd.pid, note=f"takes {cls.name} at {address(odd.lock)}"),
    )  # fmt: skip
    done = "frees" if freed else "initialises"
    return _ODD.make(
        teller,
        odd,
        classes=(cls.name,),
        message=f"{teller.task(odd.pid)} {done} {cls.name} while it holds it.",
        confidence=Confidence.LIKELY,
        reason="the release can be an event that the ring buffer dropped unseen",
        witnesses=(*took, teller.anomaly_witness(odd, "kfree" if freed else "lockdep_init", f"{done} it")),
        opening=(
            f"{teller.task(odd.pid)} {done} a lock with it still held there! {teller.moment(odd.ts_ns, odd.cpu)}",
            f"{address(odd.lock)} {teller.class_text(odd.cls, odd.window)}",
        ),
        flow=odd.what,
    )
