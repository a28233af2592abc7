"""One finding in lockdep's dialect: the story the check tells, framed by what every finding has."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from lockscope.findings import Finding, TraceSummary, Witness
from lockscope.harmless import printable
from lockscope.report._lines import Paint, labelled
from lockscope.report._where import locate
from lockscope.units import count, seconds

_RULE = 54  # the width of lockdep's ruler (kernel/locking/lockdep.c, print_circular_bug_header)
_SHOWN = 12  # witnesses; JSON has them all


def headline(finding: Finding) -> str:
    """``WARNING: possible circular locking dependency detected [LS101]``; INFO where it is only a remark."""
    return f"{'INFO' if finding.severity == 'info' else 'WARNING'}: {printable(finding.title)} [{finding.code}]"


def index_line(number: int, finding: Finding, where: str, paint: Paint) -> str:
    """One line of the list that precedes many findings."""
    what = printable(finding.title)
    if finding.classes:
        what += ": " + printable(" -> ".join(finding.classes))
    severity = paint(finding.severity, f"{finding.severity:<8}")
    return f"{number:>4}  {severity} {finding.code}  {finding.confidence:<8} {_times(finding):>7}  {what}{where}"


def finding_lines(finding: Finding, trace: TraceSummary, paint: Paint, *, place: str = "") -> Iterator[str]:
    """The full report of one finding. ``place``: "finding 2 of 7"."""
    yield from splat_lines(finding, trace, paint, place=place)
    yield ""
    yield from _footer(finding, trace)


def splat_lines(finding: Finding, trace: TraceSummary, paint: Paint, *, place: str = "") -> Iterator[str]:
    """The finding as lockdep would print it."""
    title = headline(finding)
    width = max(_RULE, len(title))
    origin = ", ".join(printable(p) for p in (trace.kernel or "unknown kernel", trace.path, place) if p)
    yield "=" * width
    yield paint(finding.severity, title)
    yield origin
    yield "-" * width
    if finding.story:
        for line in finding.story:
            shown = printable(line.expandtabs()).rstrip()
            yield paint("bold", shown) if "***" in shown else shown
    else:
        yield from textwrap.wrap(printable(finding.message), 100) or [""]


def _footer(finding: Finding, trace: TraceSummary) -> Iterator[str]:
    if finding.story and finding.message:
        yield from labelled("in short", textwrap.wrap(printable(finding.message), 100))
    if finding.rule:
        yield from labelled("rule", [printable(finding.rule.id), *_source(finding.rule.source)])
    yield from labelled("seen", [seen(finding)])
    yield from labelled("judged", [f"{finding.severity}, {finding.confidence} ({finding.name})"])
    if finding.window is not None:
        yield from labelled("window", [printable(finding.window)])
    yield from labelled("fingerprint", [finding.fingerprint])
    if not finding.witnesses:
        return
    yield from labelled("where", witness_lines(finding.witnesses))
    command = locate(trace, finding.witnesses[0])
    if command:
        yield from labelled("show it", [printable(command)])


def _source(source: str) -> list[str]:
    return textwrap.wrap(printable(source), 100)


def _times(finding: Finding) -> str:
    return f"{count(finding.count)}x"


def seen(finding: Finding) -> str:
    """How often, and when first by whom."""
    times = "once" if finding.count == 1 else f"{count(finding.count)} times"
    if not finding.witnesses:
        return times
    first = finding.witnesses[0]
    at = f"at {seconds(first.ts_ns)} on CPU {first.cpu} by {printable(first.comm)}/{first.pid}"
    return f"{times}, {at}" if finding.count == 1 else f"{times}, first {at}"


def witness_lines(witnesses: tuple[Witness, ...]) -> list[str]:
    """A line for each witness, in columns; of very many the first."""
    shown = witnesses[:_SHOWN]
    rows = [
        (seconds(w.ts_ns), f"CPU {w.cpu}", f"{printable(w.comm)}/{w.pid}", printable(w.event), _part(w)) for w in shown
    ]
    wide = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [
        f"{t:>{wide[0]}}  {cpu:<{wide[1]}}  {task:<{wide[2]}}  {event:<{wide[3]}}  {part}".rstrip()
        for t, cpu, task, event, part in rows
    ]
    if len(witnesses) > _SHOWN:
        lines.append(f"... and {len(witnesses) - _SHOWN} more (--format json has all)")
    return lines


def _part(witness: Witness) -> str:
    parts = [] if witness.context == "task" else [f"in {witness.context}"]
    if witness.location:
        parts.append(f"at {printable(witness.location)}")
    if witness.note:
        parts.append(printable(witness.note))
    return ", ".join(parts)
