"""One finding on one screen: lockdep's report or the events, what it can do, what to do about it, how sure it is."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from lockscope.harmless import printable
from lockscope.report.findings._where import locate
from lockscope.report.lines import Paint, labelled
from lockscope.results.findings import Finding, TraceSummary, Witness
from lockscope.units import count, seconds

_RULE = 54  # the width of lockdep's ruler (kernel/locking/lockdep.c, print_circular_bug_header)
_SHOWN = 12  # witnesses; JSON has them all
_LABEL = 9


def headline(finding: Finding) -> str:
    """``WARNING: possible circular locking dependency detected [LS101]``; INFO where it is only a remark."""
    return f"{'INFO' if finding.severity == 'info' else 'WARNING'}: {printable(finding.title)} [{finding.code}]"


def index_line(number: int | None, finding: Finding, where: str, paint: Paint) -> str:
    """One line of the list that precedes many findings; without a number, of the same place as the one before."""
    what = printable(finding.title)
    if finding.classes:
        what += ": " + printable(" -> ".join(finding.classes))
    severity = paint(finding.severity, f"{finding.severity:<8}")
    first = f"{number:>4}" if number is not None else "    "
    return f"{first}  {severity} {finding.code}  {finding.confidence:<8} {_times(finding):>7}  {what}{where}"


def finding_lines(
    finding: Finding, trace: TraceSummary, paint: Paint, *, place: str = "", beside: Finding | None = None
) -> Iterator[str]:
    """The full report of one finding. ``place``: "finding 2 of 7". ``beside``: one of the same place that was shown."""
    yield from header_lines(finding, trace, paint, place=place)
    if finding.by_events or not finding.story:
        yield from textwrap.wrap(printable(finding.message), paint.width) or [""]
        if finding.witnesses:
            yield ""
        known = bool(finding.witnesses) and beside is not None and set(finding.witnesses) <= set(beside.witnesses)
        if known:
            yield "  the events are those of the finding above"
        else:
            yield from (f"  {line}" for line in event_lines(finding.witnesses, paint))
    else:
        yield from _story(finding, paint)
    yield ""
    yield from _footer(finding, trace, paint)


def splat_lines(finding: Finding, trace: TraceSummary, paint: Paint, *, place: str = "") -> Iterator[str]:
    """The finding as lockdep would print it."""
    yield from header_lines(finding, trace, paint, place=place)
    if finding.story:
        yield from _story(finding, paint)
    else:
        yield from textwrap.wrap(printable(finding.message), paint.width) or [""]


def header_lines(finding: Finding, trace: TraceSummary, paint: Paint, *, place: str = "") -> Iterator[str]:
    """The title between lockdep's rulers, with the kernel and the trace."""
    title = headline(finding)
    width = max(_RULE, min(len(title), paint.width))
    origin = ", ".join(printable(p) for p in (trace.kernel or "unknown kernel", trace.path, place) if p)
    yield "=" * width
    yield paint(finding.severity, title)
    yield origin
    yield "-" * width


def _story(finding: Finding, paint: Paint) -> Iterator[str]:
    for line in finding.story:
        shown = printable(line.expandtabs()).rstrip()
        yield paint("bold", shown) if "***" in shown else shown


def _footer(finding: Finding, trace: TraceSummary, paint: Paint) -> Iterator[str]:
    sure = f": {printable(finding.reason)}" if finding.reason else ""
    yield from labelled("judged", _wrapped(paint, f"{finding.severity}, {finding.confidence}{sure}"), _LABEL)
    if finding.effect:
        yield from labelled("effect", _wrapped(paint, printable(finding.effect)), _LABEL)
    if finding.rule:
        rule = f"{printable(finding.rule.id)}: {printable(finding.rule.source)}"
        yield from labelled("rule", _wrapped(paint, rule), _LABEL)
    if finding.advice:
        yield from labelled("to do", _wrapped(paint, printable(finding.advice)), _LABEL)
    if finding.count > 1:
        yield from labelled("seen", [f"{count(finding.count)} times; shown is the first"], _LABEL)
    if finding.window is not None:
        yield from labelled("window", [printable(finding.window)], _LABEL)
    yield from labelled("id", [f"{finding.fingerprint}   (lockscope explain {finding.code})"], _LABEL)
    command = locate(trace, finding.witnesses) if finding.witnesses else None
    if command:
        yield from labelled("show it", [printable(command)], _LABEL)


def event_lines(witnesses: tuple[Witness, ...], paint: Paint) -> Iterator[str]:
    """The events in the order of time, with what was missing before one marked."""
    shown = sorted(witnesses, key=lambda w: w.ts_ns)
    lines = iter(witness_lines(tuple(shown)))
    for witness in shown[:_SHOWN]:
        if witness.missing:
            yield paint("bold", f"** {printable(witness.missing)} **")
        yield next(lines)
    yield from lines


def _wrapped(paint: Paint, text: str) -> list[str]:
    return textwrap.wrap(text, paint.width - _LABEL - 1, break_long_words=False, break_on_hyphens=False)


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
    if not shown:
        return []
    rows = [
        (seconds(w.ts_ns), f"CPU {w.cpu}", f"{printable(w.comm)}-{w.pid}", printable(w.event), _part(w)) for w in shown
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
