"""Axes in units that people read: where ticks go, and what they say. Integer nanoseconds in, text out."""

from __future__ import annotations

import math

_UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns"))


def time_unit(span_ns: int) -> tuple[int, str]:
    """The unit for lengths of up to ``span_ns``: (nanoseconds of one, its name)."""
    return next((unit for unit in _UNITS if span_ns >= 2 * unit[0]), _UNITS[-1])


def step(span: float, wanted: int) -> float:
    """A round step (1, 2 or 5 times a power of ten) that cuts ``span`` into about ``wanted`` pieces."""
    raw = max(span, 1e-9) / max(wanted, 1)
    base = 10.0 ** math.floor(math.log10(raw))
    return next((m * base for m in (1, 2, 5) if m * base >= raw * 0.999), 10 * base)


def time_ticks(start_ns: int, end_ns: int, wanted: int = 6) -> tuple[list[tuple[int, str]], str]:
    """Ticks of a stretch of time, each with its text relative to ``start_ns``; and the unit of these texts.

    ``[(start, "0"), (start + 20_000, "20")], "us"``: a trace's clock has too many digits for an axis.
    """
    span = max(end_ns - start_ns, 1)
    unit, name = time_unit(span)
    pace = max(step(span / unit, wanted), 1 / unit)
    digits = max(0, -math.floor(math.log10(pace) + 1e-9))
    ticks = []
    for number in range(int(span / unit / pace + 1e-9) + 1):
        value = number * pace
        ticks.append((start_ns + round(value * unit), f"{value:.{digits}f}"))
    return ticks, name


def log_ticks(low_ns: float, high_ns: float) -> list[tuple[int, str]]:
    """Powers of ten from ``low_ns`` to ``high_ns``, as lengths of time: ``100 ns``, ``1 us``."""
    first, last = math.floor(math.log10(max(low_ns, 1))), math.ceil(math.log10(max(high_ns, 1)))
    return [(10**e, power(e)) for e in range(first, last + 1)]


def power(exponent: int) -> str:
    """``10 ** exponent`` nanoseconds: ``1 us`` for 3."""
    unit, name = next(u for u in _UNITS if 10**exponent >= u[0]) if exponent >= 0 else (1, "ns")
    return f"{10**exponent // unit} {name}"


def compact(number: float) -> str:
    """A count for a tight place: ``950``, ``12.3k``, ``4.1M``."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            return f"{number / limit:.3g}{suffix}"
    return f"{number:.4g}"


def short(text: str, most: int = 30) -> str:
    """The text with its middle left out where it is longer."""
    if len(text) <= most:
        return text
    keep = most - 1
    return f"{text[: keep - keep // 3]}…{text[len(text) - keep // 3 :]}"
