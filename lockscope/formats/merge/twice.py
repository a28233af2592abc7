"""Events that two files of one recording both have: ``trace-cmd split`` repeats those at the time where it cuts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def twice(
    data: NDArray[np.uint8], ts: Ints, at: Ints, size: NDArray[np.int32], stream: NDArray[np.int32], place: Ints
) -> Ints:
    """The rows, in order of time, that an earlier stream of the same place (CPU, buffer, guest) has too, byte for byte.

    ``place`` is each row's, -1 where it is no event. A CPU's own events of one time are told apart by their order.
    """
    again = np.zeros(len(ts), np.bool_)
    again[1:] = ts[1:] == ts[:-1]
    again[:-1] |= again[1:]
    rows = np.flatnonzero(again & (place >= 0))
    if not len(rows) or len(np.unique(stream[rows])) < 2:
        return np.zeros(0, np.int64)
    rows = rows[_order(ts[rows], place[rows], size[rows], stream[rows])]
    keys = (ts[rows], place[rows], size[rows])
    own = _runs(*keys, stream[rows])
    rows, own = rows[(order := _order(*keys, own))], own[order]
    first, second = rows[:-1], rows[1:]
    alike = stream[first] != stream[second]
    for key in (ts, place, size):
        alike &= key[first] == key[second]
    alike &= own[:-1] == own[1:]
    first, second = first[alike], second[alike]
    same = np.zeros(len(first), np.bool_)
    for length in np.unique(size[first]).tolist():
        of = np.flatnonzero(size[first] == length)
        reach = np.arange(length)
        same[of] = (data[at[first[of], None] + reach] == data[at[second[of], None] + reach]).all(axis=1)
    return np.unique(second[same])


def _order(*keys: NDArray[np.generic]) -> Ints:
    return np.lexsort(keys[::-1]).astype(np.int64)


def _runs(*keys: NDArray[np.generic]) -> Ints:
    """The number of each row among neighbours that agree in all keys."""
    begins = np.ones(len(keys[0]), np.bool_)
    begins[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    starts = np.flatnonzero(begins)
    return np.arange(len(begins)) - np.repeat(starts, np.diff(np.append(starts, len(begins))))
