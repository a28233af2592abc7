"""Open a trace, whatever its format: the readers of this folder are asked in turn whether they know its first bytes."""

from __future__ import annotations

from collections.abc import Callable

from lockscope.errors import FormatError
from lockscope.formats import _compressed
from lockscope.registry import modules
from lockscope.tables.events import Reader


def open_trace(path: str) -> Reader:
    """A reader for the file at ``path`` ("-": standard input). Raises ``FormatError`` where no reader knows it."""
    head = _compressed.head(path)
    reader = _reader(head)
    if reader is not None:
        return reader(path)
    what = "is empty" if not head else "is no trace that lockscope reads"
    hint = "trace.dat, perf.data, text of tracefs, trace-cmd report and perf script are read, plain or gzip, xz, zstd"
    raise FormatError(path, "", what, hint)


def knows(path: str) -> bool:
    """Whether some reader takes the file for its own. Raises ``OSError`` where it cannot be read."""
    return _reader(_compressed.head(path)) is not None


def _reader(head: bytes) -> Callable[[str], Reader] | None:
    readers = (getattr(module, "READER", None) for module in modules("lockscope.formats"))
    return next((r for r in readers if r is not None and r.sniff(head)), None)
