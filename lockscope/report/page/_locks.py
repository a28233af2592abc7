"""Which locks have their numbers on the page, in which order, and where."""

from __future__ import annotations

import re

from lockscope.results.page_data import LockNumbers, PageData

SHOWN, FOLDED = 40, 300


def lock_anchor(trace: int, label: str) -> str:
    """Where a class's numbers are."""
    return f"lock-{trace}-" + re.sub(r"[^A-Za-z0-9_.]", lambda m: f"-{ord(m[0]):x}-", label)


def in_order(shown: PageData) -> list[LockNumbers]:
    """KVM's locks first, then by how long tasks waited, then by how long they are held; a label only once."""
    ordered = sorted(shown.locks, key=lambda k: (not k.kvm, -k.wait_ns, -k.hold_ns))
    return list({k.label: k for k in reversed(ordered)}.values())[::-1]


def on_page(shown: PageData) -> set[str]:
    """The labels of those that have a row."""
    return {k.label for k in in_order(shown)[: SHOWN + FOLDED]}
