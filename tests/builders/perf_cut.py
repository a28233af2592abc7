"""Cut the beginning out of a recorded perf.data: how those in ``sample_traces`` were made.

    python -m tests.builders.perf_cut SOURCE TARGET END_NS

What stands outside the records stays as it is.
"""

from __future__ import annotations

import argparse
import lzma
import struct
from pathlib import Path

from lockscope.core.perf_records import SAMPLE, TIME
from lockscope.formats.perf import layout

_HEADER = struct.Struct("<13Q")


def cut(source: bytes, end_ns: int) -> bytes:
    """A little-endian file whose events all have one layout, without the samples from ``end_ns`` on."""
    assert source.startswith(layout.MAGIC)
    head = list(_HEADER.unpack_from(source))
    time_at = layout.Attr.parse(source[head[3] : head[3] + 128], big=False).place(TIME)
    assert time_at is not None
    at, tail = head[5], head[5] + head[6]
    kept = []
    place = at
    while place < tail:
        kind, _, length = struct.unpack_from("<IHH", source, place)
        if kind != SAMPLE or struct.unpack_from("<Q", source, place + time_at)[0] < end_ns:
            kept.append(source[place : place + length])
        place += length
    data = b"".join(kept)
    features = sum(bin(word).count("1") for word in head[9:13])
    gone = head[6] - len(data)
    head[6] = len(data)
    table = b"".join(
        struct.pack("<QQ", offset - gone, length)
        for offset, length in struct.iter_unpack("<QQ", source[tail : tail + 16 * features])
    )
    return _HEADER.pack(*head) + source[layout.HEADER_SIZE : at] + data + table + source[tail + 16 * features :]


def main() -> None:
    """From the command line; xz on both sides."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("end_ns", type=int)
    options = parser.parse_args()
    with lzma.open(options.source) as file:
        whole = file.read()
    options.target.write_bytes(lzma.compress(cut(whole, options.end_ns), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main()
