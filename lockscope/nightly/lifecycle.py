"""What became of every finding: new, known, back, flapping, fixed, or not to be told.

That a finding is not there tonight means something only where it could have been: some host that has shown it was
traced, its check ran there, and the locks it is about were taken. Such a night is *judged*. A finding is called fixed
when it was missing in so many judged nights that chance, at the rate at which it was seen before, is below
``FIXED_CHANCE``: one of every night after two or three nights, a rare one later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lockscope.kvm.locks import is_kvm
from lockscope.nightly.tables import Row

FIXED_CHANCE = 0.05
_REMEMBERED = 14  # judged nights in which gaps make a finding flapping
_SUBCLASS = re.compile(r"/(\d+|\?)$")


class State(StrEnum):
    """In the order in which they are told."""

    NEW = "new"
    BACK = "back"  # was fixed
    KNOWN = "known"
    FLAPPING = "flapping"  # seen tonight, but not in every judged night before
    FIXED = "fixed"  # since tonight
    ABSENT = "absent"  # not seen, too early to call it fixed
    UNJUDGED = "not judged"  # not seen, and could not have been
    GONE = "gone"  # fixed some night before


LOUD = (State.NEW, State.BACK)


@dataclass(frozen=True, slots=True)
class Life:
    """A finding over the nights. ``row``: its latest row in ``findings``; ``hosts``: of its last night.

    ``first``, ``last``: nights in which it was seen; ``seen`` of ``judged`` nights since the first; ``mark``: for each
    night of the history "#" seen, "." judged and not seen, " " neither.
    """

    row: Row
    state: State
    hosts: tuple[str, ...]
    traces: int
    count: int
    first: str
    last: str
    seen: int
    judged: int
    mark: str
    reason: str = ""  # of the suppression that takes it out

    @property
    def cross(self) -> bool:
        """Whether no single trace shows it."""
        return not self.row["digest"]


@dataclass(slots=True)
class Judged:
    """What could be found where: (night, host) -> codes that ran; night -> classes that were taken."""

    codes: dict[tuple[str, str], frozenset[str]]
    classes: dict[str, frozenset[str]]

    @staticmethod
    def of(checks: Iterable[Row], classes: Iterable[Row]) -> Judged:
        """From rows of both tables (night, host, code, status; night, name)."""
        ran: dict[tuple[str, str], set[str]] = {}
        for row in checks:
            if row["status"] != "skipped":
                ran.setdefault((row["night"], row["host"]), set()).add(row["code"])
        taken: dict[str, set[str]] = {}
        for row in classes:
            taken.setdefault(row["night"], set()).add(_SUBCLASS.sub("", row["name"]))
        return Judged({k: frozenset(v) for k, v in ran.items()}, {k: frozenset(v) for k, v in taken.items()})

    def could(self, night: str, row: Row, hosts: Iterable[str]) -> bool:
        """Whether the finding could have been made in that night, on one of the hosts ("": on any)."""
        if not self.classes.get(night, frozenset()).issuperset(row["classes"]):
            return False
        wanted = set(hosts)
        return any(
            n == night and row["code"] in codes and (h in wanted or "" in wanted)
            for (n, h), codes in self.codes.items()
        )


def lives(findings: Iterable[Row], judged: Judged, nights: Sequence[str]) -> list[Life]:
    """Every finding's life until the last of ``nights`` (oldest first): the loudest first, KVM's before others."""
    rows: dict[str, list[Row]] = {}
    for row in findings:
        rows.setdefault(row["fingerprint"], []).append(row)
    found = [
        _life(sorted(mine, key=lambda r: (r["night"], r["host"], r["path"])), judged, nights) for mine in rows.values()
    ]
    return sorted(found, key=_order)


_SEVERITY = ("error", "warning", "info")


def _order(life: Life) -> tuple[int, int, bool, bool, str, str]:
    row = life.row
    place = list(State).index(life.state)
    other = row["code"] < "LS2" and not any(is_kvm(name) for name in row["classes"])
    return place, _SEVERITY.index(row["severity"]), not life.cross, other, row["code"], row["fingerprint"]


def _life(rows: list[Row], judged: Judged, nights: Sequence[str]) -> Life:
    there = {r["night"] for r in rows}
    hosts = {r["host"] for r in rows}
    first = min(there)
    mark = "".join(_mark(n, there, first, rows[-1], hosts, judged) for n in nights)
    last = max(there)
    # The loudest of the last night tells it: confidence and severity may differ from trace to trace.
    of_last = [r for r in rows if r["night"] == last]
    row = min(of_last, key=lambda r: _SEVERITY.index(r["severity"]))
    told = mark.replace(" ", "")
    return Life(
        row,
        _state(mark),
        tuple(sorted({r["host"] for r in of_last} - {""})),
        len({r["digest"] for r in of_last}),
        sum(r["count"] for r in of_last),
        first,
        last,
        told.count("#"),
        len(told),
        mark,
    )


def _mark(night: str, there: set[str], first: str, row: Row, hosts: set[str], judged: Judged) -> str:
    if night in there:
        return "#"
    return "." if night > first and judged.could(night, row, hosts) else " "


def _state(mark: str) -> State:
    told = mark.replace(" ", "")
    if mark.endswith("#"):
        if told == "#":
            return State.NEW
        before = told[:-1]
        if _fixed(before):
            return State.BACK
        return State.FLAPPING if "." in before[-_REMEMBERED:] else State.KNOWN
    if _fixed(told):
        return State.FIXED if mark.endswith(".") and not _fixed(told[:-1]) else State.GONE
    return State.ABSENT if mark.endswith(".") else State.UNJUDGED


def _fixed(told: str) -> bool:
    """Whether so many misses at the end are no chance, at the (Laplace's) rate until then."""
    until = told.rstrip(".")
    missed = len(told) - len(until)
    rate = (until.count("#") + 1) / (len(until) + 2)
    return bool((1 - rate) ** missed < FIXED_CHANCE)
