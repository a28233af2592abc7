"""The holds that a view wants."""

from __future__ import annotations

import numpy as np

from lockscope.plots.figure import Columns, Source, View


def holds_of(source: Source, view: View) -> Columns:
    """Columns of the holds table: those that reach into the view's time, of its tasks and locks."""
    holds = source.columns("holds")
    keep = np.ones(len(holds["pid"]), np.bool_)
    if view.start_ns is not None:
        keep &= holds["end_ns"] >= view.start_ns
    if view.end_ns is not None:
        keep &= holds["asked_ns"] < view.end_ns
    if view.pids:
        keep &= np.isin(holds["pid"], view.pids)
    if view.locks:
        names = holds["name"]
        keep &= names.where([view.takes_lock(n) for n in names.words])
    return holds if keep.all() else {name: column[keep] for name, column in holds.items()}


def span_of(source: Source, view: View) -> tuple[int, int]:
    """The view's first and last time."""
    start, end = source.span()
    return (start if view.start_ns is None else view.start_ns), (end if view.end_ns is None else view.end_ns)
