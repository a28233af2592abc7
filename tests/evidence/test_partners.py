"""Lock functions of which one of a pair was not recorded whole."""

from __future__ import annotations

import numpy as np
import pytest

from lockscope.evidence.partners import uneven
from lockscope.tables.events import EventFormat


def kinds(cpus: int = 2, lost: int = 0, **number: int) -> list[str]:
    formats = [EventFormat(0, -1, "", "", ()), EventFormat(1, -1, "", "", ())]
    formats += [EventFormat(i, i, "lockscope", name, ()) for i, name in enumerate(number, 2)]
    return [u.kind for u in uneven(formats, np.array([lost, 0, *number.values()], np.int64), cpus, only_enabled=True)]


def test_what_real_recordings_have() -> None:
    assert kinds(mutex_lock_entry=431, mutex_lock=431, mutex_trylock=1, mutex_unlock=430) == []
    assert kinds(raw_write_lock_entry=10, raw_write_lock=10, raw_write_unlock=10) == []
    assert kinds(srcu_read_lock=435, srcu_read_unlock=421) == []  # arm64, 6.1: SRCU's own unlock is inlined
    assert kinds(srcu_read_lock=9021, srcu_read_unlock=9021) == []  # one event of both, as the script sets it on 7.3


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        ({"raw_write_lock_entry": 0, "raw_write_lock": 10, "raw_write_unlock": 10}, "raw_write"),
        ({"raw_write_lock_entry": 10, "raw_write_lock": 5, "raw_write_unlock": 10}, "raw_write"),
        ({"raw_read_lock_entry": 4, "raw_read_lock": 4, "raw_read_unlock": 0}, "raw_read"),
        ({"mutex_lock_entry": 57, "mutex_lock": 57, "mutex_unlock": 14}, "mutex"),
        ({"srcu_read_lock": 50, "srcu_read_unlock": 38}, "srcu_read"),
        ({"srcu_read_lock": 435, "srcu_read_unlock": 421, "lock_acquire": 9}, "srcu_read"),
    ],
)
def test_one_of_a_pair_that_is_missing(number: dict[str, int], kind: str) -> None:
    assert set(kinds(**number)) == {kind}


def test_a_short_recording_that_ends_in_a_deadlock() -> None:
    assert kinds(mutex_lock_entry=4, mutex_lock=2, mutex_unlock=0) == []


def test_losses_leave_out_both_alike() -> None:
    assert kinds(lost=3, srcu_read_lock=400, srcu_read_unlock=350) == []
    assert kinds(lost=3, srcu_read_lock=400, srcu_read_unlock=100) == ["srcu_read"]
