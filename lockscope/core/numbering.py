"""The hash table of ``hashing`` for Python: keys are numbered, and tables grow."""

from __future__ import annotations

from lockscope.core.c_types import Ints, loop
from lockscope.core.hashing import number, place


@loop
def number_in(table: Ints, key: int) -> int:
    """``number`` for Python."""
    return number(table, key)


@loop
def number_all(values: Ints, table: Ints, keys: Ints, out: Ints, begin: int) -> int:
    """The number of each value into ``out``, and the values by number into ``keys``; return where room ran out."""
    last, n = 0, -1
    for i in range(begin, len(values)):
        value = values[i]
        if n < 0 or value != last:
            if table[0] + 1 >= len(keys) or 4 * table[0] + 8 > len(table):
                return i
            last, n = value, number(table, value)
            keys[n] = value
        out[i] = n
    return len(values)


@loop
def rehash(old: Ints, new: Ints) -> None:
    """Put every key of one table into another, empty one, with its number."""
    new[0] = old[0]
    for at in range(2, len(old), 2):
        if old[at + 1] != 0:
            to = place(new, old[at])
            new[to], new[to + 1] = old[at], old[at + 1]
