"""The verdict: first of all, in a line a trace. What it rests on is ``coverage``, last of all."""

from __future__ import annotations

from lockscope.report.findings._coverage_text import nothing_found, verdict_lines
from lockscope.report.lines import Paint
from lockscope.report.output import is_notice, verdict_of
from lockscope.report.page._sections import Part
from lockscope.report.page_shell import chip, esc, table
from lockscope.results.findings import Report, Verdict
from lockscope.units import count

ORDER, TITLE, NAV = 10, "Verdict", "verdict"
_WORDS = {Verdict.VIOLATION: "Violation", Verdict.CLEAN: "Clean", Verdict.UNKNOWN: "Cannot tell"}
_PLAIN = Paint(False)
_TRACES = 40


def made(report: Report, beside: str) -> Part | None:
    """One banner; of several traces, a table with a row each."""
    del beside
    lines = list(verdict_lines(report, _PLAIN))
    paths = len(report.traces) == 1
    said = lines[-1].removeprefix(report.traces[0].path if paths else f"all {len(report.traces)} traces")
    parts = [_banner(report.verdict, said.removeprefix(": "), nothing_found(report))]
    if len(report.traces) > 1:
        rows = (_row(report, index, lines[index]) for index in range(min(len(report.traces), _TRACES)))
        parts.append(table(("trace", "verdict", "kernel", "#events", "#lost"), rows))
    if len(report.traces) > _TRACES:
        parts.append(f'<p class="dim">{len(report.traces) - _TRACES} more traces are not shown here</p>')
    if report.known or report.suppressed:
        out = sum(s.count for s in report.suppressed)
        parts.append(
            f'<p class="dim">not listed: {count(report.known)} known from the baseline, {count(out)} suppressed</p>'
        )
    if any(c.verdict is Verdict.UNKNOWN and not is_notice(c.code) for c in report.checks):
        parts.append('<p class="dim">Why checks were not judged in full: <a href="#coverage">Coverage</a>.</p>')
    return Part("".join(parts))


def _row(report: Report, index: int, line: str) -> str:
    trace = report.traces[index]
    kind = "nothing" if nothing_found(report, index) else str(verdict_of(report, index))
    said = line.removeprefix(trace.path).removeprefix(": ")
    lost = "unknown" if trace.lost_events is None else count(trace.lost_events)
    return (
        f'<tr data-search><td class="mono"><a href="#coverage-{index}">{esc(trace.path)}</a></td>'
        f'<td class="what">{chip(said, kind)}</td><td>{esc(trace.kernel or "not named")}</td>'
        f'<td class="n">{count(trace.events)}</td><td class="n">{lost}</td></tr>'
    )


def _banner(verdict: Verdict, line: str, nothing: bool) -> str:
    rest = line if nothing else line.partition(": ")[2] or line
    words = f"<strong>{'Nothing found' if nothing else _WORDS[verdict]}</strong><p>{esc(rest)}</p>"
    return f'<div class="verdict {"nothing" if nothing else verdict}" role="status"><div>{words}</div></div>'
