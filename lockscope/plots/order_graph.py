"""Which lock was taken under which: KVM's locks and what touches them, outermost to the left."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from lockscope.drawing.folding import Arrow, Folded, folded
from lockscope.drawing.layers import Layout, layout
from lockscope.drawing.palette import GREY, RED, lock_color
from lockscope.drawing.scales import short
from lockscope.plots.figure import Source, View, nothing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Lock order: the lock on the left is held when the one on the right is taken"
HONOURS = ()
_CHAR, _GAP = 0.066, 0.38  # inches: of a letter, between columns


@dataclass(slots=True)
class Drawing:
    """The graph as drawn, with each box's place in inches from the upper left."""

    graph: Folded
    places: Layout
    left: list[float]
    width: list[float]
    size: tuple[float, float]


def data(source: Source, view: View) -> Drawing:
    """KVM's classes first, ``top`` times three at most; the rest folded."""
    whole = source.graph()
    if not whole.classes:
        raise nothing(source, "no lock was seen being taken", "record trace-cmd -e lock")
    graph = folded(whole, most=3 * view.top)
    places = layout(graph)
    wide = [0.16 + _CHAR * len(short(b.label, 30)) for b in graph.boxes]
    columns = [max((wide[i] for i in range(len(wide)) if places.column[i] == c), default=0.3)
               for c in range(places.columns)]  # fmt: skip
    left, x = [], 0.1
    for width in columns:
        left.append(x)
        x += width + _GAP
    return Drawing(graph, places, left, columns, (max(x - _GAP + 0.1, 7.2), 1.0 + 0.27 * places.height))


def draw(axes: Axes, data: Drawing) -> None:
    """Boxes and arrows; red is a ring that LS101 reports."""
    from matplotlib.patches import FancyBboxPatch

    for arrow, bends in zip(data.graph.arrows, data.places.bends, strict=True):
        _arrow(axes, data, arrow, bends)
    for i, box in enumerate(data.graph.boxes):
        c, y = data.places.column[i], data.places.row[i]
        color = GREY if box.kind != "class" else lock_color(box.name)
        text = short(box.label, 30)
        width = 0.16 + _CHAR * len(text)
        axes.add_patch(
            FancyBboxPatch(
                (data.left[c], y - 0.36), width, 0.72, boxstyle="round,pad=0,rounding_size=0.06",
                mutation_aspect=3.6, facecolor=color if box.kvm else "white", edgecolor=RED if box.ring else color,
                linewidth=1.8 if box.ring else 1.0, zorder=4, linestyle="--" if box.kind != "class" else "-",
            )
        )  # fmt: skip
        axes.text(data.left[c] + width / 2, y, text, ha="center", va="center", fontsize=7, zorder=5,
                  family="DejaVu Sans Mono" if box.kind == "class" else "DejaVu Sans",
                  color="white" if box.kvm else "#24292f", fontweight="bold" if box.kvm else "normal")  # fmt: skip
    axes.set_xlim(0, data.size[0])
    axes.set_ylim(max(data.places.height, 1) + 0.1, -0.9)
    axes.axis("off")
    g = data.graph
    remark = f"{g.classes} classes, {g.total} dependencies; {g.implied} that follow from others are not drawn"
    remark += f", nor {g.apart} classes that touch none of these" if g.apart else ""
    if g.alone:
        names = ", ".join(g.alone[:8]) + (f" and {len(g.alone) - 8} more" if len(g.alone) > 8 else "")
        remark += f"\nnever nested with these: {names}"
    axes.annotate(remark, (0, 0), (0, -4), xycoords="axes fraction", textcoords="offset points", ha="left", va="top",
                  fontsize=7.5, color="#57606a")  # fmt: skip


def _arrow(axes: Axes, data: Drawing, arrow: Arrow, bends: list[tuple[int, float]]) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    p, held, taken, ring = data.places, arrow.held, arrow.taken, bool(arrow.rings)
    pale = any(data.graph.boxes[end].kind != "class" for end in (held, taken))
    forward = p.column[taken] > p.column[held]
    own = 0.16 + _CHAR * len(short(data.graph.boxes[held].label, 30))
    start = (data.left[p.column[held]] + (own if forward else 0), p.row[held])
    end_width = 0.16 + _CHAR * len(short(data.graph.boxes[taken].label, 30))
    end = (data.left[p.column[taken]] + (0 if forward else end_width), p.row[taken])
    points = [start]
    for column, y in bends:
        a, b = data.left[column], data.left[column] + data.width[column]
        points += [(a, y), (b, y)] if forward else [(b, y), (a, y)]
    points.append(end)
    path, codes = [points[0]], [Path.MOVETO]
    for (x0, y0), (x1, y1) in pairwise(points):
        path += [((x0 + x1) / 2, y0), ((x0 + x1) / 2, y1), (x1, y1)]
        codes += [Path.CURVE4] * 3
    color = RED if ring else "#d5dade" if pale else "#8f99a3"
    axes.add_patch(
        FancyArrowPatch(
            path=Path(path, codes),
            arrowstyle="-|>",
            mutation_scale=7,
            color=color,
            zorder=3 if ring else 1 if pale else 2,
            linewidth=1.8 if ring else 0.8,
            linestyle="--" if arrow.back and not ring else "-",
        )
    )
