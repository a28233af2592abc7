"""Patterns of class names: ``*`` is any text, ``?`` any character, all else is itself."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase


def matches(pattern: str, name: str) -> bool:
    """Whether the whole name fits. Brackets are themselves: class names have them (``&q->fifo[i].lock``)."""
    return fnmatchcase(name, pattern.replace("[", "[[]"))


def match_in_order(patterns: Sequence[str], names: Sequence[str]) -> bool:
    """Whether there is one pattern a name, and each fits."""
    return len(patterns) == len(names) and all(map(matches, patterns, names))
