"""Who holds what, when: the holds of a stretch of time as a Gantt chart, a row a task.

Without a stretch it shows the one around the longest wait for one of KVM's locks, else for any, else the longest hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lockscope.drawing.palette import lock_colors
from lockscope.kvm.locks import is_kvm
from lockscope.plots._holds import holds_of
from lockscope.plots.figure import Columns, Source, View, nothing
from lockscope.plots.figure import style as _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[Any]
TITLE = "Who holds which lock, when"
HONOURS = ("start_ns", "end_ns", "pids", "vm", "cpus", "locks")
_MOST = 4000  # bars: more of them than pixels say nothing
_LANES = 4  # nested holds of a task side by side; what is deeper is left out


@dataclass(slots=True)
class Bars:
    """Bars by row and lane (nesting). ``wait_ns``: when its lock was asked for where the task had to wait, else 0.

    ``left_out``: holds that do not fit, for being nested deeper or for their number.
    """

    tasks: list[str]
    names: list[str]
    row: NDArray[np.int64]
    lane: NDArray[np.int64]
    lanes: list[int]
    name: NDArray[np.int64]
    begin_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    wait_ns: NDArray[np.int64]
    read: NDArray[np.bool_]
    start_ns: int
    stop_ns: int
    left_out: int
    size: tuple[float, float] = (7.2, 3.6)


def data(source: Source, view: View) -> Bars:
    """The holds that reach into the stretch, of the tasks that hold the longest."""
    holds = holds_of(source, view)
    known = (holds["acquired_ns"] > 0) | holds["begin_known"]
    holds = {n: c[known] for n, c in holds.items()}
    if not len(holds["pid"]):
        raise nothing(source, "no lock is held in this stretch", "choose another one, or record trace-cmd -e lock")
    start, stop = _stretch(holds, view)
    inside = (holds["end_ns"] >= start) & (holds["asked_ns"] < stop)
    holds = {n: c[inside] for n, c in holds.items()}
    begin = np.where(holds["acquired_ns"] > 0, holds["acquired_ns"], holds["asked_ns"])
    length = np.minimum(holds["end_ns"], stop) - np.maximum(begin, start)
    every, of = np.unique(holds["pid"], return_inverse=True)
    total = np.bincount(of, weights=length.astype(np.float64))
    pids = np.sort(every[np.argsort(-total, kind="stable")[: view.top]])
    own = np.isin(holds["pid"], pids)
    lane = np.zeros(len(own), np.int64)
    order = np.flatnonzero(own)
    lane[order] = _nesting(holds["pid"][order], begin[order], holds["end_ns"][order])
    keep = own & (lane < _LANES)
    if keep.sum() > _MOST:
        least = np.sort(length[keep])[-_MOST]
        keep &= length >= least
    left = int(inside.sum() - keep.sum())
    tasks = source.task_names()
    distinct, which = np.unique(holds["name"].codes[keep], return_inverse=True)
    row = np.searchsorted(pids, holds["pid"][keep])
    lanes = [int(lane[keep][row == i].max(initial=0)) + 1 for i in range(len(pids))]
    waited = holds["contended"] & (holds["acquired_ns"] > 0)
    return Bars(
        [f"{tasks.get(p, '<...>')}/{p}" for p in pids.tolist()],
        [holds["name"].words[n] for n in distinct],
        row,
        lane[keep],
        lanes,
        which,
        np.maximum(begin, start)[keep],
        np.minimum(holds["end_ns"], stop)[keep],
        np.where(waited, np.maximum(holds["asked_ns"], start), 0)[keep],
        holds["read"][keep] > 0,
        start,
        stop,
        left,
        (7.2, 1.7 + 0.2 * sum(max(n, 1) + 0.6 for n in lanes)),
    )


def _stretch(holds: Columns, view: View) -> tuple[int, int]:
    if view.start_ns is not None and view.end_ns is not None:
        return view.start_ns, view.end_ns
    kvm = holds["name"].where([is_kvm(n) for n in holds["name"].words])
    waits = np.where(holds["contended"] & (holds["acquired_ns"] > 0), holds["acquired_ns"] - holds["asked_ns"], 0)
    lengths = np.where(holds["begin_known"] & holds["end_known"], holds["end_ns"] - holds["asked_ns"], 0)
    for weight in (waits * kvm, waits, lengths * kvm, lengths):
        if weight.any():
            top = int(np.argmax(weight))
            begin, end = int(holds["asked_ns"][top]), int(holds["end_ns"][top])
            room = max((end - begin) // 3, 2_000)
            return begin - room, end + room
    return int(holds["asked_ns"].min()), int(holds["end_ns"].max()) + 1


def _nesting(pid: NDArray[Any], begin: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first lane of its task that is free, for holds in order of begin: a loop over what one chart shows."""
    lane = np.zeros(len(pid), np.int64)
    free: dict[int, list[int]] = {}
    for i in np.lexsort((-end, begin)).tolist():
        ends = free.setdefault(int(pid[i]), [])
        place = next((n for n, at in enumerate(ends) if at <= begin[i]), len(ends))
        if place == len(ends):
            ends.append(0)
        ends[place] = int(end[i])
        lane[i] = place
    return lane


