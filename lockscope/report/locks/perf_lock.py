"""The layout of ``perf lock report`` and ``perf lock contention`` (tools/perf/builtin-lock.c, Linux 6.1), for diff."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TextIO

from lockscope.harmless import printable
from lockscope.results.lock_stats import PerfFigures, PerfRow

_NAME, _CUT = 20, 16
_UNITS = ((1e9 * 3600, "h "), (1e9 * 60, "m "), (1e9, "s "), (1e6, "ms"), (1e3, "us"))


def perf_lock(figures: PerfFigures, stream: TextIO) -> None:
    """Write perf lock's figures as perf does."""
    for line in _contention(figures) if figures.contention else _report(figures):
        stream.write(f"{line}\n")
    if any(figures.broken.values()):
        stream.write("\n=== output for debug===\n\n")
        stream.write(f"bad: {figures.bad}, total: {figures.total}\n")
        stream.write(f"bad rate: {100 * figures.bad / figures.total:.2f} %\n")
        stream.write("histogram of events caused bad sequence\n")
        for event, number in figures.broken.items():
            stream.write(f" {event:>10}: {number}\n")


def _report(figures: PerfFigures) -> Iterator[str]:
    heads = (("acquired", 10), ("contended", 10), ("avg wait", 12), ("total wait", 12), ("max wait", 12))
    yield f"{'Name':>{_NAME}} " + "".join(f"{head:>{wide}} " for head, wide in (*heads, ("min wait", 12)))
    yield ""
    for row in figures.rows:
        times = "".join(f"{_time(t)} " for t in (row.avg_ns, row.total_ns, row.max_ns, row.min_ns))
        yield f"{_short(row.name):>{_NAME}} {row.acquired:>10} {row.contended:>10} {times}"


def _contention(figures: PerfFigures) -> Iterator[str]:
    tasks = figures.by == "task"
    heads = (("contended", 10), ("total wait", 12), ("max wait", 12), ("avg wait", 12))
    first, second = ("pid", "comm") if tasks else ("type", "caller")
    yield "".join(f"{head:>{wide}} " for head, wide in heads) + f"  {first:>10}   {second}"
    yield ""
    for row in figures.rows:
        times = "".join(f"{_time(t)} " for t in (row.total_ns, row.max_ns, row.avg_ns))
        yield f"{row.contended:>10} {times}  {_kind(row, tasks):>10}   {printable(row.name)}"


def _kind(row: PerfRow, tasks: bool) -> str:
    return str(row.key) if tasks else row.kind


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) < _NAME else f"{name[:_CUT]}..."


def _time(ns: int) -> str:
    """perf divides in single precision."""
    for base, unit in _UNITS:
        if ns >= base:
            return f"{_single(_single(ns) / _single(base)):>9.2f} {unit}"
    return f"{ns:>9} ns"


def _single(value: float) -> float:
    (single,) = struct.unpack("f", struct.pack("f", value))
    return float(single)
