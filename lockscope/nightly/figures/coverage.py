"""How many traces each check could judge tonight: in full, in part, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lockscope.drawing.palette import VERDICT
from lockscope.nightly.night import Night
from lockscope.plots.figure import style as _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "What could be judged tonight"
CAPTION = "A check that lacked its events found nothing because it could not look."
ORDER = 40
_PARTS = (("ran", "judged in full", VERDICT["clean"]), ("partial", "in part", VERDICT["unknown"]),
          ("skipped", "not judged", _style.FAINT))  # fmt: skip


@dataclass(slots=True)
class Bars:
    """A row a check: traces by status, in the order of ``_PARTS``."""

    codes: list[str]
    numbers: list[tuple[int, ...]]
    size: tuple[float, float]


def data(night: Night) -> Bars | None:
    """All checks that were asked for."""
    if not night.checks:
        return None
    numbers = [tuple(found[name] for name, _, _ in _PARTS) for found in night.checks.values()]
    return Bars(list(night.checks), numbers, (9.6, 1.5 + 0.2 * len(night.checks)))


def draw(axes: Axes, data: Bars) -> None:
    """Draw stacked bars."""
    numbers = np.array(data.numbers)
    begin = np.zeros(len(numbers))
    for column, (_, _, color) in zip(numbers.T, _PARTS, strict=True):
        axes.barh(range(len(column)), column, left=begin, color=color, height=0.72)
        begin = begin + column
    _style.rows(axes, data.codes)
    axes.set_xlim(0, max(float(begin.max()), 1))
    axes.set_xlabel("traces")
    axes.locator_params(axis="x", integer=True)
    _style.legend(axes, [(text, color) for _, text, color in _PARTS])
