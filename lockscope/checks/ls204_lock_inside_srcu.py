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

What to do
----------
Take the lock before the read section is entered, or leave the section first and enter it again afterwards.

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
from typing import NamedTuple

import numpy as np

from lockscope.checks import _kvm, _kvm_srcu
from lockscope.checks.check import Grounds, check
from lockscope.checks.story import merged
from lockscope.evidence.evidence import Evidence
from lockscope.facts.srcu_sections import SrcuSections, roles_in
from lockscope.kvm.locks import KVM_LOCKS, Role, is_kvm, kind_of
from lockscope.results.findings import Confidence, Finding, RuleRef, Severity, Witness
from lockscope.rules.book import SrcuKind
from lockscope.walk.chains import Chain, Chains, Entry

_ALL = (1 << 64) - 1
_STRUCT_KVM = 1 << 16  # more than it has: 9,176 bytes on x86-64, 6.12 (pahole)
_KVMS = ("kvm->srcu", "kvm->irq_srcu")
_SLEEPING = ("mutex", "rwsem")  # synchronize_srcu() sleeps: nothing else can be held around it
_TITLE = "lock taken inside the SRCU read section that its holders wait for"


class Around(NamedTuple):
    """A lock that was held around a grace period. ``lock``: 0 where only its role is known."""

    name: str
    lock: int
    ts_ns: int
    cpu: int
    pid: int
    ssp: int
    since_ns: int
    times: int


def grounds(evidence: Evidence) -> Grounds:
    """Lock events with SRCU among them, or probes on both."""
    if _kvm.never_released(evidence):
        return _kvm.skipped(_kvm.NO_RELEASES)
    if not (evidence.plain or evidence.detailed or len(evidence.chains)):
        return _kvm.skipped("no lock events: lockscope record -- COMMAND, best on a kernel with CONFIG_PROVE_LOCKING")
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
    around = _kvm.standing(evidence, _held_around(evidence, sections))
    found = list(_from_chains(evidence, sections, around))
    if not found and not (
        evidence.plain or evidence.detailed
    ):  # where lock functions are not probed before the sections
        found = list(_from_probes(evidence, sections, around))
    yield from merged(found)
    yield from merged(_not_around(evidence, sections, around))


def _held_around(evidence: Evidence, sections: SrcuSections) -> Iterator[Around]:
    """KVM's locks that this trace shows held around a grace period of KVM's SRCUs."""
    for wait in sections.waits:
        for name, lock in wait.locks:
            if is_kvm(name) and kind_of(name) in _SLEEPING and _kvms(evidence, sections, wait.ssp):
                yield Around(name, lock, wait.ts_ns, wait.cpu, wait.pid, wait.ssp, wait.since_ns, wait.times)
    if evidence.plain or evidence.detailed:
        return
    for event in sections.of("synced"):
        for role in roles_in(event.detail):
            if _kvms(evidence, sections, event.ssp):
                yield Around(_spelled(role), 0, event.ts_ns, event.cpu, event.pid, event.ssp, event.since_ns, 1)


def _kvms(evidence: Evidence, sections: SrcuSections, ssp: int) -> bool:
    return evidence.rules.canonical(sections.name(ssp)) in _KVMS


@cache
def _spelled(role: Role) -> str:
    """A role's class name."""
    return next((lock.names[0] for lock in KVM_LOCKS if lock.role is role and lock.names), role.name.lower())


class Pair(NamedTuple):
    """A read section and a lock taken inside it; addresses of the lockdep maps, 0 where not known."""

    srcu: str
    srcu_map: int
    lock: str
    lock_map: int


def _one_vm(evidence: Evidence, first: int, second: int, name: str = "") -> bool:
    """Not known to be of two VMs. Where no VM is known by its locks, what lies in a struct kvm, as ``name`` says of the
    second, is of the VM whose struct it lies in.
    """
    vms = evidence.vm_of(first), evidence.vm_of(second)
    if None not in vms:
        return vms[0] == vms[1]
    inside = name.startswith(("&kvm->", "&(kvm)->"))
    return not inside or abs((first & _ALL) - (second & _ALL)) < _STRUCT_KVM


