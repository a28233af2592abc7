"""Python's own zstd (PEP 784), or the package that has it for a Python before 3.14.

Frames that come as a stream go through it. trace.dat's chunks are unpacked by Arrow (``trace_dat.pages``), many in
one call.
"""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError, get_frame_info
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError, get_frame_info

__all__ = ["ZstdDecompressor", "ZstdError", "get_frame_info", "unpacker"]

_WINDOW = 27  # 128 MiB: the most that zstd itself unpacks without --long=31


def unpacker() -> ZstdDecompressor:
    """What unpacks one frame, in memory that no header can ask more of than the window."""
    return ZstdDecompressor(options={DecompressionParameter.window_log_max: _WINDOW})
