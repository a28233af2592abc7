"""The scenario of a finding over time: tasks as rows, holds as bars, the events it rests on as numbered marks.

The time axis is broken where nothing happens: the sides of a deadlock may lie seconds apart, each a microsecond long.
Each unbroken stretch has its own scale, said below it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from lockscope.drawing.palette import lock_colors
from lockscope.drawing.scales import short, time_ticks
from lockscope.report.page import _svg
from lockscope.report.page_shell import esc, key
from lockscope.results.findings import Finding
from lockscope.results.page_data import Bar, Mark, Scene
from lockscope.units import duration, seconds

_WIDTH, _LEFT, _TOP, _BAR, _BREAK, _FOOT = 1080, 150, 4, 18, 66, 32
_STRETCHES = 4


@dataclass(slots=True)
class _Stretch:
    """Times ``first`` to ``last`` are drawn from ``x`` on, ``wide``."""

    first: int
    last: int
    x: float = 0.0
    wide: float = 0.0


class _Axis:
    def __init__(self, times: list[int]) -> None:
        self.parts = [_Stretch(group[0], group[-1]) for group in _grouped(sorted(set(times)))]
        for part in self.parts:
            pad = max((part.last - part.first) // 12, 300)
            part.first, part.last = part.first - pad, part.last + pad
        room = _WIDTH - _LEFT - 8 - _BREAK * (len(self.parts) - 1)
        weights = [1.0 + min(sum(p.first <= t <= p.last for t in times), 8) * 0.35 for p in self.parts]
        x = float(_LEFT)
        for part, weight in zip(self.parts, weights, strict=True):
            part.x, part.wide = x, room * weight / sum(weights)
            x += part.wide + _BREAK

    def at(self, ts: int) -> float:
        """Where a time is; one in a break is in its middle."""
        number = max(bisect_right([p.first for p in self.parts], ts) - 1, 0)
        part = self.parts[number]
        if ts <= part.first:
            return part.x
        if ts >= part.last:
            return part.x + part.wide + (_BREAK / 2 if number + 1 < len(self.parts) and ts > part.last else 0)
        return part.x + part.wide * (ts - part.first) / (part.last - part.first)


def _grouped(times: list[int]) -> list[list[int]]:
    """The times in up to ``_STRETCHES`` groups, cut at the widest gaps that are most of what they are in."""
    groups = [times]
    while len(groups) < _STRETCHES:
        best, where = 0, None
        for g, group in enumerate(groups):
            span = group[-1] - group[0]
            for i in range(1, len(group)):
                gap = group[i] - group[i - 1]
                if gap > best and gap >= 0.72 * span and gap > 2_000:
                    best, where = gap, (g, i)
        if where is None:
            break
        g, i = where
        groups[g : g + 1] = [groups[g][:i], groups[g][i:]]
    return groups


def picture(scene: Scene, finding: Finding) -> str:
    """The figure, with a key and a caption."""
    rows = _laid_out(scene)
    extra = _mmu(finding, rows[-1].bottom) if not scene.apart else None
    bottom = rows[-1].bottom + (_MMU if extra else 0)
    height = bottom + (0 if scene.apart else _FOOT)
    names = list(dict.fromkeys(b.name for b in scene.bars))
    colors = lock_colors(names)
    body = [_frame(r.axis, r.top, r.bottom) for r in rows] if scene.apart else [_frame(rows[0].axis, _TOP, bottom)]
    body += [_name(row, task, scene, lane) for lane, (row, task) in enumerate(zip(rows, scene.tasks, strict=True))]
    for bar in scene.bars:
        row = rows[bar.lane]
        body.append(_bar(row.axis, bar, row.top + 24 + _BAR * _nested(scene, bar), colors[bar.name]))
    body += [_crossing(scene, rows, c.wants, c.holds) for c in scene.crossings]
    body += [_mark(rows[m.lane], m, x) for m, x in _dodged(scene, rows)]
    body += extra(rows[0].axis) if extra else []
    return _svg.figure(
        _svg.picture(_WIDTH, height + 4, "".join(body), f"scenario of {finding.code}: {finding.message}"),
        key((short(n, 44), colors[n]) for n in names) + _caption(scene, rows),
    )


def _mmu(finding: Finding, top: float) -> Callable[[_Axis], list[str]] | None:
    """Two rows of a flush that is missing: what the SPTEs were, and until when TLBs could hold what they had been."""
    if finding.code not in _STATES or not finding.witnesses:
        return None
    was, now = _STATES[finding.code]
    changed = finding.witnesses[0].ts_ns
    flushed = next((w.ts_ns for w in finding.witnesses if w.event == _FLUSH), None)
    due = next((w.ts_ns for w in finding.witnesses if w.missing), None)

    def drawn(axis: _Axis) -> list[str]:
        left, right = axis.parts[0].x, axis.parts[-1].x + axis.parts[-1].wide
        x, end = axis.at(changed), right if flushed is None else axis.at(flushed)
        y, z = top + 6, top + 6 + _MMU / 2
        out = [
            _svg.line(0, top, _WIDTH, top, "grid"), _svg.text(2, y + 11, "SPTEs", "mono"),
            _svg.text(2, z + 11, "TLB flush", "mono"),
            _svg.rect(left, y, x - left, 14, ' class="was"', f"{was} until {seconds(changed)}"),
            _svg.rect(x, y, right - x, 14, ' class="now"', f"{now} from {seconds(changed)}"),
            _svg.rect(x, z, end - x, 14, ' class="stale"', "TLBs may hold what the SPTEs were"),
            _svg.text(x + 5, y + 11, now, "dim"),
            _svg.text(x + 5, z + 11, f"no flush: TLBs may hold what was {was}", "hottext"),
        ]  # fmt: skip
        out += [_svg.text(left + 5, y + 11, was, "dim")] if x - left > 70 else []
        if due is not None:
            out.append(_svg.line(axis.at(due), z - 3, axis.at(due), z + 17, "hot"))
            anchor = "end" if axis.at(due) > _WIDTH - 60 else ""
            out.append(_svg.text(axis.at(due) + (-5 if anchor else 5), z + 27, "due", "hottext", anchor))
        if flushed is not None:
            out.append(_svg.line(end, z - 3, end, z + 17, "done"))
            out.append(_svg.text(end - 5, z + 27, "flushed", "dim", "end"))
        return out

    return drawn


_MMU = 60.0  # height of both rows
_FLUSH = "kvm_make_all_cpus_request"
_STATES = {"LS301": ("writable", "read-only"), "LS302": ("present", "not present")}


@dataclass(slots=True)
class _Row:
    """A task's row."""

    axis: _Axis
    top: float
    bottom: float


