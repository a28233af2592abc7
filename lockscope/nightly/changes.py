"""Which locks have become slower or faster, judged so that noise stays quiet.

The figure is the logarithm of a percentile, for each lock, host and night. Tonight is compared with the same host's
nights before (up to ``BASELINE``, at least ``LEAST``), hosts together:

1. A change is the difference to the host's median. What all locks of a host share in one night (a busy machine, another
   compiler) is taken out first: it is no lock's doing.
2. Changes are divided by the lock's own spread: the median absolute deviation over hosts and nights, the host's own
   where that is larger, or what it takes to make the lock's largest earlier change as unlikely as a largest one is. A
   lock that jumps now and then so has a large spread.
3. How likely a host's change is by chance is its rank among the earlier changes of *all* locks, hosts and nights (a
   permutation p-value; behind the largest of them the tail of Student's t with four degrees of freedom). Where the lock
   itself has made about such changes before, its rank among its own counts.
4. Over hosts: for each k the chance that k hosts or more change so much, a binomial tail; the least over k, times the
   number of them (Bonferroni). In one night k begins at three: two hosts of ten that jump together are what noise does
   now and then. Of up to four hosts, two are enough.
5. The same with medians over three nights, where two hosts are enough, and of up to four hosts one: what stays is told.
6. Over locks, waits and holds, and both windows: Benjamini and Hochberg's procedure at ``RATE``.
7. And it must matter: ``RATIO`` or more between the medians, and ``FLOOR_NS`` or more; and it must be larger than
   in any night of the baseline.

``benchmarks/nightly_noise.py`` measures how often it is wrong, and how often it sees what is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb, log2

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BASELINE, LEAST = 14, 7
RATE = 0.0005
RATIO = 1.5
FLOOR_NS = 1000.0
WINDOWS = (1, 3)
_MAD = 1.4826  # of a normal distribution's standard deviation
_MEDIAN_COST = 1.57  # variance of a median, times n, in units of the variance
_LEAST_SPREAD = 0.08  # log2: two bins of the histograms
_LARGEST = 0.5  # the largest of n normal numbers is about sqrt(2 log n); and so much more is usual here
_ABOUT = 0.85  # of a change: as large
_FEW = 4  # hosts up to which fewer that change are enough
_SHARED = 8  # locks from which on what they share is the host's


@dataclass(frozen=True, slots=True)
class Change:
    """A lock's change. ``place``: of the lock; ``hosts``: places of those that changed; ``of``: hosts compared.

    ``before_ns``, ``after_ns``: medians over these hosts, of the baseline and of the window. ``nights``: how long it
    has lasted. ``chance``: step 4's.
    """

    place: int
    hosts: tuple[int, ...]
    of: int
    before_ns: float
    after_ns: float
    window: int
    nights: int
    chance: float

    @property
    def ratio(self) -> float:
        """After to before."""
        return self.after_ns / self.before_ns


def changes(values: Floats, *, slower: bool = True, tests: int = 0) -> list[Change]:
    """Changes in ``values`` float64[locks, hosts, nights], log2 of ns, nan where there is none; the last is tonight.

    ``tests``: how many more there are in the same family. Sorted by chance.
    """
    found: list[Change] = []
    made = 0
    for window in WINDOWS:
        part, number = _window(values if slower else -values, window)
        made += number
        found += part
    found.sort(key=lambda c: (c.chance, -abs(c.after_ns / c.before_ns)))
    kept = _benjamini_hochberg([c.chance for c in found], made + tests)
    best: dict[int, Change] = {}
    for change in found[:kept]:
        best.setdefault(change.place, change)
    told = list(best.values()) if slower else [_turned(c) for c in best.values()]
    return [c for c in told if _matters(c)]


def _turned(change: Change) -> Change:
    return Change(
        change.place,
        change.hosts,
        change.of,
        1 / change.before_ns,
        1 / change.after_ns,
        change.window,
        change.nights,
        change.chance,
    )


def _matters(change: Change) -> bool:
    ratio = max(change.ratio, 1 / change.ratio)
    return ratio >= RATIO and abs(change.after_ns - change.before_ns) >= FLOOR_NS


def _benjamini_hochberg(chances: Sequence[float], tests: int) -> int:
    """How many of the sorted chances are told; ``tests`` were made."""
    return max((i for i, p in enumerate(chances, 1) if p <= RATE * i / max(tests, 1)), default=0)


def _window(values: Floats, window: int) -> tuple[list[Change], int]:
    """Step 1 to 5 for one window; the changes that have a chance, and the number of tests."""
    if values.shape[2] < LEAST + window or not values.size:
        return [], 0
    series = smoothed(values, window)
    before = values[:, :, :-window][:, :, -BASELINE:]
    enough = np.isfinite(before).sum(axis=2) >= LEAST
    base = np.where(enough, _median(before, axis=2), np.nan)
    old = series[:, :, :-window][:, :, -BASELINE:] - base[:, :, None]
    now = series[:, :, -1] - base
    old, now = _without_hosts_share(old), _without_hosts_share(now[:, :, None])[:, :, 0]
    spread = _spread(old, window)
    number = np.isfinite(before).sum(axis=2)
    # Medians over a window have less variance than what they are compared with.
    width = np.sqrt(1 + _MEDIAN_COST * window / np.maximum(number, 1))
    pool = (old / spread[:, :, None])[np.isfinite(old)]
    score = now / (spread * width)
    chance = np.fmax(_rank_chance(score, np.sort(pool)[::-window][::-1]), _own_chance(now, old))
    found = []
    tested = 0
    for lock in np.flatnonzero(np.isfinite(score).any(axis=1)).tolist():
        tested += 1
        one = _over_hosts(lock, chance[lock], now[lock], old[lock], base[lock], values[lock], window)
        if one is not None:
            found.append(one)
    return found, tested


def smoothed(values: Floats, window: int) -> Floats:
    """Medians over the last ``window`` nights, night by night."""
    if window == 1:
        return values
    padded = np.concatenate((np.full((*values.shape[:2], window - 1), np.nan), values), axis=2)
    return _median(np.lib.stride_tricks.sliding_window_view(padded, window, axis=2), axis=3)


def _median(values: Floats, axis: int) -> Floats:
    """The median of what is finite; nan where nothing is."""
    if not values.shape[axis]:
        return np.full(values.sum(axis=axis).shape, np.nan)
    ordered = np.sort(values, axis=axis)  # nan last
    number = np.isfinite(values).sum(axis=axis, keepdims=True)
    low, high = np.maximum(number - 1, 0) // 2, number // 2
    high = np.minimum(high, np.maximum(number - 1, 0))
    middle: Floats = (np.take_along_axis(ordered, low, axis) + np.take_along_axis(ordered, high, axis)) / 2
    return middle.squeeze(axis)


def _without_hosts_share(changed: Floats) -> Floats:
    share = _median(changed, axis=0)
    share[np.isfinite(changed).sum(axis=0) < _SHARED] = 0.0
    rest: Floats = changed - share[None]
    return rest


def hosts_share(values: Floats) -> Floats:
    """float64[hosts]: how much slower (log2) all locks of a host are tonight than in its baseline; nan: not known."""
    if values.shape[2] < 2:
        return np.full(values.shape[1], np.nan)
    before = values[:, :, :-1][:, :, -BASELINE:]
    enough = np.isfinite(before).sum(axis=2) >= LEAST
    now = np.where(enough, values[:, :, -1] - _median(before, axis=2), np.nan)
    share = _median(now, axis=0)
    share[np.isfinite(now).sum(axis=0) < _SHARED] = np.nan
    return share


def _spread(old: Floats, window: int) -> Floats:
    """float64[locks, hosts]: step 2. Of medians over a window only every ``window``-th says something new."""
    size = np.abs(old)
    flat = size.reshape(len(size), -1)
    lock = _MAD * _median(flat, axis=1)
    host = _MAD * _median(size, axis=2)
    spread = np.fmax(np.fmax(lock[:, None], host), _LEAST_SPREAD)
    number = np.isfinite(flat).sum(axis=1) // window
    usual = np.sqrt(2 * np.log(np.maximum(number, 2))) + _LARGEST
    largest = np.where(np.isfinite(flat), old.reshape(flat.shape), 0).max(axis=1)
    wider: Floats = np.fmax(spread, (largest / usual)[:, None])
    return wider


def _rank_chance(score: Floats, pool: Floats) -> Floats:
    """Step 3; nan where there is no score."""
    above = len(pool) - np.searchsorted(pool, score, side="left")
    chance = (1 + above) / (len(pool) + 1)
    beyond = (above == 0) & np.isfinite(score)
    chance[beyond] = np.minimum(chance[beyond], _student_tail(score[beyond]))
    chance[~np.isfinite(score)] = np.nan
    return chance


def _own_chance(now: Floats, old: Floats) -> Floats:
    """The rank among the lock's own earlier changes, of those about as large; nan where there are none."""
    own = old.reshape(len(old), -1)
    large = (own[:, None, :] >= _ABOUT * now[:, :, None]).sum(axis=2)
    number = np.isfinite(own).sum(axis=1)[:, None]
    chance: Floats = np.where(large > 0, (1 + large) / (number + 1), np.nan)
    return chance


