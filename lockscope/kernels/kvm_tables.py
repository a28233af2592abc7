"""The hash table that the compiled loops about KVM share: keys to numbers 0, 1, 2 ... in order of first sight.

The loops never grow a table: callers make room for as many new keys as there are rows (``reconstruct.kvm_state``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

GOLD = np.int64(-7046029254386353131)


@njit(nogil=True, cache=True, inline="never")
def mix(h: Any, v: Any) -> Any:
    """Fold a value into a hash."""
    h = (h ^ v) * GOLD
    return h ^ (h >> 29)


@njit(nogil=True, cache=True, inline="never")
def place(keys: Any, numbers: Any, key: Any) -> Any:
    """The slot of a key, or the empty slot where it belongs. ``numbers`` holds number + 1, 0 = empty."""
    mask = len(numbers) - 1
    slot = mix(key, 77) & mask
    while numbers[slot] != 0 and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@njit(nogil=True, cache=True, inline="never")
def known(keys: Any, numbers: Any, key: Any) -> Any:
    """The number of a key, -1 if it was never seen."""
    return np.int64(numbers[place(keys, numbers, key)]) - 1


@njit(nogil=True, cache=True, inline="never")
def number(keys: Any, numbers: Any, count: Any, key: Any) -> Any:
    """The number of a key; a new one gets ``count[0]``, which then counts on."""
    slot = place(keys, numbers, key)
    if numbers[slot] == 0:
        keys[slot] = key
        count[0] += 1
        numbers[slot] = count[0]
    return np.int64(numbers[slot]) - 1
