"""Contention over time: how many tasks wait, lock by lock."""

from __future__ import annotations

from lockscope.drawing.palette import lock_colors
from lockscope.drawing.scales import short, step, time_ticks
from lockscope.report.page import _svg
from lockscope.report.page._sections import Part
from lockscope.report.page_shell import esc, key
from lockscope.results.findings import Report
from lockscope.results.page_data import Waiting

ORDER, TITLE, NAV = 50, "Contention over time", "contention"
_WIDTH, _HEIGHT, _LEFT = 1080, 190, 56


def made(report: Report, beside: str) -> Part | None:
    """A picture a trace in which tasks waited."""
    del beside
    html = []
    for index, shown in enumerate(report.page_data):
        if shown.waiting is None or not shown.waiting.names:
            continue
        if len(report.page_data) > 1:
            html.append(f"<h3>{esc(report.traces[index].path)}</h3>")
        html.append(_picture(shown.waiting))
    return Part("".join(html), "Tasks that wait for a lock, on average over each slice of time.") if html else None


def _picture(w: Waiting) -> str:
    colors = lock_colors(w.names)
    slices = len(w.tasks[0])
    totals = [sum(row[i] for row in w.tasks) for i in range(slices)]
    top = max(totals) or 1.0
    pace = step(top, 4)
    wide = (_WIDTH - _LEFT - 8) / slices
    end = w.start_ns + w.width_ns * slices

    def y(value: float) -> float:
        return _HEIGHT - value / (top * 1.08) * (_HEIGHT - 10)

    body = []
    for number in range(int(top / pace) + 1):
        at = y(number * pace)
        body.append(
            _svg.line(_LEFT, at, _WIDTH - 8, at, "grid")
            + _svg.text(_LEFT - 6, at + 4, f"{number * pace:.3g}", "dim", "end")
        )
    ticks, unit = time_ticks(w.start_ns, end, 8)
    for ts, text in ticks:
        x = _LEFT + (ts - w.start_ns) / (end - w.start_ns) * (_WIDTH - _LEFT - 8)
        if x < _WIDTH - 40:
            body.append(_svg.text(x, _HEIGHT + 15, f"{text} {unit}", "dim", "middle"))
    base = [0.0] * slices
    for name, row in zip(w.names, w.tasks, strict=True):
        for i, value in enumerate(row):
            if value > 0:
                top_at, tall = y(base[i] + value), max(y(base[i]) - y(base[i] + value), 0.8)
                body.append(_svg.rect(_LEFT + i * wide, top_at, wide + 0.2, tall, f' fill="{colors[name]}"'))
                base[i] += value
    body.append(_svg.line(_LEFT, _HEIGHT, _WIDTH - 8, _HEIGHT))
    body.append(_svg.text(4, 10, "tasks", "dim"))
    return _svg.figure(
        _svg.picture(_WIDTH, _HEIGHT + 22, "".join(body), "tasks waiting for locks over time"),
        key((short(n, 44), colors[n]) for n in w.names),
    )
