"""LS204 lock-inside-srcu: a lock that is held around synchronize_srcu() taken inside the read section.

What it finds
-------------
Inside a read section of kvm->srcu a task takes a lock that the rulebook or this trace itself shows to be held around
synchronize_srcu() of the same SRCU (kvm->slots_lock; since 6.2 by the documentation also kvm->lock and vcpu->mutex).
And the other half: a lock that is taken inside read sections (kvm->slots_arch_lock) held around synchronize_srcu().
Trylocks do not count, nor what an interrupt on top of the task takes.

Confidence: certain by a rule of the trace's kernel; likely where only the trace says so.

Why it is a bug
---------------
One task waits, with the lock held, until all readers are gone; a reader waits for the lock: a deadlock. lockdep knows
of it since 6.4 only.

What it looks like
------------------

```firing
     vcpu-101     [001] .....     1.000001: lock_acquire: 0xffffc90000003310 read &kvm->srcu
     vcpu-101     [001] .....     1.000002: lock_acquire: 0xffffc900000010b8 &kvm->slots_lock
     vcpu-101     [001] .....     1.000003: lock_release: 0xffffc900000010b8 &kvm->slots_lock
     vcpu-101     [001] .....     1.000004: lock_release: 0xffffc90000003310 &kvm->srcu
```

```quiet
     vcpu-101     [001] .....     1.000001: lock_acquire: 0xffffc90000003310 read &kvm->srcu
     vcpu-101     [001] .....     1.000002: lock_acquire: 0xffffc90000001158 &kvm->slots_arch_lock
     vcpu-101     [001] .....     1.000003: lock_release: 0xffffc90000001158 &kvm->slots_arch_lock
     vcpu-101     [001] .....     1.000004: lock_release: 0xffffc90000003310 &kvm->srcu
     vcpu-101     [001] .....     1.000005: lock_acquire: 0xffffc900000010b8 &kvm->slots_lock
     vcpu-101     [001] .....     1.000006: lock_release: 0xffffc900000010b8 &kvm->slots_lock
```

What it cannot see
------------------
A lock taken inside by way of another task (LS101 finds cycles). On kernels without lockdep only locks that could be
named.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from lockscope.checks import _kvm, _kvm_srcu
from lockscope.checks._base import Grounds, check
from lockscope.checks._story import merged
from lockscope.findings import Confidence, Finding, RuleRef, Severity, Witness
from lockscope.kvm.locks import KVM_LOCKS, Role, kind_of
from lockscope.reconstruct.chains import Chain, Entry
from lockscope.reconstruct.evidence import Evidence
from lockscope.reconstruct.srcu_sections import SrcuEvent, SrcuSections, roles_in
from lockscope.rules.book import SrcuKind

_SRCU = "kvm->srcu"
_TITLE = "lock taken inside the SRCU read section that its holders wait for"


def grounds(evidence: Evidence) -> Grounds:
    """Lock events with SRCU among them, or probes on both."""
    if _kvm.never_released(evidence):
        return _kvm.skipped(_kvm.NO_RELEASES)
    if not (evidence.plain or evidence.detailed or len(evidence.chains)):
        return _kvm.skipped("no lock events: lockscope record -- COMMAND, on a kernel with CONFIG_PROVE_LOCKING")
    if not _kvm_srcu.probed(evidence) and not (evidence.plain or evidence.detailed):
        return _kvm.skipped(
            f"no read sections: the probes lockscope:srcu_read_lock and srcu_read_unlock; {_kvm.RECORD}"
        )
    stock = not (evidence.plain or evidence.detailed)
    named = _kvm_srcu.sections_of(evidence).slots_lock_seen
    if stock and not named:
        return _kvm.skipped("no lockdep, and kvm->slots_lock could not be told from other mutexes")
    return _kvm.partial_if_lost(evidence, ("no lockdep: only locks that could be named",) if stock else ())


@check("LS204", "lock-inside-srcu", Severity.ERROR, grounds, facts=_kvm_srcu.FACTS)
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for every lock."""
    sections = _kvm_srcu.sections_of(evidence)
    around = _held_around(evidence, sections)
    yield from merged(_from_chains(evidence, around))
    if not (evidence.plain or evidence.detailed):
        yield from merged(_from_probes(evidence, sections, around))
    yield from merged(_around(evidence, sections))


def _held_around(evidence: Evidence, sections: SrcuSections) -> dict[str, SrcuEvent]:
    """Locks that this trace shows held around synchronize_srcu() of kvm->srcu, canonical, with the event."""
    found: dict[str, SrcuEvent] = {}
    for event in sections.of("synced"):
        if evidence.rules.canonical(sections.name(event.ssp)) == _SRCU:
            for role in roles_in(event.detail):
                found.setdefault(_canonical(role), event)
    return found


@cache
def _canonical(role: Role) -> str:
    return next((lock.canonical for lock in KVM_LOCKS if lock.role is role), role.name.lower())


def _broken(
    evidence: Evidence, srcu: str, lock: str, around: dict[str, SrcuEvent]
) -> tuple[RuleRef | None, Confidence] | None:
    rule = evidence.rules.srcu_rule(srcu, lock, SrcuKind.NOT_INSIDE)
    if rule is not None:
        return RuleRef(rule.id, rule.source), Confidence.CERTAIN
    canonical = evidence.rules.canonical(lock)
    # What is documented as not to be held around a grace period is wrong there, not here.
    not_around = evidence.rules.srcu_rule(srcu, lock, SrcuKind.NOT_AROUND) or evidence.rules.srcu_rule(
        srcu, lock, SrcuKind.INSIDE
    )
    if evidence.rules.canonical(srcu) == _SRCU and canonical in around and not_around is None:
        return None, Confidence.LIKELY
    return None


