"""From traces to one report and an exit status."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lockscope.cli._shell import FOUND, NO_VERDICT, Progress
from lockscope.errors import FormatError, LockscopeError, MatchError, RuleError, UsageError
from lockscope.findings import Report, Severity, Status
from lockscope.report._base import is_notice

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


def judge(paths: Sequence[str], options: AnalyzeOptions) -> tuple[Report | None, list[LockscopeError]]:
    """Judge the traces, each on its own unless they are merged. What is unreadable, or has nothing that an option is
    about, is left out and returned as errors.

    Raises ``UsageError`` and ``RuleError``: those are not about a trace.
    """
    reports: list[Report] = []
    errors: list[LockscopeError] = []
    for group in [list(paths)] if options.merge else [[p] for p in paths]:
        try:
            reports.append(_one(group, options))
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
        whole.exhibits += report.exhibits
        whole.suppressed += tuple(replace(s, trace=s.trace + base) for s in report.suppressed)
        whole.strict = whole.strict or report.strict
        whole.assumptions = tuple(dict.fromkeys((*whole.assumptions, *report.assumptions)))
    return whole


def status_of(report: Report, fail_on: str, errors: Sequence[LockscopeError] = ()) -> tuple[int, str]:
    """The exit status, and why there is no verdict where it is 2. Findings beat everything (contract, section 1).

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