def _student_tail(t: Floats) -> Floats:
    """P(T >= t) for Student's t with four degrees of freedom, in closed form."""
    u = t / np.sqrt(4 + t * t)
    tail: Floats = 0.5 - 0.75 * u * (1 - u * u / 3)
    return np.maximum(tail, 1e-15)


def binomial_tail(number: int, chance: float, least: int) -> float:
    """The chance that ``least`` or more of ``number`` happen."""
    return float(sum(comb(number, k) * chance**k * (1 - chance) ** (number - k) for k in range(least, number + 1)))


def _over_hosts(
    lock: int, chance: Floats, now: Floats, old: Floats, base: Floats, values: Floats, window: int
) -> Change | None:
    hosts = np.flatnonzero(np.isfinite(chance))
    few = len(hosts) <= _FEW
    least = (2 if few else 3) if window == 1 else (1 if few else 2)
    order = hosts[np.argsort(chance[hosts], kind="stable")]
    if len(order) < least:
        return None
    ks = range(least, len(order) + 1)
    tails = [binomial_tail(len(order), float(chance[order[k - 1]]), k) for k in ks]
    at = int(np.argmin(tails))
    changed = order[: ks[at]]
    # Hosts that changed as much belong to it, whatever k was the most telling.
    changed = order[now[order] >= min(now[changed].min(), np.median(now[changed]) / 2)]
    if not _larger_than_ever(now, old, len(changed)):
        return None
    before, after = float(np.median(base[changed])), float(np.median(base[changed] + now[changed]))
    lasted = _lasted(values[changed] - base[changed][:, None])
    return Change(
        lock,
        tuple(sorted(changed.tolist())),
        len(order),
        2**before,
        2**after,
        window,
        lasted,
        min(tails[at] * len(ks), 1.0),
    )


