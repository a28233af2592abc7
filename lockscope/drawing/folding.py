"""A lock graph that fits a page: KVM's classes and what touches them, the rest folded into boxes.

Kept are the classes on reported rings, then KVM's, then those next to KVM's by how often, up to a number. Dependencies
that follow from others (A -> C beside A -> B -> C) are left out, as in any drawing of an order; those on rings never
are.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from lockscope.results.findings import LockGraph


@dataclass(slots=True)
class Box:
    """A class, or several in one: ``members`` are places in the graph's classes. ``kind``: class, outside, inside."""

    label: str
    name: str
    kind: str
    members: tuple[int, ...]
    kvm: bool = False
    ring: bool = False
    count: int = 0


@dataclass(slots=True)
class Arrow:
    """From the held box to the one taken under it (places in ``Folded.boxes``).

    ``back``: against the order of all the others. ``rings``: places in the graph's rings.
    """

    held: int
    taken: int
    count: int
    rings: tuple[int, ...] = ()
    back: bool = False
    direct: bool = True
    kinds: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Folded:
    """What is drawn, and what is not.

    ``alone``: kept classes that nest with none, by label; ``apart``: others that touch no kept one; ``implied``:
    dependencies left out, of ``total``.
    """

    boxes: list[Box]
    arrows: list[Arrow]
    alone: list[str] = field(default_factory=list)
    apart: int = 0
    implied: int = 0
    classes: int = 0
    total: int = 0


def folded(graph: LockGraph, most: int = 36) -> Folded:
    """The graph as drawn, with at most ``most`` classes of their own."""
    kept = _kept(graph, most)
    place = {cls: i for i, cls in enumerate(kept)}
    on_ring = {cls for ring in graph.rings for cls in ring}
    boxes = [
        Box(c.label, c.name, "class", (cls,), c.kvm, cls in on_ring, c.count)
        for cls, c in ((cls, graph.classes[cls]) for cls in kept)
    ]
    arrows = [
        Arrow(place[e.held], place[e.taken], e.count, e.rings, direct=e.direct, kinds=e.kinds)
        for e in graph.edges
        if e.held in place and e.taken in place and e.held != e.taken
    ]
    drawn = _reduced(arrows, len(boxes))
    implied = len(arrows) - len(drawn)
    apart = _fold_rest(graph, place, boxes, drawn)
    alone = _take_alone(boxes, drawn)
    return Folded(boxes, drawn, alone, apart, implied, len(graph.classes), len(graph.edges))


def _take_alone(boxes: list[Box], drawn: list[Arrow]) -> list[str]:
    """Take the boxes without an arrow out, unless all are; returns their labels."""
    linked = {end for arrow in drawn for end in (arrow.held, arrow.taken)}
    if not linked:
        return []
    alone = [box.label for i, box in enumerate(boxes) if i not in linked]
    number = {old: new for new, old in enumerate(sorted(linked))}
    boxes[:] = [box for i, box in enumerate(boxes) if i in linked]
    for arrow in drawn:
        arrow.held, arrow.taken = number[arrow.held], number[arrow.taken]
    return alone


def _kept(graph: LockGraph, most: int) -> list[int]:
    on_ring = {cls for ring in graph.rings for cls in ring}
    kvm = {i for i, c in enumerate(graph.classes) if c.kvm}
    near: dict[int, int] = defaultdict(int)
    for edge in graph.edges:
        if edge.held in kvm | on_ring:
            near[edge.taken] += edge.count
        if edge.taken in kvm | on_ring:
            near[edge.held] += 4 * edge.count  # what is held around KVM's locks says more than what is taken inside

    def rank(cls: int) -> tuple[bool, bool, int, int]:
        return cls not in on_ring, cls not in kvm, -near[cls], -graph.classes[cls].count

    order = sorted(range(len(graph.classes)), key=rank)
    touched = [c for c in order if c in on_ring or c in kvm or near[c]] or order
    return touched[:most]


def _reduced(arrows: list[Arrow], boxes: int) -> list[Arrow]:
    """Without what follows from others. The rarest dependencies that close rings are marked ``back``."""
    reach = [1 << i for i in range(boxes)]  # bit j of reach[i]: a path leads from i to j
    forward: list[Arrow] = []
    for arrow in sorted(arrows, key=lambda a: (-a.count, a.held, a.taken)):
        if reach[arrow.taken] >> arrow.held & 1:
            arrow.back = True
            continue
        forward.append(arrow)
        gained = reach[arrow.taken]
        for i in range(boxes):
            if reach[i] >> arrow.held & 1:
                reach[i] |= gained
    after: dict[int, list[int]] = defaultdict(list)
    for arrow in forward:
        after[arrow.held].append(arrow.taken)

    def implied(arrow: Arrow) -> bool:
        return any(n != arrow.taken and reach[n] >> arrow.taken & 1 for n in after[arrow.held])

    back = [a for a in arrows if a.back]
    return [a for a in forward if a.rings or not implied(a)] + back


def _fold_rest(graph: LockGraph, place: dict[int, int], boxes: list[Box], drawn: list[Arrow]) -> int:
    """Add boxes for the classes around and inside the kept ones; returns how many touch none."""
    outside: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    inside: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for edge in graph.edges:
        if edge.held in place and edge.taken not in place:
            inside[edge.taken][place[edge.held]] += edge.count
        elif edge.taken in place and edge.held not in place:
            outside[edge.held][place[edge.taken]] += edge.count
    for cls in inside:
        outside.pop(cls, None)
    for kind, of, word in (("outside", outside, "around"), ("inside", inside, "inside")):
        if not of:
            continue
        number = len(boxes)
        count = sum(graph.classes[c].count for c in of)
        text = f"+ {len(of)} {word}"
        boxes.append(Box(text, text, kind, tuple(sorted(of)), count=count))
        total: dict[int, int] = defaultdict(int)
        for ends in of.values():
            for end, times in ends.items():
                total[end] += times
        for end, times in sorted(total.items(), key=lambda item: -item[1])[:8]:
            drawn.append(Arrow(end, number, times) if kind == "inside" else Arrow(number, end, times))
    return len(graph.classes) - len(place) - len(inside) - len(outside)
