"""What a pair of SPTE values means."""

from __future__ import annotations

import numpy as np
import pytest

from lockscope.kvm.spte import layout_named
from lockscope.kvm.spte_changes import WORDS, changes

# Values of kernel 6.12 on AMD (npt), as recorded in the sample traces, and variations of them by one bit.


def word(old: int, new: int, level: int = 1) -> str:
    layout = layout_named("npt-6.12")
    assert layout is not None
    found = changes(np.array([old], np.uint64), np.array([new], np.uint64), np.array([level]), layout)
    return WORDS[int(found[0])]


@pytest.mark.parametrize(
    ("old", "new", "meaning"),
    [
        (0x105354E67, 0x105354E65, "write-protected"),
        (0x105354E65, 0x105354E67, "made writable"),
        (0, 0x105354E67, "mapped"),
        (0x105354E67, 0, "zapped"),
        (0x105354E67, 0x105355E67, "remapped"),
        (0x105354E67, 0x105354E47, "aged"),
        (0x105354E67, 0x105354E27, "dirty cleared"),
        (0x105354E67, 0x105354E67, "other"),
    ],
)
def test_meaning(old: int, new: int, meaning: str) -> None:
    assert word(old, new) == meaning


def test_a_change_under_way() -> None:
    layout = layout_named("npt-6.12")
    assert layout is not None
    assert word(0x105354E67, layout.frozen) == "frozen"


def test_a_page_table_is_no_leaf() -> None:
    assert word(0, 0x105354827, level=2) == "page table"
