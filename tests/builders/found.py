"""What one reading of a script found, as plain values to compare with."""

from __future__ import annotations

from typing import Any, NamedTuple

from lockscope.evidence.evidence import Evidence
from lockscope.evidence.gather import Gathered, GatherOptions
from lockscope.walk.chains import Anomaly, Chain
from lockscope.walk.walk import HOLD_COLUMNS
from tests.builders.script import Script


class Hold(NamedTuple):
    """A row of the holds table; ``known``: whether begin and end are."""

    name: str
    lock: int
    pid: int
    asked: int
    acquired: int
    end: int
    depth: int
    known: str  # "both", "begin", "end"
    how: str  # "", "read", "rread", "try", ... and "contended", and the context where it is no task's


_READ, _CONTEXT = ("", "read", "rread", "?"), ("", "softirq", "hardirq", "nmi")


def walked(script: Script, **options: Any) -> Gathered:
    """One reading of a script, with rows of the holds table."""
    return script.gathered(GatherOptions(holds=True, **options))


def holds(found: Gathered) -> list[Hold]:
    """All holds, by when they were asked for."""
    rows = [dict(zip(HOLD_COLUMNS, row, strict=True)) for part in found.walk.holds for row in part.tolist()]
    made = []
    for r in sorted(rows, key=lambda r: r["seq"]):
        mode = r["mode"]
        words = (_READ[mode & 3], "try" if mode & 4 else "", "contended" if mode & 32 else "", _CONTEXT[mode >> 3 & 3])
        known = ("?", "begin", "end", "both")[r["known"]]
        how = " ".join(w for w in words if w)
        times = r["asked_ns"], r["acquired_ns"], r["end_ns"]
        made.append(Hold(found.evidence.label(r["cls"]), r["lock"], r["pid"], *times, r["depth"], known, how))
    return made


def chain_text(evidence: Evidence, chain: Chain) -> str:
    """``outer > inner xN``; ``?`` where the held set is not known to be complete."""
    names = " > ".join(evidence.label(e.cls) for e in (*chain.held, chain.next))
    return names + (f" x{chain.count}" if chain.count > 1 else "") + ("" if chain.whole else "?")


def chains(found: Gathered) -> list[str]:
    """All distinct chains, in the order in which they were first seen."""
    evidence = found.evidence
    return [chain_text(evidence, evidence.chains[i]) for i in range(len(evidence.chains))]


def anomalies(found: Gathered) -> list[tuple[str, ...]]:
    """(what, class, labels of the locks held)."""

    def one(odd: Anomaly) -> tuple[str, ...]:
        label = found.evidence.label
        return odd.what, label(odd.cls), *(label(e.cls) for e in odd.held)

    return [one(odd) for odd in found.evidence.anomalies]
