"""LS109 invalid-wait-context: a lock that can wait longer than its context allows.

What it finds
-------------
Locks wait in different ways: raw_spinlock_t always spins, spinlock_t and rwlock_t spin but sleep on PREEMPT_RT, mutexes
and rw_semaphores sleep. Inside a lock only what waits no longer may be waited for: no mutex under a spinlock, no
spinlock_t under a raw_spinlock_t. Interrupts and RCU read sections limit it too. What an interrupted task holds does
not count, trylocks may always be tried. Where the wait types were recorded the verdict is lockdep's
(with raw lock nesting); without them only sleeping locks under spinning ones or RCU, by their names, are reported. On
PREEMPT_RT without lockdep the probed functions tell the types: _raw_spin_lock() takes a raw_spinlock_t, rt_spin_lock()
a spinlock_t, and in a hard interrupt, whose threaded handlers are tasks there, only the former may be waited for.

Confidence: certain with recorded wait types, likely without, when what the task holds is wholly known; else one less.

Why it is a bug
---------------
A task that sleeps with a spinlock held leaves every CPU that wants it spinning, possibly the one that was to wake it.
A spinlock_t under a raw lock is that bug on a PREEMPT_RT kernel.

What to do
----------
Take the lock before the one that limits it, or after its release; or use a lock that waits no longer than its context
allows.

What it looks like
------------------

```firing
     qemu-100     [000] ...1.     1.000001: lock_acquire: 0xffff888100000900 &(kvm)->mmu_lock
     qemu-100     [000] ...1.     1.000002: lock_acquire: 0xffff888100000400 &kvm->irq_lock
     qemu-100     [000] ...1.     1.000003: lock_release: 0xffff888100000400 &kvm->irq_lock
     qemu-100     [000] ...1.     1.000004: lock_release: 0xffff888100000900 &(kvm)->mmu_lock
```

```quiet
     qemu-100     [000] .....     1.000001: lock_acquire: 0xffff888100000400 &kvm->irq_lock
     qemu-100     [000] ...1.     1.000002: lock_acquire: 0xffff888100000900 &(kvm)->mmu_lock
     qemu-100     [000] ...1.     1.000003: lock_release: 0xffff888100000900 &(kvm)->mmu_lock
     qemu-100     [000] .....     1.000004: lock_release: 0xffff888100000400 &kvm->irq_lock
```

What it cannot see
------------------
Whether an interrupt handler is threaded: but for PREEMPT_RT, a hard interrupt alone is never held against a spinlock_t
or rwlock_t. Where one was waited for there the check is partial, and names it.
"""

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks._grounds import LockGrounds
from lockscope.checks.check import Grounds, check
from lockscope.checks.story import Teller, address, merged, rests_on_held
from lockscope.evidence.evidence import Evidence
from lockscope.lockgraph.waits import ANY, WAIT_NAMES, TooLong, too_long, undecided_in_hardirqs
from lockscope.results.findings import Confidence, Finding, Severity, Status
from lockscope.walk.chains import Chain, Entry

_CODE, _NAME = "LS109", "invalid-wait-context"
_CONTEXTS = ("a task", "a softirq", "a hard interrupt", "an NMI")


class _WaitGrounds(LockGrounds):
    """In part, too, where a spinlock_t was taken in a handler that may or may not be threaded."""

    def __call__(self, evidence: Evidence) -> Grounds:
        found = LockGrounds.__call__(self, evidence)
        unsure = [] if found.status is Status.SKIPPED else undecided_in_hardirqs(evidence)
        if not unsure:
            return found
        more = f" and {len(unsure) - 3} more" if len(unsure) > 3 else ""
        reason = (
            f"{', '.join(unsure[:3])}{more}: taken in a hard interrupt, which is wrong on PREEMPT_RT unless its "
            "handler can be threaded; no event says whether it can"
        )
        return Grounds(Status.PARTIAL, "; ".join(r for r in (found.reason, reason) if r))


