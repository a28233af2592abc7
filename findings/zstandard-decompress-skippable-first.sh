#!/usr/bin/env bash
# python-zstandard: ZstdDecompressor.decompress() and decompressobj() return no bytes, and raise nothing, for data that
# begins with a skippable frame (RFC 8878, 3.1.2: valid before any frame; pzstd writes one before each of its frames).
# stream_reader() returns the content. Whoever opens a packed trace with decompress() sees an empty file.
#
# Seen with zstandard 0.23.0 on CPython 3.11: the lines in EXPECTED below.
# Usage: zstandard-decompress-skippable-first.sh; exit status 1 if the behaviour has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'zstandard==0.23.0' 2>/dev/null

EXPECTED='zstandard 0.23.0
decompress: plain 1000, skippable frame first 0
decompressobj: plain 1000, skippable frame first 0
stream_reader: plain 1000, skippable frame first 1000'

seen=$("$work/venv/bin/python" - <<'PY'
import io
import struct

import zstandard

frame = zstandard.ZstdCompressor().compress(b"x" * 1000)
skippable = struct.pack("<II", 0x184D2A50, 4) + bytes(4)
unpack = zstandard.ZstdDecompressor()
ways = {
    "decompress": lambda data: unpack.decompress(data),
    "decompressobj": lambda data: unpack.decompressobj().decompress(data),
    "stream_reader": lambda data: unpack.stream_reader(io.BytesIO(data)).read(),
}
print("zstandard", zstandard.__version__)
for name, way in ways.items():
    print(f"{name}: plain {len(way(frame))}, skippable frame first {len(way(skippable + frame))}")
PY
)
printf '%s\n' "$seen"
[ "$seen" = "$EXPECTED" ] || { echo "this is no longer what was seen" >&2; exit 1; }