def draw(axes: Axes, data: Bars) -> None:
    """Bars by lock; a wait is the hatched stretch before its bar, a read hold is lighter."""
    from matplotlib.collections import PolyCollection

    tops = np.concatenate(([0.0], np.cumsum([n + 0.6 for n in data.lanes])))
    y = tops[data.row] + data.lane
    least = (data.stop_ns - data.start_ns) / 1600  # a hold narrower than a line is still one
    x0 = (data.begin_ns - data.start_ns).astype(np.float64)
    x1 = np.maximum((data.end_ns - data.start_ns).astype(np.float64), x0 + least)
    used = np.bincount(data.name, weights=(data.end_ns - data.begin_ns).astype(np.float64), minlength=len(data.names))
    order = sorted(range(len(data.names)), key=lambda i: (not is_kvm(data.names[i]), -used[i]))
    by_name = lock_colors(data.names[i] for i in order)
    colors = [by_name[n] for n in data.names]
    for read in (False, True):
        own = data.read == read
        axes.add_collection(
            PolyCollection(
                _boxes(x0[own], x1[own], y[own]), facecolors=[colors[i] for i in data.name[own]],
                alpha=0.55 if read else 1.0, edgecolors="white", linewidths=0.3,
            )
        )  # fmt: skip
    waits = data.wait_ns > 0
    if waits.any():
        axes.add_collection(
            PolyCollection(
                _boxes((data.wait_ns[waits] - data.start_ns).astype(np.float64), x0[waits], y[waits]),
                facecolors="none", edgecolors=[colors[i] for i in data.name[waits]], linewidths=0.8, hatch="/////",
            )
        )  # fmt: skip
    _style.time_axis(axes, data.start_ns, data.stop_ns)
    _style.rows(axes, data.tasks)
    axes.set_yticks([(tops[i] + tops[i + 1] - 0.6) / 2 for i in range(len(data.tasks))], data.tasks)
    for line in tops[1:-1]:
        axes.axhline(line - 0.3, color=_style.FAINT, linewidth=0.6)
    axes.set_ylim(tops[-1] - 0.3, -0.3)
    _style.legend(axes, [(data.names[i], colors[i]) for i in order[:12]], columns=4)
    words = ["hatched: waiting", "pale: held for read"] if waits.any() else ["pale: held for read"]
    _style.note(axes, "   ".join([*words, f"{data.left_out:,} left out"] if data.left_out else words))


def _boxes(x0: Floats, x1: Floats, y: Floats) -> list[Floats]:
    low, high = y + 0.08, y + 0.92
    corners = [np.stack(p, axis=-1) for p in ((x0, low), (x1, low), (x1, high), (x0, high))]
    return list(np.stack(corners, axis=1))
