"""Patterns of lock classes, as every command, rule and Python take them: ``*`` is any text, ``?`` any character."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase


def class_fits(pattern: str, name: str) -> bool:
    """Whether a class is meant by a pattern, however the kernel spells it.

    A class is named by the expression that its lock was initialised with: ``kvm->mmu_lock`` finds
    ``&(kvm)->mmu_lock``, and ``kvm->*`` the locks of struct kvm.
    """
    return matches(pattern, name) or matches(_bare(pattern), _bare(name))


def _bare(name: str) -> str:
    return name.replace("(kvm)", "kvm").lstrip("&")


def matches(pattern: str, name: str) -> bool:
    """Whether the whole name fits. Brackets are themselves: class names have them (``&q->fifo[i].lock``)."""
    return fnmatchcase(name, pattern.replace("[", "[[]"))


def match_in_order(patterns: Sequence[str], names: Sequence[str]) -> bool:
    """Whether there is one pattern a name, and each fits."""
    return len(patterns) == len(names) and all(map(matches, patterns, names))
