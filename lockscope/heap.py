"""What a process of ours asks of the C library's heap."""

from __future__ import annotations

import ctypes

# glibc's malloc.h. A reading makes the same large arrays for each batch; by default each is new memory from the kernel,
# which clears it: a quarter of a reading's time.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_SETTINGS = ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, 32 << 20), (_M_TRIM_THRESHOLD, (1 << 31) - 1))


def keep_freed() -> bool:
    """Keep memory that is freed for what is asked for next. False where the C library has no such settings.

    For processes that are ours alone, before they start threads; a library has no say in it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt  # not in musl, nor on macOS
    except (AttributeError, OSError, TypeError):
        return False
    return all(mallopt(ctypes.c_int(name), ctypes.c_int(value)) == 1 for name, value in _SETTINGS)
