"""The bytes of a perf.data as one stream of whole records, unpacked where perf record -z packed them."""

from __future__ import annotations

import io
import os
import weakref
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lockscope.core.perf_records import AUXTRACE, COMPRESSED, COMPRESSED2, TRACING_DATA, last_boundary
from lockscope.formats.files import zstd
from lockscope.formats.files.compressed import open_stream
from lockscope.formats.files.whole import open_whole
from lockscope.formats.trace_dat.pages import Arena
from lockscope.units import ByteOrder, byte_order

_BLOCK = 4 << 20
_MOST_UNPACKED = 64 << 20  # bytes of one packed record, which has 64 KiB: no real one is packed so well
_STEP = 1 << 10  # bytes unpacked in one go: 32 MiB at most come of them (zstd's blocks of one repeated byte)


class Stretch(io.RawIOBase):
    """A file from some offset on, with a position of its own: several may read one open file."""

    def __init__(self, file: BinaryIO, at: int) -> None:
        self._file, self._at = file, at

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Up to as many bytes as there is room for."""
        got = os.preadv(self._file.fileno(), [buffer], self._at)
        self._at += got
        return got


class Opened:
    """An open perf.data. ``length`` None: a pipe's data, a stream that is opened anew for each reading.

    ``codec``: what it was packed with as a whole. Raises ``UsageError``.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        stream = open_stream(path)
        self.codec = stream.codec
        head = stream.peek(16)[:16]
        self.length: int | None = None
        if int.from_bytes(head[8:16], "big" if head[:1] == b"2" else "little") == 16:
            stream.close()
            return
        stream.close()
        self._file, _ = open_whole(path)
        weakref.finalize(self, self._file.close)
        self.length = os.fstat(self._file.fileno()).st_size

    def at(self, offset: int) -> io.BufferedIOBase | io.RawIOBase:
        """Its bytes from an offset on."""
        if self.length is not None:
            return Stretch(self._file, offset)
        stream = open_stream(self.path)
        stream.read(offset)
        return stream


def parts_of(path: str) -> list[Path]:
    """The files of a directory that hold one thread's records each, in the order of their numbers."""
    found = (p for p in Path(path).glob("data.*") if p.suffix[1:].isdecimal() and p.is_file())
    return sorted(found, key=lambda p: int(p.suffix[1:])) if Path(path).is_dir() else []


