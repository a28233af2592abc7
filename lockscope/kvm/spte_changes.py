"""What a change of an SPTE means: one word for each pair of values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lockscope.kvm import spte
from lockscope.kvm.spte_layouts import Layout

WORDS = (
    "other",
    "mapped",
    "zapped",
    "write-protected",
    "made writable",
    "access-tracked",
    "aged",
    "dirty cleared",
    "remapped",
    "page table",
    "frozen",
    "mmio",
)


def changes(
    old: NDArray[np.uint64], new: NDArray[np.uint64], level: NDArray[np.int64], layout: Layout
) -> NDArray[np.int64]:
    """For each pair of values the place of its word in ``WORDS``; the first that fits counts.

    ``access-tracked``: R, W and X taken away so that the next access faults, on CPUs without A bits; ``aged``: the A
    bit cleared. An unknown old value is given as 0 and reads as "nothing was there".
    """
    was, now = spte.is_leaf(old, layout, level), spte.is_leaf(new, layout, level)
    present, stays = spte.is_present(old, layout), spte.is_present(new, layout)
    both = was & now
    had_w, has_w = spte.is_writable(old, layout), spte.is_writable(new, layout)
    tracked = both & spte.is_access_tracked(new, layout) & ~spte.is_access_tracked(old, layout)
    cases = (
        ("frozen", spte.is_frozen(new, layout)),
        ("mmio", spte.is_mmio(new, layout)),
        ("page table", (present & ~was) | (stays & ~now)),
        ("mapped", ~present & now),
        ("zapped", was & ~stays),
        ("remapped", both & (spte.pfn(old) != spte.pfn(new))),
        ("access-tracked", tracked),
        ("write-protected", both & had_w & ~has_w),
        ("made writable", both & ~had_w & has_w),
        ("aged", both & spte.is_accessed(old, layout) & ~spte.is_accessed(new, layout)),
        ("dirty cleared", both & spte.is_dirty(old, layout) & ~spte.is_dirty(new, layout)),
    )
    found = np.select([fits for _, fits in cases], [WORDS.index(word) for word, _ in cases], WORDS.index("other"))
    return np.asarray(found, np.int64)
