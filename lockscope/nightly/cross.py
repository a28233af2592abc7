"""Circular dependencies that no single trace shows: the sides were seen on different hosts, or in different nights.

The dependencies of all traces of one kernel are one graph, and LS101's own search looks for rings in it. What a trace
has told by itself is left out first, by the dependency that closes it; what was told in an earlier night stays the same
finding for as long as one of its sides is still seen, even where the graph has grown a shorter way round since.

A ring is no alarm where one lock was held over every occurrence of every side (a guard, as LS101 has it): it is told as
information. Instances cannot be compared between machines, so none of these findings is ``certain``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lockscope.checks.story import ring_scenario, times
from lockscope.lockgraph.cycles import rings
from lockscope.lockgraph.graph import EXCLUSIVE, KIND_NAMES
from lockscope.lockgraph.merge import Dependency, merged_graph
from lockscope.nightly.combine import edges_of_all_nights
from lockscope.nightly.examine import finding_row
from lockscope.nightly.tables import Record, Row
from lockscope.results.findings import Confidence, Finding, Severity
from lockscope.rules.load import choose
from lockscope.units import count, seconds

_CODE, _NAME = "LS101", "circular-lock-dependency"
_SUBCLASS = re.compile(r"/(\d+|\?)$")
Pair = tuple[str, str]


def merged_findings(edges: pa.Table, findings: pa.Table, new: Record, night: str) -> list[Row]:
    """Rows of findings that the new records make together with the history's ``edges`` and ``findings``.

    None where the new traces were not judged by LS101 at all.
    """
    if _CODE not in new["checks"].column("code").to_pylist():
        return []
    found: dict[str, Row] = {}
    whole = pa.concat_tables([edges, new["edges"]])
    for kernel in sorted(k for k in set(new["edges"].column("kernel").to_pylist()) if k):
        mine = edges_of_all_nights(whole.filter(pc.equal(whole.column("kernel"), kernel)))
        fresh = {(r["held"], r["taken"]) for r in new["edges"].to_pylist() if r["kernel"] == kernel}
        for row in _of_kernel(mine, _known(findings, kernel), fresh, night, kernel):
            # One name can be several classes (a lock of each CPU): rings that read the same are one defect.
            first = found.setdefault(f"{kernel} {row['fingerprint']}", row)
            if first is not row:
                first["count"] += row["count"]
    return list(found.values())


def _known(findings: pa.Table, kernel: str) -> list[Row]:
    """Merged findings of earlier runs, the latest row of each, in the order in which they were first told."""
    rows = findings.filter(
        pc.and_(pc.equal(findings.column("kernel"), kernel), pc.equal(findings.column("digest"), ""))
    )
    return list({r["fingerprint"]: r for r in sorted(rows.to_pylist(), key=lambda r: str(r["night"]))}.values())


def _of_kernel(edges: list[Row], known: list[Row], fresh: set[Pair], night: str, kernel: str) -> Iterator[Row]:
    pairs = {(e["held"], e["taken"]) for e in edges}
    gone = {(e["held"], e["taken"]) for e in edges if e["told"]}
    for row in known:
        around = list(zip(row["ring"], (*row["ring"][1:], row["ring"][0]), strict=True))
        suspect = around[row["suspect"]]
        if suspect in gone or not pairs.issuperset(around):
            continue
        gone.add(suspect)
        if fresh.intersection(around):
            yield {**row, "night": night}
    left = [e for e in edges if (e["held"], e["taken"]) not in gone]
    for ring, suspect_at in _rings(left, kernel):
        if any((e["held"], e["taken"]) in fresh for e in ring):
            yield _row(ring, suspect_at, night, kernel)


def _rings(edges: list[Row], kernel: str) -> Iterator[tuple[list[Row], int]]:
    labels = {e[end]: e[f"{end}_label"] for e in edges for end in ("held", "taken")}
    graph, _ = merged_graph([Dependency(e["held"], e["taken"], e["kind"], e["count"]) for e in edges], labels)
    rules, _ = choose(kernel.partition(" ")[0])

    def forbidden(edge: int) -> bool:
        row = edges[edge]
        return rules.order_broken(_plain(row["held_label"]), _plain(row["taken_label"])) is not None

    for ring in rings(graph, forbidden):
        at = ring.edges.index(ring.suspect) if ring.suspect in ring.edges else 0
        yield [edges[e] for e in ring.edges], at


def _plain(label: str) -> str:
    return _SUBCLASS.sub("", label)


def guard_over(ring: Sequence[Row]) -> str:
    """A lock that every side holds at every occurrence, at most one of them shared; "" without one."""
    if any(e["irq"] for e in ring):
        return ""  # an interrupt runs under whatever the task it hit was holding
    sides = [{g.removeprefix("!"): g.startswith("!") for g in e["guards"]} for e in ring]
    nodes = {e["held"] for e in ring}
    common = sorted(set.intersection(*(set(s) for s in sides)) - nodes)
    return next((g for g in common if sum(not s[g] for s in sides) <= 1), "")


def _row(ring: list[Row], suspect: int, night: str, kernel: str) -> Row:
    guard = guard_over(ring)
    detailed = all(e["detailed"] for e in ring)
    places = sorted({f"{e['host']} ({e['night']})" for e in ring})
    labels = [e["held_label"] for e in ring]
    why = (
        f"{guard} is held over every side"
        if guard
        else "the sides are of different machines or nights, so their instances cannot be compared"
    )
    finding = Finding(
        code=_CODE,
        name=_NAME,
        severity=Severity.INFO if guard else Severity.ERROR,
        confidence=Confidence.LIKELY if detailed and not guard else Confidence.POSSIBLE,
        title="possible circular locking dependency detected across traces"
        + (", but a guard lock forbids it" if guard else ""),
        message=f"{labels[1]} is taken under {labels[0]}, and {labels[0]} under {labels[-1]},"
        f" seen on {_listed(places)}.",
        classes=tuple(_plain(label) for label in labels),
        count=sum(e["count"] for e in ring),
        story=tuple(_story(ring, why)),
        flow=" ".join(f"{e['subclass']}{KIND_NAMES[e['kind']]}" for e in ring),
        details={"ring": [e["held"] for e in ring], "suspect": suspect},
    )
    known = {"night": night, "digest": "", "host": "", "kernel": kernel}
    return {**finding_row(finding, known, ", ".join(dict.fromkeys(e["path"] for e in ring))), "task": ring[0]["task"]}


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _story(ring: list[Row], why: str) -> Iterator[str]:
    yield "the dependencies, each of another trace (in reverse order):"
    for number in range(len(ring) - 1, -1, -1):
        yield ""
        yield from _dependency(number, ring[number])
    yield ""
    if len(ring) > 2:
        yield "Chain exists of:"
        yield "  " + " --> ".join((*(e["held_label"] for e in ring), ring[0]["held_label"]))
        yield ""
    yield from ring_scenario([(_call(e, "held"), _call(e, "taken")) for e in ring])
    yield ""
    yield f"how far to trust it: {why}"


def _dependency(number: int, edge: Row) -> Iterator[str]:
    where = f" at {edge['at']}" if edge["at"] else ""
    held_at = f", taken at {edge['held_at']}" if edge["held_at"] else ""
    hosts = f"{count(edge['hosts'])} host{'s' if edge['hosts'] > 1 else ''}"
    yield f"-> #{number} ({edge['taken_label']}):"
    yield f"       {edge['task']} [{seconds(edge['ts_ns'])}] on {edge['host']}, night {edge['night']}{where}"
    yield f"       while holding ({edge['held_label']}){held_at}; seen {times(edge['count'])} on {hosts}"
    yield f"       {edge['path']}"


def _call(edge: dict[str, Any], end: str) -> str:
    shared = not edge["kind"] & EXCLUSIVE if end == "held" else False
    return f"{'rlock' if shared else 'lock'}({edge[f'{end}_label']});"
