"""Deadlocks that a recording ends in: tasks that wait for each other, told with who holds what since when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lockscope.checks.story import Teller, address, lock_word
from lockscope.evidence.evidence import Evidence
from lockscope.results.findings import Confidence, Finding, Severity, Witness
from lockscope.units import duration, seconds
from lockscope.walk.chains import Entry
from lockscope.walk.waiting import WaitingTask, circles

_SETTLED = (
    1_000_000  # ns: longer than a lock that is being handed over looks held by the one and asked for by the other
)
Circle = list[tuple[WaitingTask, Entry]]


def deadlocks(evidence: Evidence, *, alone: bool) -> Iterator[Circle]:
    """The circles of tasks at the trace's end; ``alone``: of one task that waits for itself, else of several.

    In order, beginning with who asked first: each holds the entry's lock and waits for that of the next.
    """
    if evidence.windowed:
        return
    for circle in circles(evidence.waiting):
        if (len(circle) == 1) is alone:
            first = min(range(len(circle)), key=lambda i: circle[i][0].since_ns)
            yield circle[first:] + circle[:first]


def sure(evidence: Evidence, circle: Circle) -> Confidence:
    """Certain where nothing was lost and the waits outlast any hand-over."""
    settled = evidence.end_ns - max(task.since_ns for task, _ in circle) >= _SETTLED
    return Confidence.CERTAIN if evidence.lost == 0 and not evidence.filtered and settled else Confidence.LIKELY


def _reason(evidence: Evidence, circle: Circle) -> str:
    if sure(evidence, circle) is Confidence.CERTAIN:
        return "no event is missing, and the tasks wait to the end of the recording"
    if evidence.lost != 0 or evidence.filtered:
        return "events are missing"
    return "the recording ends too soon after the waits began"


def pairs(circle: Circle) -> frozenset[tuple[int, int]]:
    """The dependencies of a circle, as classes."""
    held = [entry.cls for _, entry in circle]
    return frozenset(zip(held, held[1:] + held[:1], strict=True))


def told(teller: Teller, finding: Finding, circle: Circle) -> Finding:
    """A finding about the same locks, as what really happened."""
    evidence = teller.evidence
    several = f"{len(circle)} tasks wait for each other" if len(circle) > 1 else "a task waits for a lock it holds"
    waits = "; ".join(
        f"{teller.task(task.pid)} holds {teller.name(entry.cls)} and has waited for {_awaited(teller, circle, i)} for "
        f"{duration(evidence.end_ns - task.since_ns)}"
        for i, (task, entry) in enumerate(circle)
    )
    return replace(
        finding,
        severity=Severity.ERROR,
        confidence=sure(evidence, circle),
        reason=_reason(evidence, circle),
        title=f"deadlock: {several} to the end of the recording",
        rests=(),  # they wait still: what came before does not change that
        message=f"{waits}.",
        count=max(finding.count, 1),
        witnesses=tuple(_witnesses(teller, circle)),
        story=tuple(_story(teller, circle)),
    )


def _awaited(teller: Teller, circle: Circle, place: int) -> str:
    return teller.name(circle[(place + 1) % len(circle)][1].cls)


def _witnesses(teller: Teller, circle: Circle) -> Iterator[Witness]:
    evidence = teller.evidence
    for side, (task, entry) in enumerate(circle):
        took = f"takes {teller.name(entry.cls)} at {address(entry.lock)}"
        yield replace(evidence.witness(entry, task.cpu, task.pid, note=took), side=side)
        asked = _asked(circle, side)
        note = f"waits for {teller.name(asked.cls)} at {address(asked.lock)} to the end"
        yield replace(evidence.witness(asked, task.cpu, task.pid, note=note), side=side)


def _asked(circle: Circle, place: int) -> Entry:
    """The attempt that a task of a circle waits in."""
    task = circle[place][0]
    lock = circle[(place + 1) % len(circle)][1]
    return lock._replace(read=task.read, trylock=0, ip=task.ip, ts_ns=task.since_ns, seq=task.seq)


def _story(teller: Teller, circle: Circle) -> Iterator[str]:
    evidence = teller.evidence
    for place, (task, _) in enumerate(circle):
        asked = _asked(circle, place)
        waited = duration(evidence.end_ns - task.since_ns)
        yield f"{teller.task(task.pid)} waits for lock: {teller.moment(task.since_ns, task.cpu)}, {waited} to the end"
        yield f"{lock_word(asked)} {teller.lock_text(asked, -1)}"
        owner = circle[(place + 1) % len(circle)][0]
        yield f"which {teller.task(owner.pid)} holds" + (" itself" if owner.pid == task.pid else "")
        yield ""
    for task, _ in circle:
        yield from teller.held_lines(task.held, task.pid, -1)
        yield ""
    yield f"nothing more was recorded of these tasks' locks up to {seconds(evidence.end_ns)}."
    yield ""
    yield " *** DEADLOCK ***"
