"""LS104 recursive-locking: the same lock, or one of the same class, taken again where that can deadlock.

What it finds
-------------
A task that holds a lock asks for it again, or for another lock of the same class (key and subclass). Not counted, as in
lockdep: a trylock; a recursive reader of what is held for reading; a lock taken under a nest lock that is held further
out. A nest lock that is named but not held is reported too, and so is a ww_mutex context that was told to back off
(-EDEADLK) and took another lock instead of waiting for the one it lost.

Confidence: certain, when it is the very same lock; likely, when it is another one of the class.

Why it is a bug
---------------
The task waits for itself. Two locks of one class are no better unless something says in which order they are taken:
another task takes them the other way round. A reader that is not recursive waits for a writer who waits for it.

What to do
----------
Release the lock before the call that takes it again, or call a variant that expects it to be held. Where nesting two
locks of one class is safe, annotate it: mutex_lock_nested(), spin_lock_nested().

What it looks like
------------------

```firing
     qemu-100     [000] .....     1.000001: lock_acquire: 0xffff888100000100 &kvm->lock
     qemu-100     [000] .....     1.000002: lock_acquire: 0xffff888100000200 &vcpu->mutex
     qemu-100     [000] .....     1.000003: lock_acquire: 0xffff888100000100 &kvm->lock
```

A recursive reader, an SRCU read section inside another one:

```quiet
     qemu-100     [000] .....     1.000001: lock_acquire: 0xffff888100000300 read &kvm->srcu
     qemu-100     [000] .....     1.000002: lock_acquire: 0xffff888100000300 read &kvm->srcu
     qemu-100     [000] .....     1.000003: lock_release: 0xffff888100000300 &kvm->srcu
     qemu-100     [000] .....     1.000004: lock_release: 0xffff888100000300 &kvm->srcu
```

What it cannot see
------------------
Without lockscope:lockdep_acquire neither subclass nor nest lock are known: two locks of one name are then mentioned as
information, not reported, and not at all where the kernel is known to nest them. Comparison functions
(lock_set_cmp_fn) are never in a trace. What code says of a lock while it holds it (lock_set_class, lock_set_subclass)
shows in lockscope:lockdep_init alone, and not at all once lockdep is off, after its first report: nestings of locks
that the kernel is known to annotate so are information then. lock_downgrade() and lock_pin_lock() leave no event.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lockscope.checks._deadlock import deadlocks, told
from lockscope.checks._grounds import LockGrounds
from lockscope.checks.check import check
from lockscope.checks.story import Teller, address, lock_word, merged, rests_on, self_scenario
from lockscope.evidence.evidence import Evidence
from lockscope.evidence.nesting import annotated_names, known_nestings
from lockscope.lockgraph.graph import chain_at
from lockscope.lockgraph.rows import CLS
from lockscope.results.findings import Confidence, Finding, Severity
from lockscope.walk.chains import Anomaly, Chain, Entry

_CODE, _NAME = "LS104", "recursive-locking"
_REASONS = {
    Confidence.CERTAIN: "it is the very same lock",
    Confidence.LIKELY: "it is another lock of the class, or not all that the task held is known",
}
_UNDECIDED = "nested locks of one name: no event says whether their subclasses differ"


@check(_CODE, _NAME, Severity.ERROR, LockGrounds(classes=True, balance=True))
def judge(evidence: Evidence) -> Iterator[Finding]:
    """Recursions, nestings nobody vouches for, and broken promises of nesting."""
    teller = Teller(evidence)
    found = [*_happened(teller), *_recursions(teller)]
    found += _doubtful(teller)
    found += _unnested(teller)
    found += (_unnested_anomaly(teller, odd) for odd in evidence.anomalies if odd.what == "nest-not-held")
    found += (_wounded(teller, odd) for odd in evidence.anomalies if odd.what == "ww-order")
    yield from merged(found)


def _happened(teller: Teller) -> Iterator[Finding]:
    """Tasks that wait for themselves as the recording ends."""
    evidence = teller.evidence
    for circle in deadlocks(evidence, alone=True):
        task, entry = circle[0]
        subclass = evidence.classes[entry.cls].subclass
        names = (teller.name(entry.cls),)
        flow = f"{entry.read}{task.read} {subclass}"
        plain = Finding(_CODE, _NAME, Severity.ERROR, Confidence.CERTAIN, "", "", names, flow=flow)
        yield told(teller, plain, circle)


def _recursions(teller: Teller) -> Iterator[Finding]:
    failed = {(o.window, o.cls, o.lock) for o in teller.evidence.anomalies if o.what == "gave-up"}
    for row in teller.graph.recursions.tolist():
        chain, place = chain_at(teller.evidence, teller.graph.rows, row)
        if not teller.evidence.detailed and (chain.window, chain.next.cls, chain.next.lock) in failed:
            continue
        held = chain.held[place]
        if teller.evidence.lockdep.hides(teller.evidence, chain, held):
            yield _finding(teller, chain, held, Confidence.POSSIBLE, Severity.INFO)
        elif teller.name(chain.next.cls) in annotated_names() and not teller.evidence.has("lockdep_init"):
            yield _finding(teller, chain, held, Confidence.POSSIBLE, Severity.WARNING)
        else:
            yield _finding(teller, chain, held, _confidence(chain, held), Severity.ERROR)


def _confidence(chain: Chain, held: Entry) -> Confidence:
    same = held.lock == chain.next.lock and not (held.read and chain.next.read)
    return Confidence.CERTAIN if same and chain.whole else Confidence.LIKELY


def _doubtful(teller: Teller) -> Iterator[Finding]:
    nestings = known_nestings()
    rows = teller.graph.doubtful
    for row in rows.tolist():
        if teller.name(int(teller.graph.rows.entry[row, CLS])) not in nestings:
            chain, place = chain_at(teller.evidence, teller.graph.rows, row)
            yield _finding(teller, chain, chain.held[place], Confidence.POSSIBLE, Severity.INFO)


def _unnested(teller: Teller) -> Iterator[Finding]:
    evidence = teller.evidence
    for index in teller.graph.unnested.tolist():
        chain = evidence.chains[index]
        if not chain.whole:
            continue
        found = _not_nested(
            teller,
            chain.next,
            chain.count,
            evidence.window(chain.window),
            Confidence.LIKELY,
            (chain.cpu, chain.pid),
            tuple(_unnested_story(teller, chain)),
        )
        yield replace(found, rests=((int(evidence.chains.since_ns[index]), chain.next.ts_ns),))


def _unnested_anomaly(teller: Teller, odd: Anomaly) -> Finding:
    """Of a task that may hold more than was seen: it was not seen to release the nest lock in the whole rest either."""
    entry = odd.held[0]
    story = (
        f"{teller.task(odd.pid)} took lock: {teller.moment(entry.ts_ns, entry.cpu)}",
        teller.lock_text(entry, odd.window),
        "",
        "but this task was not seen to take, and does not release after it:",
        address(entry.nest),
    )
    at, window = (odd.cpu, odd.pid), teller.evidence.window(odd.window)
    found = _not_nested(teller, entry, odd.count, window, Confidence.POSSIBLE, at, story)
    return replace(found, rests=((odd.since_ns, odd.ts_ns),))


def _not_nested(
    teller: Teller,
    entry: Entry,
    count: int,
    window: str | None,
    confidence: Confidence,
    at: tuple[int, int],
    story: tuple[str, ...],
) -> Finding:
    name = teller.name(entry.cls)
    return Finding(
        code=_CODE,
        name=_NAME,
        severity=Severity.ERROR,
        confidence=confidence,
        title="Nested lock was not taken",
        reason="all that the task held is known"
        if confidence is Confidence.LIKELY
        else "the nest lock's acquisition may lie before the recording",
        message=f"{name} is taken as nested under the lock at {address(entry.nest)}, which is not held.",
        classes=(name,),
        count=count,
        witnesses=(teller.evidence.witness(entry, *at, note=f"takes {name}"),),
        story=story,
        flow=f"nest {entry.read}",
        window=window,
    )


def _unnested_story(teller: Teller, chain: Chain) -> Iterator[str]:
    yield from teller.attempt(chain, None)
    yield ""
    yield "but this task is not holding:"
    yield address(chain.next.nest)
    yield ""
    yield from teller.held_lines(chain.held, chain.pid, chain.window)


def _finding(teller: Teller, chain: Chain, held: Entry, confidence: Confidence, severity: Severity) -> Finding:
    evidence = teller.evidence
    name = teller.name(chain.next.cls)
    same = held.lock == chain.next.lock
    if severity is Severity.INFO:
        title = "two locks of one name nested"
        message = f"A second {name} is taken under the first; the events do not say whether its subclass allows that."
    else:
        title = "possible recursive locking detected"
        what = "the same lock" if same else "another lock of the same class"
        message = f"{evidence.label(chain.next.cls)} is taken while the task holds {what}."
        if severity is Severity.WARNING:
            message += (
                " That code gave the first another subclass (lock_set_subclass) would be in lockscope:lockdep_init."
            )
    return Finding(
        code=_CODE,
        name=_NAME,
        severity=severity,
        confidence=confidence,
        title=title,
        message=message,
        classes=(name,),
        count=chain.count,
        witnesses=(
            evidence.witness(held, chain.cpu, chain.pid, note=f"takes {name} at {address(held.lock)}"),
            evidence.witness(chain.next, chain.cpu, chain.pid, note=f"again takes it at {address(chain.next.lock)}"),
        ),
        story=tuple(_story(teller, chain, held)),
        flow=f"{held.read}{chain.next.read} {evidence.classes[chain.next.cls].subclass}",
        rests=rests_on(chain),
        reason=_REASONS.get(confidence, "") if severity is Severity.ERROR else "the events do not show the subclass",
        window=evidence.window(chain.window),
        undecided=_UNDECIDED if severity is Severity.INFO else None,
    )


def _story(teller: Teller, chain: Chain, held: Entry) -> Iterator[str]:
    label = teller.evidence.label(chain.next.cls)
    yield from teller.attempt(chain, held)
    yield ""
    yield "other info that might help us debug this:"
    yield from self_scenario(f"{lock_word(held)}({label})", f"{lock_word(chain.next)}({label})")
    yield ""
    yield " May be due to missing lock nesting notation"
    yield ""
    yield from teller.held_lines(chain.held, chain.pid, chain.window)


def _wounded(teller: Teller, odd: Anomaly) -> Finding:
    evidence = teller.evidence
    name = teller.name(odd.cls)
    still = ", ".join(evidence.label(e.cls) for e in odd.held)
    message = f"A ww_mutex context that was told to back off (-EDEADLK) takes {name}" + (
        f" while it still holds {still}." if odd.held else " instead of the lock it lost."
    )
    return Finding(
        code=_CODE,
        name=_NAME,
        severity=Severity.ERROR,
        confidence=Confidence.CERTAIN,
        title="ww_mutex taken out of order after -EDEADLK",
        reason="every step of the context was recorded",
        message=message,
        classes=(name,),
        count=odd.count,
        witnesses=(teller.anomaly_witness(odd, "lock_acquire", f"takes {name} at {address(odd.lock)}"),),
        story=(
            f"{teller.task(odd.pid)} is trying to acquire lock: {teller.moment(odd.ts_ns, odd.cpu)}",
            f"{address(odd.lock)} {teller.class_text(odd.cls, odd.window)}",
            "",
            "but its context was wounded: it must drop all its locks, then wait for the one it lost.",
            "",
            *teller.held_lines(odd.held, odd.pid, odd.window),
        ),
        flow="ww holding" if odd.held else "ww other",
        window=evidence.window(odd.window),
    )
