"""How long a TLB flush is owed: from the first SPTE change of a critical section to the flush, by what was going on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lockscope.drawing.palette import RED
from lockscope.plots._ridges import Ridges, draw_ridges, ridges
from lockscope.plots.figure import Source, View, nothing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "From an SPTE change to the TLB flush it requires"
HONOURS = ("start_ns", "end_ns", "pids", "vm", "cpus")
_COLORS = ("#3b7dd8", "#e0772f", "#2e9e5b", "#8d63c4", "#1f9fb4", "#a9744f", "#d866a4", "#93a11f")
_NEVER = ("missing", "ended", "overdue")


def data(source: Source, view: View) -> Ridges:
    """Required flushes that were seen, a row a flow; how many never came is the remark."""
    table = source.columns("required_flushes")
    keep = np.ones(len(table["ts_ns"]), np.bool_)
    if view.start_ns is not None:
        keep &= table["ts_ns"] >= view.start_ns
    if view.end_ns is not None:
        keep &= table["ts_ns"] < view.end_ns
    if view.vm is not None:
        keep &= table["vm"] == view.vm
    if view.pids:
        keep &= np.isin(table["pid"], view.pids)
    paid = keep & (table["flushed_ns"] > 0)
    if not paid.any():
        never = int((keep & table["outcome"].among(_NEVER)).sum())
        raise nothing(
            source, f"no TLB flush that SPTE changes required was seen ({never:,} never came)",
            "record -e kvmmmu and the probes lockscope:kvm_make_all_cpus_request, lockscope:kvm_flush_remote_tlbs",
        )  # fmt: skip
    flow, latency = table["flow"][paid], (table["flushed_ns"] - table["ts_ns"])[paid]
    late = table["outcome"][paid].among(("late", "by-another-task", "too-small", "missing"))
    groups = []
    for number, name in enumerate(flow.ranked(np.ones(len(flow)), most=len(_COLORS))):
        own = flow.among([name])
        color = _COLORS[number]
        if (own & ~late).any():
            groups.append((name, color, latency[own & ~late]))
        if (own & late).any():
            groups.append((f"{name}, not in time", RED, latency[own & late]))
    never = int((keep & table["outcome"].among(_NEVER) & (table["flushed_ns"] == 0)).sum())
    remark = f"{never:,} required flushes never came" if never else ""
    return ridges(groups[: view.top], "time from the first change to the flush", remark)


def draw(axes: Axes, data: Ridges) -> None:
    """Draw the distributions."""
    draw_ridges(axes, data)
