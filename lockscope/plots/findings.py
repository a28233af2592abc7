"""When what was found happened: a row a finding, a mark for each event it rests on, losses behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lockscope.drawing.palette import GREY, SEVERITY
from lockscope.drawing.scales import short
from lockscope.plots._holds import span_of
from lockscope.plots.figure import Source, View
from lockscope.plots.figure import style as _style
from lockscope.results.findings import Witness

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "What was found, and when"
HONOURS = ("start_ns", "end_ns", "pids", "cpus")
_RANK = {"error": 0, "warning": 1, "info": 2}


@dataclass(slots=True)
class Marks:
    """A row a finding, worst first: its label, severity and times. ``losses_ns``: where events are missing."""

    labels: list[str]
    severities: list[str]
    times: list[NDArray[np.int64]]
    counts: list[int]
    losses_ns: NDArray[np.int64]
    start_ns: int
    stop_ns: int
    verdict: str
    more: int = 0
    size: tuple[float, float] = (7.2, 2.4)


def data(source: Source, view: View) -> Marks:
    """Findings with an event of the view's time and tasks; notices about the trace itself left out."""
    report = source.report()
    start, stop = span_of(source, view)
    found = [f for f in report.findings if f.code < "LS9" and any(_within(w, start, stop, view) for w in f.witnesses)]
    found.sort(key=lambda f: (_RANK[f.severity], f.code, f.witnesses[0].ts_ns))
    shown = found[: max(view.top, 1) * 2]
    lost = source.columns("losses")["ts_ns"]
    return Marks(
        [f"{f.code} {' → '.join(f.classes) or f.name}" for f in shown], [f.severity.value for f in shown],
        [np.array([w.ts_ns for w in f.witnesses], np.int64) for f in shown], [f.count for f in shown],
        lost[(lost >= max(start, 1)) & (lost <= stop)], start, stop, report.verdict.value, len(found) - len(shown),
        (7.2, 1.5 + 0.26 * max(len(shown), 2)),
    )  # fmt: skip


def _within(witness: Witness, start: int, stop: int, view: View) -> bool:
    return start <= witness.ts_ns <= stop and (not view.pids or witness.pid in view.pids)


def draw(axes: Axes, data: Marks) -> None:
    """Draw the marks."""
    _style.time_axis(axes, data.start_ns, data.stop_ns)
    for at in data.losses_ns:
        axes.axvline(at - data.start_ns, color=GREY, linewidth=0.8, alpha=0.5)
    _style.rows(axes, [short(text, 40) for text in data.labels] or ["nothing found"])
    for row, (severity, times, count) in enumerate(zip(data.severities, data.times, data.counts, strict=True)):
        x = times - data.start_ns
        axes.plot([x.min(), x.max()], [row, row], color=SEVERITY[severity], linewidth=1.4, alpha=0.6)
        axes.scatter(
            x, np.full(len(x), row), s=30, color=SEVERITY[severity], edgecolor="white", linewidth=0.6, zorder=3
        )
        axes.annotate(f"{count:,}×", (1, row), (6, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                      ha="left", va="center", fontsize=7.5, color="#57606a", annotation_clip=False)  # fmt: skip
    words = {"unknown": "cannot tell"}.get(data.verdict, data.verdict)
    parts = [f"verdict: {words}"]
    if len(data.losses_ns):
        parts.append(f"grey: events lost ({len(data.losses_ns):,} places)")
    if data.more:
        parts.append(f"{data.more} more findings")
    _style.note(axes, "   ".join(parts))
