"""SRCU in the lock graph: which class an ``srcu_struct`` that probes name by its address is.

The walk notes a synchronize_srcu() as an exclusive acquisition of the ``srcu_struct``, by its address (class
``UNNAMED_SRCU`` ...). On a kernel with lockdep readers hold its map, at a fixed distance behind it, and the two are
brought together here; on one without, all that are named alike are one class, as with locks that have a place.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lockscope.facts.srcu_sections import SrcuSections
from lockscope.walk.chains import Chains, Entry, LockClass
from lockscope.walk.lock_names import UNNAMED_SRCU

_CLS, _LOCK = Entry._fields.index("cls"), Entry._fields.index("lock")


def linked(
    classes: list[LockClass], chains: Chains, sections: SrcuSections | None
) -> tuple[list[LockClass], NDArray[np.int64]]:
    """Classes with names for the SRCUs known by address, and int64[rows, fields of Entry] that say which they are."""
    unnamed = [c for c in classes if c.name.startswith(UNNAMED_SRCU)]
    if not unnamed or sections is None:
        return classes, chains.entries
    by_name: dict[str, int] = {}
    for c in classes:
        if c.kind == "srcu" and not c.name.startswith(UNNAMED_SRCU):
            by_name.setdefault(c.name, c.index)
    at_map = _classes_by_map(classes, chains)
    known: dict[int, int] = {}
    made = list(classes)
    for c in unnamed:
        name = sections.names.get(c.key & (1 << 64) - 1)
        cls = at_map.get(c.key + sections.map_distance, by_name.get(name) if name else None)
        if cls is None and name:
            cls = by_name[name] = c.index
            made[c.index] = replace(c, name=name)
        if cls is not None:
            known[c.index] = cls
    return made, _moved(chains.entries, known, sections.map_distance)


def _classes_by_map(classes: list[LockClass], chains: Chains) -> dict[int, int]:
    srcu = np.array([c.kind == "srcu" and not c.name.startswith(UNNAMED_SRCU) for c in classes] or [False], np.bool_)
    rows = np.flatnonzero(srcu[chains.entries[:, _CLS]]) if len(chains.entries) else np.zeros(0, np.int64)
    pairs = np.unique(chains.entries[rows][:, [_LOCK, _CLS]], axis=0)
    return {int(lock): int(cls) for lock, cls in pairs.tolist()}


def _moved(entries: NDArray[np.int64], known: dict[int, int], distance: int) -> NDArray[np.int64]:
    moved = entries.copy()
    for index, cls in known.items():
        rows = np.flatnonzero(entries[:, _CLS] == index)
        moved[rows, _CLS] = cls
        moved[rows, _LOCK] += distance
    return moved
