"""Contention over time: how many tasks wait for locks, on average over each slice of time, lock by lock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lockscope.drawing.palette import lock_colors
from lockscope.plots._holds import holds_of, span_of
from lockscope.plots.figure import Source, View, nothing
from lockscope.plots.figure import style as _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Contention over time"
HONOURS = ("start_ns", "end_ns", "pids", "vm", "cpus", "locks")
SIZE = (7.2, 3.6)
_SLICES = 160
OTHERS = "all others"


@dataclass(slots=True)
class Contention:
    """``waiting[i]``: tasks waiting for ``names[i]``, the average over each slice between ``edges_ns``."""

    names: list[str]
    colors: list[str]
    edges_ns: NDArray[np.int64]
    waiting: NDArray[np.float64]
    waits: int


def data(source: Source, view: View) -> Contention:
    """Waits from the attempt to lock_acquired of contended acquisitions."""
    start, end = span_of(source, view)
    holds = holds_of(source, view)
    waited = holds["contended"] & (holds["acquired_ns"] > 0)
    if not waited.any():
        raise nothing(
            source, "no task was seen waiting for a lock",
            "record trace-cmd -e lock:lock_contended -e lock:lock_acquired, which needs CONFIG_LOCK_STAT",
        )  # fmt: skip
    begin, stop, names = (holds[c][waited] for c in ("asked_ns", "acquired_ns", "name"))
    edges = np.linspace(start, max(end, start + _SLICES), _SLICES + 1).astype(np.int64)
    every = names.ranked(stop - begin, most=len(names.words))
    shown = every[: min(view.top, 7)]
    parts = [occupancy(begin[names.among([n])], stop[names.among([n])], edges) for n in shown]
    colors = list(lock_colors(shown).values())
    if len(every) > len(shown):
        rest = ~names.among(shown)
        parts.append(occupancy(begin[rest], stop[rest], edges))
        shown, colors = [*shown, f"{OTHERS} ({len(every) - len(shown)})"], [*colors, "#c4c9cf"]
    return Contention(shown, colors, edges, np.array(parts), len(begin))


def occupancy(begin: NDArray[np.int64], end: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """How many of the stretches [begin, end) lie over each slice, on average."""

    # The integral up to each edge: stretches that ended give their length, those under way what has passed.
    def passed(at: NDArray[np.int64]) -> NDArray[np.int64]:
        starts, ends = np.sort(begin), np.sort(end)
        began, ended = np.searchsorted(starts, at), np.searchsorted(ends, at)
        sums = np.concatenate(([0], np.cumsum(starts - edges[0]))), np.concatenate(([0], np.cumsum(ends - edges[0])))
        under = at - edges[0]
        area: NDArray[np.int64] = (under * began - sums[0][began]) - (under * ended - sums[1][ended])
        return area

    return np.diff(passed(edges)) / np.maximum(np.diff(edges), 1)


def draw(axes: Axes, data: Contention) -> None:
    """Stacked steps."""
    start = int(data.edges_ns[0])
    _style.time_axis(axes, start, int(data.edges_ns[-1]), pad=0)
    base = np.zeros(data.waiting.shape[1])
    for row, color in zip(data.waiting, data.colors, strict=True):
        top = base + row
        axes.stairs(top, data.edges_ns - start, baseline=base, fill=True, color=color, linewidth=0)
        base = top
    axes.set_ylim(0, max(float(base.max()) * 1.12, 0.01))
    axes.set_ylabel("tasks waiting (average)")
    axes.grid(visible=False, axis="x")
    _style.legend(axes, list(zip(data.names, data.colors, strict=True)), columns=4)
    _style.note(axes, f"{data.waits:,} contended acquisitions")
