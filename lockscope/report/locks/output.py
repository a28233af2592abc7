"""What an output of ``lockscope locks`` is: a module of this folder with ``LOCKS`` and three writers.

``report/locks/NAME.py`` defines ``LOCKS`` (what ``--format`` takes), ``write_locks(figures, stream)``,
``write_chains(chains, stream)`` and ``write_perf(figures, stream)``.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol, TextIO, cast

from lockscope.registry import modules
from lockscope.results.lock_stats import LockFigures, PerfFigures, Times, WaitChains


class LockWriter(Protocol):
    """An output, as a module is one."""

    LOCKS: str

    def write_locks(self, figures: LockFigures, stream: TextIO) -> None:
        """Write statistics."""
        ...

    def write_chains(self, chains: WaitChains, stream: TextIO) -> None:
        """Write chains of waits."""
        ...

    def write_perf(self, figures: PerfFigures, stream: TextIO) -> None:
        """Write what perf lock says."""
        ...


@cache
def lock_writers() -> dict[str, LockWriter]:
    """Every output by name, sorted."""
    found = (cast("LockWriter", m) for m in modules("lockscope.report.locks") if hasattr(m, "LOCKS"))
    return {w.LOCKS: w for w in sorted(found, key=lambda w: w.LOCKS)}


def percent(value: float) -> str:
    """``p50``, ``p99.9``."""
    return f"p{value:g}"


def flat(times: Times, percents: tuple[float, ...]) -> dict[str, int]:
    """Times by name: number, total, average, shortest, longest, percentiles."""
    return {
        "number": times.number,
        "total_ns": times.total_ns,
        "avg_ns": times.average_ns,
        "min_ns": times.min_ns,
        "max_ns": times.max_ns,
        **{f"{percent(p)}_ns": v for p, v in zip(percents, times.percentiles_ns, strict=True)},
    }
