"""Distributions of times, one row each: a hill over a logarithmic axis, with its percentiles marked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lockscope.drawing.scales import short
from lockscope.plots.figure import style as _style
from lockscope.units import count, duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PERCENTILES = (50, 90, 99)
_BINS_A_DECADE = 12
_FEW = 8  # of so few no distribution can be told: they are shown one by one


@dataclass(slots=True)
class Ridge:
    """One row: how often each length of time was seen. ``quantiles`` for ``PERCENTILES``, in ns."""

    label: str
    color: str
    number: int
    density: NDArray[np.float64]
    few: NDArray[np.int64]  # the lengths themselves where they are few
    quantiles: tuple[int, ...]
    longest: int


@dataclass(slots=True)
class Ridges:
    """Rows over common ``edges`` (ns). ``axis``: what the x axis says. ``remark``: what was left out."""

    rows: list[Ridge]
    edges: NDArray[np.float64]
    axis: str
    remark: str = ""
    size: tuple[float, float] = field(default=(7.2, 3.6))


def ridges(groups: list[tuple[str, str, NDArray[Any]]], axis: str, remark: str = "") -> Ridges:
    """Rows from (label, colour, lengths in ns); lengths of 0 count as 1 ns."""
    every = np.concatenate([np.maximum(v, 1) for _, _, v in groups])
    low, high = np.floor(np.log10(every.min())), np.ceil(np.log10(every.max()) + 1e-9)
    low, high = max(low - (high - low < 2), 0), max(high, low + 2)
    edges = np.logspace(low, high, max(int((high - low) * _BINS_A_DECADE), 6) + 1)
    made = []
    for label, color, values in groups:
        counts = np.histogram(np.maximum(values, 1), edges)[0].astype(np.float64)
        smooth = np.convolve(np.pad(counts, 1), (0.25, 0.5, 0.25), mode="valid")
        marks = np.percentile(values, PERCENTILES, method="inverted_cdf")
        made.append(
            Ridge(
                label,
                color,
                len(values),
                smooth,
                values[: _FEW if len(values) <= _FEW else 0],
                tuple(int(m) for m in marks),
                int(values.max()),
            )
        )
    return Ridges(made, edges, axis, remark, (7.2, 1.5 + 0.36 * max(len(made), 3)))


def draw_ridges(axes: Axes, data: Ridges) -> None:
    """Draw them, the first on top."""
    middle = np.sqrt(data.edges[:-1] * data.edges[1:])
    _style.log_time_axis(axes, float(data.edges[0]), float(data.edges[-1]), data.axis)
    _style.rows(axes, [r.label for r in data.rows])
    axes.set_yticks([place + 0.1 for place in range(len(data.rows))], [short(r.label, 34) for r in data.rows])
    axes.set_ylim(len(data.rows) - 0.45, -0.75)
    for place, row in enumerate(data.rows):
        base = place + 0.34
        axes.axhline(base, color=_style.FAINT, linewidth=0.6, zorder=1)
        if len(row.few):
            axes.vlines(np.maximum(row.few, 1), base - 0.42, base, color=row.color, linewidth=1.6, zorder=3)
        else:
            _hill(axes, middle, base, row)
        last = f"p99 {duration(row.quantiles[2])}" if not len(row.few) else f"max {duration(row.longest)}"
        text = f"{count(row.number)}×   {last.replace('us', 'µs')}"
        axes.annotate(text, (1, place + 0.1), (6, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                      ha="left", va="center", fontsize=7.5, color="#57606a", annotation_clip=False)  # fmt: skip
    _key(axes, data.remark)


def _hill(axes: Axes, middle: NDArray[np.float64], base: float, row: Ridge) -> None:
    hill = row.density / max(row.density.max(), 1) * 0.86
    axes.fill_between(middle, base, base - hill, color=row.color, alpha=0.38, linewidth=0, zorder=2)
    axes.plot(middle, base - hill, color=row.color, linewidth=1.0, zorder=3)
    for value, shape, size in zip(row.quantiles, ("o", "D", "^"), (30, 24, 30), strict=True):
        axes.scatter([max(value, 1)], [base], s=size, marker=shape, facecolor=row.color, edgecolor="white",
                     linewidth=0.8, zorder=5, clip_on=False)  # fmt: skip
    axes.plot([max(row.longest, 1)] * 2, [base - 0.2, base + 0.1], color=row.color, linewidth=1.6, zorder=4)


def _key(axes: Axes, remark: str) -> None:
    from matplotlib.lines import Line2D

    def mark(shape: str, label: str) -> Line2D:
        return Line2D([], [], marker=shape, linestyle="", color="#57606a", markersize=5, label=label)

    names = [mark("o", "median"), mark("D", "p90"), mark("^", "p99"), mark("|", "longest")]
    # Under the axis' own label: above the axes stands the trace's name, which may be long.
    whole = axes.get_figure(root=True)
    height = whole.get_figheight() if whole is not None else 3.6
    below = (0.82 if remark else 0.62) / height
    axes.legend(handles=names, loc="upper right", bbox_to_anchor=(1, -below), ncols=4, handletextpad=0.1,
                columnspacing=0.9, borderaxespad=0.1, fontsize=7.5)  # fmt: skip
    if remark:
        axes.annotate(remark, (0, 0), (0, -34), xycoords="axes fraction", textcoords="offset points", ha="left",
                      va="top", fontsize=7.5, color="#57606a")  # fmt: skip
