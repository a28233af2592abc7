"""The lock order: KVM's locks and what touches them, the rest folded; each box leads to the lock's numbers."""

from __future__ import annotations

from itertools import pairwise

from lockscope.drawing.folding import Arrow, Box, Folded, folded
from lockscope.drawing.layers import Layout, layout
from lockscope.drawing.palette import GREY, RED, lock_color
from lockscope.drawing.scales import short
from lockscope.report.page import _sections, _svg
from lockscope.report.page._locks import lock_anchor, on_page
from lockscope.report.page._sections import Part
from lockscope.report.page_shell import esc
from lockscope.results.findings import LockGraph, Report
from lockscope.units import count

ORDER, TITLE, NAV = 30, "Lock order", "order"
_CHAR, _GAP, _ROW, _HEIGHT = 6.7, 40.0, 30.0, 22.0
_MOST = 36


def made(report: Report, beside: str) -> Part | None:
    """A picture a trace that has a graph."""
    html, files = [], {}
    for index, shown in enumerate(report.page_data):
        if shown.graph is None or not shown.graph.classes:
            continue
        graph = folded(shown.graph, _MOST)
        title = f"<h3>{esc(report.traces[index].path)}</h3>" if len(report.page_data) > 1 else ""
        html.append(title + _svg.figure(_picture(graph, index, on_page(shown)), _caption(graph)))
        if len(graph.arrows) < graph.total:
            file = f"order_edges_{index}.csv"
            files[file] = _edges(shown.graph)
            what = f"All {count(graph.total)} dependencies of {count(graph.classes)} classes"
            html.append(_sections.more(beside, file, what, "lockscope graph --format json TRACE"))
    if not html:
        return None
    lead = ("The lock on the left was held when the one on the right was taken. Filled boxes are KVM's locks; "
            "red is a ring that LS101 reports.")  # fmt: skip
    return Part("".join(html), lead, files)


def _caption(g: Folded) -> str:
    words = f"{count(g.classes)} classes, {count(g.total)} dependencies"
    words += f"; {count(g.implied)} that follow from others are not drawn"
    words += f", nor {count(g.apart)} classes that touch none of these" if g.apart else ""
    words += f". Never nested with these: {esc(', '.join(g.alone[:10]))}" if g.alone else ""
    return words + (f" and {len(g.alone) - 10} more." if len(g.alone) > 10 else ".")


def _picture(g: Folded, trace: int, linked: set[str]) -> str:
    places = layout(g)
    wide = [_CHAR * len(short(b.label, 30)) + 18 for b in g.boxes]
    columns = [
        max((w for w, c in zip(wide, places.column, strict=True) if c == n), default=20.0)
        for n in range(places.columns)
    ]
    left, x = [], 4.0
    for width in columns:
        left.append(x)
        x += width + _GAP
    arrows = sorted(zip(g.arrows, places.bends, strict=True), key=lambda a: bool(a[0].rings))
    body = [_MARKERS] + [_arrow(g, places, a, bends, left, columns, wide) for a, bends in arrows]
    body += [
        _box(b, trace if b.label in linked else None, left[places.column[i]], places.row[i] * _ROW + 8, wide[i])
        for i, b in enumerate(g.boxes)
    ]
    return _svg.picture(
        max(x - _GAP + 4, 300), places.height * _ROW + 12, "".join(body), f"lock order of {g.classes} classes"
    )


_MARKERS = (
    '<defs><marker id="to" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
    f'<path d="M0 0L8 4L0 8z" fill="{GREY}"/></marker>'
    '<marker id="to-hot" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
    f'<path d="M0 0L8 4L0 8z" fill="{RED}"/></marker></defs>'
)


def _box(box: Box, trace: int | None, x: float, y: float, width: float) -> str:
    color = GREY if box.kind != "class" else lock_color(box.name)
    edge, thick = (RED, 2.5) if box.ring else (color, 1.2)
    fill = f' fill="{color}"' if box.kvm else ' class="box"'
    dash = ' stroke-dasharray="4 3"' if box.kind != "class" else ""
    tip = (
        f"{box.label}: {count(box.count)} acquisitions" if box.kind == "class" else f"{len(box.members)} classes folded"
    )
    shape = _svg.rect(x, y, width, _HEIGHT, f' rx="5" stroke="{edge}" stroke-width="{thick}"{fill}{dash}', tip)
    word = _svg.text(x + width / 2, y + 15, short(box.label, 30), "mono on" if box.kvm else "mono", "middle")
    if trace is None:
        return shape + word
    return f'<a href="#{esc(lock_anchor(trace, box.label))}">{shape}{word}</a>'


def _arrow(g: Folded, p: Layout, arrow: Arrow, bends: list[tuple[int, float]], left: list[float], columns: list[float],
           wide: list[float]) -> str:  # fmt: skip
    held, taken = arrow.held, arrow.taken
    forward = p.column[taken] > p.column[held]

    def y(row: float) -> float:
        return row * _ROW + 8 + _HEIGHT / 2

    points = [(left[p.column[held]] + (wide[held] if forward else 0), y(p.row[held]))]
    for column, row in bends:
        ends = (left[column], left[column] + columns[column])
        points += [(e, y(row)) for e in (ends if forward else reversed(ends))]
    points.append((left[p.column[taken]] + (0 if forward else wide[taken]), y(p.row[taken])))
    path = [f"M{_svg.num(points[0][0])} {_svg.num(points[0][1])}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        half = _svg.num((x0 + x1) / 2)
        path.append(f"C{half} {_svg.num(y0)} {half} {_svg.num(y1)} {_svg.num(x1)} {_svg.num(y1)}")
    pale = any(g.boxes[end].kind != "class" for end in (held, taken))
    kind = "hot" if arrow.rings else "arrow pale" if pale else "arrow"
    dash = ' stroke-dasharray="5 3"' if arrow.back and not arrow.rings else ""
    kinds = ", ".join(f"{k} {count(n)}" for k, n in arrow.kinds.items())
    tip = f"{g.boxes[held].label} -> {g.boxes[taken].label}: {count(arrow.count)} times {kinds}"
    end = "to-hot" if arrow.rings else "to"
    return f'<path d="{"".join(path)}" class="{kind}" marker-end="url(#{end})"{dash}><title>{esc(tip)}</title></path>'


def _edges(graph: LockGraph) -> str:
    return _sections.as_csv(
        ("held", "taken", "count", "kinds", "direct", "first_ns", "rings"),
        (
            (graph.classes[e.held].label, graph.classes[e.taken].label, e.count,
             " ".join(f"{k}:{n}" for k, n in e.kinds.items()), int(e.direct), e.first_ns,
             " ".join(str(r + 1) for r in e.rings))
            for e in graph.edges
        ),
    )  # fmt: skip
