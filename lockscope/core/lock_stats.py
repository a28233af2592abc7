"""Ended holds into groups: how often, how long was waited, how long was held, and how the times are spread.

A group's times are counted in a histogram whose buckets grow with the time: exact below 64 ns, beyond that 32 buckets
for each doubling. Only buckets that occur take room: one table has them all, by group and bucket.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lockscope.core.c_types import Grid, Ints, loop, step
from lockscope.core.hashing import known, number
from lockscope.core.machine import mix

# Columns of an ended hold (``walk.walk.HOLD_COLUMNS``).
_ASKED, _ACQUIRED, _END, _MODE, _KNOWN, _CONTENDED = 5, 6, 7, 9, 12, 13
_READ, _TRYLOCK, _HAD_TO_WAIT, _BEGUN, _ENDED = 3, 4, 32, 1, 2
KEYS = 5
# A group: its keys, whether it reads, then acquisitions, trylocks, contended ones, ends not seen, and of waits and of
# holds each how many, their sum, the shortest and the longest.
(G_READ, G_ACQUIRED, G_TRYLOCKS, G_CONTENDED, G_CUT, G_WAITS, G_WAIT_SUM, G_WAIT_MIN, G_WAIT_MAX, G_HOLDS, G_HOLD_SUM,
 G_HOLD_MIN, G_HOLD_MAX, G_WIDTH) = range(KEYS, KEYS + 14)  # fmt: skip
WAIT, HOLD = 0, 1
EXACT, STEPS = 64, 32
BUCKET_BITS = 12
N_GROUPS, N_ORPHANS, N_LIMIT, N_STATE = range(4)  # state: groups, releases of what was not seen taken, most groups
_LONGEST = (1 << 63) - 1


@step
def bucket(value: int) -> int:
    """The bucket of a time; ``bucket_ends`` says what lies in it."""
    if value < EXACT:
        return max(value, 0)
    shift, rest = 0, value >> 6
    while rest != 0:
        rest >>= 1
        shift += 1
    return EXACT + (shift - 1) * STEPS + ((value >> shift) & (STEPS - 1))


@step
def spread(groups: Grid, g: int, at: int, value: int, table: Ints, counts: Ints) -> None:
    """A time more: in a group's figures from column ``at`` on, and in its histogram."""
    groups[g, at] += 1
    groups[g, at + 1] += value
    groups[g, at + 2] = min(groups[g, at + 2], value)
    groups[g, at + 3] = max(groups[g, at + 3], value)
    which = 2 * g + (HOLD if at == G_HOLDS else WAIT)
    counts[number(table, (which << BUCKET_BITS) | bucket(value))] += 1


@loop
def collect(
    rows: Grid, keys: Ints, begin: int, table: Ints, groups: Grid, bucket_table: Ints, counts: Ints, state: Ints
) -> int:
    """Count ended holds from row ``begin`` on; return where it stopped (the end, or a table must grow first).

    ``keys``: the columns that make a group, -1 for none. ``groups``: a row for each, and one more, which takes what
    would be a new group beyond ``state[N_LIMIT]``.
    """
    for i in range(begin, len(rows)):
        if 2 * (table[0] + 2) > len(table) >> 1 or 2 * (bucket_table[0] + 4) > len(bucket_table) >> 1:
            return i
        if state[N_GROUPS] + 1 >= len(groups) or bucket_table[0] + 4 > len(counts):
            return i
        ends = rows[i, _KNOWN]
        if ends & _BEGUN == 0:
            state[N_ORPHANS] += 1
            continue
        mode = rows[i, _MODE]
        read = mode & _READ != 0
        h = mix(read + 11, 7)
        for k in range(KEYS):
            if keys[k] >= 0:
                h = mix(h, rows[i, keys[k]])
        if state[N_GROUPS] < state[N_LIMIT]:
            g = number(table, h)
        else:
            g = known(table, h)
            g = state[N_LIMIT] if g < 0 else g
        if groups[g, G_ACQUIRED] == 0:
            state[N_GROUPS] += g < state[N_LIMIT]
            for k in range(KEYS):
                groups[g, k] = rows[i, keys[k]] if keys[k] >= 0 else 0
            groups[g, G_READ] = read
            groups[g, G_WAIT_MIN] = groups[g, G_HOLD_MIN] = _LONGEST
        groups[g, G_ACQUIRED] += 1
        groups[g, G_TRYLOCKS] += mode & _TRYLOCK != 0
        groups[g, G_CONTENDED] += mode & _HAD_TO_WAIT != 0
        acquired = rows[i, _ACQUIRED]
        if rows[i, _CONTENDED] != 0 and acquired != 0:
            spread(groups, g, G_WAITS, acquired - rows[i, _CONTENDED], bucket_table, counts)
        if ends & _ENDED != 0:
            spread(groups, g, G_HOLDS, rows[i, _END] - max(acquired, rows[i, _ASKED]), bucket_table, counts)
        else:
            groups[g, G_CUT] += 1
    return len(rows)


def bucket_ends(buckets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The smallest and the largest time of buckets (int64 arrays): exact, or within 1/32 of one another."""
    buckets = np.asarray(buckets, np.int64)
    shift = np.maximum(buckets - EXACT, 0) // STEPS + 1
    low = (STEPS + (buckets - EXACT) % STEPS) << shift
    low = np.where(buckets < EXACT, buckets, low)
    return low, np.where(buckets < EXACT, buckets, low + (1 << shift) - 1)
