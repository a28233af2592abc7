"""Open a trace, whatever its format: the readers of this folder are asked in turn whether they know its first bytes."""

from __future__ import annotations

from lockscope.errors import FormatError
from lockscope.formats import _compressed
from lockscope.registry import modules
from lockscope.tables.events import Reader


def open_trace(path: str) -> Reader:
    """A reader for the file at ``path`` ("-": standard input). Raises ``FormatError`` where no reader knows it."""
    head = _compressed.head(path)
    for module in modules("lockscope.formats"):
        reader = getattr(module, "READER", None)
        if reader is not None and reader.sniff(head):
            opened: Reader = reader(path)
            return opened
    what = "is empty" if not head else "is no trace that lockscope reads"
    hint = "trace.dat (6, 7), perf.data, tracefs text and trace-cmd report text are read, plain or gzip, xz, zstd"
    raise FormatError(path, "", what, hint)
