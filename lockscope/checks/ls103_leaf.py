"""LS103 leaf-lock: a lock taken inside one that the rulebook calls a leaf.

What it finds
-------------
KVM's document ends its list of orders with "everything else is a leaf". Taken literally no kernel keeps that, so the
rulebook names for every leaf what may be taken inside it all the same; anything else of KVM's that is waited for under
a leaf, in the same irq context, is reported. Slab, RCU and scheduler locks are taken everywhere and do not count.

Confidence: as for LS102.

Why it is a bug
---------------
A leaf may be taken under any other lock, because nothing ever waits under it. With a lock inside, every place that
takes the leaf has acquired an order nobody thought of.

What to do
----------
Take the inner lock before the leaf lock, or collect the work under the leaf lock and do it after its release.

What it looks like
------------------

```firing
     qemu-100     [000] .....     1.000001: lock_acquire: 0xffff888100000400 &kvm->irq_lock
     qemu-100     [000] .....     1.000002: lock_acquire: 0xffff888100000500 &kvm->arch.apic_map_lock
     qemu-100     [000] .....     1.000003: lock_release: 0xffff888100000500 &kvm->arch.apic_map_lock
     qemu-100     [000] .....     1.000004: lock_release: 0xffff888100000400 &kvm->irq_lock
```

```quiet
     qemu-100     [000] .....     1.000001: lock_acquire: 0xffff888100000400 &kvm->irq_lock
     qemu-100     [000] .....     1.000002: lock_acquire: 0xffff888100000600 &c->lock
     qemu-100     [000] .....     1.000003: lock_release: 0xffff888100000600 &c->lock
     qemu-100     [000] .....     1.000004: lock_release: 0xffff888100000400 &kvm->irq_lock
```

What it cannot see
------------------
What the allow-list of the rulebook lets through, and locks without a name (a kernel without lockdep).
"""

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks._grounds import LockGrounds
from lockscope.checks._pairs import Words, judge_pairs
from lockscope.checks.check import check
from lockscope.evidence.evidence import Evidence
from lockscope.results.findings import Finding, Severity
from lockscope.rules.book import LeafRule


def _message(rule: LeafRule, held: str, taken: str) -> str:
    allowed = f"only {', '.join(rule.inner)} may be" if rule.inner else "none may be"
    return f"{taken} was taken while {held} was held; of KVM's locks {allowed} taken inside it."


_WORDS = Words(
    "lock taken inside a leaf lock",
    _message,
    "No other path expects the two to be nested: one that takes them the other way round deadlocks with this one.",
)


@check("LS103", "leaf-lock", Severity.ERROR, LockGrounds(), facts=("vms",))
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for every leaf and class taken inside; what also breaks an order is LS102's."""

    rules = evidence.rules

    def broken(held: str, taken: str) -> LeafRule | None:
        return None if rules.order_broken(held, taken) else rules.leaf_broken(held, taken)

    yield from judge_pairs(evidence, ("LS103", "leaf-lock"), (rule.lock for rule in rules.leaves), broken, _WORDS)
