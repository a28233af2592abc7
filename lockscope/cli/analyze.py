"""``lockscope analyze``: judge traces and report."""

from __future__ import annotations

import datetime
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lockscope.cli._arguments import assumptions, chosen_codes, expression, listed, one_of, output_file
from lockscope.cli._judging import FAIL_ON, judge, status_of
from lockscope.cli._known import ignored, suppressions_of
from lockscope.cli._shell import NO_VERDICT, say, silence_stdout, wants_color
from lockscope.errors import UsageError
from lockscope.outfiles import write_text
from lockscope.report._base import Reporter, reporter, reporters

if TYPE_CHECKING:
    from lockscope.findings import Report
    from lockscope.pipeline import AnalyzeOptions

Words = list[str] | None


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("analyze")(analyze)


def analyze(
    traces: Annotated[list[str], typer.Argument(metavar="TRACE", help="Traces; - is standard input.")],
    *,
    format: Annotated[
        str, typer.Option("--format", metavar="NAME", help=f"Output: {', '.join(reporters())}.")
    ] = "text",
    output: Annotated[str | None, typer.Option("--output", "-o", metavar="FILE", help="Write here.")] = None,
    rules: Annotated[
        str, typer.Option("--rules", metavar="NAME", help="Rulebook: auto, kvm-4.14, ..., or a FILE.toml.")
    ] = "auto",
    fail_on: Annotated[
        str, typer.Option("--fail-on", metavar="SEVERITY", help="Exit 1 from here on: error, warning, info, never.")
    ] = "warning",
    select: Annotated[
        Words, typer.Option("--select", metavar="CODES", help="Only these checks: LS101,LS2xx or names.")
    ] = None,
    ignore: Annotated[
        Words, typer.Option("--ignore", metavar="CODES", help="Not these checks, or findings (by fingerprint).")
    ] = None,
    suppressions: Annotated[
        str | None, typer.Option("--suppressions", metavar="FILE.toml", help="Findings not to be told, with reasons.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", metavar="FILE.json", help="An earlier JSON report: known findings.")
    ] = None,
    window_start: Annotated[
        str | None, typer.Option("--window-start", metavar="REGEX", help="Marker that begins a window.")
    ] = None,
    window_end: Annotated[
        str | None, typer.Option("--window-end", metavar="REGEX", help="Marker that ends it.")
    ] = None,
    coverage: Annotated[
        bool,
        typer.Option("--coverage", help="Show all that the verdict rests on, and why checks were not judged."),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 2 where events were lost.")] = False,
    assume: Annotated[
        Words, typer.Option("--assume", metavar="NAME", help="selftest-softirq, recursive-read-locks.")
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="The traces are one recording.")] = False,
    redact: Annotated[
        bool, typer.Option("--redact", help="Leave out task names, pids, hosts, directories, addresses.")
    ] = False,
    events: Annotated[
        Words, typer.Option("--events", metavar="PATTERNS", help="Read only these events: lock:*,kvm:*.")
    ] = None,
    exclude_events: Annotated[
        Words, typer.Option("--exclude-events", metavar="PATTERNS", help="Not these events.")
    ] = None,
) -> None:
    """Judge traces by the kernel's locking rules.

    Says which were broken, by whom and where, and what the traces cannot tell.
    """
    from lockscope.report._baseline import load_baseline, without_known
    from lockscope.report._pseudonyms import Redactor
    from lockscope.report._redact import redact as redacted
    from lockscope.report._suppressed import without_suppressed

    wanted = reporter(format)
    one_of("--fail-on", fail_on, FAIL_ON)
    if output is not None and output != "-":
        output_file(output, traces)
    known = load_baseline(baseline) if baseline is not None else frozenset()
    codes, entries = ignored(ignore)
    entries += suppressions_of(suppressions)
    red = Redactor() if redact else None
    options = _options(
        rules=rules,
        select=select,
        ignore=codes,
        start=window_start,
        end=window_end,
        assume=assume,
        merge=merge,
        events=events,
        exclude_events=exclude_events,
        exhibits=getattr(wanted, "EXHIBITS", False),
        task_name=red.name_tasks if red else None,
    )
    report, errors = judge(traces, options)
    for error in errors:
        say(str(error))
    if report is None:
        raise typer.Exit(NO_VERDICT)
    report.strict = strict
    if entries:
        report, notes = without_suppressed(report, entries, datetime.date.today())
        for note in notes:
            say(note)
    if known:
        report = without_known(report, known)
    if red:
        report = redacted(report, red)
    status, why = status_of(report, fail_on, errors)
    _write(report, wanted, output, coverage)
    if why:
        say(why)
    raise typer.Exit(status)


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
    exhibits: bool,
    task_name: Callable[[str], str] | None,
) -> AnalyzeOptions:
    from lockscope.checks._base import all_checks
    from lockscope.pipeline import AnalyzeOptions

    if (start is None) != (end is None):
        msg = "--window-start and --window-end go together: one of them is missing"
        raise UsageError(msg)
    checks = all_checks()
    chosen, ignored = chosen_codes("--select", select, checks), chosen_codes("--ignore", ignore, checks)
    if not [c for c in chosen or checks if c not in ignored]:
        msg = "--select and --ignore leave no check"
        raise UsageError(msg)
    return AnalyzeOptions(
        rules=rules,
        select=chosen,
        ignore=ignored,
        window_start=expression("--window-start", start),
        window_end=expression("--window-end", end),
        assume=assumptions(assume),
        merge=merge,
        events=listed(events),
        exclude_events=listed(exclude_events),
        exhibits=exhibits,
        task_name=task_name,
    )


def _write_beside(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        write_text(folder / name, text)


def _write(report: Report, wanted: Reporter, output: str | None, coverage: bool) -> None:
    # Made whole before a byte is written: a reader of the output never sees half a report.
    text = io.StringIO()
    to_stdout = output in (None, "-")
    if output is not None and not to_stdout and hasattr(wanted, "write_beside"):
        folder = Path(output).with_suffix(".data")
        _write_beside(folder, wanted.write_beside(report, text, folder.name))
    else:
        more = {"coverage": coverage} if getattr(wanted, "FOR_PEOPLE", False) else {}
        wanted.write(report, text, color=to_stdout and wants_color(), **more)
    if output is not None and not to_stdout:
        write_text(output, text.getvalue())
        return
    try:
        sys.stdout.write(text.getvalue())
        sys.stdout.flush()
    except BrokenPipeError:  # the status is still the verdict's
        silence_stdout()
