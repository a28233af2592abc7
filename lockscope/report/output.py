"""What an output is: a module of ``report/findings`` with a name and a ``write``.

``report/findings/NAME.py`` defines ``NAME`` (the file's name, which ``--format`` takes), ``EXTENSION`` (with the dot)
and ``write(report, stream, *, color=False)``. Nothing lists them, and only the one that is asked for is imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Protocol, TextIO, cast

from lockscope.errors import unknown
from lockscope.registry import module, modules, names
from lockscope.results.findings import Confidence, Finding, Report, Severity, Verdict, Witness

_RANK = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}
_SURE = {Confidence.CERTAIN: 0, Confidence.LIKELY: 1, Confidence.POSSIBLE: 2}


class Reporter(Protocol):
    """An output, as a module is one."""

    NAME: str
    EXTENSION: str
    # Of those that show more than findings, and leave something for files beside theirs (see ``html.py``):
    # FOR_PEOPLE = True: ``write`` also takes ``coverage``, whether all that the verdict rests on is shown.
    # PAGE_DATA = True, and ``write_beside(report, stream, folder)``, which returns these files' texts by name.

    def write(self, report: Report, stream: TextIO, *, color: bool = False) -> None:
        """Write the whole report. ``color``: the stream is a terminal that shows colours."""
        ...


@cache
def reporters() -> dict[str, Reporter]:
    """Every output by name, sorted."""
    found = (cast("Reporter", m) for m in modules("lockscope.report.findings") if hasattr(m, "NAME"))
    return {r.NAME: r for r in sorted(found, key=lambda r: r.NAME)}


def reporter_names() -> list[str]:
    """The names of all outputs."""
    return names("lockscope.report.findings")


def reporter(name: str) -> Reporter:
    """The output with this name; ``UsageError`` names those that exist."""
    if name not in reporter_names():
        raise unknown("--format", name, reporter_names())
    return cast("Reporter", module("lockscope.report.findings", name))


def is_notice(code: str) -> bool:
    """Whether a code speaks of the trace (LS9xx), not of the kernel."""
    return code >= "LS9"


def ordered(findings: list[Finding]) -> list[Finding]:
    """Findings in the order of all outputs: by severity, confidence, trace, code, window and first witness; those of
    one place follow the first of them.
    """
    return [finding for place in places(findings) for finding in place]


def places(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Findings in order, those of one place together: where the event that decides one is an event of the other too.

    One wrong line of code often breaks several rules: a mutex inside mmu_lock is LS103 and LS109.
    """
    found = sorted(findings, key=_order)
    home: dict[tuple[int, str, int, int, int], list[int]] = {}
    for number, finding in enumerate(found):
        for witness in finding.witnesses:
            home.setdefault(_event(finding, witness), []).append(number)
    group = list(range(len(found)))
    for number, finding in enumerate(found):
        if finding.witnesses and not is_notice(finding.code):
            decisive = max(finding.sides[0], key=lambda w: w.ts_ns)
            others = home[_event(finding, decisive)]
            together = {_root(group, other) for other in (number, *others)}
            for other in together:
                group[other] = min(together)
    made: dict[int, list[Finding]] = {}
    for number, finding in enumerate(found):
        made.setdefault(_root(group, number), []).append(finding)
    return list(made.values())


def _root(group: list[int], number: int) -> int:
    while group[number] != number:
        number = group[number]
    return number


def _event(finding: Finding, witness: Witness) -> tuple[int, str, int, int, int]:
    return finding.trace, finding.window or "", witness.ts_ns, witness.cpu, witness.pid


def _order(finding: Finding) -> tuple[int, int, int, str, str, int]:
    return (
        _RANK[finding.severity], _SURE[finding.confidence], finding.trace, finding.code, finding.window or "",
        _first_ns(finding),
    )  # fmt: skip


def _first_ns(finding: Finding) -> int:
    return finding.witnesses[0].ts_ns if finding.witnesses else -1


def verdict_of(report: Report, trace: int) -> Verdict:
    """One trace's share of ``Report.verdict``, by the same rule."""
    share = Report([], [c for c in report.checks if c.trace == trace], [f for f in report.findings if f.trace == trace])
    return share.verdict
