"""What a task holds around a grace period: acquisitions and releases are looked at over one stretch."""

from __future__ import annotations

import numpy as np

from lockscope.facts.kvm_grace import _BACK, _before


def test_no_acquisition_is_looked_at_without_the_releases_behind_it() -> None:
    taken = np.array([10, 50_000], np.int64)
    released = np.concatenate(([11], np.arange(20_000, 20_000 + 2 * _BACK))).astype(np.int64)
    steps = np.sort(_before(60_000, taken, released))
    assert (int(steps[0]), int(steps[-1]), len(steps)) == (20_000 + _BACK, 50_000, _BACK + 1)


def test_few_steps_are_all_looked_at() -> None:
    taken, released = np.array([10, 40], np.int64), np.array([11, 70], np.int64)
    assert np.sort(_before(60, taken, released)).tolist() == [10, 11, 40]
