"""The only place that gives things colours, so that a lock looks the same in every picture and on every page.

All are of middle lightness: they carry on white paper and on a dark page. Red is kept for what is wrong.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from lockscope.kvm.locks import Role, role_of

RED = "#cf3a45"
GREY = "#8b949e"
SEVERITY = {"error": RED, "warning": "#c98500", "info": "#3b7dd8"}
VERDICT = {"violation": RED, "clean": "#2e9e5b", "unknown": "#c98500"}

_ROLES = {
    Role.LOCK: "#3b7dd8",
    Role.SLOTS_LOCK: "#e0772f",
    Role.MMU_LOCK: "#2e9e5b",
    Role.SRCU: "#8d63c4",
    Role.SLOTS_ARCH_LOCK: "#a9744f",
    Role.IRQ_LOCK: "#d866a4",
    Role.VCPU_MUTEX: "#1f9fb4",
    Role.TDP_PAGES: "#93a11f",
    Role.IRQ_SRCU: "#b39ddb",
    Role.NOTIFIER: "#c2a83e",
}
_OTHERS = ("#6c8ebf", "#b88a5b", "#6fa287", "#9b86b3", "#a38b7d", "#b97f9f", "#6d9fa8", "#9a9f6a", "#7f8fa6", "#c29a9a",
           "#87b3d9", "#8fb89b", "#c7ae84")  # fmt: skip

# What happens to an SPTE, by the words of ``kvm.spte_changes``.
SPTE = {
    "mapped": "#3b7dd8",
    "made writable": "#2e9e5b",
    "write-protected": "#e0772f",
    "zapped": RED,
    "access-tracked": "#8d63c4",
    "aged": "#b39ddb",
    "dirty cleared": "#c2a83e",
    "remapped": "#d866a4",
    "page table": "#a9744f",
    "frozen": "#1f9fb4",
    "mmio": "#6c8ebf",
    "other": GREY,
}


def lock_colors(names: Iterable[str]) -> dict[str, str]:
    """Colours of the locks of one picture: as ``lock_color``, but no two alike while there are enough."""
    taken: dict[str, str] = {}
    for name in names:
        color = lock_color(name)
        if color in taken.values() and color in _OTHERS:
            at = _OTHERS.index(color)
            color = next((c for c in _OTHERS[at:] + _OTHERS[:at] if c not in taken.values()), color)
        taken[name] = color
    return taken


def lock_color(name: str) -> str:
    """A lock class's colour: KVM's own have one each, the others one of the quiet ones, the same on every night."""
    known = _ROLES.get(role_of(name))
    return known or _OTHERS[zlib.crc32(name.encode("utf-8", "replace")) % len(_OTHERS)]
