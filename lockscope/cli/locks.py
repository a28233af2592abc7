"""``lockscope locks``: how often locks were taken, how long tasks waited for them and held them, and behind whom."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lockscope.cli._arguments import Merge, Traces, listed, one_of, one_recording, output_file
from lockscope.cli._quantities import duration, moment, number
from lockscope.cli._shell import NO_VERDICT, Progress, say
from lockscope.outfiles import write_text
from lockscope.report import _redact_locks
from lockscope.report.locks.output import LockWriter, lock_writers

if TYPE_CHECKING:
    from lockscope.trace_locks import LockQuery

Words = list[str] | None


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("locks")(locks)


def locks(
    traces: Traces,
    *,
    by: Annotated[
        Words, typer.Option("--by", metavar="WORDS", help="class, instance, caller, task, owner, cpu, vm; several.")
    ] = None,
    sort: Annotated[
        str, typer.Option("--sort", metavar="KEY", help="wait, hold (-avg, -max), acquired or contended.")
    ] = "",
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Only so many rows.")] = None,
    chains: Annotated[
        int | None, typer.Option("--chains", min=1, metavar="N", help="Explain the N longest waits instead.")
    ] = None,
    format: Annotated[str, typer.Option("--format", metavar="NAME", help="text, json or csv.")] = "text",
    output: Annotated[str | None, typer.Option("--output", "-o", metavar="FILE", help="Write here.")] = None,
    percentiles: Annotated[str, typer.Option("--percentiles", metavar="P", help="Of waits and holds.")] = "50,95,99",
    contention: Annotated[
        bool, typer.Option("--contention", help="From contention_begin and contention_end alone.")
    ] = False,
    perf_compat: Annotated[
        bool, typer.Option("--perf-compat", help="As perf lock report has it; with --contention, perf lock contention.")
    ] = False,
    classes: Annotated[Words, typer.Option("--classes", metavar="PATTERNS", help="Only these: *kvm*.")] = None,
    callers: Annotated[Words, typer.Option("--callers", metavar="PATTERNS", help="Only these: kvm_*.")] = None,
    tasks: Annotated[Words, typer.Option("--tasks", metavar="PATTERNS", help="Only these: names or pids.")] = None,
    cpus: Annotated[Words, typer.Option("--cpus", metavar="NUMBERS", help="Only these.")] = None,
    locks: Annotated[Words, typer.Option("--locks", metavar="ADDRESSES", help="Only these: 0xffff8881...")] = None,
    vms: Annotated[Words, typer.Option("--vms", metavar="NUMBERS", help="Only locks of these VMs.")] = None,
    mode: Annotated[str, typer.Option("--mode", metavar="MODE", help="read or write.")] = "",
    contexts: Annotated[Words, typer.Option("--contexts", metavar="WORDS", help="task, softirq, hardirq, nmi.")] = None,
    start: Annotated[str | None, typer.Option("--start", metavar="SECONDS", help="Asked for from then on.")] = None,
    end: Annotated[str | None, typer.Option("--end", metavar="SECONDS", help="Asked for before.")] = None,
    merge: Merge = False,
    min_wait: Annotated[
        str | None, typer.Option("--min-wait", metavar="TIME", help="Only what waited so long: 20us, 1ms.")
    ] = None,
    redact: Annotated[
        bool, typer.Option("--redact", help="Leave out task names, pids, directories, addresses.")
    ] = False,
) -> None:
    """Statistics of locks: acquisitions, contention, wait and hold times.

    Reading and exclusive acquisitions apart. A wait lasts from lock_contended to lock_acquired; on a kernel without
    lockdep, from contention_begin. Of contention events alone, owners (--by owner, --chains) are known where
    contended_release was recorded too (Linux 7.2 and later).
    """
    one_of("--format", format, tuple(lock_writers()))
    if output is not None and output != "-":
        output_file(output, traces)
    if perf_compat:
        _perf(one_recording(traces, merge), listed(by), sort, limit, contention, lock_writers()[format], output, redact)
        return
    query = _query(
        by=listed(by) or ("class",),
        sort=sort or "wait",
        limit=limit,
        percentiles=percentiles,
        contention=contention,
        mode=mode,
        min_wait=min_wait,
        start=start,
        end=end,
        words={
            "classes": listed(classes), "callers": listed(callers), "tasks": listed(tasks), "cpus": listed(cpus),
            "locks": listed(locks), "vms": listed(vms), "contexts": listed(contexts),
        },
    )  # fmt: skip
    from lockscope.trace_locks import lock_figures, wait_chains

    writer, text = lock_writers()[format], io.StringIO()
    paths = one_recording(traces, merge)
    with Progress(paths[0]) as progress:
        if chains is not None:
            found = wait_chains(paths, query, chains, progress)
        else:
            figures = lock_figures(paths, query, progress)
    if chains is not None:
        empty, notes = not found.links, found.notes
        writer.write_chains(_redact_locks.chains(found) if redact else found, text)
    else:
        empty, notes = not figures.rows, figures.notes
        writer.write_locks(_redact_locks.locks(figures) if redact else figures, text)
    _deliver(text.getvalue(), output)
    if empty:
        say(f"{paths[0]}: nothing to count" + (f": {notes[0]}" if notes else ""))
        raise typer.Exit(NO_VERDICT)


def _deliver(text: str, output: str | None) -> None:
    if output is None or output == "-":
        sys.stdout.write(text)
    else:
        write_text(output, text)


def _perf(
    traces: list[str], by: tuple[str, ...], sort: str, limit: int | None, contention: bool, writer: LockWriter,
    output: str | None, redact: bool,
) -> None:  # fmt: skip
    from lockscope.trace_perf import perf_figures

    with Progress(traces[0]) as progress:
        figures = perf_figures(
            traces, contention=contention, by=",".join(by), sort=sort, limit=limit, progress=progress
        )
    text = io.StringIO()
    writer.write_perf(_redact_locks.perf(figures) if redact else figures, text)
    _deliver(text.getvalue(), output)
    if not figures.rows:
        say(f"{traces[0]}: nothing to count: no lock event was recorded")
        raise typer.Exit(NO_VERDICT)


def _query(
    *,
    by: tuple[str, ...],
    sort: str,
    limit: int | None,
    percentiles: str,
    contention: bool,
    mode: str,
    min_wait: str | None,
    start: str | None,
    end: str | None,
    words: dict[str, tuple[str, ...]],
) -> LockQuery:
    from lockscope.trace_locks import LockQuery, checked

    if mode:
        one_of("--mode", mode, ("read", "write"))
    for word in words["contexts"]:
        one_of("--contexts", word, ("task", "softirq", "hardirq", "nmi"))
    query = LockQuery(
        by=by,
        sort=sort,
        limit=limit,
        percents=tuple(number("--percentiles", p, float) for p in listed([percentiles])),
        classes=words["classes"],
        callers=words["callers"],
        tasks=words["tasks"],
        cpus=tuple(number("--cpus", w, int) for w in words["cpus"]),
        locks=tuple(number("--locks", w, lambda v: int(v, 16)) for w in words["locks"]),
        vms=tuple(number("--vms", w, int) for w in words["vms"]),
        mode=mode,
        contexts=words["contexts"],
        start_ns=None if start is None else moment("--start", start),
        end_ns=None if end is None else moment("--end", end),
        min_wait_ns=0 if min_wait is None else duration("--min-wait", min_wait),
        contention=contention,
    )
    checked(query)
    return query
