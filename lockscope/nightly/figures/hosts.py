"""The worst hosts tonight: findings and locks that became slower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lockscope.drawing.palette import RED, SEVERITY
from lockscope.nightly.night import Night
from lockscope.plots.figure import style as _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Hosts, the worst first"
CAPTION = "Findings new and known, locks that became slower, and files without a verdict."
ORDER = 35
_MOST = 20
_PARTS = (("new findings", RED), ("known findings", SEVERITY["warning"]), ("slower locks", "#8d63c4"),
          ("files without a verdict", "#8b949e"))  # fmt: skip


@dataclass(slots=True)
class Bars:
    """A row a host: numbers in the order of ``_PARTS``."""

    hosts: list[str]
    numbers: list[tuple[int, int, int, int]]
    quiet: int
    size: tuple[float, float]


def data(night: Night) -> Bars | None:
    """Hosts with something to tell; ``quiet``: how many have not."""
    rows = [(h.name, (h.new, h.findings - h.new, h.trends, h.broken)) for h in night.hosts]
    loud = [row for row in rows if sum(row[1])][:_MOST]
    if not loud or len(rows) < 2:
        return None
    return Bars([n for n, _ in loud], [v for _, v in loud], sum(not sum(v) for _, v in rows),
                (9.6, 1.6 + 0.26 * len(loud)))  # fmt: skip


def draw(axes: Axes, data: Bars) -> None:
    """Draw stacked bars."""
    numbers = np.array(data.numbers)
    begin = np.zeros(len(numbers))
    for column, (_, color) in zip(numbers.T, _PARTS, strict=True):
        axes.barh(range(len(column)), column, left=begin, color=color, height=0.68)
        begin = begin + column
    _style.rows(axes, data.hosts)
    axes.set_xlim(0, max(float(begin.max()), 1) * 1.02)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("number")
    _style.legend(axes, list(_PARTS))
    if data.quiet:
        _style.note(axes, f"{data.quiet} more hosts: nothing to tell")
