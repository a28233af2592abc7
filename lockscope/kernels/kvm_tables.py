"""What the compiled loops about KVM share: the columns of the rows they walk, and a hash table.

A loop takes int64 arrays only, few of them, and its helpers have one signature each: numba compiles a function anew for
every combination of types and literals, and the wrappers that Python would call cost more than the function.

The hash table is one array: the number of keys, a zero, then pairs of key and number + 1 (0 = empty). Numbers are 0, 1,
2 ... in order of first sight. Loops never grow a table: their callers make room (``reconstruct.kvm_state``).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lockscope.kernels import wait
from lockscope.kernels.inner import inner
from lockscope.kernels.outer import outer
from lockscope.kernels.views import vector

wait()

# Columns of the rows (``cols[column, row]``): the row's place in the batch, what it is to the loop, the tape's own.
C_ROW, C_HOW, C_TS, C_SEQ, C_CPU, C_PID, C_FLAGS, C_OP, C_VM, C_OWN = range(10)
IN_INTERRUPT = 0x58  # common_flags: hardirq, softirq, NMI
helper = inner


@inner("i8(i8, i8)", always=True)
def mix(h: Any, v: Any) -> Any:
    """Fold a value into a hash."""
    folded = (h ^ v) * np.int64(-7046029254386353131)
    return folded ^ (folded >> 29)


@inner("i8(vector, i8)")
def place(table: Any, key: Any) -> Any:
    """Where a key's pair lies, or the empty pair where it belongs."""
    mask = (len(table) >> 1) - 2  # pairs are a power of two, behind the first
    slot = mix(key, 77) & mask
    while table[2 * slot + 3] != 0 and table[2 * slot + 2] != key:
        slot = (slot + 1) & mask
    return 2 * slot + 2


@inner("i8(vector, i8)")
def known(table: Any, key: Any) -> Any:
    """The number of a key, -1 if it was never seen."""
    return table[place(table, key) + 1] - 1


@inner("i8(vector, i8)")
def number(table: Any, key: Any) -> Any:
    """The number of a key; a new one gets the next."""
    at = place(table, key)
    if table[at + 1] == 0:
        table[at] = key
        table[0] += 1
        table[at + 1] = table[0]
    return table[at + 1] - 1


@outer("i8(i8[::1], i8)")
def number_in(table: Any, key: Any) -> Any:
    """``number`` for Python."""
    return number(vector(table), key)


@outer("i8(i8[::1], i8[::1], i8[::1], i8[::1], i8)")
def number_all(values: Any, table: Any, keys: Any, out: Any, begin: Any) -> Any:
    """The number of each value into ``out``, and the values by number into ``keys``; return where room ran out."""
    seen = vector(table)
    last, n = np.int64(0), np.int64(-1)
    for i in range(begin, len(values)):
        value = values[i]
        if n < 0 or value != last:
            if seen[0] + 1 >= len(keys) or 4 * seen[0] + 8 > len(seen):
                return i
            last, n = value, number(seen, value)
            keys[n] = value
        out[i] = n
    return len(values)


@outer("void(i8[::1], i8[::1])")
def rehash(old: Any, new: Any) -> None:
    """Put every key of one table into another, empty one, with its number."""
    filled = vector(new)
    filled[0] = old[0]
    for at in range(2, len(old), 2):
        if old[at + 1] != 0:
            to = place(filled, old[at])
            filled[to], filled[to + 1] = old[at], old[at + 1]
