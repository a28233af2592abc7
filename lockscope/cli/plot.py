"""``lockscope plot``: one figure of a trace, as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lockscope.cli import _options as options
from lockscope.cli._arguments import addressed, is_time, listed, output_file, whole_numbers
from lockscope.errors import UsageError, unknown
from lockscope.registry import names

# Their names are their files' names: none is imported for --help.
FIGURES = tuple(name.replace("_", "-") for name in names("lockscope.plots"))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plot")(plot)


def plot(
    trace: Annotated[str, typer.Argument(metavar="TRACE", help="A trace.")],
    figure: Annotated[str, typer.Argument(metavar="FIGURE", help=f"{', '.join(FIGURES)}.")],
    *,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="FILE.png, .svg or .pdf; else FIGURE.png.")
    ] = None,
    force: options.Force = False,
    from_: options.From = None,
    to: options.To = None,
    task: options.Task = None,
    vm: options.Vm = None,
    cpu: options.Cpu = None,
    lock: options.Lock = None,
    event: options.Event = None,
    gfn: Annotated[str | None, typer.Option("--gfn", metavar="A..B", help="Only these guest frames.")] = None,
    limit: options.Limit = None,
    dpi: Annotated[int, typer.Option("--dpi", metavar="N", min=30, max=1200, help="Resolution of a PNG.")] = 200,
    redact: options.Redact = False,
) -> None:
    """Draw one figure of a trace, for paper or a slide. --limit: at most so many classes, tasks or rows."""
    if figure.replace("_", "-") not in FIGURES:
        raise unknown("FIGURE", figure, FIGURES, "figure")
    path = output or f"{figure.replace('_', '-')}.png"
    if path == "-":
        msg = f"-o -: a figure goes into a file: {figure}.png, .svg or .pdf"
        raise UsageError(msg)
    output_file(path, [trace], force=force)
    from dataclasses import replace

    from lockscope.plots.figure import FILES, View, refuse_unhonoured, save
    from lockscope.plots.figure import plot as drawn
    from lockscope.trace.trace import load

    if Path(path).suffix.lower() not in FILES:
        msg = f"-o {path}: a figure is written as {', '.join(FILES)}"
        raise UsageError(msg)
    asked = View(
        start_ns=0 if from_ else None, end_ns=0 if to else None, pids=(0,) * bool(task), vm=vm, cpus=(0,) * bool(cpu),
        locks=listed(lock), gfns=_frames(gfn),
    )  # fmt: skip
    refuse_unhonoured(figure, asked)
    loaded = load(trace, events=listed(event))
    part = loaded.part(
        from_=is_time("--from", from_), to=is_time("--to", to), task=listed(task), vm=vm,
        lock=addressed("--lock", lock), cpu=whole_numbers("--cpu", cpu),
    )  # fmt: skip
    view = replace(part.view, gfns=_frames(gfn), top=limit or part.view.top)
    if redact:
        from lockscope.trace.redacted import Redacted

        shown = Redacted(part)
        axes = drawn(figure, shown, shown.view(view))
    else:
        axes = drawn(figure, part, view)
    save(axes, path, dpi=dpi, force=True)  # looked at before any work was done
    typer.echo(path)


def _frames(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, dots, last = text.partition("..")
    try:
        ends = int(first, 0), int(last if dots else first, 0)
    except ValueError:
        msg = f"--gfn {text}: wanted frame numbers like 0x1000..0x11ff"
        raise UsageError(msg) from None
    if not 0 <= ends[0] <= ends[1] < 1 << 64:
        msg = f"--gfn {text}: the first frame is not below the last"
        raise UsageError(msg)
    return ends
