"""The only place that turns times, addresses and sizes into text."""

from __future__ import annotations


def seconds(ts_ns: int) -> str:
    """``9150753951`` -> ``9.150753951``, as ``trace-cmd report -t`` prints it; integers all the way."""
    sign, ns = ("-", -ts_ns) if ts_ns < 0 else ("", ts_ns)
    return f"{sign}{ns // 1_000_000_000}.{ns % 1_000_000_000:09d}"


def duration(ns: int) -> str:
    """A length of time for a person: ``730 ns``, ``12.4 us``, ``3.1 ms``, ``2.05 s``."""
    for limit, divisor, unit in ((1_000, 1, "ns"), (1_000_000, 1_000, "us"), (1_000_000_000, 1_000_000, "ms")):
        if ns < limit:
            return f"{ns} ns" if divisor == 1 else f"{ns / divisor:.3g} {unit}"
    return f"{ns / 1e9:.3f} s"


def address(value: int) -> str:
    """Lower-case hex with ``0x``, the form the JSON contract gives addresses and SPTEs.

    An int64's bits count as unsigned.
    """
    return f"0x{value & (1 << 64) - 1:x}"


def count(number: int) -> str:
    """Thousands separated by commas."""
    return f"{number:,}"
