"""Does a report say what is true of a simulated trace, at the place where it happened, and nothing else?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from lockscope.results.findings import Finding, Severity
from lockscope.simulate.truth import Planted, Truth


@dataclass(slots=True)
class Agreement:
    """``missed``: true and not in the report; ``false``: in it and not true; ``misplaced``: told of another place."""

    missed: list[Planted] = field(default_factory=list)
    misplaced: list[Planted] = field(default_factory=list)
    false: list[Finding] = field(default_factory=list)
    met: int = 0

    def __bool__(self) -> bool:
        return not (self.missed or self.false or self.misplaced)

    def lines(self) -> list[str]:
        """In words."""
        said = [f"missed: {'|'.join(p.codes)} {' -> '.join(p.classes)}: {p.why}" for p in self.missed]
        said += [f"told elsewhere: {'|'.join(p.codes)} {' -> '.join(p.classes)}: {p.why}" for p in self.misplaced]
        said += [f"false alarm: {f.code} {f.title}" for f in self.false]
        return said or [f"as planted: {self.met} of {self.met} found where they are, nothing else"]


def compare(findings: Iterable[Finding], truth: Truth) -> Agreement:
    """Findings at warning or error against the truth."""
    loud = [f for f in findings if f.severity is not Severity.INFO]
    result = Agreement()
    explained: set[int] = set()
    for planted in truth.findings:
        fitting = [i for i, f in enumerate(loud) if f.code in planted.codes and _same(f.classes, planted.classes)]
        placed = [i for i in fitting if _placed(loud[i], planted)]
        explained.update(placed)
        if placed:
            result.met += 1
        elif fitting:
            explained.update(fitting)
            result.misplaced.append(planted)
        else:
            result.missed.append(planted)
    result.false = [f for i, f in enumerate(loud) if i not in explained and f.code not in truth.also]
    return result


def _same(told: tuple[str, ...], planted: tuple[str, ...]) -> bool:
    """The same locks; a ring of them may begin anywhere."""
    if not planted:
        return True
    return any(told[i:] + told[:i] == planted for i in range(max(1, len(told))))


def _placed(finding: Finding, planted: Planted) -> bool:
    return any(w.pid == pid and begin <= w.ts_ns <= end for w in finding.witnesses for pid, begin, end in planted.where)
