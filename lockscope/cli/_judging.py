"""From traces to one report and an exit status."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lockscope.cli._arguments import is_time
from lockscope.cli._shell import FOUND, NO_VERDICT, Progress
from lockscope.errors import FormatError, LockscopeError, MatchError, RuleError, UsageError
from lockscope.report.output import is_notice, ordered
from lockscope.results.findings import Report, Severity, Status

if TYPE_CHECKING:
    from lockscope.pipeline import AnalyzeOptions

_AT_LEAST = {
    "error": (Severity.ERROR,),
    "warning": (Severity.ERROR, Severity.WARNING),
    "info": (Severity.ERROR, Severity.WARNING, Severity.INFO),
    "never": (),
}
FAIL_ON = tuple(_AT_LEAST)


def at_least(fail_on: str) -> tuple[Severity, ...]:
    """The severities that ``--fail-on`` is about."""
    return _AT_LEAST[fail_on]


def chosen_part(
    from_: str | None,
    to: str | None,
    task: tuple[str, ...],
    vm: int | None,
    cpu: tuple[int, ...],
    lock: tuple[str, ...],
) -> ChosenPart | None:
    """Which findings are listed; None for all. Raises ``UsageError`` for what is no time."""
    is_time("--from", from_)
    is_time("--to", to)
    found = ChosenPart(from_, to, task, vm, cpu, lock)
    return None if found == ChosenPart() else found


@dataclass(frozen=True, slots=True)
class ChosenPart:
    """The part of each trace whose findings are listed, as the command line says it."""

    from_: str | None = None
    to: str | None = None
    task: tuple[str, ...] = ()
    vm: int | None = None
    cpu: tuple[int, ...] = ()
    lock: tuple[str, ...] = ()

    def of(self, paths: list[str], report: Report) -> Report:
        """The report with the findings of this part. Raises ``MatchError`` for what is not in the trace."""
        from lockscope.trace.trace import load
        from lockscope.trace.view import listed

        part = load(*paths).part(from_=self.from_, to=self.to, task=self.task, vm=self.vm, cpu=self.cpu, lock=self.lock)
        return listed(report, part.view)


def limited(report: Report, limit: int | None) -> Report:
    """The report with its first findings alone; ``left_out`` counts the others."""
    found = ordered(report.findings)
    judged = [f for f in found if not is_notice(f.code)]
    if limit is None or len(judged) <= limit:
        return report
    kept = [*judged[:limit], *(f for f in found if is_notice(f.code))]
    return replace(report, findings=kept, left_out=report.left_out + len(judged) - limit)


def judge(
    paths: Sequence[str], options: AnalyzeOptions, part: ChosenPart | None = None
) -> tuple[Report | None, list[LockscopeError]]:
    """Judge the traces, each on its own unless they are merged. What is unreadable, or has nothing that an option is
    about, is left out and returned as errors. ``part``: the findings of which are kept.

    Raises ``UsageError`` and ``RuleError``: those are not about a trace.
    """
    reports: list[Report] = []
    errors: list[LockscopeError] = []
    for group in [list(paths)] if options.merge else [[p] for p in paths]:
        try:
            found = _one(group, options)
            reports.append(part.of(group, found) if part else found)
        except MatchError as error:  # what is not in this trace may be in the next
            errors.append(error)
        except (UsageError, RuleError):
            raise
        except LockscopeError as error:
            errors.append(error)
        except OSError as error:
            name = os.fsdecode(error.filename) if error.filename is not None else ", ".join(group)
            errors.append(FormatError(name, "", f"cannot read the trace: {error.strerror or error}"))
    return (joined(reports) if reports else None), errors


def _one(paths: list[str], options: AnalyzeOptions) -> Report:
    from lockscope.pipeline import analyze

    with Progress(paths[0]) as progress:
        return analyze(paths, options, progress)


def joined(reports: Sequence[Report]) -> Report:
    """Several reports as one; their traces follow one another."""
    whole = Report([], [], [])
    for report in reports:
        base = len(whole.traces)
        whole.traces += report.traces
        whole.checks += [replace(c, trace=c.trace + base) for c in report.checks]
        whole.findings += [f.of_trace(f.trace + base) for f in report.findings]
        whole.windows += [replace(w, trace=w.trace + base) for w in report.windows]
        whole.known += report.known
        whole.left_out += report.left_out
        whole.page_data += report.page_data
        whole.suppressed += tuple(replace(s, trace=s.trace + base) for s in report.suppressed)
        whole.strict = whole.strict or report.strict
        whole.assumptions = tuple(dict.fromkeys((*whole.assumptions, *report.assumptions)))
    return whole


def status_of(report: Report, fail_on: str, errors: Sequence[LockscopeError] = ()) -> tuple[int, str]:
    """The exit status, and why there is no verdict where it is 2. Findings beat everything (README, exit status).

    ``errors``: of traces that are not in the report.
    """
    if any(f.severity in _AT_LEAST[fail_on] for f in report.findings):
        return FOUND, ""
    if errors:
        why = "an option matches nothing" if all(isinstance(e, MatchError) for e in errors) else "unreadable"
        return NO_VERDICT, f"no verdict on {len(errors)} of {len(errors) + len(report.traces)} traces: {why}"
    for index, trace in enumerate(report.traces):
        runs = [c for c in report.checks if c.trace == index]
        runs = [c for c in runs if not is_notice(c.code)] or runs
        if all(c.status is Status.SKIPPED for c in runs):
            return NO_VERDICT, f"{trace.path}: no verdict: no selected check had the events it needs"
        if report.strict and trace.lost_events != 0:
            return NO_VERDICT, f"{trace.path}: no verdict: events were lost (--strict)"
    return 0, ""
