"""The hash table of all loops: numbers for keys, 0, 1, 2 ... in order of first sight.

It is one array: the number of keys, a zero, then pairs of key and number + 1 (0 = empty), a power of two of them and at
most half of them filled. Loops never grow a table: their callers make room.
"""

from __future__ import annotations

from lockscope.core.c_types import Ints, inline, step
from lockscope.core.machine import full, mix


@inline
def place(table: Ints, key: int) -> int:
    """Where a key's pair lies, or the empty pair where it belongs."""
    mask = (len(table) >> 1) - 2  # pairs are a power of two, behind the first
    slot = mix(key, 77) & mask
    while table[2 * slot + 3] != 0 and table[2 * slot + 2] != key:
        slot = (slot + 1) & mask
    return 2 * slot + 2


@inline
def known(table: Ints, key: int) -> int:
    """The number of a key, -1 if it was never seen."""
    return table[place(table, key) + 1] - 1


@step
def number(table: Ints, key: int) -> int:
    """The number of a key; a new one gets the next."""
    at = place(table, key)
    if table[at + 1] == 0:
        if 4 * (table[0] + 1) > len(table) - 2:
            full()
        table[at] = key
        table[0] += 1
        table[at + 1] = table[0]
    return table[at + 1] - 1
