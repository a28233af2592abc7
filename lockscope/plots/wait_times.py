"""How long tasks wait for each lock: from the attempt to lock_acquired, where they had to wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockscope.drawing.palette import lock_color
from lockscope.kvm.locks import is_kvm
from lockscope.plots._holds import holds_of
from lockscope.plots._ridges import Ridges, draw_ridges, ridges
from lockscope.plots.figure import Source, View, nothing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "How long tasks wait for locks"
HONOURS = ("start_ns", "end_ns", "pids", "vm", "cpus", "locks")


def data(source: Source, view: View) -> Ridges:
    """Contended acquisitions (lock_contended) whose lock_acquired was recorded."""
    holds = holds_of(source, view)
    waited = holds["contended"] & (holds["acquired_ns"] > 0)
    if not waited.any():
        raise nothing(
            source, "no task was seen waiting for a lock",
            "record trace-cmd -e lock:lock_contended -e lock:lock_acquired, which needs CONFIG_LOCK_STAT",
        )  # fmt: skip
    length = (holds["acquired_ns"] - holds["asked_ns"])[waited]
    names = holds["name"][waited]
    shown = names.ranked(length, filter(is_kvm, names.words), view.top)
    rest = len(names.used()) - len(shown)
    groups = [(name, lock_color(name), length[names.among([name])]) for name in shown]
    return ridges(groups, "time waited, contended acquisitions", f"{rest} more classes had waits" if rest else "")


def draw(axes: Axes, data: Ridges) -> None:
    """Draw the distributions."""
    draw_ridges(axes, data)
