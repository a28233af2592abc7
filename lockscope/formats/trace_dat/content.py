"""A trace.dat as the writer takes it: to convert, cut or lengthen a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from lockscope.errors import FormatError
from lockscope.formats.trace_dat import layout
from lockscope.formats.trace_dat.layout import BufferData, CpuData, unpack
from lockscope.formats.trace_dat.reader import TraceDat
from lockscope.formats.trace_dat.writer import BufferPages, Content, CpuPages
from lockscope.units import byte_order

_PLACES = (layout.BUFFER, layout.BUFFER_TEXT, layout.DONE, layout.STRINGS, *layout.SECTIONS)
Pages = NDArray[np.uint8]
Change = Callable[[BufferData, CpuData, Pages], Iterable[bytes]]


def pages_of(source: TraceDat, buffer: BufferData, cpu: CpuData) -> Pages:
    """One CPU's pages, unpacked: uint8[pages, page size]. Raises ``FormatError`` where they are damaged."""
    order = byte_order(source.head.big)
    file = source.file
    file.seek(cpu.offset)
    if not buffer.compressed or cpu.size == 0:
        raw = file.read(cpu.size)
    else:
        pieces = []
        for _ in range(int.from_bytes(file.read(4), order)):
            packed, plain = (int.from_bytes(file.read(4), order) for _ in range(2))
            piece = unpack(source.head.codec, file.read(packed), plain)
            if piece is None:
                raise FormatError(source.path, f"offset {file.tell():#x}", "a chunk that can't be unpacked")
            pieces.append(piece)
        raw = b"".join(pieces)
    return np.frombuffer(raw, np.uint8).reshape(-1, buffer.page_size)


def content_of(source: TraceDat, change: Change, *, without: tuple[int, ...] = ()) -> Content:
    """The whole file for ``_dat_writer``; ``change`` says which bytes each CPU's pages become.

    ``without``: numbers of options to leave out.
    """
    head = source.head
    buffers = [
        BufferPages(
            b.name,
            [CpuPages(c.cpu, change(b, c, pages_of(source, b, c))) for c in b.cpus],
            b.clock or head.clock or "local",
            b.page_size,
        )
        for b in head.buffers
    ]
    options = [(n, body) for n, body in head.options if n not in (*_PLACES, *without)]
    return Content(dict(head.sections), options, buffers, head.big, head.long_size, head.page_size)
