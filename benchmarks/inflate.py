"""Make a long trace from a short one: its pages over and over, each round later by the trace's length.

    python benchmarks/inflate.py SOURCE TARGET --events 3000000 [--codec zstd|none]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lockscope.formats import _dat_layout as layout
from lockscope.formats import _dat_writer as writer
from lockscope.formats._dat_layout import BufferData, CpuData, unpack
from lockscope.formats.trace_dat import TraceDat

_LEFT_OUT = (layout.BUFFER, layout.BUFFER_TEXT, layout.DONE, layout.STRINGS, layout.CPUSTAT, *layout.SECTIONS)


def pages_of(source: TraceDat, buffer: BufferData, cpu: CpuData) -> NDArray[np.uint8]:
    """One CPU's pages, unpacked: uint8[pages, page size]."""
    with Path(source.path).open("rb") as file:
        file.seek(cpu.offset)
        if not buffer.compressed:
            raw = file.read(cpu.size)
        else:
            order = "big" if source.head.big else "little"
            pieces = []
            for _ in range(int.from_bytes(file.read(4), order)):
                packed, plain = (int.from_bytes(file.read(4), order) for _ in range(2))
                piece = unpack(source.head.codec, file.read(packed), plain)
                assert piece is not None
                pieces.append(piece)
            raw = b"".join(pieces)
    return np.frombuffer(raw, np.uint8).reshape(-1, buffer.page_size)


def later(pages: NDArray[np.uint8], shift: int, big: bool) -> NDArray[np.uint8]:
    """The pages with the time that each begins with moved on; the events' times are relative to it."""
    moved = pages.copy()
    times = np.ascontiguousarray(moved[:, :8]).view(">u8" if big else "<u8")
    moved[:, :8] = (times + np.uint64(shift)).astype(times.dtype).view(np.uint8).reshape(-1, 8)
    return moved


def inflate(source: Path, target: Path, events: int, codec: str = "zstd") -> int:
    """Write a version 7 trace of at least ``events`` events to ``target``; returns how many it has."""
    trace = TraceDat(str(source))
    first, last, number = 1 << 62, 0, 0
    for batch in trace.batches():
        first, last, number = min(first, int(batch.ts_ns[0])), max(last, int(batch.ts_ns[-1])), number + len(batch)
    rounds = -(-events // number)
    length = last - first + 1_000_000
    head = trace.head

    def rounds_of(pages: NDArray[np.uint8]) -> Iterator[bytes]:
        for i in range(rounds):
            yield later(pages, i * length, head.big).tobytes()

    buffers = [
        writer.BufferPages(
            b.name,
            [writer.CpuPages(c.cpu, rounds_of(pages_of(trace, b, c))) for c in b.cpus if c.size],
            b.clock or "local",
            b.page_size,
        )
        for b in head.buffers
    ]
    options = [(n, body) for n, body in head.options if n not in _LEFT_OUT]
    content = writer.Content(head.sections, options, buffers, head.big, head.long_size, head.page_size)
    with target.open("wb") as file:
        writer.write_v7(file, content, codec)
    return rounds * number


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--events", type=int, default=3_000_000)
    parser.add_argument("--codec", choices=("none", "zlib", "zstd"), default="zstd")
    args = parser.parse_args()
    print(f"{args.target}: {inflate(args.source, args.target, args.events, args.codec):,} events")


if __name__ == "__main__":
    main()
