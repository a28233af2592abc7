"""The sub-buffers ("pages") of one CPU, block by block, from plain or packed trace data, read into a batch's arena."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockscope.core import records
from lockscope.formats.trace_dat.layout import BufferData, CpuData, Head
from lockscope.units import byte_order

_WINDOW = 1 << 18  # packed bytes looked at in one go
_MOST_CHUNK = 32  # pages; trace-cmd packs ten a chunk; a damaged size must not ask for gigabytes


class Arena:
    """The bytes of one batch: pages of all streams, in the order in which they were read."""

    def __init__(self, room: int) -> None:
        self.data = np.empty(room, np.uint8)
        self.used = 0

    def reserve(self, size: int) -> NDArray[np.uint8]:
        """The next ``size`` bytes, to be filled; grows where there is no room."""
        if self.used + size > len(self.data):
            grown = np.empty(max(self.used + size, len(self.data) + (len(self.data) >> 1)), np.uint8)
            grown[: self.used] = self.data[: self.used]
            self.data = grown
        self.used += size
        return self.data[self.used - size : self.used]


def ends_of(places: list[tuple[BufferData, CpuData]], length: int) -> list[int]:
    """Where each CPU's data must end: where the next one's begins, the last one's at the file's end.

    Of two that begin at one place the second has nothing: a damaged table must not make work for a thousand files.
    """
    ends = [length] * len(places)
    with_data = sorted((cpu.offset, i) for i, (_, cpu) in enumerate(places) if cpu.size > 0)
    for (offset, i), (following, _) in pairwise(with_data):
        ends[i] = min(following, length)
        if offset == following:
            ends[i] = offset
    return ends


@dataclass(slots=True)
class Run:
    """Whole pages that lie one behind the other in the arena, with the time at which each begins (not falling)."""

    start: int
    ts: NDArray[np.int64]


@dataclass(slots=True)
class Budget:
    """How many plain bytes all streams together may still have unpacked ahead."""

    left: int = 48 << 20


@dataclass(slots=True)
class PageStream:
    """One CPU's data of one buffer. ``runs``: pages in the arena of which records are still to come.

    ``skip``: how many rows of the first of them went out with earlier batches.
    """

    fd: int
    head: Head
    buffer: BufferData
    place: CpuData
    index: int
    end: int  # nothing of it lies here or beyond
    pool: Executor
    block: int  # bytes to read in one go, about
    budget: Budget
    page_size: int = 0
    runs: list[Run] = field(default_factory=list)
    skip: int = 0
    broken: int = 0  # pages that hold what can't be a record
    done: bool = False
    damaged: str = ""
    last_ts: int = -(1 << 63)
    _pos: int = 0
    _end: int = 0
    _chunks: int = -1
    _most_chunk: int = 0
    _rest: bytes = b""  # of a page that the last chunk cut
    _ahead: list[tuple[int, Future[list[Any]]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page_size = self.buffer.page_size
        self._pos = self.place.offset
        self._most_chunk = max(1 << 20, min(_MOST_CHUNK * self.page_size, 64 << 20))
        claimed = self.place.offset + self.place.size
        # The size of packed data leaves the chunks' own heads out: only the count of chunks says where it ends.
        whole = self.buffer.compressed and not self.buffer.salvaged
        self._end = self.end if whole else min(claimed, self.end)
        if self.place.size <= 0 or self._pos >= self._end:
            self.done = True
            if self.place.size > 0:
                self.damaged = "its data lies beyond the end of the file, or where another CPU's lies"
        elif claimed > self.end:
            self.damaged = f"{claimed - self.end} bytes of its data are missing"

    @property
    def pages(self) -> int:
        """How many pages are waiting."""
        return sum(len(r.ts) for r in self.runs)

    def drop(self, pages: int) -> None:
        """Let the first waiting pages go."""
        while pages:
            run = self.runs[0]
            here = min(pages, len(run.ts))
            pages -= here
            if here == len(run.ts):
                self.runs.pop(0)
            else:
                run.start += here * self.page_size
                run.ts = run.ts[here:]

    def prefetch(self) -> None:
        """Have packed data unpacked in the background, as far as there is room."""
        if self.buffer.compressed and not self.done:
            self._read_ahead()

    def read(self, arena: Arena) -> None:
        """Read some more pages into the arena; sets ``done`` at the end of the data."""
        begin = arena.used
        if self.buffer.compressed:
            self._read_packed(arena)
        else:
            self._read_plain(arena)
        if self.done and self._rest:
            self.damaged = self.damaged or f"its last page is cut to {len(self._rest)} bytes"
            place = arena.reserve(self.page_size)
            place[:] = np.frombuffer(self._cut_page().ljust(self.page_size, b"\0"), np.uint8)
            self._rest = b""
        if arena.used > begin:
            self._add(arena, begin)

    def _cut_page(self) -> bytes:
        """What is left of the last page, which then says that it has no more: a record that is cut is none of zeros."""
        width, order = self.head.long_size, byte_order(self.head.big)
        commit = int.from_bytes(self._rest[8 : 8 + width], order)
        most = max(len(self._rest) - self.head.data_offset, 0)
        if len(self._rest) >= 8 + width and commit & records.COMMIT_MASK > most:
            # The count of events missed before it stood behind its data.
            commit = commit & ~(records.COMMIT_MASK | records.MISSED_STORED) | most
        return self._rest[:8] + commit.to_bytes(width, order) + self._rest[8 + width :]

    def _add(self, arena: Arena, begin: int) -> None:
        pages = arena.data[begin : arena.used].reshape(-1, self.page_size)
        ts = np.ascontiguousarray(pages[:, :8]).view(">i8" if self.head.big else "<i8").reshape(-1).astype(np.int64)
        ts = np.maximum(np.maximum.accumulate(ts), self.last_ts)
        self.last_ts = int(ts[-1])
        self.runs.append(Run(begin, ts))

    def _read_plain(self, arena: Arena) -> None:
        size = min(max(self.block // self.page_size, 1) * self.page_size, self._end - self._pos)
        place = arena.reserve(size)
        got = 0
        while got < size:
            # An array of bytes is a buffer to read into; numpy's annotations do not say so.
            more = os.preadv(self.fd, [place[got:]], self._pos + got)  # type: ignore[list-item]
            if more <= 0:
                self.damaged = self.damaged or "the file became shorter while it was read"
                self._end = self._pos + got
                break
            got += more
        self._pos += got
        whole = got // self.page_size * self.page_size
        self._rest = place[whole:got].tobytes()
        arena.used -= size - whole
        self.done = self._pos >= self._end

    def _read_packed(self, arena: Arena) -> None:
        if not self._ahead:
            self._read_ahead(needed=True)
        if not self._ahead:
            self.done = True
            return
        size, job = self._ahead.pop(0)
        plain = job.result()
        self.budget.left += size
        self._read_ahead()
        for piece in plain:
            if piece is None:
                self._stop(f"a chunk before offset {self._pos:#x} can't be unpacked")
                self.budget.left += sum(size for size, _ in self._ahead)
                self._ahead.clear()
                break
            self._append(arena, np.frombuffer(piece, np.uint8))
        self.done = not self._ahead and self._chunks == 0

    def _append(self, arena: Arena, raw: NDArray[np.uint8]) -> None:
        if self._rest:
            raw = np.concatenate((np.frombuffer(self._rest, np.uint8), raw))
        whole = len(raw) // self.page_size * self.page_size
        self._rest = raw[whole:].tobytes()
        arena.reserve(whole)[:] = raw[:whole]

    def _read_ahead(self, *, needed: bool = False) -> None:
        if self._chunks < 0:
            self._chunks = self._count()
        while self._chunks > 0 and len(self._ahead) < 2 and (needed or self.budget.left > 0):
            chunks = self._next_chunks()
            if chunks:
                size = sum(plain for _, plain in chunks)
                self.budget.left -= size
                self._ahead.append((size, self.pool.submit(_unpack, self.head.codec, chunks)))
                needed = False

    def _count(self) -> int:
        raw = os.pread(self.fd, 4, self._pos)
        self._pos += 4
        if self.buffer.salvaged:
            return 1 << 32  # a killed recorder had not written it yet: as many as there are
        count, other = int.from_bytes(raw, "big" if self.head.big else "little"), int.from_bytes(raw, "little")
        # trace-cmd 3.1's convert writes it in the host's byte order, whatever the file's is.
        left = self._end - self._pos
        return other if count * 9 > left and other * 9 <= left else count

    def _next_chunks(self) -> list[tuple[memoryview, int]]:
        """Packed bytes and plain size of the next chunks, about a block of them."""
        window = memoryview(os.pread(self.fd, min(_WINDOW, max(self._end - self._pos, 0)), self._pos))
        sizes = ">II" if self.head.big else "<II"
        chunks: list[tuple[memoryview, int]] = []
        at = total = 0
        while self._chunks > 0 and total < self.block:
            if at + 8 > len(window):
                if not chunks:
                    self._stop(f"its chunks are cut at offset {self._pos + at:#x}")
                break
            packed, plain = struct.unpack_from(sizes, window, at)
            if packed <= 0 or not 0 < plain <= self._most_chunk or self._pos + at + 8 + packed > self._end:
                self._stop(f"a chunk at offset {self._pos + at:#x} is cut or damaged")
                break
            if at + 8 + packed > len(window):
                if chunks:
                    break
                window = memoryview(os.pread(self.fd, 8 + packed, self._pos))
            chunks.append((window[at + 8 : at + 8 + packed], plain))
            at += 8 + packed
            total += plain
            self._chunks -= 1
        self._pos += at
        if self.buffer.salvaged and self._pos >= self._end:
            self._chunks = 0
        return chunks

    def _stop(self, why: str) -> None:
        self.damaged = self.damaged or why
        self._chunks = 0


def _unpack(codec: str, chunks: list[tuple[memoryview, int]]) -> list[Any]:
    """The chunks' plain bytes; ends with None where one is damaged."""
    if codec == "zstd" and (whole := _unpacked_frames(chunks)):
        return whole
    plain: list[Any] = []
    for chunk, size in chunks:
        raw = _unpacked(codec, chunk, size)
        plain.append(raw)
        if raw is None:
            break
    return plain


