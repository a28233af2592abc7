"""What a check is: a code, a page, the evidence it needs, and a function from evidence to findings.

A check module's docstring is its page (``lockscope explain CODE``) and its test: headings "What it finds", "Why it is
a bug", "What to do", "What it looks like" (a firing and a quiet example, ftrace text in fenced blocks), "What it
cannot see".
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

from lockscope.evidence.evidence import Evidence
from lockscope.registry import modules
from lockscope.results.findings import CheckRun, Finding, Severity, Status, Verdict


@dataclass(frozen=True, slots=True)
class Grounds:
    """Whether the evidence for a check is there, and if not what to record (a shell command where there is one)."""

    status: Status = Status.RAN
    reason: str | None = None


Judge = Callable[[Evidence], Iterator[Finding]]
Needs = Callable[[Evidence], Grounds]

_CHECKS: dict[str, Check] = {}
_EMPTY = "the trace has no event"


@dataclass(frozen=True, slots=True)
class Check:
    """A registered check."""

    code: str
    name: str
    severity: Severity
    grounds: Needs
    judge: Judge
    page: str
    notice: bool = False  # LS9xx: speaks of the trace, has no verdict of its own
    facts: tuple[str, ...] = ()  # what it reads of ``evidence.facts``, by name: made only where a selected check asks

    def run(self, evidence: Evidence) -> tuple[CheckRun, list[Finding]]:
        """Judge one trace. What is skipped finds nothing; what is partial is never clean."""
        nothing = not evidence.recorded and not self.notice
        grounds = Grounds(Status.SKIPPED, _EMPTY) if nothing else self._grounds(evidence)
        found = [] if grounds.status is Status.SKIPPED else list(self.judge(evidence))
        grounds = _less(grounds, {f.undecided for f in found if f.undecided})
        loud = any(f.severity is not Severity.INFO for f in found)
        if loud and not self.notice:
            verdict = Verdict.VIOLATION
        else:
            verdict = Verdict.CLEAN if grounds.status is Status.RAN else Verdict.UNKNOWN
        run = CheckRun(self.code, self.name, grounds.status, verdict, grounds.reason)
        return run, [f if f.advice else replace(f, advice=self.advice) for f in found]

    @property
    def advice(self) -> str:
        """What to do about a finding: the page's text under that heading, as one paragraph."""
        _, _, rest = self.page.partition("\nWhat to do\n----------\n")
        return " ".join(re.split(r"\n.+\n-{3,}\n", rest, maxsplit=1)[0].split())

    def _grounds(self, evidence: Evidence) -> Grounds:
        """Its own, where no lock function that it rests on was recorded by halves."""
        grounds = self.grounds(evidence)
        half = None if self.notice else _half_recorded(evidence, self.code)
        return Grounds(Status.SKIPPED, half) if half and grounds.status is not Status.SKIPPED else grounds


def _half_recorded(evidence: Evidence, code: str) -> str | None:
    """What a check rests on and was not recorded whole: who holds which lock, or is in which read section."""
    by_functions = not (evidence.plain or evidence.detailed)  # else lockdep's events tell
    for kind, what in evidence.uneven:
        if by_functions or (kind == "srcu_read" and code.startswith("LS2")):
            return f"{what}: record both (lockscope record -- COMMAND)"
    return None


def _less(grounds: Grounds, undecided: set[str]) -> Grounds:
    """What is left of them where the trace does not tell whether something found is a bug."""
    if not undecided:
        return grounds
    reasons = [*([grounds.reason] if grounds.reason else []), *sorted(undecided)]
    return Grounds(Status.PARTIAL, "; ".join(reasons))


def check(
    code: str, name: str, severity: Severity, grounds: Needs, *, notice: bool = False, facts: tuple[str, ...] = ()
) -> Callable[[Judge], Judge]:
    """Register a judge under its code. The page is the module's docstring, which must not be empty."""

    def register(judge: Judge) -> Judge:
        page = sys.modules[judge.__module__].__doc__ or ""
        if not page.strip() or code in _CHECKS:
            msg = f"{code}: {'no page' if not page.strip() else 'code taken'} ({judge.__module__})"
            raise ValueError(msg)
        _CHECKS[code] = Check(code, name, severity, grounds, judge, page, notice, facts)
        return judge

    return register


@cache
def all_checks() -> dict[str, Check]:
    """Every check by code, sorted; imports the folder."""
    for _ in modules("lockscope.checks"):
        pass
    return dict(sorted(_CHECKS.items()))
