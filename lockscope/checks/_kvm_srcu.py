"""What the SRCU checks share: their grounds, and events of one kind made into findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from lockscope.checks import _kvm
from lockscope.checks.check import Grounds
from lockscope.evidence.evidence import Evidence
from lockscope.facts.srcu_sections import SrcuEvent, SrcuSections
from lockscope.results.findings import Confidence, Finding, RuleRef, Severity, Witness
from lockscope.units import duration

FACTS = ("srcu_sections", "vms")


def sections_of(evidence: Evidence) -> SrcuSections:
    """The fact, or an empty one."""
    found = evidence.facts.get("srcu_sections")
    return found if isinstance(found, SrcuSections) else SrcuSections()


def probed(evidence: Evidence) -> bool:
    """Whether both ends of read sections were probed."""
    return _kvm.has(evidence, "srcu_read_lock") and _kvm.has(evidence, "srcu_read_unlock")


def section_grounds(evidence: Evidence, *also: tuple[tuple[str, ...], str]) -> Grounds:
    """Both ends of read sections must be probed, and one event of each of ``also`` recorded."""
    if not probed(evidence):
        return _kvm.skipped(
            "SRCU has no tracepoints: the probes lockscope:srcu_read_lock and lockscope:srcu_read_unlock are needed; "
            + _kvm.RECORD
        )
    for names, how in also:
        if not _kvm.has(evidence, *names):
            return _kvm.skipped(how)
    return _kvm.partial_if_lost(evidence)


def opened(evidence: Evidence, event: SrcuEvent) -> Witness:
    """The section's beginning."""
    name = sections_of(evidence).name(event.ssp)
    note = f"enters a read section of {name} ({_kvm.hex64(event.ssp)}), idx {event.idx}"
    return _kvm.witness(evidence, event.open_ns, event.open_cpu, event.pid, "srcu_read_lock", note)


def at_event(evidence: Evidence, event: SrcuEvent, note: str, name: str = "", missing: str = "") -> Witness:
    """The event at which it was met."""
    return _kvm.witness(
        evidence, event.ts_ns, event.cpu, event.pid, name or _kvm.event_name(event.op), note, event.flags, missing
    )


def age(event: SrcuEvent) -> str:
    """How long the section had been open."""
    return duration(max(0, event.ts_ns - event.open_ns))


Key = tuple[str, ...]


def findings(
    evidence: Evidence,
    events: Iterable[SrcuEvent],
    key: Callable[[SrcuEvent], Key],
    tell: Callable[[SrcuEvent, int], tuple[str, tuple[Witness, ...], str]],
    *,
    code: str,
    name: str,
    title: str,
    rule: RuleRef | None = None,
    confidence: Confidence | None = None,
) -> Iterator[Finding]:
    """One finding for each key; ``key`` begins with the classes. ``tell``: message, witnesses, consequence."""
    groups: dict[tuple[str | None, Key], list[SrcuEvent]] = {}
    for event in _kvm.standing(evidence, events):
        window = _kvm.window_at(evidence, event.since_ns, event.ts_ns)
        groups.setdefault((window, key(event)), []).append(event)
    for (window, made_of), found in groups.items():
        message, witnesses, closing = tell(found[0], len(found))
        yield Finding(
            code=code, name=name, severity=Severity.ERROR,
            confidence=confidence or (Confidence.CERTAIN if evidence.lost == 0 else Confidence.LIKELY), title=title,
            message=message, classes=tuple(part for part in made_of[:2] if part), rule=rule, count=len(found),
            witnesses=witnesses, story=_kvm.story(evidence, (title + ":", message), witnesses, (closing,)),
            flow="|".join(made_of[2:]), window=window, rests=_kvm.rests(found), effect=closing, by_events=True,
            reason="no events were lost" if evidence.lost == 0 else "events were lost elsewhere in the trace",
        )  # fmt: skip
