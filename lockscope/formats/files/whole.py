"""A file to be read from any place, also where it comes packed or through a pipe."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import BinaryIO, cast

from lockscope.errors import UsageError
from lockscope.formats.files.compressed import Stream, open_stream

_BLOCK = 4 << 20


def open_whole(path: str) -> tuple[BinaryIO, str | None]:
    """The file's bytes, unpacked, and what they were packed with as a whole ("gzip", "xz", "zstd" or None).

    A file that is packed, or comes through a pipe, is unpacked into a temporary file that has no name: trace.dat and
    perf.data have tables that point to any place. Raises ``UsageError``.
    """
    stream = open_stream(path)
    codec = stream.codec
    if codec is None and Path(path).is_file():
        stream.close()
        return Path(path).open("rb"), None
    return _spooled(stream, path), codec


def _spooled(stream: Stream, path: str) -> BinaryIO:
    spool = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - the caller's to close
    with stream:
        while fresh := stream.read(_BLOCK):
            try:
                spool.write(fresh)
            except OSError as error:
                spool.close()
                msg = f"{path}: cannot be unpacked into {tempfile.gettempdir()}: {error.strerror}"
                raise UsageError(msg) from None
    return cast("BinaryIO", spool)