def _laid_out(scene: Scene) -> list[_Row]:
    """Rows from top to bottom, with one axis for all, or each with its own below it."""
    every = [(b.lane, t) for b in scene.bars for t in _ends(b)] + [(m.lane, m.ts_ns) for m in scene.marks]
    shared = None if scene.apart else _Axis([t for _, t in every])
    rows, y = [], float(_TOP)
    for lane in range(len(scene.tasks)):
        deep = max((_nested(scene, b) + 1 for b in scene.bars if b.lane == lane), default=0)
        axis = shared or _Axis([t for of, t in every if of == lane])
        rows.append(_Row(axis, y, y + 28 + _BAR * deep))
        y = rows[-1].bottom + (_FOOT + 12 if scene.apart else 0)
    return rows


def _begin(bar: Bar) -> int:
    return bar.acquired_ns or bar.asked_ns


def _ends(bar: Bar) -> tuple[int, ...]:
    return (*((bar.asked_ns,) if bar.begin_known else ()), *((bar.end_ns,) if bar.end_known else ()))


def _nested(scene: Scene, bar: Bar) -> int:
    """How many of its task's earlier bars are still held when this one begins."""
    return sum(
        b.lane == bar.lane
        and b is not bar
        and (b.asked_ns, -b.end_ns) < (bar.asked_ns, -bar.end_ns)
        and b.end_ns > bar.asked_ns
        for b in scene.bars
    )


def _frame(axis: _Axis, top: float, bottom: float) -> str:
    out = [_svg.line(0, bottom, _WIDTH, bottom, "axis")]
    for number, part in enumerate(axis.parts):
        out.append(f'<rect x="{_svg.num(part.x)}" y="{_svg.num(top)}" width="{_svg.num(part.wide)}" '
                   f'height="{_svg.num(bottom - top)}" fill="none" class="grid"/>')  # fmt: skip
        ticks, unit = time_ticks(part.first, part.last, max(1, int(part.wide / 110)))
        for ts, text in ticks[1:]:
            if part.x + 12 < axis.at(ts) < part.x + part.wide - (44 if number + 1 < len(axis.parts) else 8):
                out.append(_svg.line(axis.at(ts), top, axis.at(ts), bottom, "grid"))
                out.append(_svg.text(axis.at(ts), bottom + 13, f"+{text} {unit}", "dim", "middle"))
        out.append(_svg.text(part.x, bottom + 27, f"{seconds(part.first)} s", "dim"))
        if number:
            gap = duration(part.first - axis.parts[number - 1].last)
            out.append(_svg.text(part.x - _BREAK / 2, bottom + 13, f"⋯{gap}⋯", "dim", "middle"))
    return "".join(out)


