"""CPU data of a version 7 file whose table of CPUs was never written (the recorder was killed)."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from lockscope.formats._dat_head import BufferData, Head

_STEP = 1 << 20


def salvage_buffer(file: BinaryIO, length: int, head: Head, offset: int, compressed: bool) -> BufferData:
    """Each CPU's stretch of the data section that begins at ``offset``, as far as it can be told.

    Each CPU's data begins on a page boundary of the file. Packed: a count of chunks, then the chunks. Plain: pages,
    whose times fall back where the next CPU begins.
    """
    from lockscope.formats._dat_head import BufferData, CpuData

    page = head.page_size
    start = (offset + page - 1) // page * page
    spans = _packed_spans(file, length, head, start) if compressed else _plain_spans(file, length, head, start)
    cpus = [CpuData(i, at, size) for i, (at, size) in enumerate(spans)]
    return BufferData("", head.clock, page, cpus, compressed)


def _packed_spans(file: BinaryIO, length: int, head: Head, start: int) -> list[tuple[int, int]]:
    order = "big" if head.big else "little"
    spans: list[tuple[int, int]] = []
    pos = start
    while pos + 12 <= length:
        file.seek(pos)
        count = int.from_bytes(file.read(4), order)  # type: ignore[arg-type]
        at, chunks = pos + 4, 0
        while (chunks < count or count == 0) and at + 8 <= length:
            file.seek(at)
            packed = int.from_bytes(file.read(4), order)  # type: ignore[arg-type]
            plain = int.from_bytes(file.read(4), order)  # type: ignore[arg-type]
            if not 0 < packed <= plain * 2 + 64 or not 0 < plain <= 64 << 20 or plain % head.page_size:
                break
            at += 8 + packed
            chunks += 1
        if chunks == 0:
            break
        spans.append((pos, min(at, length) - pos))
        pos = (at + head.page_size - 1) // head.page_size * head.page_size
    return spans


def _plain_spans(file: BinaryIO, length: int, head: Head, start: int) -> list[tuple[int, int]]:
    order = "big" if head.big else "little"
    spans: list[tuple[int, int]] = []
    begin, last = start, -1
    for pos in range(start, length - 16, head.page_size):
        file.seek(pos)
        ts = int.from_bytes(file.read(8), order)  # type: ignore[arg-type]
        if ts < last:
            spans.append((begin, pos - begin))
            begin = pos
        last = ts
    if length > begin:
        spans.append((begin, length - begin))
    return spans
