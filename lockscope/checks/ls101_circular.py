"""LS101 circular-lock-dependency: a ring of locks, each taken while the one before it was held.

What it finds
-------------
Somewhere B was taken while A was held, and somewhere else A while B was held; or A, B, C in a ring of any length. The
places need not have met in this run: once is enough, anywhere, in any task. Read sides count as lockdep counts them:
a recursive reader gets past a lock that others hold shared, so a ring with such a step is none; a trylock cannot wait,
so nothing waits at it, but what is taken under it does.

Tasks that wait for each other to the end of the recording are told first, as a deadlock that happened: who holds what
since when. An attempt is enough for a dependency, as it is for lockdep: in a deadlock it never succeeds.

Waits that are no locks are dependencies too, where the trace shows them:

* synchronize_srcu() waits for every reader: by its probe (lockdep's own annotation of 6.4 and later leaves no event);
* flush_work(), cancel_work_sync() and the workqueue's maps, completions with LOCKDEP_COMPLETIONS, percpu_ref and
  cpus_read_lock() (a percpu_rw_semaphore), by lockdep's events;
* kthread_stop(), synchronize_rcu() and completions without annotation are not seen.

A recursive read section between two locks does not break the chain: A, srcu_read_lock(), B on one side and B, A on the
other is a deadlock, though lockdep stops at the section.

Every edge of the graph that lies on a ring is looked at, once. Rings that share the edge that looks wrong are one
finding, told by the shortest; the others stand behind it, and come forward where that one is known, ignored or
suppressed. If every two sides that could meet are under one guard lock, taken inside what is judged, the ring cannot
happen: that is reported as information, where lockdep itself reports a deadlock. A guard must be of as much as what it
guards: one vCPU's mutex guards no lock of the VM. A guarded ring hides no other one.

Confidence: certain, when the tasks were seen to wait for each other; or when the sides were different tasks, each
waited for the very instance that the next one held, and the recorded events have a schedule that ends there: every
side can run up to its attempt while all locks change hands in the recorded order (a sync-preserving deadlock;
SPDOffline, PLDI 2023). Likely, when that is not shown, or the instances differ. Possible, when one task did all of it,
or one was created by another's task afterwards, or may have waited for its end. What was looked at, and the answers,
end the report of each ring.

Why it is a bug
---------------
Let each side take its first lock. Now each waits for a lock that another one holds, and none will ever give it up.
On two CPUs this needs no more than bad luck.

What to do
----------
Take the locks in one order everywhere: change the side that the documentation, or most callers, do not have, or
release the outer lock before the inner one is taken. If the instances can never be the same, give them lockdep
subclasses.

What it looks like
------------------
Two tasks take one VM's locks in opposite orders:

```firing
     qemu-100     [000] .....     1.000001: lock_acquire: 0xffff888100000100 &kvm->lock
     qemu-100     [000] .....     1.000002: lock_acquire: 0xffff888100000200 &kvm->slots_lock
     qemu-100     [000] .....     1.000003: lock_release: 0xffff888100000200 &kvm->slots_lock
     qemu-100     [000] .....     1.000004: lock_release: 0xffff888100000100 &kvm->lock
     qemu-101     [001] .....     1.000005: lock_acquire: 0xffff888100000200 &kvm->slots_lock
     qemu-101     [001] .....     1.000006: lock_acquire: 0xffff888100000100 &kvm->lock
     qemu-101     [001] .....     1.000007: lock_release: 0xffff888100000100 &kvm->lock
     qemu-101     [001] .....     1.000008: lock_release: 0xffff888100000200 &kvm->slots_lock
```

The second task only tries, and would go away empty-handed:

```quiet
     qemu-100     [000] .....     1.000001: lock_acquire: 0xffff888100000100 &kvm->lock
     qemu-100     [000] .....     1.000002: lock_acquire: 0xffff888100000200 &kvm->slots_lock
     qemu-100     [000] .....     1.000003: lock_release: 0xffff888100000200 &kvm->slots_lock
     qemu-100     [000] .....     1.000004: lock_release: 0xffff888100000100 &kvm->lock
     qemu-101     [001] .....     1.000005: lock_acquire: 0xffff888100000200 &kvm->slots_lock
     qemu-101     [001] .....     1.000006: lock_acquire: 0xffff888100000100 try &kvm->lock
     qemu-101     [001] .....     1.000007: lock_release: 0xffff888100000100 &kvm->lock
     qemu-101     [001] .....     1.000008: lock_release: 0xffff888100000200 &kvm->slots_lock
```

What it cannot see
------------------
Orders that this run did not take, and locks lockdep does not know (bit spinlocks, completions without annotation).
Without lockscope:lockdep_acquire one name can stand for several classes and subclasses; a ring is then reported only
through the same instances, or through KVM's own locks. What orders the sides other than by locks is not recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from lockscope.checks._deadlock import deadlocks, pairs, told
from lockscope.checks._grounds import LockGrounds
from lockscope.checks.check import check
from lockscope.checks.story import Teller, lock_word, merged, rests_on, ring_scenario
from lockscope.evidence.evidence import Evidence
from lockscope.kvm.locks import is_kvm
from lockscope.lockgraph.cycles import LIMIT, Ring
from lockscope.lockgraph.graph import chain_at
from lockscope.lockgraph.rings import trace_rings
from lockscope.lockgraph.rows import CHECK, CLS, SYNC
from lockscope.lockgraph.trust import TRIES, Trust, trust
from lockscope.results.findings import Confidence, Finding, Severity
from lockscope.units import count

_CODE, _NAME = "LS101", "circular-lock-dependency"
_LOOKED_AT = {"guard": "gate lock"}
_FEW = 1_000  # combinations of witnesses tried for what stands behind another finding


_REUSED = (
    "rings over locks that an address alone names, and that may be others by the time of the next side: a kernel with "
    "CONFIG_PROVE_LOCKING names them"
)


@check(_CODE, _NAME, Severity.ERROR, LockGrounds(classes=True))
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for every edge that closes rings, and what else it closes behind that."""
    teller = Teller(evidence)
    found = [ring for ring in trace_rings(evidence).found if not _ls204s(teller, ring.edges)]
    yield from merged((*_happened(teller, found), *(_finding(teller, ring) for ring in found)))


