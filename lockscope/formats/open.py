"""Open a trace, whatever its format: the readers of this folder are asked in turn whether they know its first bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from lockscope.errors import FormatError
from lockscope.formats.files import compressed as _compressed
from lockscope.registry import modules
from lockscope.tables.events import Reader


class _Home(Protocol):
    """A format, as a module or package of this folder is one."""

    MAGIC: tuple[bytes, ...]  # its files begin with one of these; empty: only its readers can tell

    def readers(self) -> tuple[type[Reader], ...]: ...


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


def all_readers() -> list[type[Reader]]:
    """The readers of every format, imported."""
    return [reader for home in _homes() for reader in home.readers()]


def _reader(head: bytes) -> Callable[[str], Reader] | None:
    """Only what the first bytes may be is imported: the other readers take a tenth of the time of a small verdict."""
    homes = _homes()
    certain = [home for home in homes if head.startswith(home.MAGIC)]
    asked = certain or [home for home in homes if not home.MAGIC]
    return next((reader for home in asked for reader in home.readers() if reader.sniff(head)), None)


def _homes() -> list[_Home]:
    return [cast("_Home", found) for found in modules("lockscope.formats") if hasattr(found, "readers")]
