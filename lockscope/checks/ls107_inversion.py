"""LS107 irq-inversion: a lock that interrupts use depends on one that is held with these interrupts on.

What it finds
-------------
A is taken in an interrupt. Somewhere B is taken, directly or through other locks, while A is held. And B is elsewhere
held with that kind of interrupt on. Hard and soft interrupts are judged apart; readers as lockdep judges them: a
recursive reader in the interrupt is only stopped by a writer, and a read-held B stops everyone but recursive readers.
Of all pairs the nearest is told: the last safe lock before the first unsafe one.

Confidence: certain, when one instance of each lock carries all of it; likely, when only the classes agree; possible,
when a class is known by its name alone.

Why it is a bug
---------------
CPU 0 holds B, and is interrupted by the handler that takes A. CPU 1 holds A and waits for B. The handler waits for A,
B's holder waits for the handler to return, CPU 1 waits for B.

What to do
----------
Take the irq-unsafe lock with interrupts disabled everywhere (spin_lock_irqsave(), for softirqs spin_lock_bh()), or
not inside the irq-safe one.

What it looks like
------------------
An eventfd signalled by a device's interrupt takes the wait queue's lock. KVM's wakeup takes irqfds.lock under it with
irqs off, as it must; but another place takes irqfds.lock with irqs on:

```firing
     qemu-100     [000] d.h1.     1.000001: lock_acquire: 0xffff888100000700 &ctx->wqh
     qemu-100     [000] d.h1.     1.000002: lock_release: 0xffff888100000700 &ctx->wqh
     qemu-100     [000] d..1.     1.000003: lock_acquire: 0xffff888100000700 &ctx->wqh
     qemu-100     [000] d..2.     1.000004: lock_acquire: 0xffff888100000800 &kvm->irqfds.lock
     qemu-100     [000] d..2.     1.000005: lock_release: 0xffff888100000800 &kvm->irqfds.lock
     qemu-100     [000] d..1.     1.000006: lock_release: 0xffff888100000700 &ctx->wqh
     qemu-101     [001] ...1.     1.000007: lock_acquire: 0xffff888100000800 &kvm->irqfds.lock
     qemu-101     [001] ...1.     1.000008: lock_release: 0xffff888100000800 &kvm->irqfds.lock
```

The same, but irqfds.lock is only ever taken with irqs off:

```quiet
     qemu-100     [000] d.h1.     1.000001: lock_acquire: 0xffff888100000700 &ctx->wqh
     qemu-100     [000] d.h1.     1.000002: lock_release: 0xffff888100000700 &ctx->wqh
     qemu-100     [000] d..1.     1.000003: lock_acquire: 0xffff888100000700 &ctx->wqh
     qemu-100     [000] d..2.     1.000004: lock_acquire: 0xffff888100000800 &kvm->irqfds.lock
     qemu-100     [000] d..2.     1.000005: lock_release: 0xffff888100000800 &kvm->irqfds.lock
     qemu-100     [000] d..1.     1.000006: lock_release: 0xffff888100000700 &ctx->wqh
     qemu-101     [001] d..1.     1.000007: lock_acquire: 0xffff888100000800 &kvm->irqfds.lock
     qemu-101     [001] d..1.     1.000008: lock_release: 0xffff888100000800 &kvm->irqfds.lock
```

What it cannot see
------------------
Irqs that were on while a lock was held, but off at every event under it. Before 5.10 lock events always say "off",
before 6.1 no event says whether softirqs were off.
"""

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks._grounds import LockGrounds
from lockscope.checks._irq import IRQ_WORDS, lock_at, own_acquisition, usage_lines, usage_witnesses, window_of
from lockscope.checks.check import check
from lockscope.checks.story import Teller, merged
from lockscope.evidence.evidence import Evidence
from lockscope.lockgraph.graph import chain_at
from lockscope.lockgraph.rows import LOCK
from lockscope.lockgraph.usage import bit_name
from lockscope.lockgraph.usage_paths import Inversion, inversions
from lockscope.results.findings import Confidence, Finding, Severity

_CODE, _NAME = "LS107", "irq-inversion"
_REASONS = {
    Confidence.CERTAIN: "one instance of each lock carries all of it",
    Confidence.LIKELY: "only the classes are the same on all sides, not the instances",
    Confidence.POSSIBLE: "classes are known by their names alone",
}


