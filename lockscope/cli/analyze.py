"""``lockscope analyze``: judge traces and report."""

from __future__ import annotations

import datetime
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lockscope.cli import _options as options
from lockscope.cli._arguments import (
    addressed,
    assumptions,
    chosen_codes,
    listed,
    one_of,
    output_file,
    whole_numbers,
    windows,
)
from lockscope.cli._judging import FAIL_ON, chosen_part, judge, limited, status_of
from lockscope.cli._known import ignored, suppressions_of
from lockscope.cli._shell import NO_VERDICT, columns, say, silence_stdout, wants_color
from lockscope.errors import UsageError
from lockscope.outfiles import write_text
from lockscope.report.output import Reporter, reporter, reporter_names

if TYPE_CHECKING:
    from lockscope.pipeline import AnalyzeOptions
    from lockscope.report.redaction.pseudonyms import Redactor
    from lockscope.results.findings import Report, Suppression

Words = list[str] | None


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("analyze")(analyze)


def analyze(
    traces: options.Traces,
    *,
    format: Annotated[
        str, typer.Option("--format", metavar="NAME", help=f"Output: {', '.join(reporter_names())}.")
    ] = "text",
    output: options.Output = None,
    force: options.Force = False,
    color: options.Color = "auto",
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Show all that the verdict rests on, and why checks were not judged.")
    ] = False,
    limit: options.Limit = None,
    from_: options.From = None,
    to: options.To = None,
    task: options.Task = None,
    vm: options.Vm = None,
    cpu: options.Cpu = None,
    lock: options.Lock = None,
    event: options.Event = None,
    exclude_event: options.ExcludeEvent = None,
    rules: options.Rules = "auto",
    fail_on: options.FailOn = "warning",
    select: options.Select = None,
    ignore: options.Ignore = None,
    suppressions: options.Suppressions = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline", metavar="FILE.json", help="Earlier JSON report whose findings are not listed again."
        ),
    ] = None,
    window_start: options.WindowStart = None,
    window_end: options.WindowEnd = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with status 2 if events were lost.")] = False,
    assume: options.Assume = None,
    merge: options.Merge = False,
    redact: options.Redact = False,
) -> None:
    """Judge traces by the kernel's locking rules.

    Says which were broken, by whom and where, and what the traces cannot tell. The whole trace is judged; --from, --to,
    --task, --vm, --cpu and --lock choose which findings are listed and count for the exit status.
    """
    wanted = reporter(format)
    one_of("--fail-on", fail_on, FAIL_ON)
    one_of("--color", color, ("auto", "always", "never"))
    output_file(output, traces, force=force, beside=".data" if hasattr(wanted, "write_beside") else "")
    part = chosen_part(from_, to, listed(task), vm, whole_numbers("--cpu", cpu), addressed("--lock", lock))
    known = _known(baseline)
    codes, entries = ignored(ignore)
    entries += suppressions_of(suppressions)
    red = _redactor() if redact else None
    begin, end = windows(window_start, window_end)
    judging = _options(
        rules=rules,
        select=select,
        ignore=codes,
        start=begin,
        end=end,
        assume=assume,
        merge=merge,
        events=event,
        exclude_events=exclude_event,
        page_data=getattr(wanted, "PAGE_DATA", False),
        task_name=red.name_tasks if red else None,
    )
    report, errors = judge(traces, judging, part)
    for error in errors:
        say(str(error))
    if report is None:
        raise typer.Exit(NO_VERDICT)
    report.strict = strict
    report = _without(report, entries, known)
    if red:
        report = _redacted(report, red)
    status, why = status_of(report, fail_on, errors)
    _write(limited(report, limit), wanted, output, coverage=coverage, color=color)
    if why:
        say(why)
    raise typer.Exit(status)


def _known(baseline: str | None) -> frozenset[str]:
    if baseline is None:
        return frozenset()
    from lockscope.report.known.baseline import load_baseline

    return load_baseline(baseline)


def _without(report: Report, entries: tuple[Suppression, ...], known: frozenset[str]) -> Report:
    """The report without what suppressions and the baseline take out of it; says which suppressions are old."""
    if entries:
        from lockscope.report.known.suppressed import without_suppressed

        report, notes = without_suppressed(report, entries, datetime.date.today())
        for note in notes:
            say(note)
    if known:
        from lockscope.report.known.baseline import without_known

        report = without_known(report, known)
    return report


def _redactor() -> Redactor:
    from lockscope.report.redaction.pseudonyms import Redactor

    return Redactor()


def _redacted(report: Report, red: Redactor) -> Report:
    from lockscope.report.redaction.findings import redact

    return redact(report, red)


def _options(
    *,
    rules: str,
    select: Words,
    ignore: Words,
    start: str | None,
    end: str | None,
    assume: Words,
    merge: bool,
    events: Words,
    exclude_events: Words,
    page_data: bool,
    task_name: Callable[[str], str] | None,
) -> AnalyzeOptions:
    from lockscope.checks.check import all_checks
    from lockscope.pipeline import AnalyzeOptions

    checks = all_checks()
    chosen, ignored = chosen_codes("--select", select, checks), chosen_codes("--ignore", ignore, checks)
    if not [c for c in chosen or checks if c not in ignored]:
        msg = "--select and --ignore leave no check"
        raise UsageError(msg)
    return AnalyzeOptions(
        rules=rules,
        select=chosen,
        ignore=ignored,
        window_start=start,
        window_end=end,
        assume=assumptions(assume),
        merge=merge,
        events=listed(events),
        exclude_events=listed(exclude_events),
        page_data=page_data,
        task_name=task_name,
    )


def _write_beside(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        write_text(folder / name, text)


def _write(report: Report, wanted: Reporter, output: str | None, *, coverage: bool, color: str) -> None:
    # Made whole before a byte is written: a reader of the output never sees half a report.
    text = io.StringIO()
    to_stdout = output in (None, "-")
    if output is not None and not to_stdout and hasattr(wanted, "write_beside"):
        folder = Path(output).with_suffix(".data")
        _write_beside(folder, wanted.write_beside(report, text, folder.name))
    else:
        more: dict[str, Any] = {}
        if getattr(wanted, "FOR_PEOPLE", False):
            more = {"coverage": coverage, "width": columns() if to_stdout else None}
        wanted.write(report, text, color=wants_color(color) if to_stdout else color == "always", **more)
    if output is not None and not to_stdout:
        write_text(output, text.getvalue())
        return
    try:
        sys.stdout.write(text.getvalue())
        sys.stdout.flush()
    except BrokenPipeError:  # the status is still the verdict's
        silence_stdout()
