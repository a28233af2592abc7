"""The only place that turns times, addresses and sizes into text, and texts into times."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Literal

ByteOrder = Literal["big", "little"]


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
    """Lower-case hex with ``0x``, the form that JSON has of addresses and SPTEs.

    An int64's bits count as unsigned.
    """
    return f"0x{value & (1 << 64) - 1:x}"


def count(number: int) -> str:
    """Thousands separated by commas."""
    return f"{number:,}"


_TIME = re.compile(r"([+-]?)(\d+(?:\.\d*)?|\.\d+)\s*(ns|us|µs|ms|s|)")
_NS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "": 1_000_000_000}


def nanoseconds(seconds_: float) -> int:
    """Seconds as nanoseconds, by the digits that Python prints: ``10.3`` is 10,300,000,000 to the last one."""
    return int(Decimal(repr(seconds_)) * 1_000_000_000)


def moment(text: str) -> tuple[str, int]:
    """A point in time as a person writes it: what it counts from, and nanoseconds.

    ``2.1s``, ``2100ms``, ``2.1`` (as reports print it) are on the trace's clock: ``("", 2_100_000_000)``; ``+5ms``
    is after its first event, ``("+", 5_000_000)``; ``-5ms`` before its last. Raises ``ValueError`` for anything else.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        msg = f"{text!r} is no time; wanted one like 2.1s, 350us, +5ms (after the start) or -5ms (before the end)"
        raise ValueError(msg)
    return match[1], int(Decimal(match[2]) * _NS[match[3]])


def byte_order(big: bool) -> ByteOrder:
    """The word that ``int.from_bytes`` and ``int.to_bytes`` take."""
    return "big" if big else "little"
