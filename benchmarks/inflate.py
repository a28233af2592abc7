"""Make a long trace from a short one: its pages over and over, each round later by the trace's length.

python benchmarks/inflate.py SOURCE TARGET --events 3000000 [--codec zstd|zlib|none]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lockscope.formats.trace_dat import content as copying
from lockscope.formats.trace_dat import layout, writer
from lockscope.formats.trace_dat.layout import BufferData, CpuData
from lockscope.formats.trace_dat.reader import TraceDat

_PAUSE = 1_000_000  # ns between rounds


def later(pages: NDArray[np.uint8], shift: int, big: bool) -> NDArray[np.uint8]:
    """The pages with the time that each begins with moved on; the events' times are relative to it."""
    moved = pages.copy()
    times = np.ascontiguousarray(moved[:, :8]).view(">u8" if big else "<u8")
    moved[:, :8] = (times + np.uint64(shift)).astype(times.dtype).view(np.uint8).reshape(-1, 8)
    return moved


def inflate(source: Path, target: Path, events: int, codec: str = "zstd", begin: int = 0) -> int:
    """Write a version 7 trace of at least ``events`` events to ``target``, all times ``begin`` ns later.

    Returns how many it has.
    """
    trace = TraceDat(str(source))
    first, last, number = 1 << 62, 0, 0
    for batch in trace.batches():
        first, last, number = min(first, int(batch.ts_ns[0])), max(last, int(batch.ts_ns[-1])), number + len(batch)
    rounds = -(-events // number)
    length = last - first + _PAUSE

    def repeated(_: BufferData, __: CpuData, pages: NDArray[np.uint8]) -> Iterator[bytes]:
        for i in range(rounds):
            yield later(pages, begin + i * length, trace.head.big).tobytes()

    with target.open("wb") as file:
        writer.write_v7(file, copying.content_of(trace, repeated, without=(layout.CPUSTAT,)), codec)
    return rounds * number


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--events", type=int, default=3_000_000)
    parser.add_argument("--codec", choices=("none", "zlib", "zstd"), default="zstd")
    args = parser.parse_args()
    print(f"{args.target}: {inflate(args.source, args.target, args.events, args.codec):,} events")


if __name__ == "__main__":
    main()
