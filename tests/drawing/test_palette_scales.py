"""Colours that stay, and axes in round units."""

from __future__ import annotations

import pytest

from lockscope.drawing import palette, scales


def test_a_lock_has_one_colour_by_any_spelling() -> None:
    assert palette.lock_color("&(kvm)->mmu_lock") == palette.lock_color("&kvm->mmu_lock") == "#2e9e5b"
    assert palette.lock_color("&kvm->slots_lock") != palette.lock_color("&kvm->lock")


def test_locks_of_one_picture_differ_while_there_are_colours() -> None:
    names = [f"lock_{i}" for i in range(13)]
    colors = palette.lock_colors(names)
    assert len(set(colors.values())) == 13
    assert len(palette.lock_colors([*names, "one_more"])) == 14


@pytest.mark.parametrize(
    ("start", "end", "unit", "texts"),
    [
        (10_290_000_712, 10_500_000_712, "ms", ["0", "50", "100", "150", "200"]),
        (5, 5, "ns", ["0", "1"]),
        (0, 7_000, "us", ["0", "2", "4", "6"]),
        (1, 2_500_000_001, "s", ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5"]),
    ],
)
def test_time_ticks_count_from_the_start(start: int, end: int, unit: str, texts: list[str]) -> None:
    ticks, name = scales.time_ticks(start, end)
    assert (name, [text for _, text in ticks]) == (unit, texts)
    assert ticks[0][0] == start


def test_log_ticks_are_powers_of_ten_in_words() -> None:
    assert scales.log_ticks(90, 1_500_000) == [
        (10, "10 ns"), (100, "100 ns"), (1_000, "1 us"), (10_000, "10 us"), (100_000, "100 us"), (1_000_000, "1 ms"),
        (10_000_000, "10 ms"),
    ]  # fmt: skip


def test_short_texts() -> None:
    assert scales.short("&kvm->lock") == "&kvm->lock"
    assert len(scales.short("x" * 200, 30)) == 30
    assert (scales.compact(950), scales.compact(12_345), scales.compact(4_100_000)) == ("950", "12.3k", "4.1M")
