"""Waits and holds of every lock over the nights, as arrays by lock, host and night; and which of them changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lockscope.nightly.changes import Change, by_metric, hosts_share

METRICS = {"hold": "hold time", "wait": "wait time"}
LEAST = 50  # holds or waits of a host and night from which on a 99th percentile is told from a largest one
COLUMNS = ("night", "host", "name", "kvm", "holds", "hold_p50", "hold_p99", "waits", "wait_p50", "wait_p99")

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trend:
    """A change with its names. ``metric``: hold or wait; the percentile is the 99th."""

    name: str
    kvm: bool
    metric: str
    change: Change
    hosts: tuple[str, ...]


@dataclass(slots=True)
class Series:
    """float64[locks, hosts, nights] for each metric: log2 of the 99th percentile in ns, nan without one."""

    names: list[str]
    kvm: list[bool]
    hosts: list[str]
    nights: list[str]
    values: dict[str, Floats]
    counts: dict[str, Floats] = field(default_factory=dict)  # how many holds and waits

    def trends(self, *, slower: bool = True) -> list[Trend]:
        """The locks that changed tonight, KVM's first, then by how much."""
        found = [
            Trend(self.names[c.place], self.kvm[c.place], metric, c, tuple(self.hosts[h] for h in c.hosts))
            for metric, c in by_metric(self.values, slower=slower)
        ]
        return sorted(found, key=lambda t: (not t.kvm, -len(t.hosts), -abs(np.log2(t.change.ratio)), t.name, t.metric))

    def slow_hosts(self) -> dict[str, float]:
        """How many times slower all locks of a host are than in its baseline, where that is known."""
        share = hosts_share(self.values["hold"])
        return {h: float(2**s) for h, s in zip(self.hosts, share.tolist(), strict=True) if np.isfinite(s)}


def series(classes: pa.Table, nights: Sequence[str]) -> Series:
    """From rows of ``classes`` (``COLUMNS``). A host's several rows of a night count as one, weighted."""
    rows = {c: classes.column(c).to_pylist() for c in ("night", "host", "name", "kvm")}
    names, hosts = sorted(set(rows["name"])), sorted(set(rows["host"]))
    kvm = dict(zip(rows["name"], rows["kvm"], strict=True))
    shape = len(names), len(hosts), len(nights)
    where = tuple(
        np.array([index[v] for v in rows[c]], np.int64)
        for c, index in (("name", _places(names)), ("host", _places(hosts)), ("night", _places(nights)))
    )
    made = Series(names, [kvm[n] for n in names], hosts, list(nights), {})
    for metric in METRICS:
        number = classes.column(f"{metric}s").to_numpy().astype(np.float64)
        p99 = classes.column(f"{metric}_p99").to_numpy().astype(np.float64)
        use = np.isfinite(p99) & (number > 0)
        total, weighted = np.zeros(shape), np.zeros(shape)
        at = tuple(w[use] for w in where)
        np.add.at(total, at, number[use])
        np.add.at(weighted, at, number[use] * np.log2(np.maximum(p99[use], 1.0)))
        made.counts[metric] = total
        made.values[metric] = np.where(total >= LEAST, weighted / np.maximum(total, 1), np.nan)
    return made


def _places(words: Sequence[str]) -> dict[str, int]:
    return {word: i for i, word in enumerate(words)}
