"""How long each lock is held: a hill a class, KVM's first, on a logarithmic axis with percentiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lockscope.drawing.palette import lock_color
from lockscope.kvm.locks import is_kvm
from lockscope.plots._holds import holds_of
from lockscope.plots._ridges import Ridges, draw_ridges, ridges
from lockscope.plots.figure import Source, View, nothing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "How long locks are held"
HONOURS = ("start_ns", "end_ns", "pids", "vm", "cpus", "locks")


def data(source: Source, view: View) -> Ridges:
    """Holds that were seen from begin to end; from lock_acquired where recorded, else from the attempt."""
    holds = holds_of(source, view)
    whole = holds["begin_known"] & holds["end_known"]
    if not whole.any():
        raise nothing(source, "no lock was seen being taken and released", "record trace-cmd -e lock")
    begin = np.where(holds["acquired_ns"] > 0, holds["acquired_ns"], holds["asked_ns"])
    length = (holds["end_ns"] - begin)[whole]
    names = holds["name"][whole]
    shown = names.ranked(length, filter(is_kvm, names.words), view.top)
    rest = len(names.used()) - len(shown)
    groups = [(name, lock_color(name), length[names.among([name])]) for name in shown]
    return ridges(groups, "time held", f"{rest} more classes were held for less in total" if rest else "")


def draw(axes: Axes, data: Ridges) -> None:
    """Draw the distributions."""
    draw_ridges(axes, data)
