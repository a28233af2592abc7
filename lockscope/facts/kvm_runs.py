"""Runs of neighbouring gfns: 512 SPTEs of one page table are told as one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockscope.units import address

_64 = (1 << 64) - 1


class Run(NamedTuple):
    """Neighbouring gfns, ``first`` to ``last``, mapped at one level."""

    first: int
    last: int
    level: int


def runs(first: NDArray[np.int64], level: NDArray[np.int64], unit: int = 1) -> list[Run]:
    """Neighbours joined: 512 SPTEs of one page table are one run. ``unit``: what one SPTE of level 1 spans."""
    if not len(first):
        return []
    pairs = np.unique(np.stack((level, first), axis=1), axis=0)
    span = unit * (np.left_shift(1, 9 * (pairs[:, 0] - 1)) if unit == 1 else np.ones(len(pairs), np.int64))
    new = np.concatenate(([True], (np.diff(pairs[:, 1]) != span[:-1]) | (np.diff(pairs[:, 0]) != 0)))
    begin = np.flatnonzero(new)
    end = np.concatenate((begin[1:], [len(pairs)])) - 1
    last = pairs[end, 1] + span[end] - unit
    return [Run(*row) for row in zip(pairs[begin, 1].tolist(), last.tolist(), pairs[begin, 0].tolist(), strict=True)]


def runs_text(found: list[Run], most: int = 3) -> str:
    """Runs for a report: ``0x180-0x37f, 0x400 (2 MiB)``."""
    sizes = {1: "", 2: " (2 MiB)", 3: " (1 GiB)"}
    words = [
        address(run.first & _64)
        + (f"-{address(run.last & _64)}" if run.last != run.first else "")
        + sizes.get(run.level, "")
        for run in found[:most]
    ]
    return ", ".join(words) + (f" and {len(found) - most} more runs" if len(found) > most else "")