def _larger_than_ever(now: Floats, old: Floats, hosts: int) -> bool:
    """Whether so many hosts together never changed so much in the baseline."""
    tonight = np.sort(now[np.isfinite(now)])[-hosts:].mean()
    nights = (np.sort(night[np.isfinite(night)])[-hosts:] for night in old.T)
    return all(tonight > night.mean() for night in nights if len(night) == hosts)


def _lasted(change: Floats) -> int:
    """Nights in a row, tonight counted, in which the hosts' median change was half an effect at least."""
    middle = _median(change, axis=0)
    nights = 0
    for value in middle[::-1]:
        if not value >= log2(RATIO) / 2:
            break
        nights += 1
    return max(nights, 1)


def by_metric(values: dict[str, Floats], *, slower: bool = True) -> Iterator[tuple[str, Change]]:
    """The changes of several figures as one family of tests."""
    sizes = {name: _tests(v) for name, v in values.items()}
    for name, series in values.items():
        others = sum(n for other, n in sizes.items() if other != name)
        for change in changes(series, slower=slower, tests=others):
            yield name, change


def _tests(values: Floats) -> int:
    if values.shape[2] < LEAST + 1:
        return 0
    return int(np.isfinite(values[:, :, -1]).any(axis=1).sum()) * len(WINDOWS)
