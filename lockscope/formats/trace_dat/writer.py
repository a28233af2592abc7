"""Write a trace.dat, version 6 or 7, from sections, options and pages: for simulated, cut and inflated traces.

Layout: as ``_dat_layout`` says. The order is trace-cmd's own: head, sections, data, and the options that say where all
of it lies at the end (version 7) or before the data (version 6).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import BinaryIO

from lockscope.formats.trace_dat.layout import (
    BUFFER,
    COMPRESSED,
    CPUCOUNT,
    DONE,
    MAGIC,
    SECTIONS,
    TRACECLOCK,
)

_PAGES_A_CHUNK = 10  # as trace-cmd packs them (PAGES_IN_CHUNK in lib/trace-cmd/trace-compress.c)


@dataclass(frozen=True, slots=True)
class CpuPages:
    """One CPU's records: whole pages, a piece at a time."""

    cpu: int
    pieces: Iterable[bytes]


@dataclass(frozen=True, slots=True)
class BufferPages:
    """A tracing instance; "" is the top one."""

    name: str
    cpus: list[CpuPages]
    clock: str = "local"
    page_size: int = 4096


@dataclass(slots=True)
class Content:
    """What goes into a file. ``sections``: bodies by number, not packed. ``options``: those that are no place."""

    sections: dict[int, bytes]
    options: list[tuple[int, bytes]] = field(default_factory=list)
    buffers: list[BufferPages] = field(default_factory=list)
    big: bool = False
    long_size: int = 8
    page_size: int = 4096

    def number(self, value: int, width: int) -> bytes:
        """In the file's byte order."""
        return value.to_bytes(width, "big" if self.big else "little")

    def option(self, number: int, body: bytes) -> bytes:
        """An option with its number and size."""
        return self.number(number, 2) + self.number(len(body), 4) + body


def write_v7(file: BinaryIO, content: Content, codec: str = "none") -> None:
    """Version 7; ``codec`` "none", "zlib" or "zstd"."""
    c = content
    head = MAGIC + b"7\0" + bytes([c.big, c.long_size]) + c.number(c.page_size, 4) + codec.encode() + b"\0" + b"1\0"
    options_at = len(head)
    file.write(head + bytes(8))
    options = [c.option(n, body) for n, body in c.options]
    for number, body in c.sections.items():
        options.append(c.option(number, c.number(file.tell(), 8)))
        _write_section(file, c, number, body, codec)
    options.extend(c.option(BUFFER, _write_buffer(file, c, buffer, codec)) for buffer in c.buffers)
    begin = file.tell()
    _write_section(file, c, DONE, b"".join(options) + c.option(DONE, bytes(8)), "none")
    end = file.tell()
    file.seek(options_at)
    file.write(c.number(begin, 8))
    file.seek(end)


def write_v6(file: BinaryIO, content: Content) -> None:
    """Version 6. The CPUs of a buffer that are not given are empty."""
    c = content
    cpus = max((p.cpu + 1 for b in c.buffers for p in b.cpus), default=0)
    file.write(MAGIC + b"6\0" + bytes([c.big, c.long_size]) + c.number(c.page_size, 4))
    file.write(b"".join(c.sections[n] for n in SECTIONS))
    top = next((b for b in c.buffers if not b.name), BufferPages("", []))
    instances = [b for b in c.buffers if b.name]
    clock = next((body for n, body in c.options if n == TRACECLOCK), None)
    file.write(c.number(cpus, 4) + b"options  \0" + b"".join(c.option(n, b) for n, b in c.options if n != CPUCOUNT))
    places = []
    for buffer in instances:
        name = buffer.name.encode() + b"\0"
        file.write(c.number(BUFFER, 2) + c.number(8 + len(name), 4))
        places.append(file.tell())
        file.write(bytes(8) + name)
    file.write(c.number(DONE, 2))
    # The clock's text follows the table of CPU data where there is a TRACECLOCK option (init_data_v6()).
    _write_flyrecord(file, c, top, cpus, b"" if clock is None else c.number(len(clock), 8) + clock)
    for place, buffer in zip(places, instances, strict=True):
        begin = file.tell()
        file.seek(place)
        file.write(c.number(begin, 8))
        file.seek(begin)
        _write_flyrecord(file, c, buffer, cpus, b"")


