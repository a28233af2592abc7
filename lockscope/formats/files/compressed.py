"""Open a file, a pipe or standard input, decompressed on the way if it is gzip, xz or zstd, by content.

Everything streams in bounded memory: a few hundred bytes that unpack to terabytes cost time, not memory, and a file
that claims a huge dictionary or window is refused. What can only be read once (standard input, a FIFO) is kept as it is
read, in memory up to a limit and then in a temporary file, so that it can be opened again from its beginning.
"""

from __future__ import annotations

import gzip
import io
import lzma
import re
import stat
import sys
import tempfile
import weakref
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from lockscope.errors import UsageError
from lockscope.formats.files import zstd

HEAD = 1 << 16  # what a reader's sniff() gets to see
_MAGIC = ((b"\x1f\x8b", "gzip"), (b"\xfd7zXZ\x00", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18", re.DOTALL)  # RFC 8878, 3.1.2; pzstd begins with one
_BUFFER = 1 << 17
_KEPT_IN_MEMORY = 32 << 20
_XZ_MEMORY = 192 << 20  # `xz -9` needs 65 MiB to unpack
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Frames:
    """Unpacks one stream (or frame) behind the other, in steps of bounded size."""

    def __init__(self, source: _Readable, decoder: Callable[[], Any], padding: bytes) -> None:
        self._source, self._pending = source, b""
        self._make, self._padding = decoder, padding
        self._decoder = decoder()

    def _next_stream(self) -> bool:
        rest = self._decoder.unused_data.lstrip(self._padding)
        while not rest:
            fresh = self._source.read(_BUFFER)
            if not fresh:
                return False
            rest = fresh.lstrip(self._padding)
        self._pending = rest
        self._decoder = self._make()
        return True

    def read(self, size: int, /) -> bytes:
        while not self._decoder.eof or self._next_stream():
            if self._decoder.needs_input and not self._pending:
                self._pending = self._source.read(_BUFFER)
                if not self._pending:
                    raise EOFError("the compressed data ends early")
            out: bytes = self._decoder.decompress(self._pending, size)
            self._pending = b""
            if out:
                return out
        return b""


def _xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)  # ``lzma.open`` has no limit


class _Gzip:
    """Unpacks gzip and gives what there is: ``GzipFile.read`` drops the last of it where the data ends early."""

    def __init__(self, source: BinaryIO) -> None:
        self.read = gzip.GzipFile(fileobj=source).read1


def _unpacked(source: BinaryIO, codec: str | None) -> _Readable:
    if codec == "gzip":
        return _Gzip(source)
    if codec == "xz":
        return _Frames(source, _xz, b"\0")  # streams may be padded with zeros: xz-file-format.txt, 2.2
    if codec == "zstd":
        return _Frames(source, zstd.unpacker, b"")
    return source


class _Kept:
    """A source that can be read once, kept so that it can be read again."""

    def __init__(self, source: BinaryIO, in_memory: int = _KEPT_IN_MEMORY) -> None:
        self.source, self.length, self._done = source, 0, False
        self.file = tempfile.SpooledTemporaryFile(max_size=in_memory)  # noqa: SIM115 - closed by the finalizer
        weakref.finalize(self, self.file.close)

    def read_at(self, at: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``at``; empty at the end."""
        self.file.seek(self.length)
        while not self._done and self.length <= at:
            fresh = self.source.read(_BUFFER)
            self._done = not fresh
            self.file.write(fresh)
            self.length += len(fresh)
        self.file.seek(at)
        return self.file.read(size)


class _FromKept(io.RawIOBase):
    def __init__(self, kept: _Kept) -> None:
        self._kept, self._at = kept, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        got = self._kept.read_at(self._at, len(buffer))
        buffer[: len(got)] = got
        self._at += len(got)
        return len(got)


class _Unpacking(io.RawIOBase):
    """The decompressed bytes. Damage ends them; ``broken`` then says what it was."""

    def __init__(self, source: BinaryIO, codec: str | None) -> None:
        self._source = source
        self._from: _Readable | None = None
        self._codec = codec
        self.broken: str | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if self.broken:
            return 0
        try:
            if self._from is None:
                self._from = _unpacked(self._source, self._codec)
            got = self._from.read(len(buffer))
        except _BROKEN as error:
            self.broken = " ".join(str(error).split()) or type(error).__name__
            return 0
        buffer[: len(got)] = got
        return len(got)

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()


class Stream(io.BufferedReader):
    """Decompressed bytes of a path, with ``peek``.

    ``codec``: "gzip", "xz", "zstd" or None. ``broken``: what ended the data early, None if nothing did; look when
    ``read`` has returned nothing.
    """

    def __init__(self, source: BinaryIO, codec: str | None) -> None:
        self._unpacking = _Unpacking(source, codec)
        super().__init__(self._unpacking, _BUFFER)
        self.codec = codec

    @property
    def broken(self) -> str | None:
        """Why the data ended before its end; None if it did not."""
        return self._unpacking.broken


_kept: dict[str, _Kept] = {}


def _raw(path: str) -> io.BufferedReader:
    if path == "-":
        source = sys.stdin.buffer
        if path not in _kept or _kept[path].source is not source:
            _kept[path] = _Kept(source)
        return io.BufferedReader(_FromKept(_kept[path]), _BUFFER)
    try:
        if path not in _kept and stat.S_ISREG(Path(path).stat().st_mode):
            return io.BufferedReader(io.FileIO(path), _BUFFER)
        if path not in _kept:
            _kept[path] = _Kept(Path(path).open("rb"))  # noqa: SIM115 - a FIFO: closing it would lose it
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise UsageError(f"{path!r}: not a file name") from None
    return io.BufferedReader(_FromKept(_kept[path]), _BUFFER)


def open_stream(path: str) -> Stream:
    """The content of ``path`` ("-": standard input) from its beginning, decompressed. Raises ``UsageError``.

    Any path may be opened again, also standard input: what was read of it is kept.
    """
    source = _raw(str(path))
    try:
        start = source.peek(_BUFFER)
    except OSError as error:
        source.close()
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    return Stream(source, _codec(start))


def _codec(start: bytes) -> str | None:
    """What data beginning so is packed with. Frames that a zstd decoder skips stand in front of its first one."""
    at = 0
    while _SKIPPABLE.match(start, at):
        at += 8 + int.from_bytes(start[at + 4 : at + 8], "little")
    if at and at + 4 > len(start):  # the frames go on: it is what such frames are for
        return "zstd"
    return next((codec for magic, codec in _MAGIC if start.startswith(magic, at) and (not at or codec == "zstd")), None)


def entry(path: str) -> str:
    """The file to begin with: of a directory, as perf record --threads makes, the one that is called ``data``."""
    inside = Path(path) / "data"
    return str(inside) if path != "-" and Path(path).is_dir() and inside.is_file() else path


def head(path: str, size: int = HEAD) -> bytes:
    """The first ``size`` bytes of what ``open_stream`` gives of the file, or of a directory's first."""
    with open_stream(entry(path)) as stream:
        return stream.read(size)


def compression(path: str) -> str | None:
    """What ``path`` is compressed with: "gzip", "xz", "zstd" or None."""
    with open_stream(path) as stream:
        return stream.codec
