"""Which finding was seen in which night: a row a finding, a column a night."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lockscope.drawing.palette import SEVERITY
from lockscope.drawing.scales import short
from lockscope.nightly.figures._base import night_axis
from lockscope.nightly.lifecycle import LOUD, State
from lockscope.nightly.night import Night
from lockscope.nightly.words import subject
from lockscope.plots.figure import style as _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Findings, night by night"
CAPTION = "Filled: seen. Hollow: judged and not seen. Empty: could not have been seen."
ORDER = 20
_MOST = 24


@dataclass(slots=True)
class Rows:
    """``marks``: a text a finding, a sign a night, as ``lifecycle.Life``; ``states`` after the labels in words."""

    nights: list[str]
    labels: list[str]
    severities: list[str]
    states: list[str]
    marks: list[str]
    more: int
    size: tuple[float, float]


def data(night: Night) -> Rows | None:
    """The findings of the last nights, the loudest first; those that are long gone are left out."""
    lives = [life for life in night.lives if life.state is not State.GONE and life.row["severity"] != "info"]
    if not lives:
        return None
    shown = lives[:_MOST]
    width = len(night.nights)
    return Rows(
        night.nights,
        [f"{life.row['code']} {subject(life)}" for life in shown],
        [life.row["severity"] for life in shown],
        [life.state.value.upper() if life.state in LOUD else life.state.value for life in shown],
        [life.mark[-width:].rjust(width) for life in shown],
        len(lives) - len(shown),
        (9.6, 1.7 + 0.27 * max(len(shown), 3)),
    )


def draw(axes: Axes, data: Rows) -> None:
    """Draw the marks, and what became of each finding at the right."""
    for y, (marks, severity, state) in enumerate(zip(data.marks, data.severities, data.states, strict=True)):
        color = SEVERITY[severity]
        seen = [x for x, m in enumerate(marks) if m == "#"]
        missed = [x for x, m in enumerate(marks) if m == "."]
        axes.plot(seen, [y] * len(seen), "s", color=color, markersize=6.5)
        axes.plot(missed, [y] * len(missed), "s", color=color, markersize=6, markerfacecolor="none", alpha=0.55)
        bold = "bold" if state.isupper() else "normal"
        axes.annotate(state, (1, y), (6, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                      va="center", fontsize=8, fontweight=bold, color=color if bold == "bold" else _style.INK,
                      annotation_clip=False)  # fmt: skip
    _style.rows(axes, [short(label, 46) for label in data.labels])
    night_axis(axes, data.nights)
    if data.more:
        _style.note(axes, f"{data.more} more findings are in the history")
