"""What an export format is: a module of this folder with a name and a ``write``.

``exports/NAME.py`` defines ``EXPORT`` (what ``--format`` takes), ``SUFFIX`` (of its file; "" where it writes a
directory), ``DOC`` (one line) and ``write(trace, target, options)``, which returns the files it wrote.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from lockscope import outfiles
from lockscope.errors import UsageError, unknown
from lockscope.plots.figure import View
from lockscope.registry import modules
from lockscope.trace.view import Part

if TYPE_CHECKING:
    from lockscope.trace.trace import EventTable, Trace

STDOUT = Path("-")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to write. ``tables``, ``events``: only these, where a format has a choice. ``redact``: without task names,
    pids, hosts, directories and addresses. ``view``: which part of the trace.
    """

    tables: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    redact: bool = False
    view: View = field(default_factory=View)

    @property
    def start_ns(self) -> int | None:
        """From when on."""
        return self.view.start_ns

    @property
    def end_ns(self) -> int | None:
        """Until when."""
        return self.view.end_ns


class ExportFormat(Protocol):
    """A format, as a module is one."""

    EXPORT: str
    SUFFIX: str
    DOC: str

    def write(self, trace: Trace, target: Path, options: ExportOptions) -> list[Path]:
        """Write the trace; the files written."""
        ...


@cache
def export_formats() -> dict[str, ExportFormat]:
    """Every format by name, sorted."""
    found = (cast("ExportFormat", m) for m in modules("lockscope.exports") if hasattr(m, "EXPORT"))
    return {f.EXPORT: f for f in sorted(found, key=lambda f: f.EXPORT)}


def export_format(name: str) -> ExportFormat:
    """The format with this name; ``UsageError`` names those that exist."""
    found = export_formats().get(name)
    if found is None:
        raise unknown("--format", name, export_formats())
    return found


@contextmanager
def opened(target: Path) -> Iterator[BinaryIO]:
    """The file to write to, whole or not at all; standard output for ``-``."""
    if target == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with outfiles.opened(target) as file:
        yield file


def table_of(trace: Trace, name: str, options: ExportOptions) -> EventTable:
    """The rows of a declared table that belong to the part that is wanted."""
    return trace.table(name) if options.view == View() else Part(trace, options.view).table(name)


def refuse(options: ExportOptions, name: str, *, tables: bool = True, redact: bool = True) -> None:
    """``UsageError`` for options that a format has no use for."""
    if tables and (options.tables or options.events):
        msg = f"--format {name}: --table and --event are for formats that write tables"
        raise UsageError(msg)
    if redact and options.redact:
        msg = f"--format {name}: cannot leave names out; export tables with --redact instead"
        raise UsageError(msg)
