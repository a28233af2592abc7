"""Numbers, moments and lengths of time on the command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import TypeVar

from lockscope.errors import UsageError

T = TypeVar("T", int, float)
_UNITS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


def number(option: str, word: str, convert: Callable[[str], T]) -> T:
    """A number, or ``UsageError``."""
    try:
        return convert(word)
    except ValueError as error:
        msg = f"{option} {word}: not a number"
        raise UsageError(msg) from error


def moment(option: str, word: str) -> int:
    """A time of the trace in seconds, ``11.136744291``, as nanoseconds."""
    try:
        return int(Decimal(word) * 1_000_000_000)
    except (InvalidOperation, ValueError, OverflowError) as error:
        msg = f"{option} {word}: wanted seconds of the trace's clock, as 11.136744291"
        raise UsageError(msg) from error


def duration(option: str, word: str) -> int:
    """A length of time with its unit, ``20us``, as nanoseconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ns|us|ms|s)", word.strip())
    if found is None:
        msg = f"{option} {word}: wanted a length of time with its unit: 500ns, 20us, 1.5ms, 2s"
        raise UsageError(msg)
    return int(Decimal(found[1]) * _UNITS[found[2]])