def _happened(teller: Teller, found: list[Ring]) -> Iterator[Finding]:
    """Tasks that wait for each other as the recording ends, first of all."""
    evidence, graph = teller.evidence, teller.graph
    of = graph.rows.node_class
    for circle in deadlocks(evidence, alone=False):
        wanted = pairs(circle)
        same = (
            edges
            for ring in found
            for edges in (ring.edges, *ring.behind)
            if {(int(of[graph.tail[e]]), int(of[graph.head[e]])) for e in edges} == wanted
        )
        edges = next(same, None)
        classes = tuple(teller.name(entry.cls) for _, entry in circle)
        plain = Finding(_CODE, _NAME, Severity.ERROR, Confidence.CERTAIN, "", "", classes, flow="seen")
        yield told(teller, plain if edges is None else _of_edges(teller, Ring(edges), edges), circle)


def _ls204s(teller: Teller, edges: tuple[int, ...]) -> bool:
    """Whether a ring is one of KVM's locks inside KVM's SRCU and around a wait for its readers: LS204 tells of that."""
    entry, rows = teller.graph.rows.entry, teller.graph.rows
    waits = any(int(entry[rows.last[rows.chain[teller.graph.first(e)]], CHECK]) == SYNC for e in edges)
    return len(edges) == 2 and waits and all(is_kvm(name) for name in map(teller.name, _names(teller, edges)))


def _names(teller: Teller, edges: tuple[int, ...]) -> list[int]:
    return [int(teller.graph.rows.node_class[teller.graph.tail[e]]) for e in edges]