def _unpacked_frames(chunks: list[tuple[memoryview, int]]) -> list[memoryview]:
    """Chunks that are a frame each, as one stream; none where that is not so: which is damaged is found one by one.

    Threads that take Python's lock for every chunk wait for each other longer than they unpack, and a context for each
    costs half as much again as unpacking.
    """
    import pyarrow as pa

    from lockscope.formats.files import zstd

    ends = [0, *accumulate(size for _, size in chunks)]
    try:
        if any(zstd.get_frame_info(chunk).decompressed_size != size for chunk, size in chunks):
            return []
        stream = pa.CompressedInputStream(pa.BufferReader(b"".join(chunk for chunk, _ in chunks)), "zstd")
        plain = memoryview(stream.read_buffer(ends[-1]))
        if len(plain) < ends[-1] or stream.read(1):
            return []
    except (OSError, ValueError, zstd.ZstdError):
        return []
    return [plain[begin:end] for begin, end in pairwise(ends)]


def _unpacked(codec: str, chunk: memoryview, size: int) -> bytes | None:
    from lockscope.formats.files import zstd

    raw = b""
    with contextlib.suppress(zlib.error, zstd.ZstdError, ValueError):
        if codec != "zstd":
            raw = zlib.decompressobj().decompress(chunk, size)
        elif zstd.get_frame_info(chunk).decompressed_size in (size, None):  # it would be believed, whatever it says
            unpacker = zstd.unpacker()
            raw = unpacker.decompress(chunk, size + 1)
            raw = raw if unpacker.eof else b""
    return raw if len(raw) == size else None
