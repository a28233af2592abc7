"""Make a long perf.data from a short one: its samples over and over, each time later by the recording's length.

python benchmarks/inflate_perf.py SOURCE TARGET --events 5000000 [--packed]
"""

from __future__ import annotations

import argparse
import struct
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lockscope.core import perf_records as walk
from lockscope.formats.files.compressed import open_stream
from lockscope.formats.perf import layout
from lockscope.formats.perf.layout import Attr

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdCompressor
else:
    from backports.zstd import ZstdCompressor

_PAUSE = 1_000_000  # ns between repetitions
_HEADER = struct.Struct("<13Q")
_ROUND = struct.pack("<IHH", walk.FINISHED_ROUND, 0, 8)
_MOST_PACKED = 65_000  # bytes of a packed record
_ROUNDS = 16  # rounds of perf record that the samples are cut into


class _Block:
    """The samples of one of perf record's rounds, which can be told later."""

    def __init__(self, records: list[bytes], time_at: int) -> None:
        self.raw = np.frombuffer(bytearray(b"".join(records)), np.uint8)
        starts = np.cumsum([0, *map(len, records)])[:-1]
        self._times = starts[:, None] + np.arange(time_at, time_at + 8)

    def later(self, shift: int) -> bytes:
        """The bytes, with times moved on by ``shift`` ns."""
        moved = self.raw.copy()
        times = moved[self._times].reshape(-1, 8).view("<u8") + np.uint64(shift)
        moved[self._times] = times.view(np.uint8).reshape(-1, 8)
        return moved.tobytes()


def _samples(data: bytes, time_at: int) -> tuple[list[bytes], NDArray[np.int64], bytes]:
    """Each sample with its time, and what stands in front of the first."""
    found: list[bytes] = []
    times, at, first = [], 0, len(data)
    while at < len(data):
        kind, _, size = struct.unpack_from("<IHH", data, at)
        if kind == walk.SAMPLE:
            first = min(first, at)
            found.append(data[at : at + size])
            times.append(struct.unpack_from("<Q", data, at + time_at)[0])
        at += size
    return found, np.array(times, np.int64), data[:first]


def inflate(source: Path, target: Path, events: int, *, packed: bool = False) -> int:
    """Write a perf.data of at least ``events`` samples to ``target``; returns how many it has.

    ``source``: little-endian, in file mode, not packed by perf, all events of one layout; xz is unpacked. The samples
    are cut into rounds by time, as perf record would have done with smaller buffers.
    """
    with open_stream(str(source)) as stream:
        whole = stream.read()
    head = list(_HEADER.unpack_from(whole))
    time_at = Attr.parse(whole[head[3] : head[3] + 128], big=False).place(walk.TIME)
    assert whole.startswith(layout.MAGIC)
    assert time_at is not None
    at, tail = head[5], head[5] + head[6]
    samples, times, before = _samples(whole[at:tail], time_at)
    of = np.searchsorted(np.quantile(times, np.linspace(0, 1, _ROUNDS + 1)[1:-1]), times)
    blocks = [_Block([samples[i] for i in np.flatnonzero(of == n).tolist()], time_at) for n in range(_ROUNDS)]
    length = int(times.max() - times.min()) + _PAUSE
    repeats = -(-events // len(times))
    packer = ZstdCompressor(level=1)
    with target.open("wb") as file:
        file.write(whole[:at] + before)
        for i in range(repeats):
            for block in blocks:
                later = block.later(i * length)
                file.write((_pack(packer, later) if packed else later) + _ROUND)
        head[6] = file.tell() - at
        moved = at + head[6] - tail
        table = whole[tail : tail + 16 * sum(word.bit_count() for word in head[9:13])]
        for offset, size in struct.iter_unpack("<QQ", table):
            file.write(struct.pack("<QQ", offset + moved, size))
        file.write(whole[tail + len(table) :])
        file.seek(0)
        file.write(_HEADER.pack(*head))
    return repeats * len(times)


def _pack(packer: ZstdCompressor, plain: bytes) -> bytes:
    out = packer.compress(plain, ZstdCompressor.FLUSH_BLOCK)
    pieces = [out[i : i + _MOST_PACKED] for i in range(0, len(out), _MOST_PACKED)]
    return b"".join(struct.pack("<IHH", walk.COMPRESSED, 0, 8 + len(p)) + p for p in pieces)


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--packed", action="store_true", help="as perf record -z does")
    args = parser.parse_args()
    print(f"{args.target}: {inflate(args.source, args.target, args.events, packed=args.packed):,} events")


if __name__ == "__main__":
    main()