def _finding(teller: Teller, ring: Ring) -> Finding:
    first = _of_edges(teller, ring, ring.edges)
    behind: dict[str, Finding] = {}
    for edges in ring.behind:
        if not _ls204s(teller, edges):
            other = _of_edges(teller, Ring(edges), edges, tries=_FEW)
            behind.setdefault(other.fingerprint, other)
    behind.pop(first.fingerprint, None)
    others = list(behind.values())
    if ring.untold:
        rest = replace(others[-1] if others else first, flow=f"{first.flow} and {_digest(teller, ring.untold)}")
        others.append(rest)
    return replace(first, behind=tuple(others))


def _digest(teller: Teller, edges: tuple[int, ...]) -> str:
    """A word for a set of dependencies, the same in every trace."""
    graph, of = teller.graph, teller.graph.rows.node_class
    pairs = {f"{teller.name(int(of[graph.tail[e]]))}>{teller.name(int(of[graph.head[e]]))}" for e in edges}
    return hashlib.sha256("\x1f".join(sorted(pairs)).encode()).hexdigest()[:16]


def _of_edges(teller: Teller, ring: Ring, edges: tuple[int, ...], tries: int = TRIES) -> Finding:
    evidence, graph = teller.evidence, teller.graph
    belief = trust(evidence, graph, trace_rings(evidence).guards, edges, tries)
    classes = _names(teller, edges)
    labels = [evidence.label(c) for c in classes]
    chain, _ = chain_at(evidence, graph.rows, belief.sides[0])
    guarded = belief.guard >= 0
    message = f"{labels[1]} is taken under {labels[0]}, and {labels[0]} under {labels[-1]}: {belief.why}."
    if ring.cut:
        message += f" It is number {LIMIT} of this {'window' if evidence.windowed else 'trace'}: no more are listed."
    kinds = [f"{evidence.classes[c].subclass}{graph.kind_name(e)}" for c, e in zip(classes, edges, strict=True)]
    return Finding(
        code=_CODE,
        name=_NAME,
        severity=Severity.INFO if guarded or belief.reused else Severity.ERROR,
        confidence=belief.confidence,
        reason=belief.why,
        title="possible circular locking dependency detected" + (", but a gate lock prevents it" if guarded else ""),
        message=message,
        classes=tuple(teller.name(c) for c in classes),
        count=sum(int(graph.count[e]) for e in edges),
        witnesses=tuple(replace(w, side=side) for side, row in enumerate(belief.sides) for w in teller.witnesses(row)),
        story=tuple(_story(teller, ring, belief)),
        flow=" ".join(kinds),
        window=evidence.window(chain.window),
        rests=rests_on(*(chain_at(evidence, graph.rows, row)[0] for row in belief.sides)),
        details={"also": ring.also, "trust": dict(belief.reasons)},
        undecided=_REUSED if belief.reused else None,
    )


def _story(teller: Teller, ring: Ring, belief: Trust) -> Iterator[str]:
    evidence, graph = teller.evidence, teller.graph
    chains = [chain_at(evidence, graph.rows, row) for row in belief.sides]
    chain, place = chains[0]
    yield from teller.attempt(chain, chain.held[place])
    yield ""
    yield "which lock already depends on the new lock."
    yield ""
    yield "the existing dependency chain (in reverse order) is:"
    for number in range(len(belief.sides) - 1, -1, -1):
        yield ""
        yield from teller.dependency(number, belief.sides[number])
    yield ""
    yield "other info that might help us debug this:"
    yield ""
    if len(belief.sides) > 2:
        yield "Chain exists of:"
        names = [evidence.label(int(graph.rows.entry[row, CLS])) for row in belief.sides]
        yield "  " + " --> ".join((*names, names[0]))
        yield ""
    calls = [(c.held[at], c.next) for c, at in chains]
    yield from ring_scenario(
        [(f"{lock_word(h)}({evidence.label(h.cls)});", f"{lock_word(n)}({evidence.label(n.cls)});") for h, n in calls]
    )
    yield ""
    yield f"confidence: {belief.confidence}"
    yield from (f"  {_LOOKED_AT.get(what, what) + ':':<10} {answer}" for what, answer in belief.reasons)
    if ring.also:
        yield f"{count(ring.also)} more dependencies lie on longer rings only through one of these"
    yield ""
    yield from teller.held_lines(chain.held, chain.pid, chain.window)
