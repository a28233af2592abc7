"""Text in lockdep's dialect: the findings, what they rest on, and the verdict as the last line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from lockscope.findings import Finding, Report
from lockscope.harmless import printable
from lockscope.report._base import is_notice, ordered
from lockscope.report._coverage_text import coverage_lines, verdict_lines
from lockscope.report._finding_text import finding_lines, index_line
from lockscope.report._lines import Paint
from lockscope.units import count, duration

NAME = "text"
EXTENSION = ".txt"


def write(report: Report, stream: TextIO, *, color: bool = False) -> None:
    """Write the report for a person to read."""
    for line in lines(report, Paint(color)):
        stream.write(f"{line}\n")


def lines(report: Report, paint: Paint) -> Iterator[str]:
    """The report's lines, without their ends."""
    told = [f for f in ordered(report.findings) if not is_notice(f.code)]
    if len(told) > 1:
        yield paint("bold", f"{count(len(told))} findings, worst first:")
        for number, finding in enumerate(told, 1):
            yield index_line(number, finding, _place(report, finding), paint)
        yield ""
    for number, finding in enumerate(told, 1):
        place = f"finding {number} of {len(told)}" if len(told) > 1 else ""
        yield from finding_lines(finding, report.traces[finding.trace], paint, place=place)
        yield ""
    yield from _windows(report)
    for index in range(len(report.traces)):
        yield from coverage_lines(report, index, paint)
        yield ""
    yield from _remarks(report, told)
    yield from verdict_lines(report, paint)


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


def _remarks(report: Report, told: list[Finding]) -> Iterator[str]:
    if report.assumptions:
        yield f"assumed: {', '.join(report.assumptions)}"
    if report.known:
        yield f"known from the baseline and not listed: {count(report.known)}"
    if told:
        yield "to keep a known finding out: --baseline REPORT.json (this report with --format json), --suppressions"
        yield "FILE.toml (with a reason for each), or --ignore CODE or FINGERPRINT;"
        yield f"what a code means: lockscope explain {told[0].code}"
    if told or report.assumptions or report.known:
        yield ""