def _from_chains(evidence: Evidence, around: dict[str, SrcuEvent]) -> Iterator[Finding]:
    chains, classes = evidence.chains, evidence.classes
    readers = {c.index for c in classes if (c.kind or kind_of(c.name)) == "srcu"}
    if not readers:
        return
    for number in range(len(chains)):
        chain = chains[number]
        entry = chain.next
        if entry.trylock or entry.cls in readers:
            continue
        for held in chain.held:
            if held.cls not in readers or not held.read or held.context != entry.context:
                continue
            broken = _broken(evidence, classes[held.cls].name, classes[entry.cls].name, around)
            if broken is not None and _kvm.stands(evidence, held.ts_ns, entry.ts_ns):
                yield _finding(evidence, chain, held, *broken, around)


def _finding(evidence: Evidence, chain: Chain, held: Entry, rule: RuleRef | None, sure: Confidence,
             around: dict[str, SrcuEvent]) -> Finding:  # fmt: skip
    srcu, lock = evidence.classes[held.cls].name, evidence.classes[chain.next.cls].name
    witnesses: list[Witness] = [
        evidence.witness(
            held, chain.cpu, chain.pid, note=f"enters a read section of {srcu} at {_kvm.hex64(held.lock)}"
        ),
        evidence.witness(
            chain.next, chain.cpu, chain.pid, note=f"takes {lock} at {_kvm.hex64(chain.next.lock)} inside it"
        ),
    ]
    other = around.get(evidence.rules.canonical(lock))
    if other is not None:
        witnesses.append(_kvm_srcu.at_event(evidence, other, f"waits for readers of {srcu} with {lock} held"))
    return Finding(
        "LS204", "lock-inside-srcu", Severity.ERROR, sure, _TITLE, _message(srcu, lock, rule), (srcu, lock), rule,
        count=chain.count, witnesses=tuple(witnesses), flow="inside", window=evidence.window(chain.window),
        story=_kvm.story(evidence, _scenario(srcu, lock), witnesses, ("*** DEADLOCK ***",)),
    )  # fmt: skip


def _message(srcu: str, lock: str, rule: RuleRef | None) -> str:
    why = "by the rulebook" if rule else "as this trace shows"
    return f"{lock} was taken inside a read section of {srcu}; it is held around synchronize_srcu() of {srcu}, {why}."


def _scenario(srcu: str, lock: str) -> tuple[str, ...]:
    first = f"srcu_read_lock({srcu})"
    return (
        "Possible unsafe locking scenario:",
        "",
        f"       {'CPU0':<40}CPU1",
        f"       {'----':<40}----",
        f"  {first:<45}",
        f"  {'':<45}lock({lock});",
        f"  {'':<45}synchronize_srcu({srcu});",
        f"  lock({lock});",
    )


def _from_probes(evidence: Evidence, sections: SrcuSections, around: dict[str, SrcuEvent]) -> Iterator[Finding]:
    for event in _kvm.standing(evidence, sections.of("lock-inside")):
        srcu = sections.name(event.ssp)
        for role in roles_in(event.detail):
            lock = f"&{_canonical(role)}" if role is not Role.KVM_LOCK else _canonical(role)
            broken = _broken(evidence, srcu, lock, around)
            if broken is not None:
                rule, sure = broken
                seen = (
                    _kvm_srcu.opened(evidence, event),
                    _kvm_srcu.at_event(evidence, event, f"takes {lock} inside it"),
                )
                yield Finding(
                    "LS204",
                    "lock-inside-srcu",
                    Severity.ERROR,
                    sure,
                    _TITLE,
                    _message(srcu, lock, rule),
                    (srcu, lock),
                    rule,
                    witnesses=seen,
                    flow="inside",
                    window=_kvm.window_at(evidence, event.since_ns, event.ts_ns),
                    story=_kvm.story(evidence, _scenario(srcu, lock), seen, ("*** DEADLOCK ***",)),
                )


def _around(evidence: Evidence, sections: SrcuSections) -> Iterator[Finding]:
    """A lock that readers take, held while waiting for readers."""
    for event in _kvm.standing(evidence, sections.of("synced")):
        srcu = sections.name(event.ssp)
        for role in roles_in(event.detail):
            lock = _canonical(role)
            rule = evidence.rules.srcu_rule(srcu, lock, SrcuKind.NOT_AROUND)
            if rule is None:
                continue
            spelled = f"&{lock}"
            seen = (_kvm_srcu.at_event(evidence, event, f"waits for readers of {srcu} with {spelled} held"),)
            message = f"synchronize_srcu() of {srcu} was called with {spelled} held, which its read sections take."
            yield Finding(
                "LS204",
                "lock-inside-srcu",
                Severity.ERROR,
                Confidence.CERTAIN,
                "synchronize_srcu() with a lock held that its readers take",
                message,
                (srcu, spelled),
                RuleRef(rule.id, rule.source),
                witnesses=seen,
                flow="around",
                window=_kvm.window_at(evidence, event.since_ns, event.ts_ns),
                story=_kvm.story(evidence, _scenario(srcu, spelled), seen, ("*** DEADLOCK ***",)),
            )