_REASONS = {
    Confidence.CERTAIN: "wait types were recorded, and all that the task held is known",
    Confidence.LIKELY: "wait types are inferred from the kinds of locks, or not all that the task held is known",
    Confidence.POSSIBLE: "wait types are inferred, and not all that the task held is known",
}
# enum lockdep_wait_type, include/linux/lockdep_types.h: CONFIG is a spinlock_t or rwlock_t, which sleep on PREEMPT_RT.
_WAITS = {
    2: "is a raw spinlock (SPIN)",
    3: "is a spinlock_t or rwlock_t, which sleeps on PREEMPT_RT (CONFIG)",
    4: "is a sleeping lock (SLEEP)",
}
_ALLOWED = {1: "not at all", 2: "a raw spinlock", 3: "a spinlock_t or rwlock_t"}
_EFFECTS = {
    3: "On PREEMPT_RT the task sleeps in atomic context.",
    4: "The task sleeps in atomic context where the lock is not free.",
}
_UNSEEN = (
    "waits under what was not seen to be released, wait types inferred: one release that is missing looks like it "
    "(record lockscope:lockdep_acquire and every unlock function)"
)


@check(_CODE, _NAME, Severity.ERROR, _WaitGrounds(waits=True, balance=True))
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for every class, and what limits it."""
    teller = Teller(evidence)
    yield from merged(_finding(teller, found) for found in too_long(evidence))


def _confidence(evidence: Evidence, chain: Chain, limiter: Entry | None) -> Confidence:
    keyed = evidence.classes[chain.next.cls].keyed and (limiter is None or evidence.classes[limiter.cls].keyed)
    if limiter is None or chain.whole:
        return Confidence.CERTAIN if keyed else Confidence.LIKELY
    return Confidence.LIKELY if keyed else Confidence.POSSIBLE


def _finding(teller: Teller, found: TooLong) -> Finding:
    evidence = teller.evidence
    chain = evidence.chains[found.chain]
    limiter = chain.held[found.row - int(evidence.chains.start[found.chain])] if found.row >= 0 else None
    name = teller.name(chain.next.cls)
    context = _CONTEXTS[int(teller.graph.rows.context[teller.graph.rows.last[found.chain]])]
    where = f"while {teller.name(limiter.cls)} is held" if limiter else f"in {context}"
    witnesses = [evidence.witness(chain.next, chain.cpu, chain.pid, note=f"takes {name} at {address(chain.next.lock)}")]
    if limiter:
        note = f"takes {teller.name(limiter.cls)} at {address(limiter.lock)}"
        witnesses.insert(0, evidence.witness(limiter, chain.cpu, chain.pid, note=note))
    sure = _confidence(evidence, chain, limiter)
    return Finding(
        code=_CODE,
        name=_NAME,
        severity=Severity.INFO if sure is Confidence.POSSIBLE else Severity.ERROR,
        confidence=sure,
        reason=_REASONS[sure],
        title="Invalid wait context",
        message=f"{name} {_WAITS.get(found.outer, 'waits')}, and is taken {where}, where a lock {_allowed(found)}.",
        effect=_EFFECTS.get(found.outer, ""),
        classes=(teller.name(limiter.cls), name) if limiter else (name,),
        count=chain.count,
        witnesses=tuple(witnesses),
        story=tuple(_story(teller, chain, found, context)),
        flow=f"{found.outer}>{found.limit} {'' if limiter else context}",
        rests=rests_on_held(evidence, chain, limiter) if limiter else (),
        window=evidence.window(chain.window),
        undecided=_UNSEEN if sure is Confidence.POSSIBLE else None,
    )


def _allowed(found: TooLong) -> str:
    if found.limit >= ANY:
        return "may wait in any way"
    return f"must wait no longer than {WAIT_NAMES.get(found.limit, '?')} ({_ALLOWED.get(found.limit, 'not at all')})"


def _story(teller: Teller, chain: Chain, found: TooLong, context: str) -> Iterator[str]:
    yield f"{teller.task(chain.pid)} is trying to lock: {teller.moment(chain.next.ts_ns, chain.cpu)}"
    yield teller.lock_text(chain.next, chain.window)
    yield "other info that might help us debug this:"
    yield f"context-{{{found.limit}:{found.limit}}}, in {context}"
    yield from teller.held_lines(chain.held, chain.pid, chain.window)
