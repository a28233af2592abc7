"""Whether a recording may have been interrupted where a finding rests on it, and what the next reading takes for lost.

A finding that is met again and again without a silence in what it rests on is true whatever happened elsewhere. One
that always has a silence in it is explained as well by a recording that was paused: it is judged again with the silence
taken for a loss. So is the whole trace where its events contradict each other, and where one event of a pair stopped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lockscope.evidence.buffer_ends import End
from lockscope.evidence.evidence import Evidence
from lockscope.evidence.partners import Stop
from lockscope.facts.interruptions import FOREVER, Contradiction, Hole
from lockscope.results.findings import Finding, Severity
from lockscope.tables.events import LossNote
from lockscope.units import duration, seconds

_WAITED_FOR = ("LS301", "LS302")  # what should have come: that takes long enough for guests to run meanwhile
_TOLD = 8  # stretches, one by one
_ALL_CPUS = "record every CPU (tracing_cpumask, trace-cmd record -M, report --cpu)"


@dataclass(frozen=True, slots=True)
class Doubts:
    """What to take for lost: ``holes``, and CPUs. ``proved``: the holes that do not depend on findings."""

    holes: frozenset[Hole] = frozenset()
    absent: frozenset[int] = frozenset()
    proved: frozenset[Hole] = frozenset()

    def __or__(self, other: Doubts) -> Doubts:
        return Doubts(self.holes | other.holes, self.absent | other.absent, self.proved | other.proved)


def rests_on(finding: Finding, evidence: Evidence) -> frozenset[Hole]:
    """What may explain a finding: silences, and ends of buffers before it; empty where it was met once without any."""
    ends = [e for e in evidence.ends if e.locks or not finding.code.startswith("LS1")]
    if finding.rests is not None:
        least = evidence.silences.rare_ns if finding.code in _WAITED_FOR else 0
        found = [_explaining(evidence, ends, *each, least) for each in finding.rests]
        return frozenset() if frozenset() in found else frozenset().union(*found)
    sides = [(min(w.ts_ns for w in side), max(w.ts_ns for w in side)) for side in finding.sides]
    return frozenset().union(*(_explaining(evidence, ends, *side) for side in sides))


def _explaining(
    evidence: Evidence, ends: Iterable[End], since_ns: int, until_ns: int, least_ns: int = 0
) -> frozenset[Hole]:
    """The longest silence between these times, and where buffers ended before the later one. What is found although
    that one was taken for missing rests on all the others: any may be the pause.
    """
    ended = frozenset(e.hole for e in ends if e.hole.start_ns < until_ns)
    silences = evidence.silences.within(since_ns, until_ns, least_ns)
    return ended.union(silences if silences and silences[0] in evidence.holes else silences[:1])


def is_alarm(finding: Finding) -> bool:
    """Whether it counts: a notice or an information is no alarm."""
    return finding.severity is not Severity.INFO and finding.code < "LS9"


def doubts(evidence: Evidence, findings: Iterable[Finding]) -> Doubts:
    """What the next reading is to take for lost. Judged windows begin from nothing and are short: there, nothing."""
    if evidence.windowed:
        return Doubts()
    proved, absent = _of_contradictions(evidence)
    proved |= {stop.hole for stop in evidence.stops if stop.hole is not None}
    proved |= {end.hole for end in evidence.ends if end.apart}
    if absent - evidence.absent:
        return Doubts(frozenset(proved), absent, frozenset(proved))  # what a missing CPU does not explain comes next
    holes = proved.union(*(rests_on(f, evidence) for f in findings if is_alarm(f)))
    return Doubts(frozenset(holes), absent, frozenset(proved))


def _of_contradictions(evidence: Evidence) -> tuple[set[Hole], frozenset[int]]:
    found: tuple[Contradiction, ...] = evidence.facts.get("continuity", ())
    holes, gone = set(), not_recorded(evidence)
    for each in found:
        hole = evidence.silences.longest_in(each.since_ns, each.ts_ns)
        if hole is not None and not gone:
            holes.add(hole)
    return holes, gone if found else frozenset()


def not_recorded(evidence: Evidence) -> frozenset[int]:
    """CPUs that the host has and of which there is no event."""
    return frozenset(range(evidence.info.cpus)) - evidence.seen_cpus


def told(evidence: Evidence) -> list[LossNote]:
    """What was taken for lost, in words, as losses that nobody counted."""
    stopped = {stop.hole: stop for stop in evidence.stops}
    ended = {end.hole: end for end in evidence.ends}
    notes = [
        LossNote(ended[hole].what, ended[hole].cpu, None, ended[hole].remedy, ended[hole].buffer)
        if hole in ended
        else LossNote(_words(hole, stopped.get(hole)), None, None, _remedy(hole))
        for hole in evidence.holes[:_TOLD]
    ]
    if len(evidence.holes) > _TOLD:
        notes.append(LossNote(f"{len(evidence.holes) - _TOLD} more such stretches", None, None, ""))
    return notes + [
        LossNote(f"none of CPU {cpu} is in the trace, and tasks may have run there", cpu, None, _ALL_CPUS)
        for cpu in sorted(evidence.absent)
    ]


def _words(hole: Hole, stop: Stop | None) -> str:
    if stop is not None:
        until = "to the end" if hole.end_ns == FOREVER else f"to {seconds(hole.end_ns)}"
        return f"from {seconds(hole.start_ns)} {until}, where {stop.missing} stopped coming: left out"
    return f"no event on any CPU for {duration(hole.end_ns - hole.start_ns)} from {seconds(hole.start_ns)}: paused?"


def _remedy(hole: Hole) -> str:
    if hole.seq == hole.begin:
        return "record without pausing (tracing_on, snapshots, traceoff triggers)"
    return "record all events of a pair, from the start to the end"
