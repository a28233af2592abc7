"""``lockscope.load`` with events chosen: what is left out is as if it were not there."""

from __future__ import annotations

from pathlib import Path

import pytest

import lockscope
from lockscope.errors import LockscopeError

TRACE = Path(__file__).parents[2] / "sample_traces" / "lossy.dat"


def test_left_out_events_are_not_there() -> None:
    whole, plain = lockscope.load(TRACE), lockscope.load(TRACE, exclude_events=["lockscope:lockdep_*"])
    assert len(whole.events("lockdep_acquire")) > len(plain.events("lockdep_acquire")) == 0
    assert len(whole.events("lock_acquire")) == len(plain.events("lock_acquire")) > 0
    assert set(whole.info()["events_by_name"]) - set(plain.info()["events_by_name"]) == {
        "lockscope:lockdep_acquire",
        "lockscope:lockdep_init",
    }


def test_tables_and_verdicts_follow() -> None:
    some = lockscope.load(TRACE, events=["sched:*"])
    assert len(some.table("holds")) == 0
    assert {c.status.value for c in some.analyze(select=("LS101",)).checks} == {"skipped"}
    again = some.analyze(select=("LS101",), event=("lock:*",))  # an option of the call's own counts
    assert {c.status.value for c in again.checks} == {"partial"}


def test_an_unknown_option_is_no_event(tmp_path: Path) -> None:
    with pytest.raises(LockscopeError):
        lockscope.load(tmp_path / "none.dat", events=["lock:*"])
