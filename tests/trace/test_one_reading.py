"""A trace is read once for many tables, and says the same as if it was read for each."""

from __future__ import annotations

from pathlib import Path

import pytest

import lockscope
from lockscope.tables.schema import all_schemas
from lockscope.trace import tables, trace

SAMPLES = Path(__file__).parents[2] / "sample_traces"


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One number for each reading that tables are made from."""
    made: list[int] = []
    read = tables.gather

    def counted(*args: object) -> object:
        made.append(len(made))
        return read(*args)

    monkeypatch.setattr(tables, "gather", counted)
    return made


def test_all_tables_of_a_small_trace_take_one_reading(readings: list[int]) -> None:
    some = lockscope.load(SAMPLES / "dirty_log.dat")
    rows = {name: len(some.table(name)) for name in all_schemas()}
    assert len(readings) == 1
    assert (rows["lock_events"], rows["task_switches"]) == (17476, 53)


def test_a_large_trace_is_read_for_what_is_asked_for(readings: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "_READ_AT_ONCE", 1000)
    some = lockscope.load(SAMPLES / "dirty_log.dat")
    some.table("losses")
    some.table("task_switches")
    assert len(readings) == 2
    some = lockscope.load(SAMPLES / "dirty_log.dat")
    some.read("losses", "holds", "srcu_events")
    for name in ("losses", "holds", "srcu_events"):
        some.table(name)
    assert len(readings) == 3


@pytest.mark.parametrize("sample", ["bug_clear_log_without_flush.dat", "stock61_smm.dat", "lossy.dat"])
def test_tables_are_the_same_either_way(sample: str, monkeypatch: pytest.MonkeyPatch) -> None:
    once = lockscope.load(SAMPLES / sample)
    together = {name: once.table(name).arrow for name in all_schemas()}
    monkeypatch.setattr(trace, "_READ_AT_ONCE", 0)
    each = lockscope.load(SAMPLES / sample)
    assert [name for name, table in together.items() if not table.equals(each.table(name).arrow)] == []
