"""Statistics of locks, or chains of waits, as CSV with a header; times are integer nanoseconds.

Text has no control characters, and what a spreadsheet would take for a formula begins with a quote.
"""

from __future__ import annotations

import csv
from dataclasses import astuple, fields
from typing import TextIO

from lockscope.harmless import cells
from lockscope.report.locks.output import flat
from lockscope.results.lock_stats import LockFigures, PerfFigures, PerfRow, Times, WaitChains, WaitLink

LOCKS = "csv"


def write_locks(figures: LockFigures, stream: TextIO) -> None:
    """Write statistics, a group a line."""
    out = csv.writer(stream, lineterminator="\n")
    times = list(flat(Times(0, 0, 0, 0, (0,) * len(figures.percents)), figures.percents))
    counts = ("mode", "acquired", "trylocks", "contended", "cut")
    out.writerow([*figures.columns, *counts, *(f"wait_{t}" for t in times), *(f"hold_{t}" for t in times)])
    for row in figures.rows:
        spread = (*flat(row.wait, figures.percents).values(), *flat(row.hold, figures.percents).values())
        out.writerow([*cells(row.names), row.mode, row.acquired, row.trylocks, row.contended, row.cut, *spread])


def write_chains(chains: WaitChains, stream: TextIO) -> None:
    """Write chains of waits, a wait a line."""
    out = csv.writer(stream, lineterminator="\n")
    names = [field.name for field in fields(WaitLink)]
    out.writerow(names)
    for link in chains.links:
        values = dict(zip(names, astuple(link), strict=True))
        out.writerow(cells({**values, "lock": f"0x{link.lock:x}"}.values()))


def write_perf(figures: PerfFigures, stream: TextIO) -> None:
    """Write perf lock's figures, a lock a line."""
    out = csv.writer(stream, lineterminator="\n")
    out.writerow(field.name for field in fields(PerfRow))
    for row in figures.rows:
        out.writerow(cells(astuple(row)))
