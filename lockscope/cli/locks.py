"""``lockscope locks``: how often locks were taken, how long tasks waited for them and held them, and behind whom."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lockscope.cli import _options as options
from lockscope.cli._arguments import addressed, deliver, listed, one_of, one_recording, output_file, times
from lockscope.cli._quantities import duration, number
from lockscope.cli._shell import NO_VERDICT, Progress, columns, say
from lockscope.errors import UsageError
from lockscope.report.locks.output import LockWriter, lock_writers
from lockscope.report.redaction import locks as _redact_locks

if TYPE_CHECKING:
    from lockscope.trace.locks import LockQuery


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("locks")(locks)


def locks(
    traces: options.Traces,
    *,
    by: Annotated[
        options.Words,
        typer.Option("--by", metavar="WORDS", help="class, instance, caller, task, owner, cpu, vm; several."),
    ] = None,
    sort: Annotated[
        str, typer.Option("--sort", metavar="KEY", help="wait, hold (-avg, -max), acquired or contended.")
    ] = "",
    limit: options.Limit = None,
    chains: Annotated[
        int | None, typer.Option("--chains", min=1, metavar="N", help="Explain the N longest waits instead.")
    ] = None,
    format: Annotated[str, typer.Option("--format", metavar="NAME", help="text, json or csv.")] = "text",
    output: options.Output = None,
    force: options.Force = False,
    percentiles: Annotated[
        str, typer.Option("--percentiles", metavar="P", help="Percentiles of wait and hold times to print.")
    ] = "50,95,99",
    contention: Annotated[
        bool, typer.Option("--contention", help="Use contention_begin and contention_end alone.")
    ] = False,
    perf_compat: Annotated[
        bool,
        typer.Option(
            "--perf-compat", help="Print what perf lock report prints; with --contention, perf lock contention."
        ),
    ] = False,
    from_: options.From = None,
    to: options.To = None,
    task: options.Task = None,
    vm: Annotated[options.Words, typer.Option("--vm", metavar="NUMBERS", help="Only locks of these VMs.")] = None,
    cpu: options.Cpu = None,
    lock: options.Lock = None,
    event: options.Event = None,
    caller: Annotated[
        options.Words, typer.Option("--caller", metavar="PATTERNS", help="Only locks taken by these functions: kvm_*.")
    ] = None,
    mode: Annotated[str, typer.Option("--mode", metavar="MODE", help="read or write.")] = "",
    context: Annotated[
        options.Words, typer.Option("--context", metavar="WORDS", help="task, softirq, hardirq, nmi.")
    ] = None,
    merge: options.Merge = False,
    min_wait: Annotated[
        str | None, typer.Option("--min-wait", metavar="TIME", help="Only acquisitions that waited so long: 20us, 1ms.")
    ] = None,
    redact: options.Redact = False,
) -> None:
    """Statistics of locks: acquisitions, contention, wait and hold times.

    Reading and exclusive acquisitions apart. A wait lasts from lock_contended to lock_acquired; on a kernel without
    lockdep, from contention_begin. Of contention events alone, owners (--by owner, --chains) are known where
    contended_release was recorded too (Linux 7.2 and later). --from and --to are of the time when a lock was requested.
    """
    one_of("--format", format, tuple(lock_writers()))
    output_file(output, traces, force=force)
    if perf_compat:
        _perf(one_recording(traces, merge), listed(by), sort, limit, contention, lock_writers()[format], output, redact)
        return
    chosen = addressed("--lock", lock)
    if len({word.startswith("0x") for word in chosen}) > 1:
        msg = "--lock: wanted patterns of classes or addresses, not both"
        raise UsageError(msg)
    paths = one_recording(traces, merge)
    query = _query(
        by=listed(by) or ("class",),
        sort=sort or "wait",
        limit=limit,
        percentiles=percentiles,
        contention=contention,
        mode=mode,
        min_wait=min_wait,
        times=times(paths, from_, to),
        words={
            "classes": tuple(word for word in chosen if not word.startswith("0x")), "callers": listed(caller),
            "tasks": listed(task), "cpus": listed(cpu), "vms": listed(vm), "contexts": listed(context),
            "locks": tuple(word for word in chosen if word.startswith("0x")), "events": listed(event),
        },
    )  # fmt: skip
    from lockscope.trace.locks import lock_figures, wait_chains

    writer, text = lock_writers()[format], io.StringIO()
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
        more: dict[str, Any] = {"width": columns()} if format == "text" and output in (None, "-") else {}
        writer.write_locks(_redact_locks.locks(figures) if redact else figures, text, **more)
    deliver(text.getvalue(), output)
    if empty:
        say(f"{paths[0]}: nothing to count" + (f": {notes[0]}" if notes else ""))
        raise typer.Exit(NO_VERDICT)


def _perf(
    traces: list[str], by: tuple[str, ...], sort: str, limit: int | None, contention: bool, writer: LockWriter,
    output: str | None, redact: bool,
) -> None:  # fmt: skip
    from lockscope.trace.perf import perf_figures

    with Progress(traces[0]) as progress:
        figures = perf_figures(
            traces, contention=contention, by=",".join(by), sort=sort, limit=limit, progress=progress
        )
    text = io.StringIO()
    writer.write_perf(_redact_locks.perf(figures) if redact else figures, text)
    deliver(text.getvalue(), output)
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
    times: tuple[int | None, int | None],
    words: dict[str, tuple[str, ...]],
) -> LockQuery:
    from lockscope.trace.locks import LockQuery, checked

    if mode:
        one_of("--mode", mode, ("read", "write"))
    for word in words["contexts"]:
        one_of("--context", word, ("task", "softirq", "hardirq", "nmi"))
    query = LockQuery(
        by=by,
        sort=sort,
        limit=limit,
        percents=tuple(number("--percentiles", p, float) for p in listed([percentiles])),
        classes=words["classes"],
        callers=words["callers"],
        tasks=words["tasks"],
        cpus=tuple(number("--cpu", w, int) for w in words["cpus"]),
        locks=tuple(int(w, 16) for w in words["locks"]),
        vms=tuple(number("--vm", w, int) for w in words["vms"]),
        mode=mode,
        contexts=words["contexts"],
        start_ns=times[0],
        end_ns=times[1],
        min_wait_ns=0 if min_wait is None else duration("--min-wait", min_wait),
        contention=contention,
        events=words["events"],
    )
    checked(query)
    return query