class Source:
    """One stretch of records. ``damaged`` says what ended it early, if anything did."""

    def __init__(self, file: io.BufferedIOBase | io.RawIOBase, size: int, *, big: bool, cut: bool = False) -> None:
        self.file, self.big = file, big
        self.damaged = "it is shorter than its header says" if cut else ""
        self.done = False
        self._left = size
        self._packed = False
        self._raw = bytearray()
        self._rest = b""  # of a record that a packed one cut
        self._unpacker: zstd.ZstdDecompressor | None = None

    def fill(self, arena: Arena) -> None:
        """Append some more bytes to the arena; sets ``done`` at the end."""
        if self._packed:
            self._fill_packed(arena)
            return
        want = min(_BLOCK, self._left)
        place = arena.reserve(want)
        got = self.file.readinto(place.data) or 0 if want else 0
        arena.used -= want - got
        self._left -= got
        self.done = got == 0
        if self.done and want and want < _BLOCK:
            self.damaged = self.damaged or "the file became shorter while it was read"

    def special(self, arena: Arena, at: int) -> int:
        """What is at ``at`` in the arena is no plain record: deal with it; returns where the walk goes on."""
        record = arena.data[at : arena.used]
        kind, size, follows = self._head_of(record)
        if kind in (COMPRESSED, COMPRESSED2):
            self._raw[:0] = record.tobytes()
            self._packed, self.done = True, False
            arena.used = at
            return at
        skip = size + follows
        here = arena.used - at
        if skip > here:
            self._skip(skip - here)
            arena.used = at
            return at
        return at + skip

    def _head_of(self, record: NDArray[np.uint8]) -> tuple[int, int, int]:
        """Type and size of a record, and how many bytes follow it that belong to it."""
        order = byte_order(self.big)
        raw = record[:16].tobytes()
        kind, size = int.from_bytes(raw[:4], order), int.from_bytes(raw[6:8], order)
        follows = 0
        if kind == TRACING_DATA and size >= 12:
            follows = int.from_bytes(raw[8:12], order) + 7 & ~7
        elif kind == AUXTRACE and size >= 16:
            follows = int.from_bytes(raw[8:16], order)
        return kind, size, follows

    def _skip(self, size: int) -> None:
        size = min(size, self._left)
        self._left -= size
        while size > 0:
            got = len(self.file.read(min(size, _BLOCK)) or b"")
            if not got:
                self.done = True
                return
            size -= got

    def _more_raw(self) -> bool:
        fresh = self.file.read(min(_BLOCK, self._left)) or b""
        self._left -= len(fresh)
        self._raw += fresh
        return bool(fresh)

    def _fill_packed(self, arena: Arena) -> None:
        goal = arena.used + _BLOCK
        order = byte_order(self.big)
        at = 0
        while arena.used < goal and not self.done:
            if len(self._raw) - at < 8 or len(self._raw) - at < int.from_bytes(self._raw[at + 6 : at + 8], order):
                del self._raw[:at]
                at = 0
                if not self._more_raw():
                    self._end()
                continue
            record = np.frombuffer(bytes(self._raw[at : at + 16]), np.uint8)
            kind, size, follows = self._head_of(record)
            if size < 8:
                self.stop("a record that can't be one")
                break
            if kind in (COMPRESSED, COMPRESSED2):
                self._unpack(arena, kind, self._raw[at : at + size], order)
            elif follows:
                here = len(self._raw) - at - size
                self._skip(max(follows - here, 0))
                size += min(follows, here)
            else:
                arena.reserve(size)[:] = np.frombuffer(self._raw, np.uint8, size, at)
            at += size
        del self._raw[:at]

    def _end(self) -> None:
        self.done = True
        if self._rest or self._raw:
            self.damaged = self.damaged or f"its last record is cut to {len(self._rest) or len(self._raw)} bytes"

    def stop(self, why: str) -> None:
        """Nothing more can be read of it, for this reason."""
        self.done = True
        self.damaged = self.damaged or why

    def _unpack(self, arena: Arena, kind: int, record: bytearray, order: ByteOrder) -> None:
        body = bytes(record[8:])
        if kind == COMPRESSED2:  # its data has a size of its own, and is padded (tools/perf/util/event.h, v6.16)
            body = body[8 : 8 + int.from_bytes(body[:8], order)]
        try:
            plain = np.frombuffer(bytearray(self._rest + self._plain(body)), np.uint8)
        except zstd.ZstdError as error:
            self.stop(f"a packed record can't be unpacked: {' '.join(str(error).split())}")
            return
        whole = last_boundary(plain, 0, len(plain), self.big)
        if whole < 0:
            self.stop("a packed record holds what can't be a record")
            whole = 0
        arena.reserve(whole)[:] = plain[:whole]
        self._rest = bytes(plain[whole:].tobytes())

    def _plain(self, packed: bytes) -> bytes:
        """What a packed record holds. A frame may go on in the next record, and another begin in this one."""
        parts: list[bytes] = []
        size = 0
        for at in range(0, len(packed), _STEP):
            fresh = packed[at : at + _STEP]
            while fresh:
                if self._unpacker is None or self._unpacker.eof:
                    self._unpacker = zstd.unpacker()
                parts.append(self._unpacker.decompress(fresh))
                size += len(parts[-1])
                if size > _MOST_UNPACKED:
                    msg = f"it unpacks to more than {_MOST_UNPACKED >> 20} MiB"
                    raise zstd.ZstdError(msg)
                fresh = self._unpacker.unused_data if self._unpacker.eof else b""
        return b"".join(parts)
