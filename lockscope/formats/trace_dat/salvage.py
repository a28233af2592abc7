"""CPU data of a version 7 file whose table of CPUs was never written (the recorder was killed)."""

from __future__ import annotations

import os
from typing import BinaryIO

from lockscope.formats.trace_dat.layout import MOST_CPUS, BufferData, CpuData, Head
from lockscope.units import byte_order

_MOST_CHUNK = 1 << 20


def buffer(file: BinaryIO, length: int, head: Head, section: int, compressed: bool) -> BufferData:
    """Each CPU's stretch of the data section at ``section``, as far as it can be told, none beyond ``length``.

    Each CPU's data begins on a page boundary of the file. Packed: a count of chunks, then the chunks. Plain: pages,
    whose times fall back where the next CPU begins.
    """
    page = head.page_size
    start = (section + 16 + page - 1) // page * page
    find = _packed_spans if compressed else _plain_spans
    cpus = [CpuData(i, at, size) for i, (at, size) in enumerate(find(file.fileno(), length, head, start)[:MOST_CPUS])]
    return BufferData("", head.clock, page, cpus, compressed, section, salvaged=True)


def _packed_spans(fd: int, length: int, head: Head, start: int) -> list[tuple[int, int]]:
    order = byte_order(head.big)
    spans: list[tuple[int, int]] = []
    pos = start
    while pos + 12 <= length:
        at, chunks = pos + 4, 0
        while at + 8 <= length:
            sizes = os.pread(fd, 8, at)
            packed, plain = int.from_bytes(sizes[:4], order), int.from_bytes(sizes[4:], order)
            if not 0 < packed <= plain * 2 + 64 or not 0 < plain <= _MOST_CHUNK or plain % head.page_size:
                break
            at += 8 + packed
            chunks += 1
        if chunks == 0:
            break
        spans.append((pos, min(at, length) - pos))
        pos = (at + head.page_size - 1) // head.page_size * head.page_size
    return spans


def _plain_spans(fd: int, length: int, head: Head, start: int) -> list[tuple[int, int]]:
    order = byte_order(head.big)
    spans: list[tuple[int, int]] = []
    begin, last, end = start, -1, start
    for pos in range(start, length - 15, head.page_size):
        top = os.pread(fd, 8 + head.long_size, pos)
        ts, commit = int.from_bytes(top[:8], order), int.from_bytes(top[8:], order)
        if (commit & 0x3FFFFFFF) > head.page_size:
            break  # no page: what stands behind the data
        if ts < last:
            spans.append((begin, pos - begin))
            begin = pos
        last, end = ts, min(pos + head.page_size, length)
    if end > begin:
        spans.append((begin, end - begin))
    return spans
