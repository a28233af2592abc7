"""LS108 inconsistent-irq-usage: a lock taken in interrupts, and elsewhere held with those interrupts on.

What it finds
-------------
One class has been waited for in a hard (soft) interrupt and has been held while hard (soft) interrupts were on; readers
on both sides do not count. That irqs were on shows in the flags of the acquisition, or of a later event under the hold.
Also reported: a lock waited for in an NMI that is used outside of one. Where an outer lock's being held with irqs on
makes those inside look wrong too, only the outer one is reported.

Confidence: certain, when both were the same instance; likely, when only the class is the same.

Why it is a bug
---------------
The interrupt hits the holder on its own CPU, and its handler waits for a lock that is only released after it returns.

What to do
----------
Disable the interrupts wherever the lock is taken outside of them: spin_lock_irqsave(), for softirqs spin_lock_bh().

What it looks like
------------------

```firing
     qemu-100     [000] ...1.     1.000001: lock_acquire: 0xffff888100000700 &kvm->irqfds.lock
     qemu-100     [000] ...1.     1.000002: lock_release: 0xffff888100000700 &kvm->irqfds.lock
     qemu-101     [001] d.h1.     1.000003: lock_acquire: 0xffff888100000700 &kvm->irqfds.lock
     qemu-101     [001] d.h1.     1.000004: lock_release: 0xffff888100000700 &kvm->irqfds.lock
```

```quiet
     qemu-100     [000] d..1.     1.000001: lock_acquire: 0xffff888100000700 &kvm->irqfds.lock
     qemu-100     [000] d..1.     1.000002: lock_release: 0xffff888100000700 &kvm->irqfds.lock
     qemu-101     [001] d.h1.     1.000003: lock_acquire: 0xffff888100000700 &kvm->irqfds.lock
     qemu-101     [001] d.h1.     1.000004: lock_release: 0xffff888100000700 &kvm->irqfds.lock
```

What it cannot see
------------------
Irqs that were on while the lock was held, but off at every event under it. Before 5.10 lock events always say "off",
before 6.1 no event says whether softirqs were off.
"""

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks._grounds import LockGrounds
from lockscope.checks._irq import lock_at, own_acquisition, usage_lines, usage_witnesses, window_of
from lockscope.checks.check import check
from lockscope.checks.story import Teller, merged, self_scenario
from lockscope.evidence.evidence import Evidence
from lockscope.lockgraph.usage import (
    ENABLED_BIT,
    IN_NMI_READ,
    IN_NMI_USE,
    READ_BIT,
    STATE_BITS,
    STATES,
    USED,
    USED_READ,
    Usage,
    bit_name,
)
from lockscope.results.findings import Confidence, Finding, Severity

_CODE, _NAME = "LS108", "inconsistent-irq-usage"
_REASONS = {
    Confidence.CERTAIN: "both uses are of the same instance",
    Confidence.LIKELY: "only the class is the same, or the interrupts were seen on later in the hold",
}


@check(_CODE, _NAME, Severity.ERROR, LockGrounds(classes=True, irqs=True))
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for every class and kind of interrupt."""
    teller = Teller(evidence)
    nodes = range(teller.graph.nodes)
    yield from merged(_finding(teller, node, *bits) for node in nodes for bits in _conflicts(teller.usage, node))


def _conflicts(usage: Usage, node: int) -> Iterator[tuple[int, int]]:
    """(used so in interrupts, used so elsewhere), one pair for each kind of interrupt."""
    if not usage.mask[node]:
        return
    for state in range(len(STATES)):
        used = state * STATE_BITS
        enabled = used + ENABLED_BIT
        pairs = ((used, enabled), (used + READ_BIT, enabled), (used, enabled + READ_BIT))
        pair = next((p for p in pairs if usage.has(node, p[0]) and usage.has(node, p[1])), None)
        if pair is not None:
            yield pair
    pairs = ((IN_NMI_USE, USED), (IN_NMI_USE, USED_READ), (IN_NMI_READ, USED))
    pair = next((p for p in pairs if usage.has(node, p[0]) and usage.has(node, p[1])), None)
    if pair is not None:
        yield pair


def _confidence(teller: Teller, node: int, used: int, enabled: int) -> Confidence:
    same = lock_at(teller, node, used) == lock_at(teller, node, enabled)
    return Confidence.CERTAIN if same and own_acquisition(teller, node, enabled) else Confidence.LIKELY


def _rests(teller: Teller, node: int, enabled: int) -> tuple[tuple[int, int], ...]:
    if own_acquisition(teller, node, enabled):
        return ()
    seen = [w.ts_ns for w in usage_witnesses(teller, node, enabled)]
    return ((min(seen), max(seen)),) if seen else ()


def _finding(teller: Teller, node: int, used: int, enabled: int) -> Finding:
    evidence, window = teller.evidence, window_of(teller, node)
    cls = int(teller.graph.rows.node_class[node])
    label = evidence.label(cls)
    where = "NMIs" if used >= USED else "hard interrupts" if used < STATE_BITS else "softirqs"
    elsewhere = "outside of them" if used >= USED else "held with them on"
    return Finding(
        code=_CODE,
        name=_NAME,
        severity=Severity.ERROR,
        confidence=_confidence(teller, node, used, enabled),
        reason=_REASONS[_confidence(teller, node, used, enabled)],
        title="inconsistent lock state",
        message=f"{label} is taken in {where}, and elsewhere {'used ' if used >= USED else ''}{elsewhere}.",
        classes=(teller.name(cls),),
        count=1,
        witnesses=(*usage_witnesses(teller, node, used), *usage_witnesses(teller, node, enabled)),
        story=(
            f"inconsistent {{{bit_name(used)}}} -> {{{bit_name(enabled)}}} usage.",
            teller.class_text(cls, window),
            "",
            *usage_lines(teller, node, used),
            "",
            *usage_lines(teller, node, enabled),
            "",
            "other info that might help us debug this:",
            *self_scenario(f"lock({label})", f"lock({label})", interrupt=True),
        ),
        rests=_rests(teller, node, enabled),
        flow=f"{bit_name(used)} {bit_name(enabled)} {evidence.classes[cls].subclass}",
        window=evidence.window(window),
    )
