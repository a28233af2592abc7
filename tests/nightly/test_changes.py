"""Change detection: noise stays quiet, what doubles on some hosts is seen."""

from __future__ import annotations

import numpy as np
import pytest

from lockscope.nightly.changes import Change, binomial_tail, by_metric, changes, hosts_share, smoothed

HOSTS, LOCKS, NIGHTS = 10, 40, 30


def fleet(seed: int, noise: float = 0.08, *, hosts: int = HOSTS, nights: int = NIGHTS) -> np.ndarray:
    """log2 of a percentile: levels by lock and host, and noise of this relative size."""
    rng = np.random.default_rng(seed)
    level = 14 + rng.normal(0, 2, (LOCKS, 1, 1)) + rng.normal(0, 0.3, (LOCKS, hosts, 1))
    return level + rng.normal(0, noise / np.log(2), (LOCKS, hosts, nights)) + rng.normal(0, 0.05, (1, hosts, nights))


def test_thirty_noisy_nights_stay_quiet() -> None:
    for seed in range(3):
        values = {"hold": fleet(seed), "wait": fleet(100 + seed, 0.2)}
        for night in range(1, NIGHTS + 1):
            assert list(by_metric({m: v[:, :, :night] for m, v in values.items()})) == []


@pytest.mark.parametrize("nights", [8, 15, 30])
def test_a_percentile_that_doubles_on_three_of_ten_hosts(nights: int) -> None:
    values = fleet(1)[:, :, :nights]
    values[7, [1, 4, 8], -1] += 1
    found = changes(values)
    assert [(c.place, c.hosts, c.of) for c in found] == [(7, (1, 4, 8), HOSTS)]
    assert found[0].ratio == pytest.approx(2, rel=0.2)
    assert (found[0].window, found[0].nights) == (1, 1)


def test_one_host_in_one_night_is_no_change() -> None:
    values = fleet(2)
    values[7, 3, -1] += 3
    assert changes(values) == []


def test_a_change_of_the_only_host_is_told_when_it_stays() -> None:
    values = fleet(3, hosts=1)
    values[5, 0, -3:] += 3
    assert changes(values[:, :, :-2]) == []
    assert [(c.place, c.window, c.nights) for c in changes(values)] == [(5, 3, 3)]


def test_a_lock_that_jumps_now_and_then_has_a_right_to() -> None:
    rng = np.random.default_rng(4)
    values = fleet(4)
    values[3] += 3 * (rng.random((HOSTS, NIGHTS)) < 0.15)
    values[3, :4, -1] += 3
    assert changes(values) == []


def test_a_host_that_is_slow_in_everything_is_not_its_locks_doing() -> None:
    values = fleet(5)
    values[:, [0, 1, 2], -1] += 1
    assert changes(values) == []
    assert hosts_share(values)[:4] == pytest.approx([1, 1, 1, 0], abs=0.15)


def test_what_does_not_matter_is_not_told() -> None:
    small, short = fleet(6, 0.01), fleet(6, 0.01)
    small[7, :, -1] += np.log2(1.4)
    short[7] += 6 - np.median(short[7])  # 64 ns to 512 ns
    short[7, :, -1] += 3
    assert changes(small) == changes(short) == []


def test_faster() -> None:
    values = fleet(7)
    values[7, :5, -1] -= 2
    assert changes(values) == []
    (found,) = changes(values, slower=False)
    assert (found.place, found.hosts) == (7, (0, 1, 2, 3, 4))
    assert found.ratio == pytest.approx(0.25, rel=0.2)
    assert found.before_ns > found.after_ns


@pytest.mark.parametrize("shape", [(0, 0, 0), (3, 2, 1), (3, 2, 7), (1, 1, 30)])
def test_too_little_to_compare(shape: tuple[int, int, int]) -> None:
    assert changes(np.full(shape, 12.0)) == []
    assert changes(np.full(shape, np.nan)) == []
    assert len(hosts_share(np.full(shape, np.nan))) == shape[1]


def test_gaps_are_no_zeros() -> None:
    values = fleet(8)
    values[7, :, 5:12] = np.nan
    values[9, :, -1] = np.nan
    values[7, [1, 4, 8], -1] += 1.5
    assert [c.place for c in changes(values)] == [7]


def test_binomial_tail() -> None:
    assert binomial_tail(10, 0.5, 10) == pytest.approx(2**-10)
    assert binomial_tail(3, 0.2, 0) == pytest.approx(1)


def test_smoothed_is_the_median_of_what_there_is() -> None:
    values = np.array([[[1.0, np.nan, 3.0, 100.0]]])
    assert smoothed(values, 3)[0, 0].tolist() == [1.0, 1.0, 2.0, 51.5]


def test_a_change_says_how_much() -> None:
    assert Change(0, (0,), 1, 100.0, 250.0, 1, 1, 0.0).ratio == 2.5
