"""Statistics of locks as one JSON object; times are integer nanoseconds.

``schema`` "lockscope-locks/1", ``path``, ``kernel``, ``start_ns``, ``end_ns``, ``lost_events`` (null: nobody knows),
``groups``, ``acquired``, ``cut``, ``orphans``, ``notes``, ``rows`` [{the columns that tell groups apart, ``mode``,
``acquired``, ``trylocks``, ``contended``, ``cut``, ``wait`` and ``hold``: {``number``, ``total_ns``, ``avg_ns``,
``min_ns``, ``max_ns``, ``p50_ns`` ...}}]. Chains of waits have ``schema`` "lockscope-waits/1", ``waits`` and ``links``
instead; perf lock's figures "lockscope-perf-lock/1", ``command``, ``by``, ``bad``, ``total``, ``broken`` and ``rows``.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, TextIO

from lockscope.harmless import json_text
from lockscope.report.locks.output import flat
from lockscope.results.lock_stats import LockFigures, LockRow, PerfFigures, WaitChains

LOCKS = "json"


def write_locks(figures: LockFigures, stream: TextIO) -> None:
    """Write statistics as one JSON object."""
    document = {
        "schema": "lockscope-locks/1",
        "path": figures.path,
        "kernel": figures.kernel,
        "start_ns": figures.start_ns,
        "end_ns": figures.end_ns,
        "lost_events": figures.lost_events,
        "groups": figures.groups,
        "acquired": figures.acquired,
        "cut": figures.cut,
        "orphans": figures.orphans,
        "notes": figures.notes,
        "rows": [_row(figures, row) for row in figures.rows],
    }
    stream.write(json_text(document, indent=2))
    stream.write("\n")


def write_chains(chains: WaitChains, stream: TextIO) -> None:
    """Write chains of waits as one JSON object."""
    document = {
        "schema": "lockscope-waits/1",
        "path": chains.path,
        "kernel": chains.kernel,
        "waits": chains.waits,
        "notes": chains.notes,
        "links": [{**asdict(link), "lock": f"0x{link.lock:x}"} for link in chains.links],
    }
    stream.write(json_text(document, indent=2))
    stream.write("\n")


def write_perf(figures: PerfFigures, stream: TextIO) -> None:
    """Write perf lock's figures as one JSON object."""
    document = {
        "schema": "lockscope-perf-lock/1",
        "path": figures.path,
        "command": "contention" if figures.contention else "report",
        "by": figures.by,
        "bad": figures.bad,
        "total": figures.total,
        "broken": figures.broken,
        "rows": [asdict(row) for row in figures.rows],
    }
    stream.write(json_text(document, indent=2))
    stream.write("\n")


def _row(figures: LockFigures, row: LockRow) -> dict[str, Any]:
    return {
        **dict(zip(figures.columns, row.names, strict=True)),
        "mode": row.mode,
        "acquired": row.acquired,
        "trylocks": row.trylocks,
        "contended": row.contended,
        "cut": row.cut,
        "wait": flat(row.wait, figures.percents),
        "hold": flat(row.hold, figures.percents),
    }