def _matching(evidence: Evidence, sections: SrcuSections, pair: Pair, around: list[Around]) -> Around | None:
    """The same lock of the same VM around a grace period of the same SRCU."""
    canonical = evidence.rules.canonical
    for held in around:
        same = canonical(held.name) == canonical(pair.lock) and canonical(sections.name(held.ssp)) == canonical(
            pair.srcu
        )
        if same and (not held.lock or not pair.lock_map or _one_vm(evidence, held.lock, pair.lock_map)):
            return held
    return None


def _broken(
    evidence: Evidence, sections: SrcuSections, pair: Pair, around: list[Around]
) -> tuple[RuleRef | None, Confidence, Around | None] | None:
    if not _one_vm(evidence, pair.srcu_map, pair.lock_map, pair.lock):
        return None
    shown = _matching(evidence, sections, pair, around)
    rule = evidence.rules.srcu_rule(pair.srcu, pair.lock, SrcuKind.NOT_INSIDE)
    if rule is not None:
        return RuleRef(rule.id, rule.source), Confidence.CERTAIN, shown
    # What is documented as not to be held around a grace period is wrong there, not here.
    elsewhere = (SrcuKind.NOT_AROUND, SrcuKind.INSIDE)
    if shown is None or any(evidence.rules.srcu_rule(pair.srcu, pair.lock, kind) for kind in elsewhere):
        return None
    return None, Confidence.LIKELY, shown


def _from_chains(evidence: Evidence, sections: SrcuSections, around: list[Around]) -> Iterator[Finding]:
    chains, classes = evidence.chains, evidence.classes
    readers = {c.index for c in classes if evidence.rules.canonical(c.name) in _KVMS}
    if not readers:
        return
    names = {evidence.rules.canonical(held.name) for held in around}
    told = {
        c.index
        for c in classes
        if evidence.rules.canonical(c.name) in names
        or any(evidence.rules.srcu_rule(classes[r].name, c.name, SrcuKind.NOT_INSIDE) for r in readers)
    }
    for number in _inside(chains, readers, told):
        chain = chains[number]
        entry = chain.next
        if entry.trylock or (classes[entry.cls].kind or kind_of(classes[entry.cls].name)) == "srcu":
            continue
        for held in chain.held:
            if held.cls not in readers or not held.read or held.context != entry.context:
                continue
            pair = Pair(classes[held.cls].name, held.lock, classes[entry.cls].name, entry.lock)
            broken = _broken(evidence, sections, pair, around)
            if broken is not None and _kvm.stands(evidence, held.ts_ns, entry.ts_ns):
                yield _finding(evidence, chain, held, pair, *broken)


def _inside(chains: Chains, readers: set[int], told: set[int]) -> list[int]:
    """The chains in which one of ``readers`` is held for reading and one of ``told`` is taken."""
    if not len(chains):
        return []
    cls, read = (chains.entries[:, Entry._fields.index(name)] for name in ("cls", "read"))
    rows = np.flatnonzero((read != 0) & np.isin(cls, sorted(readers)))
    numbers = np.unique(np.searchsorted(chains.start, rows, side="right") - 1)
    taken = cls[chains.start[numbers + 1] - 1]
    found: list[int] = numbers[np.isin(taken, sorted(told))].tolist()
    return found


def _finding(
    evidence: Evidence,
    chain: Chain,
    held: Entry,
    pair: Pair,
    rule: RuleRef | None,
    sure: Confidence,
    shown: Around | None,
) -> Finding:
    entry = chain.next
    witnesses = [
        evidence.witness(held, chain.cpu, chain.pid, note=_enters(pair.srcu, held.lock)),
        evidence.witness(entry, chain.cpu, chain.pid, note=f"takes {pair.lock} at {_kvm.hex64(entry.lock)} inside it"),
    ]
    if shown is not None:
        witnesses.append(_waits(evidence, pair.srcu, shown))
    rests = () if chain.released else ((held.ts_ns, entry.ts_ns),)
    return _told(pair, rule, sure, witnesses, evidence, chain.count, evidence.window(chain.window), rests=rests)