def _name(row: _Row, task: tuple[int, str], scene: Scene, lane: int) -> str:
    pid, comm = task
    side = _svg.text(2, row.top + 30, f"side {lane + 1}", "dim") if scene.crossings else ""
    return (
        _svg.line(0, row.top, _WIDTH, row.top, "grid")
        + _svg.text(2, row.top + 15, short(f"{comm}/{pid}", 22), "mono")
        + side
    )


def _bar(axis: _Axis, bar: Bar, top: float, color: str) -> str:
    x0, x1 = axis.at(_begin(bar)), axis.at(bar.end_ns)
    kind = "held for read" if bar.read else "held"
    ends = "" if bar.end_known else ", its end is not in the trace"
    tip = f"{bar.name} {kind} {duration(max(bar.end_ns - _begin(bar), 0))}, from {seconds(_begin(bar))}{ends}"
    style = f' rx="2" fill="{color}"' + (' fill-opacity="0.55"' if bar.read else "")
    style += "" if bar.end_known else f' stroke="{color}" stroke-dasharray="3 2"'
    out = [_svg.rect(x0, top, max(x1 - x0, 2), _BAR - 4, style, tip)]
    if bar.begin_known and bar.asked_ns < _begin(bar):  # lock_acquired comes after lock_acquire, waited for or not
        edge = f' stroke="{color}" stroke-dasharray="2 2"' if bar.waited else ""
        tip = f"{'waits' if bar.waited else 'asked'} {duration(_begin(bar) - bar.asked_ns)} for {bar.name}"
        asked = axis.at(bar.asked_ns)
        out.append(
            _svg.rect(asked, top, x0 - asked, _BAR - 4, f' rx="2" fill="{color}" fill-opacity="0.18"{edge}', tip)
        )
    if x1 - x0 > 7.2 * len(bar.name) + 8:
        out.append(_svg.text(x0 + 5, top + _BAR - 7.5, bar.name, "mono on"))
    return "".join(out)


def _dodged(scene: Scene, rows: list[_Row]) -> list[tuple[Mark, float]]:
    """Each mark with where its number goes: beside the one before, where they would cover each other."""
    placed, last = [], dict.fromkeys(range(len(rows)), -99.0)
    for mark in sorted(scene.marks, key=lambda m: (m.ts_ns, m.number)):
        x = max(rows[mark.lane].axis.at(mark.ts_ns), last[mark.lane] + 17)
        placed.append((mark, x))
        last[mark.lane] = x
    return placed


def _mark(row: _Row, mark: Mark, x: float) -> str:
    at, y = row.axis.at(mark.ts_ns), row.top + 12
    tip = f"{mark.number}: {seconds(mark.ts_ns)} {mark.event} {mark.note}"
    return (
        f'<g><title>{esc(tip)}</title><path d="M{_svg.num(x)} {_svg.num(y)}L{_svg.num(at)} {_svg.num(y + 11)}'
        f'V{_svg.num(row.bottom)}" class="hot thin"/>'
        f'<circle cx="{_svg.num(x)}" cy="{_svg.num(y)}" r="8" class="hotfill"/>'
        f'<text x="{_svg.num(x)}" y="{_svg.num(y + 4)}" class="on" text-anchor="middle">{mark.number}</text></g>'
    )


def _crossing(scene: Scene, rows: list[_Row], wants: int, holds: int) -> str:
    """From where one side asks, to where the other one got it."""
    a, b = (next(m for m in scene.marks if m.number == number) for number in (wants, holds))
    ends = [(rows[m.lane].axis.at(m.ts_ns), rows[m.lane].top + 12) for m in (a, b)]
    (x0, y0), (x1, y1) = ends
    middle = (y0 + y1) / 2
    bend = " ".join(_svg.num(v) for v in (x0, middle, x1, middle, x1, y1))
    return f'<path d="M{_svg.num(x0)} {_svg.num(y0)}C{bend}" class="hot" stroke-dasharray="6 4"/>'


def _caption(scene: Scene, rows: list[_Row]) -> str:
    parts = ["Numbers are the events listed under Evidence"]
    if scene.crossings:
        parts.append("a dashed red line leads from where a side asks for a lock to where the other side took it")
    if any(b.waited for b in scene.bars):
        parts.append("a dotted box is a wait")
    if any(b.begin_known and b.asked_ns < _begin(b) and not b.waited for b in scene.bars):
        parts.append("a pale piece before a bar: requested, not yet acquired")
    if any(b.read for b in scene.bars):
        parts.append("bars of a lighter colour are held for read")
    if any(not b.end_known for b in scene.bars):
        parts.append("a dashed outline has no end in the trace")
    if scene.apart:
        parts.append("the sides did not meet in this trace: each has its own time axis")
    if any(len(row.axis.parts) > 1 for row in rows):
        parts.append("⋯ time left out; each stretch has its own scale")
    return "; ".join(parts) + "."
