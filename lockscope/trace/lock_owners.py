"""Statistics by owner: who made others wait, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from lockscope.results.lock_stats import LockFigures
from lockscope.statistics import lock_waits
from lockscope.statistics.lock_statistics import LockStatistics
from lockscope.trace.lock_names import DIMENSIONS
from lockscope.trace.locks import LockQuery, LockReading, figures_of, named_only, texts_of
from lockscope.walk.walk import HOLD_COLUMNS


def owner_figures(
    path: str | Sequence[str], query: LockQuery, progress: Callable[[int, int | None], None] | None
) -> LockFigures:
    """Waits by the task that held the lock meanwhile, each for as long as it had it.

    Other dimensions and the filters are of the task that waited. Several readers may own a lock at once.
    """
    reading = LockReading(
        path, replace(query, by=tuple(d for d in query.by if d != "owner")), waits=True, progress=progress
    )
    blame = reading.waits.finish()
    rows = reading.waits.rows
    blamed = rows[blame.wait].copy()
    acquired, contended = HOLD_COLUMNS.index("acquired_ns"), HOLD_COLUMNS.index("contended_ns")
    blamed[:, contended], blamed[:, acquired] = 1, 1 + blame.ns
    blamed[:, lock_waits.KNOWN] = 1  # no hold of the waiter's is counted
    keys = [*reading.keys, "end_cpu"]  # whose place the owner takes: a wait's end has no use here
    blamed[:, HOLD_COLUMNS.index("end_cpu")] = rows[blame.hold, lock_waits.PID]
    chosen = np.ones(len(blamed), np.bool_)
    if len(blamed):
        chosen = np.array([len(query.rows(rows[w : w + 1])) > 0 for w in blame.wait.tolist()], np.bool_)
    statistics = LockStatistics(keys)
    statistics.feed(np.ascontiguousarray(blamed[chosen]))
    groups = named_only(statistics.groups(), reading)
    texts, codes = texts_of(groups, reading, reading.query.by)
    owners, of = np.unique(groups.keys[:, -1], return_inverse=True)
    names = [reading.names.shown(DIMENSIONS["owner"], [pid]) for pid in owners.tolist()]
    at = query.by.index("owner")
    texts.insert(at, names)
    codes = np.insert(codes, at, of.reshape(-1), axis=1)
    fields = [c for d in query.by for c in DIMENSIONS[d].fields]
    return figures_of(reading, groups.merged(codes), texts, fields, holds=False)
