"""``lockscope graph``: the lock dependency graph of a trace."""

from __future__ import annotations

import io
from typing import Annotated

import typer

from lockscope.cli import _options as options
from lockscope.cli._arguments import assumptions, deliver, listed, one_of, one_recording, output_file, windows
from lockscope.cli._shell import NO_VERDICT, Progress, say
from lockscope.errors import MatchError
from lockscope.patterns import class_fits
from lockscope.report.graph.output import graph_writers, narrowed, shared


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("graph")(graph)


def graph(
    traces: options.Traces,
    *,
    format: Annotated[
        str, typer.Option("--format", metavar="NAME", help="dot, json or lockdep (as /proc/lockdep).")
    ] = "lockdep",
    output: options.Output = None,
    force: options.Force = False,
    from_: options.From = None,
    to: options.To = None,
    lock: options.Lock = None,
    event: options.Event = None,
    exclude_event: options.ExcludeEvent = None,
    rules: options.Rules = "auto",
    assume: options.Assume = None,
    window_start: options.WindowStart = None,
    window_end: options.WindowEnd = None,
    redact: options.Redact = False,
    merge: options.Merge = False,
) -> None:
    """Print the lock dependency graph: which lock was taken while which was held.

    Dependencies on a cycle that LS101 reports are marked in dot and json. --lock keeps these classes
    and their neighbours.
    """
    one_of("--format", format, tuple(graph_writers()))
    begin, end = windows(window_start, window_end)
    output_file(output, traces, force=force)
    from lockscope.formats.merge.reader import open_merged
    from lockscope.formats.within import within
    from lockscope.lockgraph.dependencies import dependencies
    from lockscope.pipeline import AnalyzeOptions, gathered

    wanted = AnalyzeOptions(
        rules=rules,
        window_start=begin,
        window_end=end,
        assume=assumptions(assume),
        events=listed(event),
        exclude_events=listed(exclude_event),
    )
    reader = within(open_merged(one_recording(traces, merge)), from_, to)
    with Progress(traces[0]) as progress:
        found, _ = gathered(reader, [], wanted, progress)
    whole = dependencies(found.evidence)
    names = [name for c in whole.classes for name in (c.name, c.label)]
    for pattern in listed(lock) if whole.classes else ():
        if not any(class_fits(pattern, name) for name in names):
            raise MatchError("--lock", pattern, f"no lock class of {traces[0]} matches", names)
    shown = narrowed(whole, listed(lock))
    text = io.StringIO()
    graph_writers()[format].write_graph(shared(shown) if redact else shown, text)
    deliver(text.getvalue(), output)
    if not whole.classes:
        say(f"{traces[0]}: no graph: no lock was seen being taken; record -e lock")
        raise typer.Exit(NO_VERDICT)
