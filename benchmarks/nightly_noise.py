"""How often `lockscope nightly` calls noise a change, and how often it sees one that is there.

    python benchmarks/nightly_noise.py [--fleets 40] [--hosts 10] [--locks 80] [--nights 30] [--noise 0.12]

Each fleet is simulated for some nights without a change: hosts differ, every lock has its own level, shape and noise
from night to night, hosts have good and bad nights, some locks jump now and then, and some drift from one night to the
next (each night's noise resembles the last one's). Then one lock's 99th percentile hold doubles on three of the hosts.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np

from lockscope.nightly.changes import by_metric

METRICS = ("hold_p99", "wait_p99")


def fleet(rng: np.random.Generator, hosts: int, locks: int, nights: int, noise: float) -> dict[str, np.ndarray]:
    """float64[locks, hosts, nights] for each metric, log2 ns. ``noise``: 0.12 is 12 % a night."""
    level = rng.normal(11, 2.5, (locks, 1, 1)) + rng.normal(0, 0.4, (locks, hosts, 1))
    night = rng.normal(0, 0.1, (1, hosts, nights))
    values = {}
    for metric in METRICS:
        own = noise / np.log(2) * rng.lognormal(0, 0.5, (locks, 1, 1))
        error = rng.standard_t(5, (locks, hosts, nights))
        drift = rng.random((locks, 1)) < 0.2
        for n in range(1, nights):
            error[:, :, n] = np.where(drift, 0.6 * error[:, :, n - 1] + 0.8 * error[:, :, n], error[:, :, n])
        jumpy = rng.random((locks, 1, 1)) < 0.15
        jumps = (rng.random((locks, hosts, nights)) < rng.uniform(0.005, 0.2, (locks, 1, 1))) * rng.uniform(1, 4)
        values[metric] = level + night + own * error + np.where(jumpy, jumps, 0)
        # One in ten is too rare on a host to have a percentile there.
        values[metric][rng.random((locks, hosts)) < 0.1] = np.nan
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fleets", type=int, default=40)
    parser.add_argument("--hosts", type=int, default=10)
    parser.add_argument("--locks", type=int, default=80)
    parser.add_argument("--nights", type=int, default=30)
    parser.add_argument("--noise", type=float, default=0.12)
    parser.add_argument("--ratio", type=float, default=2.0)
    parser.add_argument("--changed", type=int, default=3)
    options = parser.parse_args()
    alarms, nights_with, nights, seen, first = Counter[str](), 0, 0, 0, 0
    for number in range(options.fleets):
        rng = np.random.default_rng(number)
        values = fleet(rng, options.hosts, options.locks, options.nights, options.noise)
        for night in range(1, options.nights + 1):
            found = list(by_metric({m: v[:, :, :night] for m, v in values.items()}))
            alarms.update(m for m, _ in found)
            nights_with += bool(found)
            nights += 1
        whole = np.flatnonzero(np.isfinite(values["hold_p99"][:, : options.changed, -1]).all(axis=1))
        lock = int(rng.choice(whole))
        values["hold_p99"][lock] += 13 - np.nanmedian(values["hold_p99"][lock])
        values["hold_p99"][lock, : options.changed, -1] += np.log2(options.ratio)
        found = list(by_metric(values))
        seen += any(m == "hold_p99" and c.place == lock for m, c in found)
        first += bool(found) and found[0][1].place == lock
    print(f"{options.fleets} fleets of {options.hosts} hosts and {options.locks} locks, {options.nights} nights each")
    print(
        f"nights with a false alarm: {nights_with} of {nights} ({nights_with / nights:.2%});"
        f" {sum(alarms.values())} in all"
    )
    print(f"{options.ratio}x on {options.changed} hosts: seen in the first night in {seen} of {options.fleets}")


if __name__ == "__main__":
    main()
