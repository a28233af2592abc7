"""How long KVM's locks were held, night by night: 99th percentiles, the median host and the range of hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lockscope.drawing import scales
from lockscope.drawing.palette import lock_colors
from lockscope.nightly.figures._base import night_axis
from lockscope.nightly.night import Night
from lockscope.plots.figure import style as _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "99th percentile hold of KVM's locks"
CAPTION = "Lines: the median host. Bands: from the fastest tenth of the hosts to the slowest."
ORDER = 30
_MOST = 8


@dataclass(slots=True)
class Bands:
    """float64[locks, nights], ns: the median host, and the tenth and ninetieth percentile of hosts."""

    nights: list[str]
    names: list[str]
    middle: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    size: tuple[float, float] = (9.6, 4.6)


def data(night: Night) -> Bands | None:
    """KVM's locks, or all where there are none, those that are held longest in total first."""
    series = night.series
    held = series.values["hold"]
    some = [i for i, name in enumerate(series.names) if np.isfinite(held[i]).any()]
    places = [i for i in some if series.kvm[i]] or some
    if not places:
        return None
    weight = {i: float(np.nansum(series.counts["hold"][i] * 2 ** np.nan_to_num(held[i]))) for i in places}
    chosen = sorted(places, key=lambda i: -weight[i])[:_MOST]
    shares = [_over_hosts(held[i]) for i in chosen]
    low, middle, high = (np.array([s[k] for s in shares]) for k in range(3))
    return Bands(night.nights, [series.names[i] for i in chosen], middle, low, high)


def _over_hosts(values: NDArray[np.float64]) -> tuple[list[float], list[float], list[float]]:
    """Tenth percentile, median and ninetieth over hosts, a night each, in ns."""
    found: tuple[list[float], list[float], list[float]] = ([], [], [])
    for night in values.T:
        there = 2 ** night[np.isfinite(night)]
        for out, share in zip(found, (10, 50, 90), strict=True):
            out.append(float(np.percentile(there, share)) if len(there) else float("nan"))
    return found


def draw(axes: Axes, data: Bands) -> None:
    """Draw a line and a band a lock."""
    colors = lock_colors(data.names)
    x = np.arange(len(data.nights))
    for name, middle, low, high in zip(data.names, data.middle, data.low, data.high, strict=True):
        axes.fill_between(x, low, high, color=colors[name], alpha=0.15, linewidth=0)
        axes.plot(x, middle, "-o", color=colors[name], linewidth=1.6, markersize=3)
    axes.set_yscale("log")
    ticks = scales.log_ticks(float(np.nanmin(data.low)), float(np.nanmax(data.high)))
    axes.set_yticks([t for t, _ in ticks], [text.replace("us", "µs") for _, text in ticks])
    axes.set_ylim(np.nanmin(data.low) / 1.4, np.nanmax(data.high) * 1.4)
    axes.minorticks_off()
    axes.set_ylabel("99th percentile hold")
    night_axis(axes, data.nights)
    _style.legend(axes, [(name, colors[name]) for name in data.names], columns=4)
