"""The locks that became slower: every host's 99th percentile against its own baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lockscope.drawing.palette import GREY, lock_colors
from lockscope.nightly.changes import BASELINE, RATIO
from lockscope.nightly.figures._base import night_axis
from lockscope.nightly.night import Night
from lockscope.nightly.words import times_slower
from lockscope.plots.figure import style as _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Locks that became slower: 99th percentile against each host's own median"
CAPTION = "Coloured: hosts that changed. Grey: the other hosts, same lock. Dashed: the least that is told."
ORDER = 10
_MOST = 4
_NAMED = 8  # hosts that have their name at the end of their line


@dataclass(slots=True)
class Line:
    """One lock: ``ratios`` float64[hosts, nights], nan for a night without one; ``changed`` bool[hosts]."""

    label: str
    name: str
    hosts: list[str]
    ratios: NDArray[np.float64]
    changed: NDArray[np.bool_]


@dataclass(slots=True)
class Lines:
    """The locks, the most hosts first."""

    nights: list[str]
    lines: list[Line]
    more: int
    size: tuple[float, float] = (9.6, 4.4)


def data(night: Night) -> Lines | None:
    """The locks of ``night.slower``."""
    if not night.slower:
        return None
    lines = []
    for trend in night.slower[:_MOST]:
        values = night.series.values[trend.metric][trend.change.place]
        before = values[:, : -trend.change.window][:, -BASELINE:]
        base = np.array([np.nanmedian(row) if np.isfinite(row).any() else np.nan for row in before])
        changed = np.isin(np.array(night.series.hosts), trend.hosts)
        label = f"{trend.name} {trend.metric} {times_slower(trend.change.ratio)}"
        lines.append(Line(label, trend.name, night.series.hosts, 2 ** (values - base[:, None]), changed))
    return Lines(night.nights, lines, len(night.slower) - len(lines))


def draw(axes: Axes, data: Lines) -> None:
    """Draw a line a host."""
    colors = lock_colors(line.name for line in data.lines)
    x = np.arange(len(data.nights))
    for line in data.lines:
        for host, ratio, changed in zip(line.hosts, line.ratios, line.changed, strict=True):
            axes.plot(x, ratio, "-o" if changed else "-", color=colors[line.name] if changed else GREY,
                      linewidth=1.8 if changed else 0.7, markersize=3.5, alpha=1 if changed else 0.45,
                      zorder=3 if changed else 2)  # fmt: skip
            if changed and np.isfinite(ratio[-1]) and len(data.lines) * line.changed.sum() <= _NAMED:
                axes.annotate(host, (x[-1], ratio[-1]), (7, 0), textcoords="offset points", va="center", fontsize=8,
                              color=colors[line.name], annotation_clip=False)  # fmt: skip
    axes.axhline(RATIO, color=_style.INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_yscale("log", base=2)
    low, high = axes.get_ylim()
    ticks = [t for t in (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64) if low <= t <= high]
    axes.set_yticks(ticks, [f"{t:g}x" for t in ticks])
    axes.minorticks_off()
    axes.set_ylabel("against the baseline")
    night_axis(axes, data.nights)
    _style.legend(axes, [(line.label, colors[line.name]) for line in data.lines], columns=1)
    if data.more:
        _style.note(axes, f"{data.more} more are in the table")
