"""``lockscope plot``: one figure of a trace, as a file."""

from __future__ import annotations

import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import lockscope.plots
from lockscope.cli._arguments import listed, output_file
from lockscope.errors import UsageError, unknown

if TYPE_CHECKING:
    from lockscope.plots._base import View
    from lockscope.trace import Trace

# Their names are their files' names: none is imported for --help.
FIGURES = tuple(
    sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(lockscope.plots.__path__) if m.name[0] != "_")
)
Words = list[str] | None


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
    start: Annotated[str | None, typer.Option("--from", metavar="TIME", help="From here on: 10.3s, +5ms.")] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Until here; -5ms: before the end.")] = None,
    task: Annotated[Words, typer.Option("--task", metavar="TASKS", help="Only these, by pid or name.")] = None,
    vm: Annotated[int | None, typer.Option("--vm", metavar="NUMBER", help="Only this VM.")] = None,
    lock: Annotated[
        Words, typer.Option("--lock", metavar="PATTERNS", help="Only these locks: kvm->*,*mmu_lock.")
    ] = None,
    gfn: Annotated[str | None, typer.Option("--gfn", metavar="A..B", help="Only these guest frames.")] = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="At most so many classes, tasks, rows.")] = 12,
    dpi: Annotated[int, typer.Option("--dpi", metavar="N", min=30, max=1200, help="Of a PNG.")] = 200,
    redact: Annotated[bool, typer.Option("--redact", help="Without task names, pids, directories, addresses.")] = False,
) -> None:
    """Draw one figure of a trace, for paper or a slide."""
    if figure.replace("_", "-") not in FIGURES:
        raise unknown("FIGURE", figure, FIGURES, "figure")
    path = output or f"{figure.replace('_', '-')}.png"
    output_file(path, [trace])
    from lockscope.plots._base import FILES, View, refuse_unhonoured, save
    from lockscope.plots._base import plot as drawn
    from lockscope.trace import load
    from lockscope.trace_view import viewed

    if Path(path).suffix.lower() not in FILES:
        msg = f"-o {path}: a figure is written as {', '.join(FILES)}"
        raise UsageError(msg)
    loaded = load(trace)
    view = _tasks(loaded, View(_time(loaded, "--from", start), _time(loaded, "--to", end), vm=vm, locks=listed(lock),
                               gfns=_frames(gfn), top=top), listed(task))  # fmt: skip
    refuse_unhonoured(figure, view)
    part = viewed(loaded, view)
    if redact:
        from lockscope.trace_redacted import Redacted

        shown = Redacted(part)
        axes = drawn(figure, shown, shown.view(view))
    else:
        axes = drawn(figure, part, view)
    save(axes, path, dpi=dpi)
    typer.echo(path)


def _time(trace: Trace, option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return trace.at(text)
    except UsageError as error:
        msg = f"{option}: {error}"
        raise UsageError(msg) from None


def _tasks(trace: Trace, view: View, tasks: tuple[str, ...]) -> View:
    from dataclasses import replace

    return replace(view, pids=trace.task(*tasks).view.pids) if tasks else view


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