def _write_flyrecord(file: BinaryIO, c: Content, buffer: BufferPages, cpus: int, clock: bytes) -> None:
    file.write(b"flyrecord\0")
    table = file.tell()
    file.write(bytes(16 * cpus) + clock)
    places = [(0, 0)] * cpus
    for cpu in buffer.cpus:
        _align(file, c.page_size)
        begin = file.tell()
        for piece in cpu.pieces:
            file.write(piece)
        places[cpu.cpu] = (begin, file.tell() - begin)
    end = file.tell()
    file.seek(table)
    file.write(b"".join(c.number(at, 8) + c.number(size, 8) for at, size in places))
    file.seek(end)


def _align(file: BinaryIO, size: int) -> None:
    file.write(bytes(-file.tell() % size))


def _write_section(file: BinaryIO, c: Content, number: int, body: bytes, codec: str) -> None:
    if codec != "none":
        packed = pack(codec, body)
        body = c.number(len(packed), 4) + c.number(len(body), 4) + packed
    flags = COMPRESSED if codec != "none" else 0
    file.write(c.number(number, 2) + c.number(flags, 2) + bytes(4) + c.number(len(body), 8) + body)


def _write_buffer(file: BinaryIO, c: Content, buffer: BufferPages, codec: str) -> bytes:
    """The buffer's section; returns the body of its option."""
    section = file.tell()
    file.write(c.number(BUFFER, 2) + c.number(COMPRESSED if codec != "none" else 0, 2) + bytes(12))
    table = b""
    for cpu in buffer.cpus:
        _align(file, buffer.page_size)
        begin = file.tell()
        size = _write_chunks(file, c, buffer, cpu, codec) if codec != "none" else _write_pages(file, cpu)
        table += c.number(cpu.cpu, 4) + c.number(begin, 8) + c.number(size, 8)
    end = file.tell()
    file.seek(section + 8)
    file.write(c.number(end - section - 16, 8))
    file.seek(end)
    texts = buffer.name.encode() + b"\0" + buffer.clock.encode() + b"\0"
    return c.number(section, 8) + texts + c.number(buffer.page_size, 4) + c.number(len(buffer.cpus), 4) + table


def _write_pages(file: BinaryIO, cpu: CpuPages) -> int:
    return sum(file.write(piece) for piece in cpu.pieces)


def _write_chunks(file: BinaryIO, c: Content, buffer: BufferPages, cpu: CpuPages, codec: str) -> int:
    """Packed; returns the bytes of all chunks without their heads, which is what the size in the option counts."""
    begin = file.tell()
    file.write(bytes(4))
    count = size = 0
    step = _PAGES_A_CHUNK * buffer.page_size
    for piece in cpu.pieces:
        for at in range(0, len(piece), step):
            plain = piece[at : at + step]
            packed = pack(codec, plain)
            file.write(c.number(len(packed), 4) + c.number(len(plain), 4) + packed)
            count += 1
            size += len(packed)
    end = file.tell()
    file.seek(begin)
    file.write(c.number(count, 4))
    file.seek(end)
    return size


def pack(codec: str, plain: bytes) -> bytes:
    """A block, packed."""
    if codec == "zlib":
        return zlib.compress(plain)
    import pyarrow as pa

    return bytes(pa.Codec("zstd").compress(plain, asbytes=True))


def header_info(c: Content, page: bytes, event: bytes) -> bytes:
    """The body of the HEADER_INFO section: what header_page and header_event in tracefs say."""
    return b"header_page\0" + c.number(len(page), 8) + page + b"header_event\0" + c.number(len(event), 8) + event
