"""``lockscope graph``: the lock dependency graph of a trace."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from lockscope.cli._arguments import Merge, Traces, assumptions, expression, listed, one_of, one_recording, output_file
from lockscope.cli._shell import NO_VERDICT, Progress, say
from lockscope.errors import MatchError, UsageError
from lockscope.outfiles import write_text
from lockscope.report._patterns import matches
from lockscope.report.graph.output import graph_writers, narrowed, shared

Words = list[str] | None


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("graph")(graph)


def graph(
    traces: Traces,
    *,
    format: Annotated[
        str, typer.Option("--format", metavar="NAME", help="dot, json or lockdep (as /proc/lockdep).")
    ] = "lockdep",
    output: Annotated[str | None, typer.Option("--output", "-o", metavar="FILE", help="Write here.")] = None,
    classes: Annotated[
        Words, typer.Option("--classes", metavar="PATTERNS", help="Only these and their neighbours: *kvm*,&rq->__lock.")
    ] = None,
    rules: Annotated[str, typer.Option("--rules", metavar="NAME", help="Rulebook, as for analyze.")] = "auto",
    assume: Annotated[
        Words, typer.Option("--assume", metavar="NAME", help="selftest-softirq, recursive-read-locks.")
    ] = None,
    events: Annotated[
        Words, typer.Option("--events", metavar="PATTERNS", help="Read only these events: lock:*,kvm:*.")
    ] = None,
    exclude_events: Annotated[
        Words, typer.Option("--exclude-events", metavar="PATTERNS", help="Not these events.")
    ] = None,
    window_start: Annotated[
        str | None, typer.Option("--window-start", metavar="REGEX", help="Only stretches that this marker begins")
    ] = None,
    window_end: Annotated[str | None, typer.Option("--window-end", metavar="REGEX", help="and this one ends.")] = None,
    redact: Annotated[bool, typer.Option("--redact", help="Leave out directories and addresses.")] = False,
    merge: Merge = False,
) -> None:
    """Print the lock dependency graph: which lock was taken while which was held.

    Edges on a ring that LS101 reports are marked in dot and json.
    """
    one_of("--format", format, tuple(graph_writers()))
    if (window_start is None) != (window_end is None):
        msg = "--window-start and --window-end go together: one of them is missing"
        raise UsageError(msg)
    if output is not None and output != "-":
        output_file(output, traces)
    from lockscope.formats.merge.reader import open_merged
    from lockscope.pipeline import AnalyzeOptions, gathered
    from lockscope.reconstruct.dependencies import dependencies

    options = AnalyzeOptions(
        rules=rules,
        window_start=expression("--window-start", window_start),
        window_end=expression("--window-end", window_end),
        assume=assumptions(assume),
        events=listed(events),
        exclude_events=listed(exclude_events),
    )
    with Progress(traces[0]) as progress:
        found, _ = gathered(open_merged(one_recording(traces, merge)), [], options, progress)
    whole = dependencies(found.evidence)
    names = [name for c in whole.classes for name in (c.name, c.label)]
    for pattern in listed(classes) if whole.classes else ():
        if not any(matches(pattern, name) for name in names):
            raise MatchError("--classes", pattern, f"no lock class of {traces[0]} matches", names)
    shown = narrowed(whole, listed(classes))
    text = io.StringIO()
    graph_writers()[format].write_graph(shared(shown) if redact else shown, text)
    if output is None or output == "-":
        sys.stdout.write(text.getvalue())
    else:
        write_text(output, text.getvalue())
    if not whole.classes:
        say(f"{traces[0]}: no graph: no lock was seen being taken; record -e lock")
        raise typer.Exit(NO_VERDICT)
