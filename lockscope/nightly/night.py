"""One night as its report tells it, made from the history alone: what is new, what changed, what was not seen."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from lockscope.nightly import trends
from lockscope.nightly.history import History
from lockscope.nightly.lifecycle import LOUD, Judged, Life, State, lives
from lockscope.nightly.tables import Row
from lockscope.nightly.trends import Series, Trend
from lockscope.report.known.suppressed import fits
from lockscope.results.findings import Suppression

SHOWN = 30  # nights a report looks back


@dataclass(frozen=True, slots=True)
class HostNight:
    """A host tonight. ``slower``: all its locks against its baseline, None where that is not known."""

    name: str
    kernels: tuple[str, ...]
    traces: int
    broken: int
    events: int
    lost: int | None
    new: int
    findings: int
    trends: int
    slower: float | None


@dataclass(slots=True)
class Night:
    """All of a night's report. ``lives`` without what is suppressed; ``nights`` oldest first, the last is this one."""

    night: str
    nights: list[str]
    traces: list[Row]
    lives: list[Life]
    suppressed: list[Life]
    slower: list[Trend]
    faster: list[Trend]
    series: Series
    hosts: list[HostNight]
    checks: dict[str, Counter[str]]  # code -> statuses
    reasons: dict[str, str]  # code -> why it was skipped, most often
    losses: list[Row]

    def of(self, *states: State) -> list[Life]:
        """The findings in these states."""
        return [life for life in self.lives if life.state in states]

    @property
    def new(self) -> list[Life]:
        """What is to be told first: never seen before, or called fixed once."""
        return self.of(*LOUD)

    @property
    def broken(self) -> list[Row]:
        """Files without a verdict."""
        return [t for t in self.traces if t["error"]]


def night_of(history: History, night: str, suppressions: Sequence[Suppression], today: datetime.date) -> Night:
    """The report of a night: of what the history knew when it was over."""
    nights = sorted({night, *(n for n in history.nights() if n <= night)})
    shown = nights[-SHOWN:]
    traces = history.table("traces", nights=[night]).to_pylist()
    findings = history.table("findings").to_pylist()
    checks = history.table("checks", columns=["night", "host", "code", "status", "reason"], nights=shown)
    classes = history.table("classes", columns=list(trends.COLUMNS), nights=shown)
    judged = Judged.of(_distinct(checks, ["night", "host", "code", "status"]), _distinct(classes, ["night", "name"]))
    all_lives = lives([f for f in findings if f["night"] <= night], judged, nights)
    told, taken = _suppressed(all_lives, suppressions, today)
    series = trends.series(classes, shown)
    made = Night(
        night,
        shown,
        traces,
        told,
        taken,
        series.trends(),
        series.trends(slower=False),
        series,
        [],
        *_coverage(history, night),
        history.table("losses", nights=[night]).to_pylist(),
    )
    made.hosts = _hosts(made)
    return made


def _distinct(table: pa.Table, columns: list[str]) -> list[Row]:
    found: list[Row] = table.select(columns).group_by(columns).aggregate([]).to_pylist()
    return found


def _suppressed(
    lives_: list[Life], entries: Sequence[Suppression], today: datetime.date
) -> tuple[list[Life], list[Life]]:
    told, taken = [], []
    active = [e for e in entries if e.until is None or e.until >= today]
    for life in lives_:
        row = life.row
        by = next((e for e in active if fits(e, row["fingerprint"], row["code"], tuple(row["classes"]))), None)
        if by is None:
            told.append(life)
        else:
            taken.append(replace(life, reason=by.reason))
    return told, taken


def _coverage(history: History, night: str) -> tuple[dict[str, Counter[str]], dict[str, str]]:
    statuses: dict[str, Counter[str]] = {}
    reasons: dict[str, Counter[str]] = {}
    for row in history.table("checks", columns=["code", "status", "reason"], nights=[night]).to_pylist():
        if row["code"] < "LS9":
            statuses.setdefault(row["code"], Counter())[row["status"]] += 1
            if row["status"] == "skipped":
                reasons.setdefault(row["code"], Counter())[row["reason"]] += 1
    return dict(sorted(statuses.items())), {c: r.most_common(1)[0][0] for c, r in reasons.items()}


def _hosts(night: Night) -> list[HostNight]:
    """Tonight's hosts, the worst first: new findings, locks that became slower, findings, broken files, losses."""
    slow = night.series.slow_hosts()
    here = [life for life in night.lives if life.last == night.night and life.row["severity"] != "info"]
    found = []
    for name in sorted({t["host"] for t in night.traces}):
        mine = [t for t in night.traces if t["host"] == name]
        whole = [t for t in mine if not t["error"]]
        lost = [t["lost_events"] for t in whole]
        found.append(
            HostNight(
                name,
                tuple(sorted({t["kernel"] for t in whole if t["kernel"]})),
                len(mine),
                len(mine) - len(whole),
                sum(t["events"] for t in whole),
                None if None in lost else sum(lost),
                sum(name in life.hosts and life.state in LOUD for life in here),
                sum(name in life.hosts for life in here),
                sum(name in t.hosts for t in night.slower),
                slow.get(name),
            )
        )
    return sorted(found, key=lambda h: (-h.new, -h.trends, -h.findings, -h.broken, h.lost == 0, h.name))
