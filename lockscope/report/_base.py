"""What an output is: a module of this folder with a name and a ``write``.

``report/NAME.py`` defines ``NAME`` (what ``--format`` takes: the file's name), ``EXTENSION`` (of a file, with the dot)
and ``write(report, stream, *, color=False)``. Nothing lists them, and only the one that is asked for is imported.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol, TextIO, cast

from lockscope.errors import UsageError
from lockscope.findings import Finding, Report, Severity, Verdict
from lockscope.registry import module, modules, names

_RANK = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


class Reporter(Protocol):
    """An output, as a module is one."""

    NAME: str
    EXTENSION: str
    # Of those that show more than findings, and leave something for files beside theirs (see ``report/html.py``):
    # EXHIBITS = True, and ``write_beside(report, stream, folder)``, which returns these files' texts by name.

    def write(self, report: Report, stream: TextIO, *, color: bool = False) -> None:
        """Write the whole report. ``color``: the stream is a terminal that shows colours."""
        ...


@cache
def reporters() -> dict[str, Reporter]:
    """Every output by name, sorted."""
    found = (cast("Reporter", m) for m in modules("lockscope.report") if hasattr(m, "NAME"))
    return {r.NAME: r for r in sorted(found, key=lambda r: r.NAME)}


def reporter_names() -> list[str]:
    """The names of all outputs."""
    return names("lockscope.report")


def reporter(name: str) -> Reporter:
    """The output with this name; ``UsageError`` names those that exist."""
    if name not in reporter_names():
        msg = f"--format {name}: there is no such output; there are {', '.join(reporter_names())}"
        raise UsageError(msg)
    return cast("Reporter", module("lockscope.report", name))


def is_notice(code: str) -> bool:
    """Whether a code speaks of the trace (LS9xx), not of the kernel."""
    return code >= "LS9"


def ordered(findings: list[Finding]) -> list[Finding]:
    """Findings in the order of all outputs: worst first, then by trace, code, window and first witness."""
    return sorted(findings, key=lambda f: (_RANK[f.severity], f.trace, f.code, f.window or "", _first_ns(f)))


def _first_ns(finding: Finding) -> int:
    return finding.witnesses[0].ts_ns if finding.witnesses else -1


def verdict_of(report: Report, trace: int) -> Verdict:
    """One trace's share of ``Report.verdict``, by the same rule."""
    share = Report([], [c for c in report.checks if c.trace == trace], [f for f in report.findings if f.trace == trace])
    return share.verdict