def _enters(srcu: str, at: int) -> str:
    return f"enters a read section of {srcu} at {_kvm.hex64(at)}"


def _waits(evidence: Evidence, srcu: str, held: Around) -> Witness:
    note = f"waits for readers of {srcu} with {held.name} held"
    return _kvm.witness(evidence, held.ts_ns, held.cpu, held.pid, "synchronize_srcu", note)


def _told(
    pair: Pair,
    rule: RuleRef | None,
    sure: Confidence,
    witnesses: list[Witness],
    evidence: Evidence,
    count: int,
    window: str | None,
    *,
    inside: bool = True,
    rests: tuple[tuple[int, int], ...] | None = None,
) -> Finding:
    srcu, lock = pair.srcu, pair.lock
    why = "by the rulebook" if rule else "as this trace shows"
    if inside:
        title = _TITLE
        message = (
            f"{lock} was taken inside a read section of {srcu}; it is held around synchronize_srcu() of it, {why}."
        )
    else:
        title = "synchronize_srcu() with a lock held that its readers take"
        message = f"synchronize_srcu() of {srcu} was called with {lock} held, which its read sections take, {why}."
    return Finding(
        "LS204",
        "lock-inside-srcu",
        Severity.ERROR,
        sure,
        title,
        message,
        (srcu, lock),
        rule,
        count=count,
        witnesses=tuple(witnesses),
        flow="inside" if inside else "around",
        window=window,
        rests=rests,
        effect=f"Deadlock: a reader waits for {lock}, and its holder waits for that reader in synchronize_srcu().",
        reason="a rule of this kernel's documentation says so"
        if rule
        else "only this trace shows the lock held around it",
        by_events=True,
        story=_kvm.story(evidence, _scenario(srcu, lock), witnesses, ("*** DEADLOCK ***",)),
    )


def _scenario(srcu: str, lock: str) -> tuple[str, ...]:
    return (
        "Possible unsafe locking scenario:",
        "",
        f"       {'CPU0':<40}CPU1",
        f"       {'----':<40}----",
        f"  srcu_read_lock({srcu})",
        f"  {'':<45}lock({lock});",
        f"  {'':<45}synchronize_srcu({srcu});",
        f"  lock({lock});",
    )


def _from_probes(evidence: Evidence, sections: SrcuSections, around: list[Around]) -> Iterator[Finding]:
    for event in _kvm.standing(evidence, sections.of("lock-inside")):
        for role in roles_in(event.detail):
            pair = Pair(sections.name(event.ssp), 0, _spelled(role), 0)
            broken = _broken(evidence, sections, pair, around)
            if broken is None:
                continue
            rule, sure, shown = broken
            taken = _kvm_srcu.at_event(evidence, event, f"takes {pair.lock} inside it")
            witnesses = [_kvm_srcu.opened(evidence, event), taken]
            witnesses += [_waits(evidence, pair.srcu, shown)] if shown else []
            window = _kvm.window_at(evidence, event.since_ns, event.ts_ns)
            rests = ((event.since_ns, event.ts_ns),)
            yield _told(pair, rule, sure, witnesses, evidence, 1, window, rests=rests)


def _not_around(evidence: Evidence, sections: SrcuSections, around: list[Around]) -> Iterator[Finding]:
    """A lock that readers take, held while waiting for readers."""
    for held in around:
        srcu = sections.name(held.ssp)
        rule = evidence.rules.srcu_rule(srcu, held.name, SrcuKind.NOT_AROUND)
        if rule is not None:
            pair = Pair(srcu, 0, held.name, held.lock)
            window = _kvm.window_at(evidence, held.since_ns, held.ts_ns)
            source, witnesses = RuleRef(rule.id, rule.source), [_waits(evidence, srcu, held)]
            rests = ((held.since_ns, held.ts_ns),)
            yield _told(
                pair, source, Confidence.CERTAIN, witnesses, evidence, held.times, window, inside=False, rests=rests
            )
