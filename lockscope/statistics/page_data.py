"""Page data from what a reading collected: numbers, scenarios and pictures' data as plain values."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from lockscope.evidence.evidence import Evidence
from lockscope.facts import flush_log
from lockscope.facts.flush_debts import FLOWS, STATES, FlushDebts
from lockscope.kvm import spte_changes
from lockscope.kvm.locks import is_kvm
from lockscope.lockgraph.dependencies import dependencies
from lockscope.results.findings import Finding
from lockscope.results.page_data import (
    Bar,
    Crossing,
    FlushFlow,
    LockNumbers,
    Longest,
    Mark,
    PageData,
    Scene,
    SpteChange,
    SpteLife,
    Waiting,
)
from lockscope.statistics import collect
from lockscope.statistics.collect import Collector, Ints, Tally
from lockscope.walk.walk import LockWalk

_SHARES = (0.5, 0.9, 0.99)
_SCENES, _BARS, _MARKS, _TASKS = 400, 40, 24, 8
_LOCKS, _WAITING = 2_000, 7
_SPARK = collect.BINS_A_DECADE // 3  # of the table's small pictures: three bins a decade


def page_data(evidence: Evidence, walk: LockWalk, seen: Collector, findings: list[Finding]) -> PageData:
    """All that a page of this trace shows beside its findings."""
    return PageData(
        graph=dependencies(evidence),
        locks=_locks(evidence, walk, seen),
        edges_ns=tuple(round(float(e)) for e in collect.EDGES[::_SPARK]),
        longest=_longest(evidence, seen),
        waiting=_waiting(evidence, seen),
        sptes=_sptes(evidence, seen, findings),
        flushes=_flushes(evidence),
        scenes=_scenes(evidence, seen.scene_holds(), findings),
    )


def _locks(evidence: Evidence, walk: LockWalk, seen: Collector) -> tuple[LockNumbers, ...]:
    numbers = {name: column.tolist() for name, column in walk.statistics().items()}
    made = []
    for c in evidence.classes:
        i = c.index
        if not numbers["acquired"][i]:
            continue
        bins = seen.holds.bins[i] if i < len(seen.holds.bins) else np.zeros(len(collect.EDGES) - 1, np.int64)
        few = np.add.reduceat(bins, np.arange(0, len(bins), _SPARK))
        made.append(
            LockNumbers(
                c.label, c.name, is_kvm(c.name), numbers["acquired"][i], numbers["contended"][i],
                *seen.waits.total(i), *seen.holds.total(i), _three(seen.holds, i), _three(seen.waits, i),
                tuple(few.tolist()),
            )
        )  # fmt: skip
    made.sort(key=lambda k: (not k.kvm, -k.wait_ns, -k.hold_ns))
    return tuple(made[:_LOCKS])


def _three(tally: Tally, cls: int) -> tuple[int, int, int]:
    longest = tally.total(cls)[1]
    half, most, nearly_all = (min(n, longest) for n in tally.quantiles(cls, _SHARES))
    return half, most, nearly_all


def _longest(evidence: Evidence, seen: Collector) -> tuple[Longest, ...]:
    made = []
    for what, rows in seen.longest.items():
        for r in rows.tolist():
            begin = r[collect.ACQUIRED] or r[collect.ASKED]
            ns = r[collect.END] - begin if what == "hold" else r[collect.ACQUIRED] - r[collect.ASKED]
            at = begin if what == "hold" else r[collect.ASKED]
            name, pid = evidence.label(r[collect.CLS]), r[collect.PID]
            caller = evidence.symbol(r[collect.IP]) or ""
            made.append(Longest(what, name, ns, at, r[collect.CPU], pid, evidence.comm(pid), caller))
    return tuple(made)


def _waiting(evidence: Evidence, seen: Collector) -> Waiting | None:
    w = seen.waiting
    if w.start is None:
        return None
    slices = min(max(-(-(evidence.end_ns - w.start) // w.width), 1), w.steps.shape[1])
    rows = {
        i: w.over(i, slices)
        for i in range(min(len(w.steps), len(evidence.classes)))
        if w.steps[i].any() or w.areas[i].any()
    }
    names: dict[str, np.ndarray] = {}
    for i, row in rows.items():
        label = evidence.label(i)
        names[label] = names[label] + row if label in names else row
    order = sorted(names, key=lambda n: -float(names[n].sum()))
    shown = order[:_WAITING]
    parts = [names[n] for n in shown]
    if len(order) > _WAITING:
        shown = [*shown, f"{len(order) - _WAITING} others"]
        parts.append(np.sum([names[n] for n in order[_WAITING:]], axis=0))
    return Waiting(w.start, w.width, tuple(shown), tuple(tuple(round(float(v), 4) for v in p) for p in parts))


def _sptes(evidence: Evidence, seen: Collector, findings: list[Finding]) -> SpteLife | None:
    rows = seen.spte_rows()
    found = evidence.facts.get("spte_layout")
    if not len(rows) or found is None:
        return None
    old, new = (np.ascontiguousarray(rows[:, i]).view(np.uint64) for i in (2, 3))
    what = spte_changes.changes(old, new, rows[:, 4], found.layout)
    leaf = ~np.isin(what, [spte_changes.WORDS.index(w) for w in ("page table", "frozen", "mmio", "other")])
    words = [spte_changes.WORDS[w] for w in what[leaf].tolist()]
    changes = tuple(
        SpteChange(ts, gfn & (1 << 64) - 1, word, pid)
        for (ts, gfn, pid), word in zip(rows[leaf][:, [0, 1, 5]].tolist(), words, strict=True)
    )
    counts: dict[str, int] = defaultdict(int)
    for word in words:
        counts[word] += seen.share
    here = {c.gfn for c in changes}
    told = {
        g
        for f in findings
        if f.code.startswith("LS3")
        for run in f.details.get("gfn_runs", ())
        for g in _frames(run, here)
    }
    return SpteLife(changes, dict(counts), seen.share, tuple(sorted(told)), tuple(seen.flushes.tolist()))


def _frames(run: list[int], here: set[int]) -> list[int]:
    first, last = int(run[0]), int(run[1])
    return (
        [g for g in here if first <= g <= last]
        if last - first > 4096
        else [g for g in range(first, last + 1) if g in here]
    )


def _flushes(evidence: Evidence) -> tuple[FlushFlow, ...]:
    debts = evidence.facts.get("flush_debts")
    if not isinstance(debts, FlushDebts):
        return ()
    rows = debts.log.rows()
    made = []
    for flow, state in np.unique(rows[:, [flush_log.FLOW, flush_log.STATE]], axis=0).tolist():
        own = rows[(rows[:, flush_log.FLOW] == flow) & (rows[:, flush_log.STATE] == state)]
        paid = own[own[:, flush_log.PAID_TS] > 0]
        latency = paid[:, flush_log.PAID_TS] - paid[:, flush_log.TS]
        quantiles = None
        if len(latency):
            half, most = (int(v) for v in np.percentile(latency, (50, 99), method="inverted_cdf"))
            quantiles = (half, most, int(latency.max()))
        stride = debts.log.stride
        made.append(
            FlushFlow(
                FLOWS[flow], STATES[state], len(own) * stride, int(own[:, flush_log.NUMBER].sum()) * stride, quantiles
            )
        )
    return tuple(made)


def _scenes(evidence: Evidence, holds: Ints, findings: list[Finding]) -> dict[tuple[str, str | None], Scene]:
    holds = holds[np.argsort(holds[:, collect.PID], kind="stable")]
    scenes: dict[tuple[str, str | None], Scene] = {}
    for finding in findings:
        if finding.witnesses and finding.code < "LS9" and len(scenes) < _SCENES:
            scenes.setdefault((finding.fingerprint, finding.window), _scene(evidence, holds, finding))
    return scenes


def _scene(evidence: Evidence, holds: Ints, finding: Finding) -> Scene:
    shown = finding.witnesses[:_MARKS]
    ring = finding.code == "LS101" and len(shown) == 2 * len(finding.classes)
    # A row a task; of a ring a row a side, told by two witnesses each, as lockdep has a column for each CPU.
    row_of = [(i // 2, w.pid) if ring else (0, w.pid) for i, w in enumerate(shown)]
    rows = list(dict.fromkeys(row_of))[:_TASKS]
    bars: list[Bar] = []
    for lane, row in enumerate(rows):
        times = np.array([w.ts_ns for w, of in zip(shown, row_of, strict=True) if of == row], np.int64)
        bars += [_bar(evidence, lane, r) for r in _around(holds, row[1], times).tolist()]
    marks = tuple(
        Mark(rows.index(of), w.ts_ns, number, w.event, w.note)
        for number, (w, of) in enumerate(zip(shown, row_of, strict=True), 1)
        if of in rows
    )
    tasks = tuple((pid, evidence.comm(pid)) for _, pid in rows)
    return Scene(tasks, tuple(bars), marks, _crossings(finding, marks) if ring else (), ring and not _met(marks))


def _around(holds: Ints, pid: int, times: Ints) -> Ints:
    """The task's holds during any of these times, outermost first; ``holds`` are in order of pids."""
    first, last = np.searchsorted(holds[:, collect.PID], (pid, pid + 1))
    own = holds[first:last]
    inside = ((own[:, collect.ASKED, None] <= times) & (times <= own[:, collect.END, None])).any(axis=1)
    rows = np.unique(own[inside], axis=0)
    kept: Ints = rows[np.lexsort((-rows[:, collect.END], rows[:, collect.ASKED]))][:_BARS]
    return kept


def _met(marks: tuple[Mark, ...]) -> bool:
    """Whether the sides of a ring were under way at one time."""
    sides = [[m.ts_ns for m in marks if m.lane == lane] for lane in {m.lane for m in marks}]
    return max(min(side) for side in sides) <= min(max(side) for side in sides)


def _bar(evidence: Evidence, lane: int, r: list[int]) -> Bar:
    return Bar(
        lane, evidence.label(r[collect.CLS]), r[collect.ASKED], r[collect.ACQUIRED], r[collect.END],
        bool(r[collect.KNOWN] & 1), bool(r[collect.KNOWN] >> 1), (r[collect.MODE] & 3) > 0,
        bool((r[collect.MODE] >> 5) & 1) and r[collect.ACQUIRED] > 0,
    )  # fmt: skip


def _crossings(finding: Finding, marks: tuple[Mark, ...]) -> tuple[Crossing, ...]:
    """Witnesses come in pairs: a side takes one lock, then asks for the one that the next side took."""
    sides = len(finding.classes)
    if len(marks) != 2 * sides:
        return ()
    return tuple(
        Crossing(marks[2 * i + 1].number, marks[2 * ((i + 1) % sides)].number, finding.classes[(i + 1) % sides])
        for i in range(sides)
    )
