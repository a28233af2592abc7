"""Packs with zstd: Python's own from 3.14 on, as ``lockscope/formats/files/zstd.py`` unpacks."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdCompressor, compress
else:
    from backports.zstd import ZstdCompressor, compress

__all__ = ["ZstdCompressor", "compress"]