@check(_CODE, _NAME, Severity.ERROR, LockGrounds(classes=True, irqs=True))
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for every irq-unsafe lock that an irq-safe one depends on."""
    teller = Teller(evidence)
    yield from merged(_finding(teller, found) for found in inversions(teller.graph, teller.usage))


def _classes(teller: Teller, found: Inversion) -> list[int]:
    of = teller.graph.rows.node_class
    return [int(of[found.safe])] + [int(of[teller.graph.head[e]]) for e in found.edges]


def _confidence(teller: Teller, found: Inversion) -> Confidence:
    classes = [teller.evidence.classes[c] for c in _classes(teller, found)]
    if not all(c.keyed for c in classes) and not teller.evidence.detailed:
        return Confidence.POSSIBLE
    rows = teller.graph.rows
    at = lock_at(teller, found.safe, found.safe_bit)
    whole = True
    for edge in found.edges:
        row = teller.graph.first(edge)
        chain = rows.chain[row]
        if int(rows.entry[row, LOCK]) != at:
            return Confidence.LIKELY
        at = int(rows.entry[rows.last[chain], LOCK])
        whole = whole and bool(teller.evidence.chains.whole[chain])
    same = at == lock_at(teller, found.unsafe, found.unsafe_bit)
    direct = own_acquisition(teller, found.unsafe, found.unsafe_bit)
    return Confidence.CERTAIN if same and whole and direct else Confidence.LIKELY


def _finding(teller: Teller, found: Inversion) -> Finding:
    evidence, graph = teller.evidence, teller.graph
    classes, word = _classes(teller, found), IRQ_WORDS[found.state]
    safe, unsafe = evidence.label(classes[0]), evidence.label(classes[-1])
    sides = [graph.first(e) for e in found.edges]
    kinds = [graph.kind_name(e) for e in found.edges]
    return Finding(
        code=_CODE,
        name=_NAME,
        severity=Severity.ERROR,
        confidence=_confidence(teller, found),
        reason=_REASONS[_confidence(teller, found)],
        title=f"{word.upper()}-safe -> {word.upper()}-unsafe lock order detected",
        message=f"{safe} is taken in {word}s and depends on {unsafe}, which is held with {word}s on.",
        classes=tuple(teller.name(c) for c in classes),
        count=sum(int(graph.count[e]) for e in found.edges),
        witnesses=(
            *usage_witnesses(teller, found.safe, found.safe_bit),
            *(w for row in sides for w in teller.witnesses(row)),
            *usage_witnesses(teller, found.unsafe, found.unsafe_bit),
        ),
        story=tuple(_story(teller, found, classes)),
        rests=tuple(span for row in sides for span in _rests(teller, row)),
        flow=" ".join((bit_name(found.safe_bit), *kinds, bit_name(found.unsafe_bit))),
        window=evidence.window(window_of(teller, found.safe)),
    )


def _rests(teller: Teller, row: int) -> tuple[tuple[int, int], ...]:
    chain, place = chain_at(teller.evidence, teller.graph.rows, row)
    return () if chain.released else ((chain.held[place].ts_ns, chain.next.ts_ns),)


def _story(teller: Teller, found: Inversion, classes: list[int]) -> Iterator[str]:
    evidence, word, window = teller.evidence, IRQ_WORDS[found.state].upper(), window_of(teller, found.safe)
    yield f"this {word}-irq-safe lock:"
    yield teller.class_text(classes[0], window)
    yield from usage_lines(teller, found.safe, found.safe_bit)
    yield ""
    yield f"depends on this {word}-irq-unsafe lock:"
    yield teller.class_text(classes[-1], window)
    yield from usage_lines(teller, found.unsafe, found.unsafe_bit)
    yield ""
    yield "the dependencies between them:"
    for number, edge in enumerate(found.edges, 1):
        yield ""
        yield from teller.dependency(number, teller.graph.first(edge))
    yield ""
    yield "other info that might help us debug this:"
    yield ""
    yield from _scenario([evidence.label(c) for c in classes], IRQ_WORDS[found.state])


def _scenario(labels: list[str], word: str) -> Iterator[str]:
    safe, unsafe, middle = labels[0], labels[-1], labels[1]
    if len(labels) > 2:
        yield "Chain exists of:"
        yield "  " + " --> ".join(labels)
        yield ""
    pad = " " * 31
    yield " Possible interrupt unsafe locking scenario:"
    yield ""
    yield "       CPU0                    CPU1"
    yield "       ----                    ----"
    yield f"  lock({unsafe});"
    yield pad + ("local_irq_disable();" if word == "hardirq" else "local_bh_disable();")
    yield f"{pad}lock({safe});"
    yield f"{pad}lock({middle});"
    yield "  <Interrupt>"
    yield f"    lock({safe});"
    yield ""
    yield " *** DEADLOCK ***"
