"""Findings that an anomaly of the walk is by itself: what was met at one event, told once for each class and window."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lockscope.checks.story import Teller, merged
from lockscope.evidence.evidence import Evidence
from lockscope.results.findings import Confidence, Finding, Severity, Witness
from lockscope.walk.chains import Anomaly


class AnomalyFinding:
    """How the anomalies of a check become findings; ``event`` is the name of the event they were met at."""

    def __init__(self, code: str, name: str, title: str, effect: str) -> None:
        self.code, self.name, self.title, self.effect = code, name, title, effect

    def make(
        self,
        teller: Teller,
        odd: Anomaly,
        *,
        classes: tuple[str, ...],
        message: str,
        confidence: Confidence,
        witnesses: tuple[Witness, ...],
        opening: tuple[str, ...],
        flow: str = "",
        title: str = "",
        reason: str = "",
    ) -> Finding:
        """A finding; the locks held end its story."""
        return Finding(
            code=self.code,
            name=self.name,
            severity=Severity.ERROR,
            confidence=confidence,
            title=title or self.title,
            message=message,
            classes=classes,
            count=odd.count,
            witnesses=witnesses,
            story=(*opening, "", *teller.held_lines(odd.held, odd.pid, odd.window)),
            flow=flow,
            window=teller.evidence.window(odd.window),
            rests=_rests(odd),
            effect=self.effect,
            reason=reason or balance_reason(teller.evidence, proved=odd.proved),
        )


def _rests(odd: Anomaly) -> tuple[tuple[int, int], ...]:
    """What it rests on: all since the task was last seen to hold nothing, where a lock was not seen to be taken;
    else since the first of the locks that it seems to hold. The preempt count proves either, but says only how many
    spinning locks there are, not which: what a silence changed in them it does not tell.
    """
    since = min((e.ts_ns for e in odd.held), default=odd.since_ns)
    if odd.what == _RELEASED:
        return () if odd.proved and not odd.held else ((since if odd.proved else min(since, odd.since_ns), odd.ts_ns),)
    return () if odd.proved else ((since, odd.ts_ns),)


_RELEASED = "release-not-held"


def balance_confidence(evidence: Evidence, *, proved: bool = True) -> Confidence:
    """Certain where no event of a task can be missing: none was lost or left out, and more than lock events says so
    (``proved``: the preempt count), for the ring buffer drops some unseen.
    """
    sure = evidence.lost == 0 and not evidence.filtered and proved
    return Confidence.CERTAIN if sure else Confidence.LIKELY


def balance_reason(evidence: Evidence, *, proved: bool = True) -> str:
    """Why ``balance_confidence`` says what it says."""
    if evidence.lost != 0:
        return "events were lost"
    if evidence.filtered:
        return "a PID filter left out events"
    return "no event is missing" if proved else "only lock events say so, and the ring buffer can drop one unseen"


def judge_anomalies(
    evidence: Evidence, what: tuple[str, ...], tell: Callable[[Teller, Anomaly], Finding | None]
) -> Iterator[Finding]:
    """Findings for all anomalies of these kinds."""
    teller = Teller(evidence)
    found = (tell(teller, odd) for odd in evidence.anomalies if odd.what in what)
    yield from merged(f for f in found if f is not None)
