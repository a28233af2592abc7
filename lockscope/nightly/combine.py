"""The records of a night's traces as one: rows of traces side by side, statistics and dependencies added up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from lockscope.nightly import tables
from lockscope.nightly.edges import common_guards
from lockscope.nightly.examine import class_row
from lockscope.nightly.histograms import ClassTimes, Times
from lockscope.nightly.tables import Record, Row


def combined(records: Sequence[Record]) -> Record:
    """One record of many, the same whatever the order they come in."""
    ordered = sorted(records, key=lambda r: (r["traces"]["digest"][0].as_py(), r["traces"]["path"][0].as_py()))

    def whole(name: str) -> pa.Table:
        return pa.concat_tables([r[name] for r in ordered])

    made: dict[str, Any] = {name: whole(name) for name in ("traces", "findings", "checks", "losses")}
    made["classes"] = _classes(whole("classes"))
    made["edges"] = _edges(whole("edges").to_pylist())
    return tables.record(made)


def times_of(row: Row) -> ClassTimes:
    """The statistics of a row of ``classes``."""
    hold, wait = (
        Times.from_sparse(row[f"{k}_bins"], row[f"{k}_counts"], row[f"{k}_ns"], row[f"{k}_max"])
        for k in ("hold", "wait")
    )
    return ClassTimes(hold, wait, row["contended"])


_ONE_CLASS = ("night", "host", "kernel", "name")


def _classes(rows: pa.Table) -> pa.Table:
    """One row for each class and host. What only one trace has, mostly all of it, is passed on as it is."""
    rows = rows.combine_chunks()  # or every row that is taken costs a look at each record
    places: dict[tuple[str, ...], list[int]] = {}
    for place, key in enumerate(zip(*(rows.column(c).to_pylist() for c in _ONE_CLASS), strict=True)):
        places.setdefault(key, []).append(place)
    single = [at[0] for at in places.values() if len(at) == 1]
    added = []
    for (night, host, kernel, name), at in places.items():
        if len(at) > 1:
            times = ClassTimes()
            for row in rows.take(at).to_pylist():
                times.add(times_of(row))
            added.append(class_row(name, times, {"night": night, "host": host, "kernel": kernel}))
    return pa.concat_tables([rows.take(pa.array(single, pa.int64())), tables.CLASSES.build(added)])


_SAME = ("night", "kernel", "held", "taken", "kind")


def _edges(rows: Iterable[Row]) -> list[Row]:
    merged: dict[tuple[Any, ...], Row] = {}
    hosts: dict[tuple[Any, ...], set[str]] = {}
    for row in rows:
        key = tuple(row[k] for k in _SAME)
        hosts.setdefault(key, set()).add(row["host"])
        merged[key] = edges_together(merged[key], row) if key in merged else row
    return [{**row, "hosts": len(hosts[key])} for key, row in merged.items()]


def edges_together(a: Row, b: Row) -> Row:
    """Two rows of one dependency as one; ``hosts`` is the larger of the two."""
    return {
        **a,
        "count": a["count"] + b["count"],
        "hosts": max(a["hosts"], b["hosts"]),
        **{flag: a[flag] or b[flag] for flag in ("direct", "told", "irq", "detailed")},
        "guards": list(common_guards(tuple(a["guards"]), tuple(b["guards"]))),
    }


def edges_of_all_nights(edges: pa.Table) -> list[Row]:
    """Each dependency once, with its first night's witness; sorted by kernel and ends."""
    merged: dict[tuple[Any, ...], Row] = {}
    for row in edges.sort_by([(k, "ascending") for k in ("night", "kernel", "held", "taken", "kind")]).to_pylist():
        key = tuple(row[k] for k in _SAME[1:])
        merged[key] = edges_together(merged[key], row) if key in merged else row
    return [merged[key] for key in sorted(merged)]
