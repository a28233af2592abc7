"""What happens to SPTEs, over time and guest frame: mapped, write-protected, made writable again, zapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lockscope.drawing.palette import SPTE
from lockscope.plots._holds import span_of
from lockscope.plots.figure import Source, View, nothing
from lockscope.plots.figure import style as _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "SPTE transitions over time and guest frame"
HONOURS = ("start_ns", "end_ns", "pids", "vm", "cpus", "gfns")
SIZE = (7.2, 4.2)
_MOST = 60_000
_DROPPED = ("page table", "frozen", "mmio")  # of the table's inside, not of a guest frame


@dataclass(slots=True)
class Transitions:
    """``what`` is the place in ``words``. ``bands``: runs of neighbouring gfns as (first, last), in order.

    ``total``: how many there were; where there are more than are drawn, every n-th of them is.
    """

    ts_ns: NDArray[np.int64]
    gfn: NDArray[np.uint64]
    what: NDArray[np.int64]
    words: list[str]
    counts: list[int]
    bands: list[tuple[int, int]]
    start_ns: int
    stop_ns: int
    total: int


def data(source: Source, view: View) -> Transitions:
    """Changes of leaf SPTEs whose guest frame is known."""
    table = source.columns("spte_changes")
    event = table["event"]
    keep = ~table["change"].among(_DROPPED) & (table["gfn"] > 0)
    if event.among(["spte_tdp"]).any():
        keep &= ~event.among(["spte_set"])  # the same change told twice
        keep &= ~event.among(["fast_pf"]) | (table["old_spte"] != table["new_spte"])
    else:
        keep &= ~event.among(["fast_pf"])  # shadow paging: the address is the guest's own
    start, stop = span_of(source, view)
    keep &= (table["ts_ns"] >= start) & (table["ts_ns"] <= stop)
    if view.vm is not None:
        keep &= table["vm"] == view.vm
    if view.pids:
        keep &= np.isin(table["pid"], view.pids)
    if view.gfns:
        keep &= (table["gfn"] >= np.uint64(view.gfns[0])) & (table["gfn"] <= np.uint64(view.gfns[1]))
    rows = np.flatnonzero(keep)
    if not len(rows):
        raise nothing(source, "no SPTE of a known guest frame changes here", "record trace-cmd -e kvmmmu (TDP MMU)")
    change = table["change"][rows]
    codes, what, counts = np.unique(change.codes, return_inverse=True, return_counts=True)
    bands = _bands(table["gfn"][rows])
    every = max(1, -(-len(rows) // _MOST))
    picked = slice(None, None, every)
    return Transitions(
        table["ts_ns"][rows][picked],
        table["gfn"][rows][picked],
        what[picked],
        [change.words[c] for c in codes],
        counts.tolist(),
        bands,
        start,
        stop,
        len(rows),
    )


def _bands(gfns: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Runs of gfns with no gap wider than a sixteenth of what is used: memslots lie far apart."""
    distinct = np.unique(gfns)
    gap = np.diff(distinct)
    limit = np.uint64(max(len(distinct) // 8, 512))
    cuts = np.flatnonzero(gap > limit)
    while len(cuts) > 5:  # the widest gaps are left out, the others are shown as they are
        limit = np.uint64(max(int(np.sort(gap[cuts])[-5]), int(limit) + 1))
        cuts = np.flatnonzero(gap >= limit)
        if len(cuts) <= 5:
            break
        cuts = cuts[:5]
    firsts, lasts = distinct[np.concatenate(([0], cuts + 1))], distinct[np.concatenate((cuts, [len(distinct) - 1]))]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def draw(axes: Axes, data: Transitions) -> None:
    """Points by kind; the empty space between memslots is left out."""
    y, heights = np.zeros(len(data.gfn), np.float64), []
    whole = sum(last - first + 1 for first, last in data.bands)
    room = max(whole * 0.045, 1.0)
    base = 0.0
    for first, last in data.bands:
        inside = (data.gfn >= np.uint64(first)) & (data.gfn <= np.uint64(last))
        thick = max(float(last - first + 1), whole * 0.05)
        y[inside] = base + (data.gfn[inside] - np.uint64(first)).astype(np.float64) * (thick / (last - first + 1))
        heights.append((base, thick))
        base += thick + room
    x = data.ts_ns - data.start_ns
    order = sorted(range(len(data.words)), key=lambda i: -data.counts[i])
    size = float(np.clip(5_000 / max(len(x), 1), 1.5, 14))
    for i in order:
        own = data.what == i
        axes.scatter(x[own], y[own], s=size, color=SPTE.get(data.words[i], SPTE["other"]), linewidths=0, alpha=0.8,
                     rasterized=True)  # fmt: skip
    _style.time_axis(axes, data.start_ns, data.stop_ns)
    _gfn_axis(axes, data, heights, base - room)
    _style.legend(axes, [(f"{data.words[i]} ({data.counts[i]:,})", SPTE.get(data.words[i], SPTE["other"]))
                         for i in order], columns=4)  # fmt: skip
    if len(x) < data.total:
        _style.note(axes, f"{len(x):,} of {data.total:,} changes drawn")


def _gfn_axis(axes: Axes, data: Transitions, heights: list[tuple[float, float]], top: float) -> None:
    ticks, labels = [], []
    for number, ((first, last), (base, thick)) in enumerate(zip(data.bands, heights, strict=True)):
        ticks.append(base)
        labels.append(f"{first:#x}")
        if last > first and thick > 0.09 * top:
            ticks.append(base + thick)
            labels.append(f"{last:#x}")
        if number:
            axes.axhline(base - (heights[1][0] - heights[0][1]) / 2, color=_style.FAINT, linewidth=0.8, linestyle=":")
    axes.set_yticks(ticks, labels)
    for text in axes.get_yticklabels():
        text.set_fontfamily("DejaVu Sans Mono")
        text.set_fontsize(7.5)
    axes.set_ylim(-0.02 * top, 1.02 * top)
    axes.set_ylabel("guest frame number (gfn)")
    axes.grid(visible=False, axis="y")
