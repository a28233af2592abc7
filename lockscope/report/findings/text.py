"""Text in lockdep's dialect: the findings, what they rest on, and the verdict as the last line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from lockscope.harmless import printable
from lockscope.report.findings._coverage_text import coverage_lines, short_coverage, verdict_lines
from lockscope.report.findings._finding_text import finding_lines, index_line
from lockscope.report.lines import Paint, fit
from lockscope.report.output import is_notice, places
from lockscope.results.findings import Finding, Report
from lockscope.units import count, duration

NAME = "text"
EXTENSION = ".txt"
FOR_PEOPLE = True


def write(report: Report, stream: TextIO, *, color: bool = False, coverage: bool = False,
          width: int | None = None) -> None:  # fmt: skip
    """Write the report for a person to read. ``coverage``: with all that the verdict rests on. ``width``: of a
    terminal, in columns.
    """
    paint = Paint(color, min(width or 110, 110))
    for line in lines(report, paint, coverage=coverage):
        for part in fit(line, width):
            stream.write(f"{part}\n")


def lines(report: Report, paint: Paint, *, coverage: bool = False) -> Iterator[str]:
    """The report's lines, without their ends."""
    found = places(f for f in report.findings if not is_notice(f.code))
    number, total = 0, sum(map(len, found))
    if total > 1:
        yield from _index(report, found, paint)
    for place in found:
        for beside, finding in zip((None, *place), place, strict=False):
            number += 1
            which = f"finding {number} of {total}" if total > 1 else ""
            trace = report.traces[finding.trace]
            yield from finding_lines(finding, trace, paint, place=which, beside=beside and place[0])
            yield ""
    yield from _windows(report)
    for index in range(len(report.traces)):
        yield from coverage_lines(report, index, paint) if coverage else short_coverage(report, index)
        if coverage:
            yield ""
    yield from _remarks(report, total)
    yield from verdict_lines(report, paint)


def _index(report: Report, found: list[list[Finding]], paint: Paint) -> Iterator[str]:
    total = sum(map(len, found))
    where = f"{count(len(found))} place{'' if len(found) == 1 else 's'}"
    yield paint("bold", f"{count(total)} findings at {where}, worst first:")
    for number, place in enumerate(found, 1):
        for at, finding in enumerate(place):
            yield index_line(None if at else number, finding, _place(report, finding), paint)
    yield ""


def _place(report: Report, finding: Finding) -> str:
    place = f" in {printable(finding.window)}" if finding.window is not None else ""
    return place + (f" ({printable(report.traces[finding.trace].path)})" if len(report.traces) > 1 else "")


def _windows(report: Report) -> Iterator[str]:
    if not report.windows:
        return
    yield f"{count(len(report.windows))} windows, each judged on its own:"
    wide = max(len(printable(w.name)) for w in report.windows)
    for window in report.windows:
        found = f"{count(window.findings)} found" if window.findings else "nothing found"
        yield f"  {printable(window.name):<{wide}}  {found:<14} {duration(window.end_ns - window.start_ns)}"
    yield ""


def _remarks(report: Report, total: int) -> Iterator[str]:
    if report.assumptions:
        yield f"assumed: {', '.join(report.assumptions)}"
    if report.known:
        yield f"known from the baseline and not listed: {count(report.known)}"
    if report.left_out:
        yield f"not listed, as they are outside of what was asked for: {count(report.left_out)} findings"
    if total:
        yield "to hide known findings: --suppressions FILE.toml, --baseline REPORT.json, --ignore CODE or ID"
