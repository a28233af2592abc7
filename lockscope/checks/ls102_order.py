"""LS102 documented-order: two locks taken against the order that the kernel's documentation lays down.

What it finds
-------------
The rulebook of the trace's kernel says that A is taken outside B; the trace has A being waited for while B is held, at
any depth, in the same irq context. Rules that speak of one VM's locks are judged for each VM by itself. A trylock is
no breach, it cannot wait. Rules about SRCU are LS204. On a kernel with lockdep also a lock that the document has taken
only inside another one (tdp_mmu_pages_lock inside mmu_lock), and that is taken alone.

Confidence: certain, when both locks are known to be of one VM, or are global; likely, when the VM is not known.

Why it is a bug
---------------
The documented order is what every other place in the kernel relies on. The first of them to meet this one head-on
deadlocks, even if the trace does not have it.

What to do
----------
Take the locks in the documented order, or release the outer lock before the inner one is taken. Where the code is
right and the documentation is not, correct Documentation/virt/kvm/locking.rst.

What it looks like
------------------

```firing
     qemu-100     [000] .....     1.000001: lock_acquire: 0xffff888100000200 &kvm->slots_lock
     qemu-100     [000] .....     1.000002: lock_acquire: 0xffff888100000100 &kvm->lock
     qemu-100     [000] .....     1.000003: lock_release: 0xffff888100000100 &kvm->lock
     qemu-100     [000] .....     1.000004: lock_release: 0xffff888100000200 &kvm->slots_lock
```

```quiet
     qemu-100     [000] .....     1.000001: lock_acquire: 0xffff888100000100 &kvm->lock
     qemu-100     [000] .....     1.000002: lock_acquire: 0xffff888100000200 &kvm->slots_lock
     qemu-100     [000] .....     1.000003: lock_release: 0xffff888100000200 &kvm->slots_lock
     qemu-100     [000] .....     1.000004: lock_release: 0xffff888100000100 &kvm->lock
```

What it cannot see
------------------
Orders that nobody wrote down, which is what LS101 is for, and locks without a name (a kernel without lockdep).
"""

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks._grounds import LockGrounds
from lockscope.checks._must_hold import judge_must_hold
from lockscope.checks._pairs import Words, judge_pairs
from lockscope.checks.check import check
from lockscope.evidence.evidence import Evidence
from lockscope.results.findings import Finding, Severity

_CHECK = ("LS102", "documented-order")
_WORDS = Words(
    "locks taken against the documented order",
    lambda _, held, taken: f"documented is {taken}, then {held}; here {taken} was taken while {held} was held.",
    "A task that takes the two as documented, and this one, can wait for each other.",
)


@check("LS102", "documented-order", Severity.ERROR, LockGrounds(), facts=("vms",))
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for every rule and pair of classes, and for every lock taken alone."""
    rules = evidence.rules
    inner = (rule.inner for rule in rules.orders)
    yield from judge_pairs(evidence, _CHECK, inner, rules.order_broken, _WORDS)
    yield from judge_must_hold(evidence, _CHECK)
