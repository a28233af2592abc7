"""Cut a stretch of time out of a recorded trace.dat: how ``sample_traces`` were made.

    python -m tests.builders.cut SOURCE TARGET [--from SECONDS] [--to SECONDS] [--version 6|7] [--all-symbols]

Every CPU's records begin and end at the same time, as if the recorder had been started and stopped then. Of kallsyms
only the symbols stay that some number in the stretch points to (and the one behind each, where it ends): the rest is
most of a small file.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lockscope.core import records
from lockscope.formats.trace_dat import layout
from lockscope.formats.trace_dat.content import content_of
from lockscope.formats.trace_dat.layout import BufferData, CpuData, Head
from lockscope.formats.trace_dat.reader import TraceDat
from lockscope.formats.trace_dat.writer import write_v6, write_v7
from lockscope.tables.decode import FieldDecoder, partition
from lockscope.tables.events import LOSS
from lockscope.units import byte_order


def records_of(page: bytes, head: Head) -> Iterator[tuple[int, int, int]]:
    """Each record of a page: time, the delta that its own word says, where that word stands."""
    order = byte_order(head.big)

    def word(at: int) -> int:
        return int.from_bytes(page[at : at + 4], order)

    ts = int.from_bytes(page[:8], order)
    at = head.data_offset
    end = at + (int.from_bytes(page[8 : head.data_offset], order) & records.COMMIT_MASK)
    while at + 4 <= end:
        kind, delta = (word(at) >> 27, word(at) & 0x7FFFFFF) if head.big else (word(at) & 31, word(at) >> 5)
        size = 4 * kind
        if kind == 0:
            size = 4 + ((word(at + 4) - 1) & ~3)
        elif kind == records.PADDING:
            if delta == 0:
                return
            size = word(at + 4)
        elif kind >= records.TIME_EXTEND:
            size = 4
            delta += word(at + 4) << 27
        ts = delta if kind == records.TIME_STAMP else ts + delta
        if kind < records.PADDING:
            yield ts, delta, at
        at += 4 + size


def trimmed(page: bytes, head: Head, begin: int, end: int) -> bytes:
    """The page with only the records of the stretch, "" if there are none."""
    found = list(records_of(page, head))
    kept = [r for r in found if begin <= r[0] < end]
    if len(kept) == len(found):
        return page
    if not kept:
        return b""
    order = byte_order(head.big)
    behind = next((at for ts, _, at in found if ts >= end), None)
    ts, delta, at = kept[0]
    commit = int.from_bytes(page[8 : head.data_offset], order)
    body = page[at : behind if behind is not None else head.data_offset + (commit & records.COMMIT_MASK)]
    top = (ts - delta).to_bytes(8, order) + len(body).to_bytes(head.long_size, order)
    return (top + body).ljust(len(page), b"\0")


def pages_between(pages: NDArray[np.uint8], head: Head, begin: int, end: int) -> bytes:
    """What of the pages lies within the stretch."""
    times = np.ascontiguousarray(pages[:, :8]).view(">u8" if head.big else "<u8").reshape(-1).astype(np.int64)
    first = max(int(np.searchsorted(times, begin, side="right")) - 1, 0)
    last = int(np.searchsorted(times, end, side="left"))
    return b"".join(trimmed(page.tobytes(), head, begin, end) for page in pages[first:last])


def numbers_of(trace: TraceDat) -> NDArray[np.uint64]:
    """Every number as wide as an address that some event holds."""
    decoder = FieldDecoder()
    found: list[NDArray[np.uint64]] = []
    cpu_of = np.zeros(len(trace.info.streams), np.int32)
    word = trace.head.long_size
    for batch in trace.batches():
        order, bounds = partition(batch, len(trace.formats))
        for i in np.flatnonzero(np.diff(bounds)).tolist():
            fmt = trace.formats[i]
            if i == LOSS:
                continue
            table = decoder.rows(batch, order[bounds[i] : bounds[i + 1]], fmt, cpu_of)
            for at, field in enumerate(fmt.fields, table.num_columns - len(fmt.fields)):
                column = table.column(at)
                if field.kind != "int" and field.item == word and not field.text:
                    column = column.flatten()
                elif field.kind != "int" or field.size != word:
                    continue
                values = column.to_numpy(zero_copy_only=False)
                found.append(np.unique(values.astype(f"i{word}").view(f"u{word}").astype(np.uint64)))
    return np.unique(np.concatenate(found)) if found else np.zeros(0, np.uint64)


def symbols_in_use(kallsyms: bytes, numbers: NDArray[np.uint64]) -> bytes:
    """The lines of kallsyms that ``numbers`` point into, in their order."""
    lines = kallsyms.splitlines(keepends=True)
    at = np.array([int(line.split(b" ", 1)[0], 16) for line in lines], np.uint64)
    starts = np.unique(at)
    if not starts.any():  # kptr_restrict: a few lines show as much as all
        return b"".join(lines[:64])
    place = np.searchsorted(starts, numbers, side="right") - 1
    near = (place >= 0) & (numbers - starts[place] < np.uint64(1 << 22))
    used = np.unique(np.concatenate((place[near], np.minimum(place[near] + 1, len(starts) - 1))))
    keep = np.isin(at, starts[used])
    return b"".join(line for line, kept in zip(lines, keep, strict=True) if kept)


def cut(source: Path, target: Path, begin: int, end: int, *, version: int = 7, all_symbols: bool = False) -> int:
    """Write the stretch ``begin`` to ``end`` (ns, raw times of the file) to ``target``; returns its events."""
    trace = TraceDat(str(source))

    def between(_: BufferData, __: CpuData, pages: NDArray[np.uint8]) -> Iterator[bytes]:
        yield pages_between(pages, trace.head, begin, end)

    def write(kallsyms: bytes) -> TraceDat:
        content = content_of(trace, between)
        content.sections[layout.KALLSYMS] = content.number(len(kallsyms), 4) + kallsyms
        with target.open("wb") as file:
            if version == 6:
                write_v6(file, content)
            else:
                write_v7(file, content, "zstd")
        return TraceDat(str(target))

    result = write(trace.head.kallsyms)
    if not all_symbols:
        result = write(symbols_in_use(trace.head.kallsyms, numbers_of(result)))
    return sum(int((batch.kind != LOSS).sum()) for batch in result.batches())


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--from", dest="begin", type=float, default=0.0)
    parser.add_argument("--to", dest="end", type=float, default=9e9)
    parser.add_argument("--version", type=int, choices=(6, 7), default=7)
    parser.add_argument("--all-symbols", action="store_true")
    args = parser.parse_args()
    span = (round(args.begin * 1e9), round(args.end * 1e9))
    print(cut(args.source, args.target, *span, version=args.version, all_symbols=args.all_symbols), "events")


if __name__ == "__main__":
    main()
