"""What the checks on SPTE histories share: their grounds, and events of one kind made into findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from lockscope.checks import _kvm
from lockscope.evidence.evidence import Evidence
from lockscope.facts.clock_skew import ClockSkew
from lockscope.facts.kvm_runs import runs, runs_text
from lockscope.facts.spte_history import SpteEvent, SpteHistory
from lockscope.results.findings import Confidence, Finding, RuleRef, Severity, Witness
from lockscope.units import duration

FACTS = ("clock_skew", "mirror_roots", "spte_history", "spte_layout", "vms")
_CLOSE_NS = 100_000  # a fault and the change that it races with lie closer together than an SPTE's changes do
_HISTORIES = ("LS304", "LS305", "LS306", "LS307")  # what an SPTE was before; LS303 is about the change alone
NO_FAST_FAULTS = "no fast page faults: trace-cmd record -e kvmmmu"


def history_of(evidence: Evidence) -> SpteHistory:
    """The fact, or an empty one."""
    found = evidence.facts.get("spte_history")
    return found if isinstance(found, SpteHistory) else SpteHistory()


def change(evidence: Evidence, event: SpteEvent) -> str:
    """Where, from what, to what."""
    where = _kvm.gfn_text(event.gfn, event.level)
    if event.sptep:
        where += f" (SPTE at {_kvm.hex64(event.sptep)})"
    return f"{where}: {_kvm.change_text(event.old, event.new, history_of(evidence).layout, event.level)}"


def seen(evidence: Evidence, event: SpteEvent, note: str) -> Witness:
    """The event as a witness."""
    return _kvm.witness(evidence, event.ts_ns, event.cpu, event.pid, _kvm.event_name(event.op), note, event.flags)


def places(events: list[SpteEvent]) -> str:
    """Where, as runs of gfns."""
    import numpy as np

    known = [e for e in events if e.gfn >= 0]
    if not known:
        return "gfn not known"
    found = runs(np.array([e.gfn for e in known], np.int64), np.array([max(1, e.level) for e in known], np.int64))
    return f"gfn {runs_text(found)}"


Told = tuple[str, tuple[Witness, ...], str]


def findings(
    evidence: Evidence,
    events: Iterable[SpteEvent],
    key: Callable[[SpteEvent], tuple[str, ...]],
    tell: Callable[[list[SpteEvent]], Told],
    *,
    code: str,
    name: str,
    title: str,
    confidence: Confidence,
    rule: RuleRef | None = None,
    classes: tuple[str, ...] = (),
    reason: str = "",
) -> Iterator[Finding]:
    """One finding for each key, whatever the number of SPTEs. ``tell``: message, witnesses, consequence."""
    groups: dict[tuple[str | None, tuple[str, ...]], list[SpteEvent]] = {}
    for event in _kvm.standing(evidence, events):
        if code in _HISTORIES and _kvm.mirrored(evidence, event.vm):
            continue
        window = _kvm.window_at(evidence, event.since_ns, event.ts_ns)
        groups.setdefault((window, key(event)), []).append(event)
    for (window, made_of), found in groups.items():
        message, witnesses, closing = tell(found)
        yield Finding(
            code=code,
            name=name,
            severity=Severity.ERROR,
            confidence=confidence,
            title=title,
            message=message,
            classes=classes,
            rule=rule,
            count=len(found),
            witnesses=witnesses,
            story=_kvm.story(evidence, (title + ":", message), witnesses, (closing,)),
            flow="|".join(made_of),
            window=window,
            rests=_kvm.rests(found),
            effect=closing,
            reason=reason or lost_reason(evidence),
            by_events=True,
        )


def lost_reason(evidence: Evidence) -> str:
    """Why it is certain or not where only lost events weaken it."""
    return "no events were lost" if evidence.lost == 0 else "events were lost elsewhere in the trace"


def race_reason(evidence: Evidence) -> str:
    """Why the order of a race's events is certain or not."""
    if any(clock_doubt(evidence)):
        return "the clock may not order the two CPUs' events"
    return "a PID filter left out events" if evidence.filtered else "the clock orders the two CPUs' events"


def vm_of(evidence: Evidence, event: SpteEvent) -> str:
    """The VM's name."""
    return _kvm.vms_of(evidence).label(event.vm)


def task(evidence: Evidence, pid: int) -> str:
    """A task as reports name it."""
    return f"{evidence.comm(pid)}/{pid}"


def clock_doubt(evidence: Evidence) -> tuple[str, ...]:
    """Why the order of two CPUs' events is not certain; empty where the clock gives it.

    A race is looked for between an SPTE's change before the fault and the one after, and that the cmpxchg succeeded
    says itself that it came before the latter: the clocks need not be in step, only closer than those two.
    """
    if evidence.info.orders_cpus or not history_of(evidence).fixed:
        return ()
    skew = evidence.facts.get("clock_skew")
    bound = skew.bound_ns if isinstance(skew, ClockSkew) else None
    if bound is not None and bound <= _CLOSE_NS:
        return ()
    known = f", and here they are only known to be within {duration(bound)} of each other" if bound is not None else ""
    clock = "the clock 'local'" if evidence.info.clock else "the clock, which the trace does not name,"
    return (f"{clock} does not order two CPUs' events{known} (trace-cmd record -C mono)",)
