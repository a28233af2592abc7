"""How long a TLB flush is owed: from the first SPTE change of a critical section to the flush, by what was going on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lockscope.drawing.palette import RED
from lockscope.plots._base import Source, View, nothing
from lockscope.plots._ridges import Ridges, draw_ridges, ridges

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "From an SPTE change to the TLB flush it owes"
HONOURS = ("start_ns", "end_ns", "pids", "vm", "cpus")
_COLORS = ("#3b7dd8", "#e0772f", "#2e9e5b", "#8d63c4", "#1f9fb4", "#a9744f", "#d866a4", "#93a11f")
_NEVER = ("unpaid", "ended", "overdue")


def data(source: Source, view: View) -> Ridges:
    """Debts whose flush was seen, a row a flow; how many were never paid is the remark."""
    table = source.columns("flush_debts")
    keep = np.ones(len(table["ts_ns"]), np.bool_)
    if view.start_ns is not None:
        keep &= table["ts_ns"] >= view.start_ns
    if view.end_ns is not None:
        keep &= table["ts_ns"] < view.end_ns
    if view.vm is not None:
        keep &= table["vm"] == view.vm
    if view.pids:
        keep &= np.isin(table["pid"], view.pids)
    paid = keep & (table["paid_ns"] > 0)
    if not paid.any():
        never = int((keep & table["outcome"].among(_NEVER)).sum())
        raise nothing(
            source, f"no TLB flush that an SPTE change owed was seen ({never:,} debts without one)",
            "record -e kvmmmu and the probes lockscope:kvm_make_all_cpus_request, lockscope:kvm_flush_remote_tlbs",
        )  # fmt: skip
    flow, latency = table["flow"][paid], (table["paid_ns"] - table["ts_ns"])[paid]
    late = table["outcome"][paid].among(("late", "foreign", "too-small", "unpaid"))
    groups = []
    for number, name in enumerate(flow.ranked(np.ones(len(flow)), most=len(_COLORS))):
        own = flow.among([name])
        color = _COLORS[number]
        if (own & ~late).any():
            groups.append((name, color, latency[own & ~late]))
        if (own & late).any():
            groups.append((f"{name}, not in time", RED, latency[own & late]))
    never = int((keep & table["outcome"].among(_NEVER) & (table["paid_ns"] == 0)).sum())
    remark = f"{never:,} debts were not seen to be paid at all" if never else ""
    return ridges(groups[: view.top], "time from the first change to the flush", remark)


def draw(axes: Axes, data: Ridges) -> None:
    """Draw the distributions."""
    draw_ridges(axes, data)
