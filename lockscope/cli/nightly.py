"""``lockscope nightly``: many traces, one history, one report."""

from __future__ import annotations

import datetime
import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lockscope.cli import _options as options
from lockscope.cli._arguments import chosen_codes, expression, listed, one_of
from lockscope.cli._judging import FAIL_ON, at_least
from lockscope.cli._known import ignored, suppressions_of
from lockscope.cli._shell import FOUND, NO_VERDICT, Progress, say
from lockscope.errors import UsageError

if TYPE_CHECKING:
    from lockscope.nightly.night import Night
    from lockscope.nightly.run import Done
    from lockscope.pipeline import AnalyzeOptions

_NIGHT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("nightly")(nightly)


def nightly(
    places: Annotated[
        list[str],
        typer.Argument(metavar="DIR_OR_GLOB...", help="Directories, globs, files, URLs (s3://..., by fsspec)."),
    ],
    *,
    history: Annotated[
        str, typer.Option("--history", metavar="DIR", help="Directory of the history; made if missing.")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="REPORT", help="A directory, or FILE.html with plots and texts beside it."
        ),
    ] = None,
    night: Annotated[
        str | None,
        typer.Option("--night", metavar="NAME", help="Name of the night; nights sort by name. Default: today, UTC."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, metavar="N", help="Number of processes. Default: one per CPU.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", metavar="ADDRESS", help="A Dask cluster: tcp://host:8786.")
    ] = None,
    time_limit: Annotated[
        float, typer.Option("--time-limit", metavar="SECONDS", min=1, help="Give up on a trace that takes longer.")
    ] = 3600,
    host: Annotated[
        str | None,
        typer.Option(
            "--host",
            metavar="REGEX",
            help="Regular expression that finds the host in a path: '(?P<host>[^/]+)/[^/]+$'.",
        ),
    ] = None,
    rules: options.Rules = "auto",
    select: options.Select = None,
    ignore: options.Ignore = None,
    suppressions: options.Suppressions = None,
    fail_on: options.FailOn = "warning",
    fail_on_slower: Annotated[
        bool, typer.Option("--fail-on-slower", help="Also exit with status 1 if a lock became slower.")
    ] = False,
    redact: options.Redact = False,
    force: options.Force = False,
) -> None:
    """Analyse the traces that are new since the last run, add them to the history, and report the night.

    New, known, fixed and flapping findings, lock orders of all hosts together, waits and holds that changed.
    """
    one_of("--fail-on", fail_on, FAIL_ON)
    label = night or datetime.datetime.now(datetime.UTC).date().isoformat()
    if not _NIGHT.fullmatch(label):
        msg = f"--night {label!r}: wanted letters, digits and . _ + -"
        raise UsageError(msg)
    if host is not None and "(?P<host>" not in (expression("--host", host) or ""):
        msg = f"--host {host!r}: wanted a group (?P<host>...)"
        raise UsageError(msg)
    codes, entries = ignored(ignore)
    entries += suppressions_of(suppressions)
    judging = _options(rules, select, codes)
    import lockscope
    from lockscope.nightly.history import History
    from lockscope.nightly.night import night_of
    from lockscope.nightly.redacted import redacted
    from lockscope.nightly.run import NightOptions, run
    from lockscope.nightly.sources import find
    from lockscope.nightly.summary import as_text
    from lockscope.nightly.workers import Where
    from lockscope.nightly.written import Report

    report = Report.at(output, force=force) if output is not None else None
    sources = find(places)
    past = History(history)
    with Progress("nightly") as progress:
        done = run(
            past,
            sources,
            NightOptions(label, lockscope.__version__, judging, host, Where(workers, scheduler, time_limit)),
            say,
            progress,
        )
    told = night_of(past, label, entries, datetime.date.today())
    shown = redacted(told) if redact else told
    if report is not None:
        report.write(shown)
    sys.stdout.write(as_text(shown))
    raise typer.Exit(_status(told, done, fail_on, fail_on_slower))


def _options(rules: str, select: options.Words, ignore: list[str]) -> AnalyzeOptions:
    from lockscope.checks.check import all_checks
    from lockscope.pipeline import AnalyzeOptions
    from lockscope.rules.load import choose

    choose(None, rules)  # a mistake in it is told before any work is done
    checks = all_checks()
    chosen, ignored_ = chosen_codes("--select", select, checks), chosen_codes("--ignore", listed(ignore), checks)
    if not [c for c in chosen or checks if c not in ignored_]:
        msg = "--select and --ignore leave no check"
        raise UsageError(msg)
    return AnalyzeOptions(rules=rules, select=chosen, ignore=ignored_)


def _status(night: Night, done: Done, fail_on: str, fail_on_slower: bool) -> int:
    """1 for what is new tonight, also when an earlier run of the same night found it."""
    if any(life.row["severity"] in at_least(fail_on) for life in night.new):
        return FOUND
    if fail_on_slower and night.slower:
        return FOUND
    if done.analysed and done.broken == done.analysed:
        say(f"no verdict: none of {done.analysed} new files could be judged")
        return NO_VERDICT
    if not done.analysed:
        say(f"nothing to do: the history knows all {done.known} files")
    return 0
