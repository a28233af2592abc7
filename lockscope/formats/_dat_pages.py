"""The sub-buffers of one CPU, block by block, from plain or packed trace data."""

from __future__ import annotations

import os
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockscope.formats._dat_head import BufferData, CpuData, Head, unpack

_PLAIN_BLOCK = 1 << 20
_MOST_CHUNK = 64 << 20  # trace-cmd packs ten pages a chunk; a damaged size must not ask for gigabytes


@dataclass(slots=True)
class Indexed:
    """Records of one stream that lie at or after the end of the last batch: their columns and the pages' bytes."""

    ts: NDArray[np.int64]
    at: NDArray[np.int64]
    size: NDArray[np.int32]
    kind: NDArray[np.int32]
    data: NDArray[np.uint8]


@dataclass(slots=True)
class PageStream:
    """One CPU's data of one buffer. ``blocks``: whole pages read and not yet indexed, with the time of each page."""

    fd: int
    head: Head
    buffer: BufferData
    place: CpuData
    page_size: int
    index: int
    file_length: int
    pool: Executor | None = None
    blocks: list[tuple[NDArray[np.uint8], NDArray[np.int64]]] = field(default_factory=list)
    carry: Indexed | None = None
    done: bool = False
    damaged: str = ""
    last_ts: int = -(1 << 63)
    pages_read: int = 0
    _pos: int = 0
    _end: int = 0
    _chunks: int = -1
    _rest: bytes = b""
    _ahead: list[Future[tuple[bytes, int] | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._pos = self.place.offset
        # The size of packed data leaves the chunks' own heads out: only the chunk count says where it ends.
        claimed = self.place.offset + self.place.size
        self._end = self.file_length if self.buffer.compressed else min(claimed, self.file_length)
        if self.place.size <= 0 or self._pos >= self._end:
            self.done = True
            if self.place.size > 0:
                self.damaged = "its data lies beyond the end of the file"
        elif self.place.offset + self.place.size > self.file_length:
            missing = self.place.offset + self.place.size - self.file_length
            self.damaged = f"the file ends {missing} bytes before its data does"

    @property
    def pending(self) -> int:
        """Bytes of pages read and not taken."""
        return sum(len(b) for b, _ in self.blocks)

    def read_block(self) -> None:
        """Read some more pages; sets ``done`` at the end of the data."""
        raw = self._next_packed() if self.buffer.compressed else self._next_plain()
        if raw is None or not len(raw):
            self.done = True
            if len(self._rest):
                self.damaged = self.damaged or f"its last page is cut to {len(self._rest)} bytes"
                raw, self._rest = self._rest, b""
                self._add(np.frombuffer(raw + b"\0" * (self.page_size - len(raw)), np.uint8))
            return
        if self._rest or len(raw) % self.page_size:
            joined = self._rest + bytes(raw)
            whole = len(joined) // self.page_size * self.page_size
            raw, self._rest = joined[:whole], joined[whole:]
        if len(raw):
            self._add(np.frombuffer(raw, np.uint8))

    def _add(self, data: NDArray[np.uint8]) -> None:
        pages = data.reshape(-1, self.page_size)
        ts = np.ascontiguousarray(pages[:, :8]).view(">i8" if self.head.big else "<i8").reshape(-1).astype(np.int64)
        ts = np.maximum(np.maximum.accumulate(ts), self.last_ts)
        self.last_ts = int(ts[-1])
        self.pages_read += len(pages)
        self.blocks.append((data, ts))

    def _next_plain(self) -> bytes | None:
        size = min(max(_PLAIN_BLOCK, self.page_size), self._end - self._pos)
        if size <= 0:
            return None
        raw = os.pread(self.fd, size, self._pos)
        self._pos += len(raw)
        return raw

    def _number(self, pos: int) -> int:
        return int.from_bytes(os.pread(self.fd, 4, pos), "big" if self.head.big else "little")

    def _chunk(self, pos: int, packed: int, plain: int) -> tuple[bytes, int] | None:
        raw = unpack(self.head.codec, os.pread(self.fd, packed, pos), plain)
        return None if raw is None else (raw, pos)

    def _read_ahead(self) -> None:
        if self._chunks < 0:
            self._chunks = self._number(self._pos)
            self._pos += 4
        while self._chunks > 0 and len(self._ahead) < 16 and not self.damaged.startswith("a chunk"):
            if self._pos + 8 > self._end:
                self.damaged = self.damaged or f"{self._chunks} of its chunks are missing"
                self._chunks = 0
                return
            packed, plain = self._number(self._pos), self._number(self._pos + 4)
            if not 0 < packed or not 0 < plain <= _MOST_CHUNK or self._pos + 8 + packed > self._end:
                self.damaged = self.damaged or f"a chunk at offset {self._pos:#x} is cut or damaged"
                self._chunks = 0
                return
            at = self._pos + 8
            if self.pool is not None:
                self._ahead.append(self.pool.submit(self._chunk, at, packed, plain))
            else:
                ready: Future[Any] = Future()
                ready.set_result(self._chunk(at, packed, plain))
                self._ahead.append(ready)
            self._pos = at + packed
            self._chunks -= 1

    def _next_packed(self) -> bytes | None:
        self._read_ahead()
        if not self._ahead:
            return None
        got = self._ahead.pop(0).result()
        if got is None:
            self.damaged = f"a chunk near offset {self._pos:#x} can't be unpacked"
            self._ahead.clear()
            self._chunks = 0
            return None
        return got[0]
