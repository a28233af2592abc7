"""The life of SPTEs: each row a guest frame, coloured by what the guest may do with it; flushes as ticks above."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from lockscope.drawing.palette import SPTE
from lockscope.drawing.scales import time_ticks
from lockscope.report.page import _sections, _svg
from lockscope.report.page._sections import Part
from lockscope.report.page_shell import esc, key
from lockscope.results.findings import Report
from lockscope.results.page_data import SpteChange, SpteLife
from lockscope.units import count, seconds

ORDER, TITLE, NAV = 60, "Life of SPTEs", "SPTEs"
_WIDTH, _LEFT, _ROW, _FRAMES, _POINTS = 1080, 104, 15, 16, 5_000
_CHANGES, _FINEST = 60, 2.5
Span = tuple[int, int]
# What the guest may do after each change.
_STATES = {
    "mapped": ("mapped", "#8fb7ec"), "remapped": ("mapped", "#8fb7ec"), "made writable": ("writable", "#2e9e5b"),
    "write-protected": ("read-only", "#e0772f"), "access-tracked": ("access-tracked", "#8d63c4"),
}  # fmt: skip


def made(report: Report, beside: str) -> Part | None:
    """Pictures of a trace whose SPTEs changed."""
    html, files = [], {}
    for index, shown in enumerate(report.page_data):
        life = shown.sptes
        if life is None or not life.changes:
            continue
        title = f"<h3>{esc(report.traces[index].path)}</h3>" if len(report.page_data) > 1 else ""
        span = _span(life)
        html += [title, _overview(life, span), _rows(life, span)]
        drawn = min(len(life.changes), _POINTS)
        if drawn < sum(life.counts.values()):
            file = f"spte_changes_{index}.csv"
            files[file] = _sections.as_csv(
                ("ts_ns", "gfn", "change", "pid"), ((c.ts_ns, hex(c.gfn), c.what, c.pid) for c in life.changes)
            )
            share = f"; those of one frame in {life.share}" if life.share > 1 else ""
            what = f"{count(drawn)} of {count(sum(life.counts.values()))} changes drawn{share}"
            html.append(_sections.more(beside, file, what, "lockscope export --table spte_changes -o DIR TRACE"))
    lead = "What happens to the entries that map guest frames: mapped, write-protected, made writable again, zapped."
    return Part("".join(html), lead, files) if html else None


def _span(life: SpteLife) -> Span:
    """The stretch of time in which they change, with some room."""
    first, last = life.changes[0].ts_ns, life.changes[-1].ts_ns
    room = max((last - first) // 40, 1_000)
    return first - room, last + room


def _x(ts: int, span: Span) -> float:
    return _LEFT + (ts - span[0]) / max(span[1] - span[0], 1) * (_WIDTH - _LEFT - 10)


def _axis(span: Span, top: float, bottom: float) -> str:
    ticks, unit = time_ticks(span[0], span[1], 8)
    out_start = _svg.text(_LEFT, bottom + 28, f"{seconds(span[0])} s", "dim")
    out = [_svg.line(_x(ts, span), top, _x(ts, span), bottom, "grid") for ts, _ in ticks]
    out += [_svg.text(_x(ts, span), bottom + 14, f"+{text} {unit}", "dim", "middle") for ts, text in ticks]
    return "".join(out) + out_start + _svg.line(_LEFT, bottom, _WIDTH - 10, bottom)


def _bands(gfns: list[int]) -> list[tuple[int, int]]:
    """Up to five runs of frames, cut at the widest gaps: memslots lie far apart."""
    gaps = sorted(((b - a, i) for i, (a, b) in enumerate(pairwise(gfns)) if b - a > 512), reverse=True)[:4]
    cuts = sorted(i for _, i in gaps)
    firsts, lasts = [0, *(i + 1 for i in cuts)], [*cuts, len(gfns) - 1]
    return [(gfns[a], gfns[b]) for a, b in zip(firsts, lasts, strict=True)]


def _overview(life: SpteLife, span: Span) -> str:
    every = max(1, -(-len(life.changes) // _POINTS))
    changes = life.changes[::every]
    bands = _bands(sorted({c.gfn for c in changes}))
    height, gap = 240.0, 10.0
    room = height - gap * (len(bands) - 1)
    sizes = [last - first + 1 for first, last in bands]
    tall = [max(room * s / sum(sizes), 14.0) for s in sizes]
    scale = room / sum(tall)
    body, bottom, place = [_axis(span, 8, height + 8)], height + 8.0, []
    for (first, last), t in zip(bands, tall, strict=True):
        place.append((first, last, bottom, t * scale))
        body.append(_svg.text(_LEFT - 8, bottom - 1, f"{first:#x}", "mono dim", "end"))
        if last > first and t * scale > 30:
            body.append(_svg.text(_LEFT - 8, bottom - t * scale + 9, f"{last:#x}", "mono dim", "end"))
        bottom -= t * scale + gap
    dot = 1.6 if len(changes) > 600 else 3.0
    paths: dict[str, list[str]] = defaultdict(list)
    for c in changes:
        first, last, low, size = next(b for b in place if b[0] <= c.gfn <= b[1])
        y = low - size * (c.gfn - first) / max(last - first, 1)
        paths[c.what].append(f"M{_svg.num(_x(c.ts_ns, span))} {_svg.num(y)}h{dot}")
    body += [
        f'<path d="{"".join(d)}" stroke="{SPTE.get(what, SPTE["other"])}" stroke-width="{dot + 1}"/>'
        for what, d in paths.items()
    ]
    names = sorted(life.counts, key=lambda w: -life.counts[w])
    return _svg.figure(
        _svg.picture(_WIDTH, height + 42, "".join(body), "SPTE changes over time and guest frame"),
        key((f"{w} ({count(life.counts[w])})", SPTE.get(w, SPTE["other"])) for w in names),
    )


def _rows(life: SpteLife, span: Span) -> str:
    """Single frames: those that findings name first, then those with most changes, in order."""
    by_gfn: dict[int, list[SpteChange]] = defaultdict(list)
    for c in life.changes:
        by_gfn[c.gfn].append(c)
    told = set(life.told)
    kinds = {gfn: len({c.what for c in own}) for gfn, own in by_gfn.items()}
    best = sorted(by_gfn, key=lambda g: (g not in told, -kinds[g], -len(by_gfn[g]), g))[: 4 * _FRAMES]
    chosen = sorted(best[:: max(1, len(best) // _FRAMES)][:_FRAMES])
    bottom, zapped = 26.0 + _ROW * len(chosen), SPTE["zapped"]
    body = [_axis(span, 20, bottom)]
    flushes = [ts for ts in life.flushes_ns if span[0] <= ts <= span[1]]
    body += [_svg.line(_x(ts, span), 6, _x(ts, span), 18, "arrow") for ts in flushes]
    body.append(_svg.text(_LEFT - 8, 16, "TLB flushes", "dim", "end"))
    for row, gfn in enumerate(chosen):
        y = 24 + row * _ROW
        body.append(_svg.text(_LEFT - 8, y + 10, f"{gfn:#x}", "mono" + (" hottext" if gfn in told else ""), "end"))
        own = by_gfn[gfn]
        drawn = -1e9
        for change, until in zip(own, [*(c.ts_ns for c in own[1:]), span[1]], strict=True):
            x0, x1 = _x(change.ts_ns, span), _x(until, span)
            if len(own) > _CHANGES and x0 < drawn + _FINEST:
                continue  # of very many, what can be told apart
            drawn = x0
            state = _STATES.get(change.what)
            tip = f"gfn {gfn:#x} {change.what} at {seconds(change.ts_ns)} by pid {change.pid}"
            tip = tip if len(own) <= _CHANGES else ""
            if state:
                body.append(_svg.rect(x0, y, x1 - x0, _ROW - 4, f' fill="{state[1]}"', tip))
            elif change.what == "zapped":
                body.append(_svg.rect(x0 - 1, y - 1, 2.5, _ROW - 2, f' fill="{zapped}"', tip))
    entries = [*dict.fromkeys(_STATES.values()), ("zapped", SPTE["zapped"])]
    told_words = "; frames in red are named by a finding" if told & set(chosen) else ""
    return _svg.figure(
        _svg.picture(_WIDTH, bottom + 34, "".join(body), "states of single guest frames over time"),
        key(entries) + f"Single frames over time{told_words}. Blank: not known, or nothing mapped.",
    )
